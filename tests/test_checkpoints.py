"""Trained models on disk: they come back bit for bit, or are refused by name."""

import pickle

import pytest
import safetensors.torch
import torch

import trc
from trc.model.checkpoints import read_tensors, read_training_record, write_tensors


@pytest.fixture(params=[{}, {"use_two_level": True}, {"use_two_level": True, "learnable_initial_latents": False}])
def model(request):
    problem = trc.make_problem("van_der_pol", mu=0.5, horizon=10, control_low=[-1])
    settings = {"latent_dim": 8, "hidden_dim": 8, "num_heads": 1, "seed": 0} | request.param
    return trc.TinyRecursiveControl.create("small", problem=problem, **settings)


def test_checkpoint_comes_back_bit_for_bit_with_its_problem(tmp_path, model, draw):
    model.needs_simulator = True
    back = trc.load_model(trc.save_model(model, tmp_path / "deep" / "model.safetensors"))
    assert back.config == model.config
    assert back.problem == model.problem
    assert back.needs_simulator
    assert not back.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor)
    x = draw(model.problem, 4, torch.float32)
    assert torch.equal(back(*x)["controls"], model(*x)["controls"])  # with feedback, since it knows its problem


def test_checkpoint_for_another_problem_than_the_given_one_is_refused(tmp_path, model):
    path = trc.save_model(model, tmp_path / "model.safetensors")
    assert trc.load_model(path, problem=model.problem).problem == model.problem
    with pytest.raises(ValueError, match="it is for 'van_der_pol' with other settings than the given problem"):
        trc.load_model(path, problem=trc.make_problem("van_der_pol"))


def test_same_model_is_saved_as_the_same_bytes(tmp_path, model):
    paths = [trc.save_model(model, tmp_path / name, training={"b": 1, "a": [2]}) for name in ("a", "b")]
    again = trc.save_model(trc.load_model(paths[0]), tmp_path / "c", training={"a": [2], "b": 1})
    assert len({path.read_bytes() for path in (*paths, again)}) == 1


def test_first_files_did_not_say_that_their_latents_go_on(tmp_path, double_integrator):
    model = trc.TinyRecursiveControl.create_small(problem=double_integrator, carry_latents=True, seed=0)
    path = trc.save_model(model, tmp_path / "old.safetensors")
    header, tensors = read_tensors(path)
    del header["config"]["carry_latents"]
    write_tensors(path, header, tensors)
    assert trc.load_model(path).config == model.config
    other = trc.save_model(trc.TinyRecursiveControl.create_small(seed=0), tmp_path / "new.safetensors")
    assert not trc.load_model(other).config.carry_latents


def test_training_record_is_kept(tmp_path, model):
    path = trc.save_model(model, tmp_path / "a", training={"epochs": 3})
    assert read_training_record(path) == {"epochs": 3}
    assert read_training_record(trc.save_model(model, tmp_path / "b")) == {}


def test_model_without_a_simulator_that_needs_one_still_refuses_after_loading(tmp_path, model):
    model.problem, model.needs_simulator = None, True
    back = trc.load_model(trc.save_model(model, tmp_path / "model.safetensors"))
    with pytest.raises(ValueError, match="trained with simulator feedback"):
        back(torch.zeros(1, 2), torch.zeros(1, 2))


OTHERS = {"a": torch.zeros(3)}


@pytest.mark.parametrize(
    "spoil",
    [
        *(lambda whole, share=share: whole[: int(share * len(whole))] for share in (0, 0.05, 0.5, 0.999)),
        lambda whole: whole.replace(b'"decode.', b'"decide.'),
        lambda whole: safetensors.torch.save(OTHERS, {"format": "pt"}),
        lambda whole: safetensors.torch.save(OTHERS, {"trc": "[1, 2]"}),
        lambda whole: pickle.dumps({"weights": [1.0]}),
    ],
    ids=["empty", "5 %", "half", "99.9 %", "other weights", "other safetensors", "other header", "pickle"],
)
def test_truncated_or_foreign_file_is_refused_by_name(tmp_path, model, spoil):
    path = trc.save_model(model, tmp_path / "model.safetensors")
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"^{path} is not a readable trc checkpoint \(.*\); make it again\.$"):
        trc.load_model(path)
