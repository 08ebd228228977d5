"""Steps as users write them, of problem, states, controls and parameters: those that can be compiled, and others."""

import math

import torch

from trc.problems import rk4
from trc.problems.van_der_pol import VanDerPol

OUTSIDE, MASK = torch.tensor(0.9), torch.tensor([True, False])  # which someone may change
NETWORK = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).double()


def four_substeps(problem, x, u, p):
    for _ in range(4):
        x = rk4(VanDerPol.vector_field, x, u, p, problem.dt / 4)
    return x


def indexed_writes(problem, x, u, p):
    y = torch.zeros_like(x)
    y[..., 0] = 0.9 * x[..., 1]
    y[..., 1] += 0.05 * u[..., 0]
    return y


def truths_used_twice(problem, x, u, p):
    inside, pushed = x.abs() < 1, (u > 0).expand_as(x)
    both, either = inside & pushed, inside | pushed
    return torch.where(inside, 0.9 * x, 0.8 * x) + 0.05 * (both.to(x.dtype) - 2 * pushed.to(x.dtype) + u * either)


COMPILED = {
    "van der pol": VanDerPol.step,
    "minimum, maximum, abs": lambda s, x, u, p: x + 0.05 * torch.minimum(x, u) * torch.maximum(x, 0 * x).abs(),
    "where": lambda s, x, u, p: torch.where(x > 0, x * 0.9, x + 0.05 * u),
    "clamp, atan2, relu, sigmoid": lambda s, x, u, p: (
        0.9 * x.clamp(-1, 1) + 0.05 * torch.atan2(u, 1 + x * x) + 0.05 * torch.relu(x) + 0.05 * torch.sigmoid(x)
    ),
    "functions": lambda s, x, u, p: (
        0.1 * ((0.1 * x).exp() + (1 + x * x).log() + x.sin() * u.cos() + (1 + x * x).sqrt() + x.tanh() + x.atan() ** 3)
    ),
    "matrix": lambda s, x, u, p: x @ torch.tensor([[0.9, 0.1], [-0.1, 0.8]], dtype=x.dtype) + 0.05 * u,
    "constants": lambda s, x, u, p: x * torch.tensor([0.9, 0.8], dtype=x.dtype) + 0.05 * u,
    "in place": lambda s, x, u, p: (x * 1).add_(u, alpha=0.05),
    "indexed writes": indexed_writes,
    "by type": lambda s, x, u, p: x * (0.9 if x.dtype == torch.float32 else 0.8) + 0.05 * u,
    "two dimensions": lambda s, x, u, p: torch.stack((x[:, 0] + 0.05 * x[:, 1], x[:, 1] + 0.05 * u[:, 0]), 1),
    "sums": lambda s, x, u, p: x * 0.9 + 0.05 * u / (1 + x.square().sum(-1, keepdim=True).sqrt()),
    "einsum": lambda s, x, u, p: torch.einsum("...i,ij->...j", x, 0.9 * torch.eye(2, dtype=x.dtype)) + 0.05 * u,
    "index": lambda s, x, u, p: 0.9 * x[..., [1, 0]] + 0.05 * u,
    "linear system": lambda s, x, u, p: (
        torch.linalg.solve(2 * torch.eye(2, dtype=x.dtype) + 0.1 * x.unsqueeze(-1) * x.unsqueeze(-2), x.unsqueeze(-1))
        .squeeze(-1)
        .add(0.05 * u)
    ),
    "linear system that needs pivots": lambda s, x, u, p: (
        0.1 * torch.linalg.solve(torch.stack((x, torch.ones_like(x)), -1).sub(torch.eye(2, dtype=x.dtype)), x)
        + 0.05 * u
    ),
    "angles": lambda s, x, u, p: torch.remainder(x + 3, 2 * math.pi) - 3 + 0.05 * u % 0.7 + 0.01 * torch.fmod(x, 0.3),
    "mean, hypot": lambda s, x, u, p: 0.9 * x + 0.05 * torch.hypot(x, u) * x.mean(-1, keepdim=True),
    "substeps": four_substeps,
    "truths used twice": truths_used_twice,
    "logic": lambda s, x, u, p: x * ((x > 0) & ~(u < 0)).to(x.dtype) + 0.05 * u * torch.sign(x),
}

REFUSED = {
    "parameter as a float": (
        lambda s, x, u, p: x * 0.9 + 0.05 * u * math.sqrt(p["mu"]),
        "it looks at values|with a value of each",
    ),
    "branch": (lambda s, x, u, p: x * 0.9 if bool((x > 0).all()) else x * 0.8, "it looks at values|not among the"),
    "number from outside": (lambda s, x, u, p: x * OUTSIDE + 0.05 * u, "from outside; make it in the step"),
    "network": (
        lambda s, x, u, p: x + 0.05 * NETWORK.to(x.dtype)(torch.cat((x, u), -1)),
        "from outside; make it in the step",
    ),
    "mask from outside": (lambda s, x, u, p: torch.where(MASK, x * 0.9, x) + 0.05 * u, "from outside; make it in"),
    "arguments far away": (lambda s, x, u, p: x.clamp_(-1e4, 1e4) * 0.9 + 0.05 * u, "it changes its arguments"),
    "random": (lambda s, x, u, p: x * 0.9 + 0.01 * torch.randn_like(x), "it is random|off by"),
    "batch mean": (lambda s, x, u, p: x * 0.9 + 0.05 * u * x.mean(0), "not among the|off by"),
    "an odd operation": (lambda s, x, u, p: x * 0.9 + 0.05 * torch.special.bessel_j0(u), "torch's .*bessel_j0 is not"),
}
