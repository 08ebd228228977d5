from dataclasses import replace

import pytest
import torch

import trc
from trc.model import Simulator
from trc.training.average import Average
from trc.training.config import TrainingConfig
from trc.training.deep import Deep
from trc.training.losses import log_gap

TINY = {"latent_dim": 16, "hidden_dim": 32, "num_blocks": 1, "num_inner_cycles": 1}


def tiny(problem, **settings):
    return trc.TinyRecursiveControl.create("small", problem=problem, **TINY | {"seed": 0} | settings)


def objective(problem, model=None, **options):
    model = tiny(problem) if model is None else model
    return Deep(model, TrainingConfig(**{"batch_size": 8, **options}), Simulator(problem), problem.cost)


@pytest.fixture
def tensors(double_integrator):
    data = trc.generate_dataset(double_integrator, 40, seed=1)
    names = "initial_states", "target_states", "control_sequences", "costs", "state_trajectories"
    return [getattr(data, name).float() for name in names]


def generator():
    return torch.Generator().manual_seed(0)


def test_each_instance_lives_once_and_at_most_as_long_as_it_was_given(monkeypatch, double_integrator, tensors):
    lives, refine = {}, Deep.refine

    def count(self, z_0, latents, controls, batch):
        for row in batch[0]:
            lives[tuple(row.tolist())] = lives.get(tuple(row.tolist()), 0) + 1
        return refine(self, z_0, latents, controls, batch)

    monkeypatch.setattr(Deep, "refine", count)
    portions = list(objective(double_integrator, most_depth=5).epoch(tensors, generator()))
    assert set(lives) == {tuple(row.tolist()) for row in tensors[0]}
    assert set(lives.values()) <= set(range(1, 6))
    assert sum(lives.values()) == sum(portion.count for portion in portions)
    assert max(portion.count for portion in portions) == 8
    assert [p.progress for p in portions] == sorted(p.progress for p in portions)


def test_batch_of_one_age_begins_and_ends_together(monkeypatch, double_integrator, tensors):
    batches, refine = [], Deep.refine

    def note(self, z_0, latents, controls, batch):
        batches.append({tuple(row.tolist()) for row in batch[0]})
        return refine(self, z_0, latents, controls, batch)

    monkeypatch.setattr(Deep, "refine", note)
    list(objective(double_integrator, most_depth=5, mixed_ages=False).epoch(tensors, generator()))
    distinct = [batch for i, batch in enumerate(batches) if i == 0 or batch != batches[i - 1]]
    assert [len(batch) for batch in distinct] == [8] * 5
    assert not any(one & other for i, one in enumerate(distinct) for other in distinct[:i])
    assert all(2 <= batches.count(batch) <= 5 for batch in distinct)


def test_depths_are_uniform_in_their_logarithm(double_integrator):
    drawn = objective(double_integrator, least_depth=2, most_depth=31).depths(40_000, generator())
    assert set(drawn.tolist()) == set(range(2, 32))
    for low, high in ((2, 4), (4, 8), (8, 16), (16, 32)):  # each doubles
        share = ((drawn >= low) & (drawn < high)).float().mean()
        assert share == pytest.approx(1 / 4, abs=0.01)
    assert set(objective(double_integrator, least_depth=3, most_depth=3).depths(50, generator()).tolist()) == {3}


def test_first_portion_is_that_of_a_refinement_written_out(double_integrator, tensors):
    model = tiny(double_integrator, feedback="error", carry_latents=False)
    learner = objective(double_integrator, model, batch_size=40, start_noise=0.0)
    portion = next(iter(learner.epoch(tensors, generator())))
    output = model(*tensors[:2], iterations=1, return_all_iterations=True)["all_controls"]
    losses = []
    for controls in output.unbind(1):
        off = model.scaled_controls(controls) - model.scaled_controls(tensors[2])
        cost = double_integrator.cost(trc.rollout(double_integrator, tensors[0], controls), controls, tensors[1])
        gap = (cost / tensors[3] - 1).clamp_min(0)
        losses.append(off.square().mean() + 0.005 * (gap + 1e-4).log().mean())
    assert portion.count == 40
    torch.testing.assert_close(portion.loss, sum(losses), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("feedback", ["error", "costate", "newton", "none", "shuffled"])
@pytest.mark.parametrize("settings", [{}, {"carry_latents": True}, {"use_two_level": True, "L_cycles": 2}], ids=str)
def test_every_feedback_and_both_levels_learn(double_integrator, feedback, settings):
    data = trc.generate_dataset(double_integrator, 60, seed=1)
    model = tiny(double_integrator, feedback=feedback, **settings)
    before = [p.clone() for p in model.parameters()]
    options = {"epochs": 2, "batch_size": 16, "most_depth": 4, "learning_rate": 3e-3}
    history = trc.train(model, data, **options)
    assert history.validation_loss[1] < history.validation_loss[0] + 0.5
    unused = ("error",) if feedback == "none" else ()
    for (name, parameter), old in zip(model.named_parameters(), before, strict=True):
        if not any(part in name for part in unused) and name != "trust.weight":
            assert not torch.equal(parameter, old), name


def test_no_gradient_goes_back_further_than_one_refinement(monkeypatch, double_integrator, tensors):
    refine, seen = Deep.refine, []

    def look(self, z_0, latents, controls, batch):
        # the latents that were carried on come first; those of the fresh, which learn to encode, have none here
        carried = [z for z in latents if z.requires_grad and seen]
        through = [torch.autograd.grad(z.sum(), z_0, retain_graph=True)[0] for z in carried]
        seen.append(controls.requires_grad or any(bool(gradient.any()) for gradient in through))
        return refine(self, z_0, latents, controls, batch)

    monkeypatch.setattr(Deep, "refine", look)
    list(objective(double_integrator, batch_size=40, least_depth=4, most_depth=4).epoch(tensors, generator()))
    assert seen == [False] * 4


def test_starts_elsewhere_are_within_the_bounds_and_as_many_as_asked_for(double_integrator):
    guess = torch.linspace(-1, 1, 4000).reshape(-1, 1, 1).expand(-1, 15, 1).contiguous()
    low, high = double_integrator.bounds(guess)
    for share in (0.0, 0.5, 1.0):
        begun = objective(double_integrator, start_noise=share).elsewhere(guess, generator())
        moved = (begun != guess).flatten(1).any(1).float().mean()
        assert moved == pytest.approx(share, abs=0.03)
        assert (begun >= low).all() and (begun <= high).all()


def test_log_gap_rewards_each_halving_alike_down_to_its_floor():
    teacher = torch.ones(1)
    found = [log_gap(1 + torch.tensor([gap]), teacher, 1e-4).item() for gap in (0.4, 0.2, 0.1)]
    assert found[0] - found[1] == pytest.approx(found[1] - found[2], abs=1e-2)
    assert log_gap(teacher * 0.5, teacher, 1e-4) == log_gap(teacher, teacher, 1e-4)  # a teacher that is beaten


def test_average_of_weights_is_the_sum_written_out():
    module = torch.nn.Linear(1, 1, bias=False)
    average, expected = Average(module, 0.5), module.weight.item()
    for step, value in enumerate((1.0, 3.0, -2.0), 1):
        with torch.no_grad():
            module.weight.fill_(value)
        average.update()
        decay = min(0.5, step / (step + 9))
        expected = decay * expected + (1 - decay) * value
    with average.instead():
        assert module.weight.item() == pytest.approx(expected)
    assert module.weight.item() == -2.0


def test_memory_does_not_grow_with_the_depth(double_integrator, tensors):
    peaks = []
    for depth in (2, 20):
        learner = objective(double_integrator, batch_size=40, least_depth=depth, most_depth=depth)
        kept = []
        for portion in learner.epoch(tensors, generator()):
            graph, nodes = [portion.loss.grad_fn], set()
            while graph:
                node = graph.pop()
                if node is not None and node not in nodes:
                    nodes.add(node)
                    graph += [following for following, _ in node.next_functions]
            kept.append(len(nodes))
        peaks.append(max(kept))
    assert peaks[0] == peaks[1]


@pytest.mark.parametrize("loss", ["process", "discounted", "hinge"])
def test_losses_that_compare_iterates_are_refused(double_integrator, loss):
    data = trc.generate_dataset(double_integrator, 20, seed=1)
    message = f'the loss {loss} compares iterates, .*: say supervision="unrolled", or loss="gap"'
    with pytest.raises(ValueError, match=message):
        trc.train(tiny(double_integrator), data, loss=loss, supervision="deep")


def test_plain_network_has_nothing_to_supervise_deeply(double_integrator):
    data = trc.generate_dataset(double_integrator, 20, seed=1)
    network = trc.FeedForward.create(problem=double_integrator, width=8, seed=0)
    trc.train(network, data, epochs=1)  # by default it is taught as it can be
    with pytest.raises(ValueError, match='say supervision="unrolled"'):
        trc.train(network, data, epochs=1, supervision="deep")


def test_instance_that_costs_nothing_has_no_gap(double_integrator):
    data = trc.generate_dataset(double_integrator, 20, seed=1)
    free = replace(data, costs=data.costs.clone().index_fill_(0, torch.tensor([3]), 0.0))
    with pytest.raises(ValueError, match="1 of the instances cost their teacher nothing"):
        trc.train(tiny(double_integrator), free, epochs=1)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"least_depth": 0}, "least_depth must be a whole number, 1 or more, got 0"),
        ({"least_depth": 5, "most_depth": 4}, "most_depth must be a whole number, 5 or more, got 4"),
        ({"start_noise": 1.5}, "start_noise must be a share from 0 to 1, got 1.5"),
        ({"average": 1.0}, "average must be a share from 0 to below 1, got 1.0"),
        ({"gap_floor": 0.0}, "gap_floor must be a positive number"),
        ({"supervision": "shallow"}, "unknown supervision 'shallow'; known are deep, unrolled"),
    ],
)
def test_bad_options_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**option)


def test_a_loss_that_is_named_alone_is_unrolled():
    assert TrainingConfig.from_options().supervision == "deep"
    assert TrainingConfig.from_options(loss="process").supervision == "unrolled"
    assert TrainingConfig.from_options(loss="cloning", supervision="deep").supervision == "deep"
    weighed = TrainingConfig.from_options(process_weight=0.2)
    assert (weighed.supervision, weighed.loss) == ("unrolled", "process")
    alone = TrainingConfig.from_options(supervision="unrolled")
    assert (alone.loss, alone.average) == ("cloning", 0.0)
