"""What torch's modes do to the library is what the table in ``book/simulators.md`` says: each cell of it is a test."""

import re
from functools import partial
from pathlib import Path

import pytest
import torch
from made_up import Rover
from modes import COLUMNS, MODES, asked, leaves_of, made
from torch._subclasses.fake_tensor import FakeTensorMode

import trc


def table() -> dict[str, list[str]]:
    """What the page says of a mode, by column."""
    page = Path(__file__).parents[1] / "book" / "simulators.md"
    section = page.read_text("utf-8").split("## Under torch's modes")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"^\|.*\|$", section, re.MULTILINE)]
    return {mode: words for mode, *words in rows[2:]}


def cells():
    """Mode, call and word of each cell; compilers take their time."""
    for mode, words in table().items():
        for calls, word in zip(COLUMNS, words, strict=True):
            for call in calls:
                slow = mode in ("`torch.compile`", "`torch.export`") and word == "value" and call != "rollout"
                yield pytest.param(mode, call, word, marks=[pytest.mark.slow] if slow else [])


def test_table_has_all_modes_and_no_other():
    assert list(table()) == list(MODES)


#: What may be asked of one problem, again and again.
SHARED = set(COLUMNS[2]) - {"minimum_energy"}


@pytest.fixture(scope="module")
def solved():
    """A problem for experts, whose kernels are made once."""
    return made()


@pytest.mark.parametrize("linear", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["", "linear"])
@pytest.mark.parametrize(("mode", "call", "word"), list(cells()))
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_cell_of_the_table_holds(linear, mode, call, word, solved):
    mode = MODES[mode]
    if mode.device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no graphics card")
    problem = made(linear or call == "minimum_energy")  # which is for linear systems
    settings = {"num_blocks": 1, "num_outer_cycles": 1, "num_inner_cycles": 1, "initial_scale": 1.0, "seed": 0}
    network = trc.TinyRecursiveControl.create_small(problem=problem, **settings).requires_grad_(False).to(mode.dtype)
    ours, _ = asked(call, problem if linear or call not in SHARED else solved, network.to(mode.device))
    x, goal = problem.sample(3, generator=torch.Generator().manual_seed(0), dtype=mode.dtype)
    tensors = [tensor.to(mode.device) for tensor in (x, 0.5 * torch.randn(3, 2, 1, dtype=x.dtype), goal)]
    if word == "sentence":
        with pytest.raises(ValueError, match=r"trc.*\.$"):
            mode.ours(ours)(*tensors)
        return
    if word == "constant":
        found = ours(*leaves_of(tensors))
        assert found.equal(ours(*tensors)) and not found.requires_grad
        assert all(not slope.any() for slope in torch.utils._pytree.tree_leaves(mode.ours(ours)(*tensors)))
        return
    assert word == "value"
    found = mode.ours(ours)(*tensors)
    _, twin = asked(call, made(linear or call == "minimum_energy"), network)
    wanted = mode.plain(twin)(*tensors)
    for one, other in zip(*map(torch.utils._pytree.tree_leaves, (found, wanted)), strict=True):
        assert one.shape == other.shape
        if mode.device != "meta":
            off = (one.double() - other).abs().max() / other.abs().max().clamp_min(1e-3)
            assert off <= mode.tolerance


def test_gradients_of_each_instance_by_the_weights(van_der_pol):
    problem, (x, goal) = made(), van_der_pol.sample(3, generator=torch.Generator().manual_seed(0))
    network = trc.TinyRecursiveControl.create_small(problem=problem, seed=0, num_outer_cycles=1)
    weights = dict(network.named_parameters())

    def loss(weights, x, goal):
        controls = torch.func.functional_call(network, weights, (x.unsqueeze(0), goal.unsqueeze(0)))["controls"]
        return problem.cost(trc.rollout(problem, x.unsqueeze(0), controls), controls, goal.unsqueeze(0)).sum()

    together = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(weights, x, goal)
    for i in range(3):
        alone = torch.autograd.grad(loss(weights, x[i], goal[i]), list(weights.values()), materialize_grads=True)
        for name, gradient in zip(weights, alone, strict=True):
            torch.testing.assert_close(together[name][i], gradient, rtol=1e-3, atol=1e-3)


def test_tensors_of_inference_mode_may_be_differentiated_later(van_der_pol):
    with torch.inference_mode():
        x, goal = van_der_pol.sample(3, generator=torch.Generator().manual_seed(0))
        mu = torch.ones(3)
        A, _ = trc.step_jacobians(Rover(), x.new_ones(3, 3), goal)
        trc.costate(Rover(), x.new_ones(3, 3), goal.unsqueeze(1), x.new_zeros(3, 3))
    assert A.isfinite().all()
    u = torch.zeros(3, 4, 1, requires_grad=True)
    trc.rollout(van_der_pol, x, u, {"mu": mu}).sum().backward()
    assert u.grad[:, 0].all()
    trc.step_jacobians(van_der_pol, x, u[:, 0], {"mu": mu})[0].sum().backward()


def of_fakes(function, *inputs):
    """Asked where torch makes tensors without numbers, as for an export, about tensors that have some."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        return function(*inputs)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda p, n, x, u: torch.jit.script(n),
            "torch.jit.script can't compile what trc is made of; use torch.export",
        ),
        (lambda p, n, x, u: torch.jit.script(torch.nn.Sequential(n)), "torch.jit.script can't compile what trc"),
        (lambda p, n, x, u: torch.jit.script(trc.rollout), "torch.jit.script can't compile what trc"),
        (lambda p, n, x, u: torch.fx.symbolic_trace(n), "current_state must be a floating-point tensor, got Proxy"),
        (
            lambda p, n, x, u: trc.rollout(p, x, u.to("meta")),
            "initial states are on cpu but controls are on meta",
        ),
        (lambda p, n, x, u: trc.rollout(p, x, u, {"mu": u[:, 0, 0].to("meta")}), "'mu' is on meta but the states are"),
        (lambda p, n, x, u: n(x.to("meta"), x.to("meta")), "current_state is on meta but the network on cpu; move one"),
        (lambda p, n, x, u: of_fakes(trc.lqr_gains, p, x), "trc.lqr_gains decides by numbers"),
        (lambda p, n, x, u: of_fakes(trc.optimum, p, x, x), "trc.optimum decides by numbers"),
        (lambda p, n, x, u: torch.func.vmap(partial(trc.rollout, p))(x, u), r"must have shape \[any, 2\], got \[2\]"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_refused_says_what_to_do(van_der_pol, call, message):
    network = trc.TinyRecursiveControl.create_small(problem=van_der_pol, num_outer_cycles=1)
    with pytest.raises(ValueError, match=message):
        call(van_der_pol, network, torch.zeros(3, 2), torch.zeros(3, 4, 1))
