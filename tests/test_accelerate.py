"""The one door to what makes a simulation fast: what goes through, what is refused, and what passes it by."""

import importlib.util
import time
from unittest.mock import patch

import pytest
import torch
from made_up import Cart, with_step
from torch.utils._python_dispatch import TorchDispatchMode

import trc
from trc.simulation.accelerate import KERNELS, run
from trc.simulation.rollout import plain_states


def states(problem, x, u, parameters):
    """A right kernel of the rollout, written otherwise than the plain way."""
    found = torch.empty(len(u) + 1, *x.shape, dtype=x.dtype)
    found[0] = x
    for t in range(len(u)):
        found[t + 1] = problem.step(found[t], u[t], parameters)
    return (found,)


def jacobians(problem, x, u, parameters):
    """A right kernel of the Jacobians, by reverse mode."""
    both = torch.autograd.functional.jacobian(lambda x, u: problem.step(x, u, parameters).sum(0), (x, u))
    return tuple(part.transpose(0, 1) for part in both)


RIGHT = {"states": states, "jacobians": jacobians}
each_operation = pytest.mark.parametrize("operation", RIGHT)


@pytest.fixture(autouse=True)
def no_kernel_stays():
    """What a test registers or switches off, the next one doesn't know of."""
    with trc.accelerate(), patch.dict(KERNELS, clear=True):
        yield


@pytest.fixture(params=["van_der_pol", "cart"])
def problem(request):
    return Cart() if request.param == "cart" else trc.make_problem(request.param)


def install(operation, wrong=lambda found: found):
    """Register a kernel that does `wrong` to the right answer; a list that grows with its calls."""
    calls = []

    def kernel(problem, x, u, parameters):
        calls.append(x.dtype)
        return wrong(RIGHT[operation](problem, x, u, parameters))

    KERNELS[operation] = lambda problem, dtype: kernel
    return calls


def ask(operation, problem, dtype=torch.float64):
    """What the library gives, with one parameter an instance; of a rollout also its gradients."""
    x, _ = problem.sample(5, generator=torch.Generator().manual_seed(1), dtype=dtype)
    u = torch.rand(5, 8, problem.control_dim, generator=torch.Generator().manual_seed(2), dtype=dtype)
    leaves = [tensor.requires_grad_() for tensor in (x, u, torch.linspace(0.2, 1.5, 5, dtype=dtype))]
    parameters = dict.fromkeys(problem.parameters, leaves[2])
    if operation == "jacobians":
        return trc.step_jacobians(problem, x, u[:, 0], parameters)
    found = trc.rollout(problem, x, u, parameters)
    return (found.detach(), *torch.autograd.grad(found.sin().sum(), leaves))


@each_operation
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-11)])
def test_right_kernel_is_taken_and_gives_the_same_numbers(problem, operation, dtype, tolerance):
    with trc.accelerate(False):
        plain = ask(operation, problem, dtype)
    calls = install(operation)
    for _ in range(2):
        torch.testing.assert_close(ask(operation, problem, dtype), plain, rtol=tolerance, atol=tolerance)
    assert calls == [dtype] * 4  # it is tried twice, without and with a parameter for each instance, and then asked


def fail(found):
    raise RuntimeError("no\n  such\tinstruction.")


def nan_in_one(found):
    return (found[0].clone().index_fill_(0, torch.tensor(0), torch.nan), *found[1:])


@each_operation
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda found: tuple(part * (1 + 1e-3) for part in found), r"is off by 0\.001"),
        (lambda found: (*found[:-1], found[-1] + 1e-3 * found[-1].abs().max()), r"is off by 0\.001"),
        (nan_in_one, "is off by inf"),
        (fail, "raises RuntimeError: no such instruction; plain torch gives the same"),
        (lambda found: None, "raises TypeError"),
        (lambda found: tuple(part[:-1] for part in found), r"gives \[.*\] of torch.float64, not \[.*\] of"),
        (lambda found: found[:-1], r"gives .*, not \[\d"),
        (lambda found: tuple(part.float() for part in found), r"gives .* of torch.float32.*, not .* of torch.float64"),
    ],
    ids=["scaled", "shifted", "nan", "raises", "nothing", "shape", "too few", "type"],
)
def test_wrong_kernel_is_caught_warned_about_once_and_refused(operation, wrong, message):
    problem = Cart()
    with trc.accelerate(False):
        plain = ask(operation, problem)
    calls = install(operation, wrong)
    with pytest.warns(UserWarning, match=rf"^the kernel of {operation} for cart is not used: it {message}") as told:
        found = [ask(operation, problem) for _ in range(2)]
    assert len(told) == 1 and str(told[0].message).endswith(".") and "\n" not in str(told[0].message)
    assert all(torch.equal(*pair) for one in found for pair in zip(one, plain, strict=True))
    assert len(calls) <= 2


@each_operation
def test_kernel_that_overlooks_the_parameters_is_refused(operation):
    def kernel(problem, x, u, parameters):
        return RIGHT[operation](problem, x, u, problem.parameters)

    KERNELS[operation] = lambda problem, dtype: kernel
    with pytest.warns(UserWarning, match="it is off by"):
        ask(operation, Cart())


def test_numbers_that_overflow_alike_are_the_same():
    steep, x = with_step(lambda problem, x, u, p: x**5 * 1e60 + u), torch.zeros(2, 2, dtype=torch.float64)
    calls = install("states")
    assert not trc.rollout(steep, x, torch.zeros(2, 3, 1, dtype=torch.float64)).any()
    assert len(calls) == 3


def test_problem_that_has_no_kernel_goes_the_plain_way_and_so_does_one_that_has_no_compiler():
    def make(problem, dtype):
        if problem.name == "cart":
            raise OSError("no compiler")

    KERNELS["states"] = make
    ask("states", trc.make_problem("van_der_pol"))
    with pytest.warns(UserWarning, match="for cart is not used: it raises OSError: no compiler"):
        ask("states", Cart())


@pytest.mark.parametrize(("patience", "said"), [(0.0, "compiling states for van_der_pol"), (60.0, "")])
def test_who_waits_is_told_what_for(capfd, monkeypatch, patience, said):
    monkeypatch.setitem(trc.accelerate.__globals__, "PATIENCE", patience)
    KERNELS["states"] = lambda problem, dtype: time.sleep(0.2)
    ask("states", trc.make_problem("van_der_pol"))
    assert said in (told := capfd.readouterr().err)
    assert bool(told) == bool(said)


def test_switch_passes_every_kernel_by(problem):
    calls = install("jacobians")
    with trc.accelerate(False):
        ask("jacobians", problem)
        with trc.accelerate(True), trc.accelerate(False):
            ask("jacobians", problem)
        assert not calls
    ask("jacobians", problem)
    assert len(calls) == 3
    trc.accelerate(False)  # until further notice
    ask("jacobians", problem)
    assert len(calls) == 3
    trc.accelerate()
    ask("jacobians", problem)
    assert len(calls) == 4


@pytest.mark.parametrize(("value", "on"), [("0", False), ("false", False), ("1", True), (None, True)])
def test_environment_switches_it_off(monkeypatch, value, on):
    monkeypatch.delenv("TRC_ACCELERATE", raising=False)
    if value is not None:
        monkeypatch.setenv("TRC_ACCELERATE", value)
    spec = importlib.util.find_spec(run.__module__)
    once_more = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(once_more)
    assert once_more._on == [on]


class Watching(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        return function(*arguments, **(keywords or {}))


class Marked(torch.Tensor):
    pass


def within(context):
    def mode(call, x, u):
        with context:
            call(x, u)

    return mode


@each_operation
@pytest.mark.parametrize(
    "mode",
    [
        within(torch.autocast("cpu", torch.bfloat16)),
        within(Watching()),
        lambda call, x, u: torch.jit.trace(call, (x, u), check_trace=False),
        lambda call, x, u: torch.func.vmap(lambda u: call(x, u))(u.unsqueeze(0)),
        lambda call, x, u: torch.func.jvp(lambda u: call(x, u), (u,), (u,)),
        lambda call, x, u: call(x, u.as_subclass(Marked)),
        lambda call, x, u: call(x.half(), u.half()),
        lambda call, x, u: call(x.to("meta"), u.to("meta")),
    ],
    ids=["autocast", "dispatch mode", "jit.trace", "vmap", "jvp", "subclass", "half precision", "other device"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_what_a_kernel_cannot_see_passes_it_by(operation, mode):
    """At the door itself: what stands before it, such as the checks, may refuse these modes by its own reasons."""
    problem, asked, calls = Cart(), [], install(operation)

    def plain(problem, x, u, parameters):
        asked.append(0)
        return plain_states(problem, x, u, parameters) if u.ndim == 3 else (problem.step(x, u, parameters),)

    x, u = torch.rand(5, 3), torch.rand(*((8,) if operation == "states" else ()), 5, 2)
    mode(lambda x, u: run(operation, plain, problem, x, u, parameters=problem.parameters)[0], x, u)
    assert asked and not calls
