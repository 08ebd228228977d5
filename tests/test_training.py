import dataclasses
import math

import pytest
import torch

import trc
from trc import training

TINY = {"latent_dim": 32, "hidden_dim": 64, "num_blocks": 1, "num_outer_cycles": 2, "num_inner_cycles": 1}
FAST = {"epochs": 2, "batch_size": 16}


def tiny(problem=None, **settings):
    return trc.TinyRecursiveControl.create("small", problem=problem, **TINY | {"seed": 0} | settings)


@pytest.fixture
def data(double_integrator):
    return trc.generate_dataset(double_integrator, 40, seed=1)


def test_cloning_brings_the_network_to_its_teacher(double_integrator):
    data = trc.generate_dataset(double_integrator, 400, seed=1)
    test = trc.generate_dataset(double_integrator, 100, seed=2)

    def gap():
        return trc.evaluate(model, double_integrator, test.initial_states, test.target_states)["gap"]

    model = tiny(double_integrator)
    untrained = gap()
    history = trc.train(model, data, epochs=8, batch_size=32, learning_rate=3e-3)
    assert untrained > 20
    assert gap() < 2
    assert min(history.validation_loss) < history.validation_loss[0] / 5
    assert history.train_loss[-1] < history.train_loss[0] / 5
    assert history.validation_loss[-1] < 3 * history.train_loss[-1]  # it generalises


def test_same_seed_gives_the_same_weights_and_leaves_the_global_state(double_integrator, data):
    state = torch.get_rng_state()
    models = [tiny(double_integrator) for _ in range(3)]
    histories = [trc.train(model, data, seed=seed, **FAST) for model, seed in zip(models, (0, 0, 1), strict=True)]
    assert torch.equal(torch.get_rng_state(), state)
    first, again, other = (torch.nn.utils.parameters_to_vector(model.parameters()) for model in models)
    assert torch.equal(first, again)
    assert histories[0] == histories[1]
    assert not torch.equal(first, other)


@pytest.mark.parametrize("schedule", ["cosine", "none"])
def test_steps_are_those_of_a_loop_written_out(double_integrator, data, schedule):
    same = {  # copies of one sample, so that neither the split nor the order matters
        name: getattr(data, name)[:1].repeat_interleave(8, 0)
        for name in ("initial_states", "target_states", "control_sequences", "state_trajectories", "costs")
    }
    data = dataclasses.replace(data, **same)
    model, reference = tiny(double_integrator).double(), tiny(double_integrator).double()
    options = {"epochs": 4, "batch_size": 4, "learning_rate": 1e-3, "max_grad_norm": 0.1, "weight_decay": 0.01}
    history = trc.train(model, data, **options, schedule=schedule, validation_fraction=0.25)
    assert history.best_epoch == 3  # so these are the last weights

    optimizer = torch.optim.AdamW(reference.parameters(), weight_decay=0.01)
    for step in range(4 * 2):  # six samples are two batches
        decay = (1 + math.cos(math.pi * step / 8)) / 2 if schedule == "cosine" else 1
        optimizer.param_groups[0]["lr"] = 1e-3 * decay
        optimizer.zero_grad()
        output = reference(data.initial_states[:1], data.target_states[:1])
        (output["controls"] - data.control_sequences[:1]).square().mean().backward()
        norm = torch.cat([p.grad.flatten() for p in reference.parameters() if p.grad is not None]).norm()
        for parameter in reference.parameters():
            parameter.grad *= min(1, 0.1 / norm)
        optimizer.step()
    for trained, expected in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(trained, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("losses", [[3.0, 1.0, 2.0], [1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
def test_model_ends_with_the_weights_of_the_best_epoch(monkeypatch, data, losses):
    seen = []

    def validate(model, *_):
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return losses[len(seen) - 1]

    monkeypatch.setattr(training, "_validate", validate)
    model = tiny()
    history = trc.train(model, data, epochs=3, batch_size=16)
    best = losses.index(1.0)
    assert history.best_epoch == best
    assert history.validation_loss == losses
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, seen[best][name])
        assert not torch.equal(tensor, seen[best - 1][name])


def test_held_out_samples_do_not_change_the_weights(double_integrator):
    data = trc.generate_dataset(double_integrator, 12, seed=1)

    def weights(controls):
        model = tiny(double_integrator, feedback="none", latent_dim=4, hidden_dim=4)
        changed = dataclasses.replace(data, control_sequences=controls)
        trc.train(model, changed, epochs=1, validation_fraction=0.25)
        return torch.nn.utils.parameters_to_vector(model.parameters())

    reference, silent = weights(data.control_sequences), 0
    for i in range(12):
        spoilt = data.control_sequences.clone()
        spoilt[i] = 4 - spoilt[i]
        silent += torch.equal(weights(spoilt), reference)
    assert silent == 3


@pytest.mark.parametrize("feedback", ["none", "error"])
def test_training_gives_the_model_its_problem_and_remembers_the_feedback(data, feedback):
    model = tiny(feedback=feedback)
    trc.train(model, data, **FAST)
    assert model.problem == data.problem
    assert model.needs_simulator == (feedback == "error")
    assert not model.training
    assert ("errors" in model(torch.zeros(1, 2), torch.zeros(1, 2))) == (feedback == "error")


def test_cloning_loss_is_the_mean_square_of_the_last_iterate():
    output = {"controls": torch.tensor([[[1.0], [2.0]]]), "all_controls": torch.full((1, 3, 2, 1), 9.0)}
    assert trc.cloning_loss(output, torch.tensor([[[0.0], [4.0]]])).item() == 2.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 0.9}, "unknown training option momentum; known are epochs, batch_size, .*seed"),
        ({"loss": "hings"}, "unknown loss 'hings'; known are cloning, process"),
        ({"schedule": "linear"}, "unknown schedule 'linear'; known are cosine, none"),
        ({"epochs": 0}, "epochs must be a whole number, 1 or more, got 0"),
        ({"batch_size": -1}, "batch_size must be a whole number, 1 or more, got -1"),
        ({"learning_rate": float("nan")}, "learning_rate must be a positive number, got nan"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be a positive number, got 0.0"),
        ({"weight_decay": -1.0}, "weight_decay must be a number of at least 0"),
        ({"validation_fraction": 1.0}, "validation_fraction must lie between 0 and 1, got 1.0"),
    ],
)
def test_bad_options_are_refused(data, options, message):
    with pytest.raises(ValueError, match=message):
        trc.train(tiny(), data, **options)


def test_data_of_another_problem_are_refused(data):
    with pytest.raises(ValueError, match="for 'double_integrator', not for 'van_der_pol'"):
        trc.train(tiny(trc.make_problem("van_der_pol")), data, **FAST)
    with pytest.raises(ValueError, match="another 'double_integrator': dt differ"):
        trc.train(tiny(), data, trc.make_problem("double_integrator", dt=0.1), **FAST)


def test_model_of_other_dimensions_is_refused(data):
    message = "state dimension 2, control dimension 1 and horizon 20, the data have 2, 1 and 15; make the model with"
    with pytest.raises(ValueError, match=message):
        trc.train(tiny(control_horizon=20), data, **FAST)


def test_exploding_loss_is_reported_with_its_remedy(data):
    huge = dataclasses.replace(data, control_sequences=data.control_sequences * 1e25)
    with pytest.raises(ValueError, match=r"the loss became inf in epoch 1; lower learning_rate \(now 0.001\)"):
        trc.train(tiny(), huge, **FAST)


def test_one_sample_cannot_be_trained_on(double_integrator):
    with pytest.raises(ValueError, match="at least 2 samples, one of them for validation, got 1"):
        trc.train(tiny(), trc.generate_dataset(double_integrator, 1, seed=0), **FAST)


@pytest.mark.parametrize("feedback", ["none", "error"])
@pytest.mark.parametrize(
    "options",
    [
        {"loss": "process"},
        {"loss": "process", "reference": "first-detached"},
        {"loss": "process", "reference": "teacher", "process_weight": 1.0},
        {"loss": "discounted", "discount": 0.5},
        {"loss": "hinge"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_process_losses_train(double_integrator, feedback, options):
    data = trc.generate_dataset(double_integrator, 128, seed=1)
    model = trc.TinyRecursiveControl.create_small(problem=double_integrator, feedback=feedback, seed=0)
    history = trc.train(model, data, epochs=4, **options)
    assert history.train_loss[-1] < history.train_loss[0]


def test_process_loss_is_cloning_less_the_weighted_reward(double_integrator):
    data = trc.generate_dataset(double_integrator, 64, seed=1)
    first = []
    for options in (
        {"loss": "cloning"},
        {"loss": "process", "process_weight": 0.0},
        {"loss": "process", "process_weight": 2.0},
    ):
        model = trc.TinyRecursiveControl.create_small(problem=double_integrator, seed=0)
        first.append(trc.train(model, data, epochs=1, batch_size=64, learning_rate=1e-12, **options).train_loss[0])
    assert first[0] == first[1]
    model = trc.TinyRecursiveControl.create_small(problem=double_integrator, seed=0)
    part = data.split(0.1, seed=0)[1]
    initial, target = part.initial_states.float(), part.target_states.float()
    output = model(initial, target, return_all_iterations=True)
    costs = trc.losses.iterate_costs(double_integrator, output, initial, target)
    reward = ((costs[:, 0] - costs[:, -1]) / costs[:, 0]).mean().item() / 3
    assert first[0] - first[2] == pytest.approx(2 * reward, rel=1e-4)
