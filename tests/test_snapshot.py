"""The snapshot says what the network says."""

import numpy as np
import pytest
import torch

from trc import Snapshot
from trc import TinyRecursiveControl as Model
from trc.model.config import TRM_STYLE


def stirred(model):
    """The same network with no weight at its initial value, norms included."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return model.eval()


@pytest.mark.parametrize("two_level", [False, True], ids=["one level", "two levels"])
@pytest.mark.parametrize("feedback", ["none", "error"])
@pytest.mark.parametrize("decoder", ["residual", "full"])
def test_controls_are_those_of_the_network(problem, draw, two_level, feedback, decoder):
    settings = {"use_two_level": two_level, "feedback": feedback, "decoder": decoder}
    model = stirred(Model.create_small(problem=problem, seed=0, **settings).double())
    snapshot = Snapshot(model)
    for x, target in zip(*draw(problem, 3), strict=True):
        for options in ({}, {"iterations": 0}, {"iterations": 5}, {"time_remaining": 0.5}):
            with torch.no_grad():
                expected = model(x.unsqueeze(0), target.unsqueeze(0), **options)["controls"][0]
            np.testing.assert_allclose(snapshot(x, target, **options), expected, rtol=1e-9, atol=1e-10)


def test_single_precision_stays_single(double_integrator, draw):
    model = stirred(Model.create_medium(problem=double_integrator, seed=0))
    x, target = draw(double_integrator, 1, torch.float32)
    found = Snapshot(model)(x[0], target[0])
    assert found.dtype == np.float32
    with torch.no_grad():
        np.testing.assert_allclose(found, model(x, target)["controls"][0], atol=1e-4)


def test_dimensions_of_ones_own(draw):
    model = stirred(Model.create_small(state_dim=4, control_dim=2, control_horizon=6, control_high=(1.0, 3.0), seed=0))
    x, target = torch.randn(1, 4), torch.randn(1, 4)
    with torch.no_grad():
        np.testing.assert_allclose(Snapshot(model)(x[0], target[0]), model(x, target)["controls"][0], atol=1e-4)


def test_later_training_does_not_change_it(double_integrator):
    model = Model.create_small(problem=double_integrator, feedback="none", seed=0)
    snapshot = Snapshot(model)
    before = snapshot([1, 0], [0, 0])
    stirred(model)
    assert np.array_equal(snapshot([1, 0], [0, 0]), before)
    assert not np.array_equal(Snapshot(model)([1, 0], [0, 0]), before)


@pytest.mark.parametrize("settings", [TRM_STYLE, {"reasoning": "mlp"}], ids=["TRM style", "plain"])
def test_networks_of_another_kind_are_refused(settings):
    with pytest.raises(ValueError, match=r"blocks of the usual kind, not with (feedforward='swiglu'|reasoning='mlp')"):
        Snapshot(Model.create_small(**settings))


def test_network_without_its_simulator_is_refused():
    model = Model.create_small()
    model.needs_simulator = True
    with pytest.raises(ValueError, match="trained with simulator feedback and has no simulator"):
        Snapshot(model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [0, 0]), r"current_state must be 2 finite numbers, got \[1.0\]"),
        (([1.0, 0], [0, float("nan")]), r"target_state must be 2 finite numbers"),
        (([1.0, 0], [0, 0], float("inf")), "time_remaining must be a finite number, got inf"),
        (([1.0, 0], [0, 0], None, -1), "iterations must be a whole number, 0 or more, got -1"),
    ],
)
def test_bad_states_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Snapshot(Model.create_small())(*arguments)


def test_what_is_no_model_is_refused():
    with pytest.raises(ValueError, match="model must be a TinyRecursiveControl, got 3; read it with"):
        Snapshot(3)
