import dataclasses
import json
import math
from functools import partial
from unittest.mock import DEFAULT, Mock

import pytest
import torch

import trc
from trc.datasets import ARRAYS
from trc.model.checkpoints import load_value_predictor, read_tensors, read_training_record, write_tensors
from trc.training import LOSSES, loop
from trc.training.losses import iterate_costs
from trc.training.objective import Objective
from trc.training.run_folder import RunFolder, epochs_done
from trc.training.schedules import PLATEAU, learning_rate

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
    history = trc.train(model, data, loss="cloning", epochs=8, batch_size=32, learning_rate=3e-3)
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


@pytest.mark.parametrize(
    ("schedule", "optimizer"), [("cosine", "adamw"), ("none", "adamw"), ("step", "adamw"), ("none", "adam")]
)
def test_steps_are_those_of_a_loop_written_out(double_integrator, data, schedule, optimizer):
    # copies of one sample, so that neither the split nor the order matters
    same = {name: getattr(data, name)[:1].repeat_interleave(8, 0) for name in ARRAYS}
    data = dataclasses.replace(data, **same)
    model, reference = tiny(double_integrator).double(), tiny(double_integrator).double()
    options = {"epochs": 4, "batch_size": 4, "learning_rate": 1e-3, "max_grad_norm": 0.1, "weight_decay": 0.01}
    options["supervision"] = "unrolled"
    history = trc.train(model, data, **options, schedule=schedule, optimizer=optimizer, validation_fraction=0.25)
    assert history.best_epoch == 3  # so these are the last weights

    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optimizer]
    optimizer = kind(reference.parameters(), weight_decay=0.01)
    steps = [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]  # of four epochs; six samples are two batches
    decays = {"cosine": [(1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)], "step": steps, "none": [1] * 8}
    for decay in decays[schedule]:
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

    def validate(*_):
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return losses[len(seen) - 1]

    monkeypatch.setattr(loop, "_validate", validate)
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 0.9}, "unknown training option momentum; known are epochs, batch_size, .*seed"),
        ({"loss": "hings"}, "unknown loss 'hings'; known are cloning, process"),
        ({"schedule": "linear"}, "unknown schedule 'linear'; known are cosine, step, plateau, none"),
        ({"epochs": 0}, "epochs must be a whole number, 1 or more, got 0"),
        ({"batch_size": -1}, "batch_size must be a whole number, 1 or more, got -1"),
        ({"learning_rate": float("nan")}, "learning_rate must be a positive number, got nan"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be a positive number, got 0.0"),
        ({"optimizer": "sgd"}, "unknown optimizer 'sgd'; known are adam, adamw"),
        ({"device": "gpu"}, "unknown device 'gpu'; known are cpu, cuda"),
        ({"warmup": 1.0}, "warmup must be a share of the steps from 0 to below 1, got 1.0"),
        ({"patience": -1}, "patience must be a whole number, 0 or more, got -1"),
        ({"value_weight": float("inf")}, "value_weight must be a number of at least 0, got inf"),
        ({"jobs": 2}, "unknown training option jobs; known are epochs"),
        ({"seed": None}, "seed must be a whole number, 0 or more, got None"),
        ({"weight_decay": -1.0}, "weight_decay must be a number of at least 0"),
        ({"validation_fraction": 1.0}, "validation_fraction must lie between 0 and 1, got 1.0"),
    ],
)
def test_bad_options_are_refused(data, options, message):
    with pytest.raises(ValueError, match=message):
        trc.train(tiny(), data, **options)


OTHER_MU = trc.make_problem("van_der_pol", mu=3.0)


@pytest.mark.parametrize(
    ("model", "change", "message"),
    [
        (lambda: tiny(trc.make_problem("van_der_pol")), {}, "for 'double_integrator', not for 'van_der_pol'"),
        (tiny, {"problem": trc.make_problem("double_integrator", dt=0.1)}, "another 'double_integrator': dt differ"),
        (
            lambda: tiny(trc.make_problem("van_der_pol")),
            {"problem": OTHER_MU, "data": trc.generate_dataset(OTHER_MU, 8, seed=0)},
            "the model was made for another 'van_der_pol'",
        ),
        (lambda: tiny(control_horizon=20), {}, "horizon 20, the data have 2, 1 and 15; make the model with"),
        (tiny, {"data": trc.generate_dataset(trc.make_problem("double_integrator"), 1, seed=0)}, "2 samples, .* got 1"),
        (tiny, {"data": trc.evaluation_set(trc.make_problem("double_integrator"))}, "seed 123 makes .* the test set"),
        (tiny, {"value_predictor": trc.ValuePredictor.create(64)}, "reads latents of 64, the model has 32"),
        (lambda: "model", {}, "model must be a ControlNetwork"),
        (tiny, {"data": "data.npz"}, "data must be a Dataset"),
    ],
)
def test_what_does_not_go_together_is_refused_and_the_model_left_alone(data, model, change, message):
    model = model()
    before = getattr(model, "problem", None)
    with pytest.raises(ValueError, match=message):
        trc.train(model, **{"data": data} | FAST | change)
    assert getattr(model, "problem", None) is before and not getattr(model, "needs_simulator", False)


def test_loss_of_ones_own_is_used_and_its_nan_seen_in_validation_too(data):
    calls = []

    def odd(attempt, config):
        calls.append(attempt.teacher_controls)
        return attempt.output["controls"].square().mean() * (math.nan if len(calls) == 2 else 1)

    LOSSES.register("odd")(odd)
    message = r"the loss or its gradient became nan in epoch 1; lower learning_rate \(now 0.001\)"
    with pytest.raises(ValueError, match=message):
        trc.train(tiny(), data, epochs=1, loss="odd")
    assert [len(controls) for controls in calls] == [36, 4]


@pytest.mark.parametrize("feedback", ["none", "error"])
@pytest.mark.parametrize(
    "options",
    [
        {"loss": "process"},
        {"loss": "process", "reference": "first-detached"},
        {"loss": "process", "reference": "teacher", "process_weight": 1.0},
        {"loss": "discounted", "discount": 0.5},
        {"loss": "hinge"},
        {"loss": "trajectory"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_process_losses_train(double_integrator, feedback, options):
    data = trc.generate_dataset(double_integrator, 128, seed=1)
    model = trc.TinyRecursiveControl.create_small(problem=double_integrator, feedback=feedback, seed=0)
    history = trc.train(model, data, epochs=6, **options)
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
    simulate = partial(trc.rollout, double_integrator)
    costs = iterate_costs(output, initial, target, simulate, double_integrator.cost)
    reward = ((costs[:, 0] - costs[:, -1]) / costs[:, 0]).mean().item() / 3
    assert first[0] - first[2] == pytest.approx(2 * reward, rel=1e-4)


# Schedules and stopping


def test_learning_rates_by_hand():
    rates = lambda schedule: [learning_rate(schedule, 2.0, p, []) for p in (0, 0.5, 0.75, 1)]  # noqa: E731
    assert rates("none") == [2, 2, 2, 2]
    assert rates("cosine") == pytest.approx([2, 1, 1 - math.sqrt(0.5), 0])
    assert rates("step") == pytest.approx([2, 0.2, 0.02, 0.02])
    warm = [learning_rate("none", 2.0, p, [], warmup=0.2) for p in (0, 0.05, 0.1, 0.2, 1)]
    assert warm == pytest.approx([0, 0.5, 1, 2, 2])


def test_plateau_halves_the_rate_after_epochs_without_a_lower_loss():
    falling, flat = [5.0, 4.0, 3.0], [3.0] * PLATEAU
    rate = partial(learning_rate, "plateau", 1.0, 0.5)
    assert rate([]) == rate(falling) == rate(falling + flat[1:]) == 1
    assert rate(falling + flat) == rate(falling + flat + [2.0]) == 0.5
    assert rate(falling + flat + flat) == 0.25


@pytest.mark.parametrize(("patience", "epochs"), [(2, 4), (3, 5), (0, 6)])
def test_training_stops_when_patience_is_out(monkeypatch, data, patience, epochs):
    losses = iter([3.0, 1.0, 2.0, 2.0, 2.0, 2.0])
    monkeypatch.setattr(loop, "_validate", lambda *_: next(losses))
    history = trc.train(tiny(), data, epochs=6, patience=patience)
    assert len(history.validation_loss) == epochs
    assert history.best_epoch == 1


def test_samples_to_convergence_by_hand():
    losses = [10.0, 5.0, 1.5, 1.0, 0.5, 0.9]  # nine tenths of the way from 10 to 0.5 are done at 1.45
    history = trc.History(validation_loss=losses, samples_per_epoch=100)
    assert history.samples_to_convergence() == 400
    assert history.samples_to_convergence(tolerance=0.5) == 200
    assert history.samples_to_convergence(tolerance=0.0) == 500


# Value predictor


def test_value_predictor_learns_the_costs_of_the_iterates(double_integrator):
    data = trc.generate_dataset(double_integrator, 512, seed=1)
    model = tiny(double_integrator)
    predictor = trc.ValuePredictor.create(32, "small", seed=0)
    options = {"epochs": 30, "learning_rate": 3e-3, "loss": "cloning"}
    trc.train(model, data, value_predictor=predictor, value_weight=1.0, **options)
    initial, target = double_integrator.sample(200, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        output = model(initial, target, return_all_iterations=True)
        simulate = partial(trc.rollout, double_integrator)
        costs = iterate_costs(output, initial, target, simulate, double_integrator.cost)
        predicted, costs = predictor(output["all_latents"]).log(), costs.log()
    assert (predicted - costs).square().mean() < 0.5 * costs.var()  # the mean alone would leave all of it


def test_value_predictor_is_kept_beside_the_model(tmp_path, double_integrator, data):
    model, predictor, z = tiny(double_integrator), trc.ValuePredictor(32, 8), torch.randn(3, 32)
    trc.train(model, data, value_predictor=predictor, output_dir=tmp_path, **FAST)
    assert torch.equal(load_value_predictor(tmp_path / "best_model.safetensors")(z), predictor(z))
    assert torch.equal(trc.load_model(tmp_path / "best_model.safetensors").decode[0].weight, model.decode[0].weight)
    assert load_value_predictor(trc.save_model(model, tmp_path / "alone.safetensors")) is None


# The folder of a run

RUN = {"epochs": 5, "batch_size": 16, "learning_rate": 3e-3}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"schedule": "plateau", "optimizer": "adam", "weight_decay": 0.1},
        {"loss": "process"},
        {"loss": "cloning", "average": 0.9},
        {"patience": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("settings", [{}, {"dropout": 0.2, "feedback": "none"}], ids=str)
def test_interrupted_run_ends_with_the_same_bytes(tmp_path, monkeypatch, double_integrator, data, options, settings):
    def run(place):
        model, predictor = tiny(double_integrator, **settings), None
        if not options:
            torch.manual_seed(0)
            predictor = trc.ValuePredictor(32, 8)
        return trc.train(model, data, output_dir=place, value_predictor=predictor, **RUN | options)

    whole = run(tmp_path / "whole")
    count, done = len(whole.train_loss), []
    keep, epoch = RunFolder.keep, loop._train_epoch

    def keep_and_interrupt(self, *arguments):
        keep(self, *arguments)
        history = arguments[-1]
        if len(history.train_loss) == epochs:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_train_epoch", lambda *arguments: (done.append(0), epoch(*arguments))[1])
    for epochs in (1, count - 1):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(RunFolder, "keep", keep_and_interrupt)
            patch.setattr(RunFolder, "_draw", lambda *_: None)  # it takes most of the time
            run(tmp_path / "parts")
        assert len(done) == epochs  # none of them was run again
    assert run(tmp_path / "parts") == whole
    assert len(done) == count
    names = {path.name for path in (tmp_path / "whole").iterdir()}
    models = {f"{name}.safetensors" for name in ("best_model", "last_model", "training_state")}
    assert names == models | {"training_stats.json", "training_curves.png"}
    for name in names - {"training_stats.json"}:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name
    one, other = (json.loads((tmp_path / place / "training_stats.json").read_text()) for place in ("whole", "parts"))
    assert one | {"seconds": 0} == other | {"seconds": 0}  # no two runs take the same time


def test_finished_run_has_best_and_last_weights_says_how_it_was_made_and_is_not_run_again(
    tmp_path, monkeypatch, double_integrator, data
):
    model, again = tiny(double_integrator), tiny(double_integrator)
    history = trc.train(model, data, output_dir=tmp_path, **RUN, schedule="none")
    monkeypatch.setattr(loop, "_step", None)
    assert trc.train(again, data, output_dir=tmp_path, **RUN, schedule="none") == history
    best = trc.load_model(tmp_path / "best_model.safetensors")
    for kept in (best, again):
        assert all(torch.equal(a, b) for a, b in zip(kept.parameters(), model.parameters(), strict=True))
    stats = json.loads((tmp_path / "training_stats.json").read_text())
    assert stats["finished"] and stats["best_epoch"] == history.best_epoch
    assert stats["setup"]["training"]["learning_rate"] == 3e-3
    record = read_training_record(tmp_path / "last_model.safetensors")
    assert record["setup"]["data"]["seed"] == 1
    assert stats["history"] == record["history"] == dataclasses.asdict(history)
    assert (tmp_path / "training_curves.png").read_bytes().startswith(b"\x89PNG")


def test_time_is_summed_and_curves_are_there_whenever_it_is_interrupted(tmp_path, monkeypatch, double_integrator, data):
    clock, epoch = [0.0], loop._train_epoch
    monkeypatch.setattr("trc.training.run_folder.time.perf_counter", lambda: clock[0])

    def train_for_ten_seconds(*arguments):
        clock[0] += 10
        if len(arguments[-1].train_loss) == stop:
            clock[0] += 1000  # of an epoch that is lost
            raise KeyboardInterrupt
        return epoch(*arguments)

    def stats():
        found = json.loads((tmp_path / "training_stats.json").read_text())
        return found["seconds"], found["finished"]

    monkeypatch.setattr(loop, "_train_epoch", train_for_ten_seconds)
    for stop in (0, 2, 2):
        clock[0] += 500  # between two starts
        with pytest.raises(KeyboardInterrupt):
            trc.train(tiny(double_integrator), data, output_dir=tmp_path, **RUN)
        curves = tmp_path / "training_curves.png"
        assert curves.is_file() == (stop > 0)  # of the first epoch there is nothing to draw
        if stop:
            assert curves.read_bytes().startswith(b"\x89PNG")
            assert stats() == (10 * stop, False)
            curves.unlink()
    stop = None
    for _ in range(2):  # what is found to be complete takes no time
        trc.train(tiny(double_integrator), data, output_dir=tmp_path, **RUN)
        assert stats() == (50, True)


@pytest.mark.parametrize(
    "broken", [AttributeError("module 'matplotlib' has no attribute 'x'"), KeyError("kwdoc"), OSError()]
)
def test_interrupt_is_an_interrupt_though_the_curves_can_not_be_drawn(
    tmp_path, monkeypatch, double_integrator, data, broken
):
    monkeypatch.setattr("trc.plots.training_curves", Mock(side_effect=broken))  # as if it were half imported
    epoch = Mock(wraps=loop._train_epoch, side_effect=[DEFAULT, KeyboardInterrupt])
    monkeypatch.setattr(loop, "_train_epoch", epoch)
    with pytest.raises(KeyboardInterrupt):
        trc.train(tiny(double_integrator), data, output_dir=tmp_path, **RUN)
    assert epochs_done(tmp_path) == 1


def test_time_begins_anew_where_its_file_was_removed_or_changed(tmp_path, double_integrator, data):
    stats = tmp_path / "training_stats.json"
    for text in (None, "{", '{"seconds": -1}'):
        trc.train(tiny(double_integrator), data, output_dir=tmp_path, **RUN | {"epochs": 1})
        assert json.loads(stats.read_text())["seconds"] >= 0
        stats.write_text(text) if text else stats.unlink()


@pytest.mark.parametrize(
    ("options", "settings", "seed", "message"),
    [
        ({"epochs": 6}, {}, 1, r"holds another run: it differs in epochs \(5 there, 6 here\); choose another folder"),
        ({}, {"feedback": "none"}, 1, r"differs in feedback \('error' there, 'none' here\)"),
        ({}, {"seed": 1}, 1, r"differs in initial_weights \("),
        ({}, {}, 2, r"differs in seed \(1 there, 2 here\); sha256 \("),
    ],
)
def test_folder_of_another_run_is_refused(tmp_path, double_integrator, data, options, settings, seed, message):
    trc.train(tiny(double_integrator), data, output_dir=tmp_path, **RUN)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    model, other = tiny(double_integrator, **settings), trc.generate_dataset(double_integrator, 40, seed=seed)
    with pytest.raises(ValueError, match=message):
        trc.train(model, other, output_dir=tmp_path, **RUN | options)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_damaged_state_is_refused(tmp_path, double_integrator, data):
    trc.train(tiny(double_integrator), data, output_dir=tmp_path, **RUN)
    state = tmp_path / "training_state.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    message = "is not a readable state of a training .*; remove it and the models beside it to begin anew"
    with pytest.raises(ValueError, match=message):
        trc.train(tiny(double_integrator), data, output_dir=tmp_path, **RUN)


@pytest.mark.parametrize(
    "change",
    [
        {"setup": []},
        {"setup": {"model": 1}},
        {"history": None},
        {"history": {"train_loss": [1.0], "validation_loss": 1.0}},
        {"history": {"train_loss": 5, "validation_loss": [1.0]}},
        {"history": {"train_loss": [1.0], "validation_loss": [1.0, 2.0]}},
    ],
    ids=str,
)
def test_state_of_another_form_is_refused(tmp_path, double_integrator, data, change):
    trc.train(tiny(double_integrator), data, output_dir=tmp_path, **RUN | {"epochs": 1})
    state = tmp_path / "training_state.safetensors"
    header, tensors = read_tensors(state)
    write_tensors(state, header | change, tensors)
    for call in (epochs_done, lambda path: trc.train(tiny(double_integrator), data, output_dir=path, **RUN)):
        with pytest.raises(ValueError, match=r"is not a readable state of a training .*; remove it and the models"):
            call(tmp_path)


def test_loss_that_explodes_leaves_the_last_good_checkpoint(tmp_path, monkeypatch, double_integrator, data):
    good = tmp_path / "good"
    unrolled = RUN | {"supervision": "unrolled", "schedule": "none"}
    trc.train(tiny(double_integrator), data, output_dir=good, **unrolled | {"epochs": 2})
    loss_of, calls = Objective.loss_of, []

    def explode(*arguments, **options):
        calls.append(0)  # three steps and one validation an epoch
        return loss_of(*arguments, **options) * (math.nan if len(calls) == 10 else 1)

    monkeypatch.setattr(Objective, "loss_of", explode)
    model, place = tiny(double_integrator), tmp_path / "run"
    with pytest.raises(ValueError, match=r"became nan in epoch 3; lower learning_rate .*best_model.safetensors has"):
        trc.train(model, data, output_dir=place, **unrolled)
    best = trc.load_model(place / "best_model.safetensors")
    for other in (trc.load_model(good / "best_model.safetensors"), model):
        assert all(torch.equal(a, b) for a, b in zip(best.parameters(), other.parameters(), strict=True))


def test_output_folder_that_cannot_be_made_is_an_error_before_training(tmp_path, monkeypatch, data):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(loop, "_step", None)
    with pytest.raises(OSError, match="file"):
        trc.train(tiny(), data, output_dir=tmp_path / "file" / "run", **RUN)


def test_two_trainings_in_one_folder_are_refused(tmp_path, monkeypatch, double_integrator, data):
    keep = RunFolder.keep

    def another(self, *arguments):
        keep(self, *arguments)
        with pytest.raises(ValueError, match="another training is at work in"):
            trc.train(tiny(double_integrator), data, output_dir=tmp_path, **RUN)

    monkeypatch.setattr(RunFolder, "keep", another)
    trc.train(tiny(double_integrator), data, output_dir=tmp_path, **RUN | {"epochs": 1})
