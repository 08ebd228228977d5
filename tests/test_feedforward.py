import pytest
import torch
from torch.nn import functional as F

import trc
from trc import FeedForward


def test_network_is_what_is_written_out(problem, draw):
    network = FeedForward.create(problem=problem, width=8, depth=2, seed=0).double()
    initial, target = draw(problem, 5)
    scale = torch.tensor(problem.state_scale)
    x = torch.cat((initial / scale, target / scale, torch.ones(5, 1)), -1)
    for layer in range(2):
        linear, norm = network.layers[3 * layer], network.layers[3 * layer + 2]
        x = F.layer_norm(F.silu(F.linear(x, linear.weight, linear.bias)), (8,), norm.weight, norm.bias)
    x = F.linear(x, network.layers[6].weight, network.layers[6].bias)
    (low, high), unit = problem.bounds(x), torch.tanh(x).unflatten(-1, (problem.horizon, -1))
    torch.testing.assert_close(network(initial, target)["controls"], low + (unit + 1) / 2 * (high - low))


@pytest.mark.parametrize(("depth", "budget"), [(1, 5_000), (3, 104_862), (4, 143_112)])
def test_widest_network_within_a_budget(problem, depth, budget):
    network = FeedForward.create_within(budget, problem=problem, depth=depth)
    wider = FeedForward.create(problem=problem, width=network.config.width + 1, depth=depth)
    assert network.num_parameters() <= budget < wider.num_parameters()


@pytest.mark.parametrize(
    ("budget", "depth", "message"),
    [(10, 3, "no network of depth 3 has as few as 10 parameters"), (5_000, 0, "depth"), (-1, 3, "parameters")],
)
def test_budget_without_a_network_is_refused(problem, budget, depth, message):
    with pytest.raises(ValueError, match=message):
        FeedForward.create_within(budget, problem=problem, depth=depth)


def test_a_network_of_another_class_is_not_kept(problem, tmp_path):
    class Other(FeedForward):
        pass

    with pytest.raises(ValueError, match="holds a TinyRecursiveControl or FeedForward, got a Other"):
        trc.save_model(Other.create(problem=problem, width=8), tmp_path / "other.safetensors")
    assert not list(tmp_path.iterdir())


def test_it_has_one_iterate_and_asks_nobody(problem, draw):
    network = FeedForward.create(problem=problem, width=8, seed=0)
    output = network(*draw(problem, 3), dynamics_fn=None, return_all_iterations=True)
    assert torch.equal(output["all_controls"], output["controls"].unsqueeze(1))
    assert "errors" not in output
    with pytest.raises(ValueError, match="no refinement: iterations must be 0, got 2"):
        network(*draw(problem, 3), iterations=2)


def test_it_learns_is_kept_and_judged_like_the_others(paper_problem, tmp_path):
    data = trc.generate_dataset(paper_problem, 256, seed=1)
    network = FeedForward.create(problem=paper_problem, width=32, seed=0)
    history = trc.train(network, data, epochs=10, seed=0, state_weight=1.0)
    assert history.validation_loss[-1] < history.validation_loss[0] / 2
    assert not network.needs_simulator
    read = trc.load_model(trc.save_model(network, tmp_path / "plain.safetensors"))
    assert isinstance(read, FeedForward)
    assert read.config == network.config
    x0, target = paper_problem.sample(4, generator=torch.Generator().manual_seed(0))
    assert trc.evaluate(read, paper_problem, x0, target) == trc.evaluate(network, paper_problem, x0, target)
    assert "untrained" in trc.compare(read, paper_problem, x0, target, generator=torch.Generator(), resamples=10).index


def test_what_needs_refinements_or_latents_refuses_it(double_integrator):
    data = trc.generate_dataset(double_integrator, 16, seed=1)
    network = FeedForward.create(problem=double_integrator, width=8)
    for loss in ("process", "hinge"):
        with pytest.raises(ValueError, match="at least one refinement"):
            trc.train(network, data, epochs=1, loss=loss)
    with pytest.raises(ValueError, match="reads the latents"):
        trc.train(network, data, epochs=1, value_predictor=trc.ValuePredictor.create(latent_dim=8))
    with pytest.raises(ValueError, match=r"unknown model setting heads; known are .*width, depth"):
        FeedForward.create(problem=double_integrator, width=8, heads=2)
