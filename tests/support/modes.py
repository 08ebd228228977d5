"""Modes of torch, as ways to ask a function something else; and what is asked of the library, beside plain torch."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from made_up import with_step
from plain import step_by_step
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

import trc

#: A function of states [B, n], controls [B, T, m] and targets [B, n].
Function = Callable[..., Any]

#: What stands in the table's columns.
COLUMNS = (
    ("rollout", "cost", "network"),
    ("step_jacobians", "costate"),
    ("lqr", "lqr_gains", "minimum_energy", "ilqr", "optimum", "certify", "propose"),
)


def made(linear=False):
    """A problem of which nothing is derived yet: with few operations, so that it is soon traced."""

    def step(problem, x, u, parameters):
        push = u[..., 0] - parameters["mu"] * x[..., 0].sin()
        return torch.stack((x[..., 0] + problem.dt * x[..., 1], x[..., 1] + problem.dt * push), -1)

    return trc.make_problem("double_integrator", horizon=2) if linear else with_step(step, horizon=2)


def asked(call: str, problem: trc.Problem, network: trc.TinyRecursiveControl) -> tuple[Function, Function]:
    """What is asked of the library, and its twin in plain torch."""

    def follow(x, u):
        return step_by_step(problem, x, u)

    def cost(x, u, goal):
        def weighed(matrix, by):
            weight = torch.tensor(matrix, dtype=torch.float64).to(by)
            return (by.unsqueeze(-1) * weight * by.unsqueeze(-2)).sum((-1, -2))

        J, off = problem.cost, follow(x, u) - goal.unsqueeze(1)
        return (weighed(J.Q, off[:, :-1]) + weighed(J.R, u)).sum(1) + weighed(J.Q_final, off[:, -1])

    def jacobian(x, u, _):
        return torch.func.vmap(torch.func.jacrev(lambda x, u: problem.step(x, u, problem.parameters)))(x, u[:, 0])

    def slope(x, u, goal):
        return torch.func.grad(lambda u: cost(x, u, goal).sum())(u)

    def refined(x, _, goal):
        return network(x, goal, dynamics_fn=follow)["controls"]

    experts = {
        "lqr": lambda x, _, goal: trc.lqr(problem, x, goal).controls,
        "lqr_gains": lambda x, _, __: trc.lqr_gains(problem, x)[0],
        "minimum_energy": lambda x, _, goal: trc.minimum_energy(problem, x, goal).controls,
        "ilqr": lambda x, _, goal: trc.ilqr(problem, x, goal).controls,
        "optimum": lambda x, _, goal: trc.optimum(problem, x, goal).controls,
        "certify": lambda x, u, goal: trc.certify(problem, x, goal, u).curvature,
        "propose": lambda x, _, goal: trc.propose(network, x, goal),
    }
    return {
        "rollout": (lambda x, u, _: trc.rollout(problem, x, u), lambda x, u, _: follow(x, u)),
        "cost": (lambda x, u, goal: problem.cost(trc.rollout(problem, x, u), u, goal), cost),
        "network": (lambda x, _, goal: network(x, goal)["controls"], refined),
        "step_jacobians": (lambda x, u, _: trc.step_jacobians(problem, x, u[:, 0])[0], jacobian),
        "costate": (lambda x, u, goal: trc.costate(problem, x, u, goal).gradient, slope),
        **{name: (expert, expert) for name, expert in experts.items()},
    }[call]


# A mode makes another function of such a function


def same(function):
    return function


def within(context, *arguments):
    def mode(function):
        def inside(*tensors):
            with context(*arguments):
                return function(*tensors)

        return inside

    return mode


def at(change):
    """At changed inputs."""
    return lambda function: lambda *tensors: function(*map(change, tensors))


def other(tensor):
    """Other inputs, of another batch size."""
    return torch.cat((tensor.flip(0), 0.7 * tensor))


def summed(mode):
    """A mode that needs a number."""
    return lambda function: mode(lambda *tensors: function(*tensors).sin().sum())


def by_first_two(take):
    """A mode for functions of states and controls; the targets stay."""
    return lambda function: lambda x, u, goal: take(lambda x, u: function(x, u, goal), x, u)


@contextmanager
def set_to(switch, value, before):
    switch(value)
    try:
        yield
    finally:
        switch(before)


def leaves_of(tensors):
    return [tensor.clone().requires_grad_() for tensor in tensors]


def total(found, leaves):
    """A number of what is found, which may not depend on the leaves."""
    return found.sin().sum() + 0 * sum(leaf.sum() for leaf in leaves)


@by_first_two
def gradient(function, *tensors):
    leaves = leaves_of(tensors)
    return torch.autograd.grad(total(function(*leaves), leaves), leaves)


@by_first_two
def twice(function, *tensors):
    leaves = leaves_of(tensors)
    once = torch.autograd.grad(total(function(*leaves), leaves), leaves, create_graph=True)
    return torch.autograd.grad(sum(total(1 + one, leaves) for one in once), leaves)


@by_first_two
def many_at_once(function, *tensors):
    leaves = leaves_of(tensors)
    found = function(*leaves).flatten() + total(0 * leaves[0], leaves)
    options = {"is_grads_batched": True, "materialize_grads": True}
    return torch.autograd.grad(found, leaves, torch.eye(len(found), dtype=found.dtype), **options)


@by_first_two
def forgotten(function, *tensors):
    leaves = leaves_of(tensors)
    return torch.autograd.grad(total(checkpoint(function, *leaves, use_reentrant=False), leaves), leaves)


@by_first_two
def forwards(function, *tensors):
    with forward_ad.dual_level():
        found, slope = forward_ad.unpack_dual(function(*(forward_ad.make_dual(one, one.cos()) for one in tensors)))
    return found, torch.zeros_like(found) if slope is None else slope


@by_first_two
def jvp(function, *tensors):
    return torch.func.jvp(function, tensors, tuple(tensor.cos() for tensor in tensors))


def func(name):
    return by_first_two(lambda function, *tensors: getattr(torch.func, name)(function, (0, 1))(*tensors))


def each(of):
    """Of each instance alone."""

    def mode(function):
        def one(*tensors):
            return function(*(tensor.unsqueeze(0) for tensor in tensors)).squeeze(0)

        return lambda *tensors: torch.func.vmap(of(one))(*tensors)

    return mode


def traced(function):
    return lambda *tensors: torch.jit.trace(function, tensors, check_trace=False)(*map(other, tensors))


def compiled(function):
    def mode(*tensors):
        torch._dynamo.reset()
        made = torch.compile(function, backend="eager")
        made(*tensors)
        return made(*map(other, tensors))

    return mode


def exported(function):
    class Made(torch.nn.Module):
        def forward(self, x, u, goal):
            return function(x, u, goal)

    def mode(*tensors):
        sizes = [{0: torch.export.Dim("B", min=2)} for _ in tensors]
        return torch.export.export(Made(), tensors, dynamic_shapes=sizes).module()(*map(other, tensors))

    return mode


def in_threads(function):
    def mode(*tensors):
        with ThreadPoolExecutor(4) as pool:
            first, *others = pool.map(lambda _: function(*tensors), range(8))
        assert all(torch.equal(first, one) for one in others)
        return first

    return mode


class Mode(NamedTuple):
    """How to come into a mode, and what is expected of it: the twin itself, or in another or the same mode."""

    ours: Function
    plain: Function = same
    tolerance: float = 1e-9
    device: str = "cpu"
    dtype: torch.dtype = torch.float64


def both(mode, **options):
    return Mode(mode, mode, **options)


def rounded(dtype, tolerance):
    return Mode(at(lambda tensor: tensor.to(dtype)), at(lambda tensor: tensor.to(dtype).double()), tolerance)


per_sample = each(lambda one: torch.func.grad(lambda *tensors: one(*tensors).sin().sum(), argnums=(0, 1)))
MODES = {
    "`torch.no_grad`": Mode(within(torch.no_grad)),
    "`torch.inference_mode`": Mode(within(torch.inference_mode)),
    "`torch.autocast`": both(within(torch.autocast, "cpu", torch.bfloat16), tolerance=1e-5, dtype=torch.float32),
    "`backward`": both(gradient),
    "`create_graph=True`": both(twice),
    "`is_grads_batched=True`": both(many_at_once),
    "`torch.utils.checkpoint`": Mode(forgotten, gradient),
    "`torch.func.grad`": both(summed(func("grad"))),
    "`torch.func.jacrev`": both(func("jacrev")),
    "`torch.func.jacfwd`": both(func("jacfwd")),
    "`torch.func.hessian`": both(summed(func("hessian"))),
    "`torch.func.jvp`": both(jvp),
    "`torch.autograd.forward_ad`": both(forwards),
    "`torch.func.vmap`": both(each(same)),
    "`vmap` of `grad`": both(per_sample),
    "`torch.jit.trace`": Mode(traced, at(other)),
    "`torch.compile`": Mode(compiled, at(other)),
    "`torch.export`": Mode(exported, at(other)),
    "`float16`": rounded(torch.float16, 1e-2),
    "`bfloat16`": rounded(torch.bfloat16, 1e-1),
    "tensors on `meta`": Mode(same, same, device="meta"),
    "tensors on `cuda`": Mode(same, same, device="cuda"),
    "`torch.set_default_device`": Mode(within(torch.device, "meta")),
    "`torch.set_default_dtype`": Mode(within(set_to, torch.set_default_dtype, torch.float64, torch.float32)),
    "`torch.use_deterministic_algorithms`": Mode(within(set_to, torch.use_deterministic_algorithms, True, False)),
    "threads": Mode(in_threads),
}
