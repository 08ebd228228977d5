"""The kernels of a simulation: rollout, Jacobians and adjoint, each recorded from one step of the plain way."""

import functools

import torch
from torch import Tensor

from ..compiled import Scan, scanned
from ..problems import Parameters, Problem
from .accelerate import TRIED, Operation, kernel
from .step import random_inputs


def by_name(problem: Problem, parameters: Tensor) -> Parameters:
    """The problem's parameters, of numbers ``[B, k]``."""
    return dict(zip(problem.parameters, parameters.unbind(-1), strict=True))


def differentiated(problem: Problem, x: Tensor, u: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor]:
    """``A`` ``[B, n, n]`` and ``B`` ``[B, n, m]`` of one step, by torch's own derivative."""
    with torch.enable_grad():
        inputs = x.detach().requires_grad_(), u.detach().requires_grad_()
        y = problem.step(*inputs, parameters) + 0 * inputs[0]  # a step may be constant
        rows = [
            torch.autograd.grad(one.sum(), inputs, retain_graph=True, materialize_grads=True) for one in y.unbind(-1)
        ]
    return tuple(torch.stack(row, -2) for row in zip(*rows, strict=True))


def packed(problem: Problem, parameters: Parameters, like: Tensor) -> Tensor:
    """Parameters as ``[B, k]``, of the instances of a tensor ``[..., B, ·]``; one row where all share them."""
    size, values = like.shape[-2], tuple(parameters[name] for name in problem.parameters)
    if not any(isinstance(value, Tensor) for value in values):
        return row(values, like.dtype).expand(size, -1)
    found = like.new_empty(size, len(values))
    for i, value in enumerate(values):
        found[:, i] = value
    return found


@functools.lru_cache(100)
def row(values: tuple[float, ...], dtype: torch.dtype) -> Tensor:
    """Numbers as a tensor that nobody writes to, the same one for the same numbers."""
    return torch.tensor(values, dtype=dtype, device="cpu")


def together(tensor: Tensor) -> Tensor:
    """A tensor whose last dimension lies together, as a program wants it."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


@kernel("states", lambda problem, dtype: random_inputs(problem, 7, TRIED, dtype=dtype))
def states(problem: Problem, dtype: torch.dtype) -> Operation:
    """Rollout: states ``[T+1, B, n]`` of initial states ``[B, n]`` and controls ``[T, B, m]``."""
    n, m, k = problem.state_dim, problem.control_dim, len(problem.parameters)

    def step(p: Tensor, x: Tensor, u: Tensor) -> dict[str, Tensor]:
        following = problem.step(x, u, by_name(problem, p))
        return {"x": following, "following": following}

    scan = Scan(step=step, fixed={"p": (k,)}, carried={"x": (n,)}, streams=({"u": (m,)},), outputs={"following": (n,)})
    program = scanned(scan, dtype)

    def kernel_of(problem: Problem, initial: Tensor, controls: Tensor, parameters: Parameters) -> tuple[Tensor]:
        states = initial.new_empty(len(controls) + 1, *initial.shape)
        states[0] = initial
        given = {"p": packed(problem, parameters, initial), "x": together(initial), "u": together(controls)}
        program.run(len(initial), len(controls), given, {"following": states[1:]})
        return (states,)

    return kernel_of


@kernel("jacobians", lambda problem, dtype: random_inputs(problem, TRIED, dtype=dtype))
def jacobians(problem: Problem, dtype: torch.dtype) -> Operation:
    """Jacobians ``A`` ``[N, n, n]`` and ``B`` ``[N, n, m]`` of steps from ``[N, n]`` under ``[N, m]``."""
    n, m, k = problem.state_dim, problem.control_dim, len(problem.parameters)

    def step(p: Tensor, x: Tensor, u: Tensor) -> dict[str, Tensor]:
        return dict(zip("AB", differentiated(problem, x, u, by_name(problem, p)), strict=True))

    streams, outputs = ({"x": (n,)}, {"u": (m,)}), {"A": (n, n), "B": (n, m)}
    scan = Scan(step=step, fixed={"p": (k,)}, carried={}, streams=streams, outputs=outputs)
    program = scanned(scan, dtype)

    def kernel_of(problem: Problem, x: Tensor, u: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor]:
        found = {name: x.new_empty(1, len(x), *shape) for name, shape in outputs.items()}
        given = {"p": packed(problem, parameters, x), "x": together(x).unsqueeze(0), "u": together(u).unsqueeze(0)}
        program.run(len(x), 1, given, found)
        return found["A"][0], found["B"][0]

    return kernel_of


def _trial_of_adjoint(problem: Problem, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """States, controls, and a gradient by the states."""
    x, u = random_inputs(problem, 7, TRIED, dtype=dtype)
    states = torch.stack([x.roll(t, 0) for t in range(8)])
    return states, u, states.flip(0).cos()


@kernel("adjoint", _trial_of_adjoint)
def adjoint(problem: Problem, dtype: torch.dtype) -> Operation:
    """Costate ``[T+1, B, n]`` of states, controls and a gradient by states, and ``B_tᵀ λ_{t+1}`` ``[T, B, m]``."""
    n, m, k = problem.state_dim, problem.control_dim, len(problem.parameters)

    def step(p: Tensor, costate: Tensor, x: Tensor, u: Tensor, local: Tensor) -> dict[str, Tensor]:
        with torch.enable_grad():
            inputs = x.detach().requires_grad_(), u.detach().requires_grad_()
            y = problem.step(*inputs, by_name(problem, p)) + 0 * inputs[0]
            back, by_control = torch.autograd.grad(y, inputs, costate, materialize_grads=True)
        return {"costate": local + back, "now": local + back, "by_control": by_control}

    streams = {"x": (n,)}, {"u": (m,)}, {"local": (n,)}
    scan = Scan(
        step=step,
        fixed={"p": (k,)},
        carried={"costate": (n,)},
        streams=streams,
        outputs={"now": (n,), "by_control": (m,)},
        backwards=True,
    )
    program = scanned(scan, dtype)

    def kernel_of(
        problem: Problem, states: Tensor, controls: Tensor, grad: Tensor, parameters: Parameters
    ) -> tuple[Tensor, Tensor]:
        costate, by_control = grad.new_empty(grad.shape), grad.new_empty(controls.shape)
        grad, states = together(grad), together(states)
        costate[-1] = grad[-1]
        given = {"p": packed(problem, parameters, grad), "costate": grad[-1], "local": grad}
        given |= {"x": states, "u": together(controls)}
        program.run(grad.shape[1], len(controls), given, {"now": costate, "by_control": by_control})
        return costate, by_control

    return kernel_of


def at_the_end(problem: Problem, last: Tensor) -> tuple[Tensor, Tensor]:
    """States ``[2, B, n]`` and controls ``[1, B, m]`` of trajectories that end in such states, for a cost to see."""
    return torch.stack((last, last)), last.new_zeros(1, len(last), problem.control_dim)


def _trial_of_costate(problem: Problem, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """States, controls, and targets."""
    states, u, _ = _trial_of_adjoint(problem, dtype)
    return states, u, states[3]


@kernel("costate", _trial_of_costate)
def costate(problem: Problem, dtype: torch.dtype) -> Operation:
    """Cost, costate and gradient of states, controls and targets, and the Jacobians of the steps."""
    n, m, k = problem.state_dim, problem.control_dim, len(problem.parameters)

    @torch.no_grad()
    def begin(last: Tensor, target: Tensor, **_: Tensor) -> dict[str, Tensor]:
        slope, _ = problem.cost.gradient(*at_the_end(problem, last), target)
        return {"costate": slope[-1], "total": problem.cost.final(last, target).unsqueeze(-1)}

    @torch.no_grad()
    def step(
        p: Tensor, last: Tensor, target: Tensor, costate: Tensor, total: Tensor, x: Tensor, u: Tensor
    ) -> dict[str, Tensor]:
        A, B = differentiated(problem, x, u, by_name(problem, p))
        (by_state, _), (by_control,) = problem.cost.gradient(torch.stack((x, x)), u.unsqueeze(0), target)
        before = by_state + (A.mT @ costate.unsqueeze(-1)).squeeze(-1)
        gradient = by_control + (B.mT @ costate.unsqueeze(-1)).squeeze(-1)
        total = total + problem.cost.running(x, u, target).unsqueeze(-1)
        return {"costate": before, "total": total, "after": costate, "gradient": gradient, "A": A, "B": B}

    scan = Scan(
        begin=begin,
        step=step,
        fixed={"p": (k,), "last": (n,), "target": (n,)},
        carried={"costate": (n,), "total": (1,)},
        streams=({"x": (n,)}, {"u": (m,)}),
        outputs={"after": (n,), "gradient": (m,), "A": (n, n), "B": (n, m)},
        backwards=True,
    )
    program = scanned(scan, dtype, ["p", "last", "target", "x", "u"], ["total", "costate", *scan.outputs])

    def kernel_of(
        problem: Problem, states: Tensor, controls: Tensor, target: Tensor, parameters: Parameters
    ) -> tuple[Tensor, ...]:
        T, size = controls.shape[:2]
        cost, found = states.new_empty(size), states.new_empty(T + 1, size, n)
        wanted = {name: states.new_empty(T, size, *shape) for name, shape in scan.outputs.items() if name != "after"}
        states = together(states)
        given = {"p": packed(problem, parameters, states), "last": states[T], "target": together(target)}
        ends = {"total": cost, "costate": found[0], "after": found[1:]}
        program.run(size, T, given | {"x": states, "u": together(controls)}, wanted | ends)
        return cost, found, *wanted.values()

    return kernel_of


@kernel("by_parameters", _trial_of_adjoint)
def by_parameters(problem: Problem, dtype: torch.dtype) -> Operation:
    """Gradient ``[B, k]`` by each parameter, of states, controls and a costate ``[T+1, B, n]``."""
    n, m, k = problem.state_dim, problem.control_dim, len(problem.parameters)

    def step(p: Tensor, total: Tensor, x: Tensor, u: Tensor, costate: Tensor) -> dict[str, Tensor]:
        with torch.enable_grad():
            p = p.detach().requires_grad_()
            y = problem.step(x, u, by_name(problem, p)) + 0 * p.sum(-1, keepdim=True)
            (found,) = torch.autograd.grad(y, p, costate, materialize_grads=True)
        return {"total": total + found}

    streams = {"x": (n,)}, {"u": (m,)}, {"costate": (n,)}
    scan = Scan(step=step, fixed={"p": (k,)}, carried={"total": (k,)}, streams=streams, outputs={})
    program = scanned(scan, dtype, wanted=["total"])

    def kernel_of(
        problem: Problem, states: Tensor, controls: Tensor, costate: Tensor, parameters: Parameters
    ) -> tuple[Tensor]:
        p = packed(problem, parameters, costate)
        total = p.new_zeros(costate.shape[1], k)
        given = {"p": p, "total": total, "x": together(states), "u": together(controls)}
        program.run(costate.shape[1], len(controls), given | {"costate": together(costate)[1:]}, {"total": total})
        return (total,)

    return kernel_of
