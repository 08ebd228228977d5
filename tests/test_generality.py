"""Problems of one's own go the whole way: data, training, checkpoints, evaluation; ``made_up.py`` has them."""

import pytest
import torch
from made_up import Cart, Rover

import trc
from trc.problems import PROBLEMS, register


@pytest.fixture(params=["cart", "rover"])
def foreign(request):
    """A problem that is registered for the length of a test."""
    yield register({"cart": Cart, "rover": Rover}[request.param])()
    del PROBLEMS[request.param]


def test_lqr_reaches_its_bounds_and_beats_doing_nothing(draw):
    cart = Cart()
    initial, target = draw(cart, 20)
    solved = trc.lqr(cart, initial, target)
    low, high = cart.bounds(initial)
    assert ((solved.controls == low) | (solved.controls == high)).any()
    idle = torch.zeros_like(solved.controls)
    assert (solved.cost < cart.cost(trc.rollout(cart, initial, idle), idle, target)).double().mean() > 0.9


def test_model_learns_from_it_and_is_kept_and_judged(foreign, tmp_path, draw):
    data = trc.generate_dataset(foreign, 64, seed=1)
    assert data.control_sequences.shape == (64, foreign.horizon, 2)
    data = trc.load_dataset(data.save(tmp_path / "data.npz"))
    assert data.problem == foreign
    for loss in ("cloning", "process", "trajectory"):
        model = trc.TinyRecursiveControl.create_small(problem=foreign, feedback="error", seed=0)
        history = trc.train(model, data, epochs=3, seed=0, loss=loss, output_dir=tmp_path / loss)
        assert history.train_loss[-1] < history.train_loss[0]
    model = trc.load_model(tmp_path / "cloning" / "best_model.safetensors")
    assert model.problem == foreign
    x = draw(foreign, 6)
    table = trc.compare(model, foreign, *x, generator=torch.Generator(), resamples=20)
    assert table.loc["trained", "cost"] == pytest.approx(trc.evaluate(model, foreign, *x)["cost"])
    assert table["cost"].idxmin() == "optimum"
    assert table["success"].between(0, 1).all()


def test_files_of_a_problem_that_is_not_registered_say_what_to_do(tmp_path):
    cart = Cart()
    data = trc.generate_dataset(cart, 4, seed=1)
    path = data.save(tmp_path / "cart.npz")
    with pytest.raises(
        ValueError, match=r"for the problem 'cart', which is not registered here; import .*give problem"
    ):
        trc.load_dataset(path)
    assert torch.equal(trc.load_dataset(path, cart).costs, data.costs)
    with pytest.raises(ValueError, match="drag differ"):
        trc.load_dataset(path, cart.replace(drag=1.0))
    with pytest.raises(ValueError, match="for 'cart', not for 'van_der_pol'"):
        data.check_problem(trc.make_problem("van_der_pol"))
