"""The one cost of a problem: what is minimised, taught, trained on and judged by."""

from dataclasses import dataclass, is_dataclass
from typing import Any

import torch
from torch import Tensor

from ..common.checks import all_finite, plain, shown
from ..common.modes import full_precision, normal, pullback, wants_graph

Matrix = tuple[tuple[float, ...], ...]


class Cost:
    r"""What a trajectory costs: something for every step, and something for its final state.

    .. math:: J(x, u) = \sum_{t<T} \ell(x_t, u_t, x_g) + \ell_f(x_T, x_g)

    A cost of one's own is a frozen dataclass of numbers with :meth:`running` and :meth:`final`, written in torch for
    any leading shape. Gradient and Hessian, which iterative LQR and the costate need, follow by automatic
    differentiation.
    """

    def running(self, x: Tensor, u: Tensor, target: Tensor) -> Tensor:
        """What one step costs, ``[...]``, from ``x`` ``[..., n]``, ``u`` ``[..., m]`` and the target ``[..., n]``."""
        raise TypeError(f"{type(self).__name__} must define running(x, u, target).")

    def final(self, x: Tensor, target: Tensor) -> Tensor:
        """What the final state costs, ``[...]``."""
        raise TypeError(f"{type(self).__name__} must define final(x, target).")

    def check_dimensions(self, name: str, n: int, m: int) -> None:
        """Raise ``ValueError`` unless the cost can be one of the problem `name` with `n` states and `m` controls."""
        if not is_dataclass(self):
            raise ValueError(f"the cost of {name} must be a dataclass, so that its weights can be kept and changed.")
        x, u = torch.zeros(2, n), torch.zeros(2, m)
        for what, values in (("running", self.running(x, u, x)), ("final", self.final(x, x))):
            got = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
            if got != [2]:
                raise ValueError(
                    f"the {what} cost of {name} must give one number an instance, [2] for two of them, got {got}."
                )

    def __call__(self, states: Tensor, controls: Tensor, target: Tensor) -> Tensor:
        """Cost ``J`` ``[...]`` of states ``[..., T+1, n]``, controls ``[..., T, m]`` and targets ``[..., n]``."""
        running = self.running(states[..., :-1, :], controls, target.unsqueeze(-2))
        return running.sum(-1) + self.final(states[..., -1, :], target)

    def gradient(self, states: Tensor, controls: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Partial derivatives of ``J`` by states ``[T+1, B, n]`` and controls ``[T, B, m]``, time first."""
        goal = normal(target)

        def total(x: Tensor, u: Tensor) -> Tensor:
            return self.running(x[:-1], u, goal).sum() + self.final(x[-1], goal).sum()

        value, back = pullback(
            total, (states, controls), graph=wants_graph(states, controls, target, *vars(self).values())
        )
        return back(torch.ones_like(value))

    def hessian(self, states: Tensor, controls: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Second derivatives of a step's cost, by state and control together, and of the final one, by state.

        ``[T, B, n+m, n+m]`` and ``[B, n, n]``, or what broadcasts to that; what bends downwards is made flat, so that
        both are positive semidefinite. States, controls and target are as for :meth:`gradient`.
        """
        n, target = states.shape[-1], normal(target)
        inputs = torch.cat((states[:-1], controls), -1)
        running = _second_derivative(lambda z: self.running(z[..., :n], z[..., n:], target), inputs)
        return running, _second_derivative(lambda x: self.final(x, target), states[-1])


@dataclass(frozen=True)
class QuadraticCost(Cost):
    r"""Squared deviations from the target, and squared controls.

    .. math:: J(x, u) = \sum_{t<T} (x_t - x_g)^\top Q (x_t - x_g) + u_t^\top R u_t
              + (x_T - x_g)^\top Q_f (x_T - x_g)

    Parameters
    ----------
    Q, Q_final : square matrix ``[n, n]``, symmetric positive semidefinite
        Weights of the running and the final state (``Q_f`` in the text).
    R : square matrix ``[m, m]``, symmetric positive definite
        Weight of the control.
    """

    Q: Matrix
    R: Matrix
    Q_final: Matrix

    def __post_init__(self) -> None:
        for name in ("Q", "R", "Q_final"):
            object.__setattr__(self, name, _definite(getattr(self, name), name, strictly=name == "R"))
        if (n := len(self.Q)) != (last := len(self.Q_final)):
            raise ValueError(f"Q is {n} x {n} but Q_final is {last} x {last}; both weigh the state, of one size.")

    def check_dimensions(self, name: str, n: int, m: int) -> None:
        """Raise ``ValueError`` unless the matrices are for `n` states and `m` controls."""
        if (mine := (len(self.Q), len(self.R))) != (n, m):
            raise ValueError(
                f"the cost is for {mine[0]} states and {mine[1]} controls, the problem {name!r} has {n} and {m}."
            )

    def matrices(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``Q``, ``R`` and ``Q_final`` as tensors with the dtype and on the device of `like`."""
        return tuple(like.new_tensor(matrix) for matrix in (self.Q, self.R, self.Q_final))

    @full_precision
    def running(self, x: Tensor, u: Tensor, target: Tensor) -> Tensor:
        """``(x - x_g)ᵀ Q (x - x_g) + uᵀ R u``."""
        Q, R, _ = self.matrices(x)
        deviation = x - target
        return ((deviation @ Q) * deviation).sum(-1) + ((u @ R) * u).sum(-1)

    @full_precision
    def final(self, x: Tensor, target: Tensor) -> Tensor:
        """``(x - x_g)ᵀ Q_f (x - x_g)``."""
        deviation = x - target
        return ((deviation @ self.matrices(x)[2]) * deviation).sum(-1)

    @full_precision
    def __call__(self, states: Tensor, controls: Tensor, target: Tensor) -> Tensor:
        """See :meth:`Cost.__call__`; each sum runs over time and dimensions at once."""
        Q, R, _ = self.matrices(states)
        deviation = states[..., :-1, :] - target.unsqueeze(-2)
        running = ((deviation @ Q) * deviation).sum((-1, -2)) + ((controls @ R) * controls).sum((-1, -2))
        return running + self.final(states[..., -1, :], target)

    @full_precision
    def gradient(self, states: Tensor, controls: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """``2 Q (x - x_g)``, at the end ``2 Q_f (x - x_g)``, and ``2 R u``; see :meth:`.Cost.gradient`."""
        Q, R, Q_final = self.matrices(states)
        deviation = states - target
        return torch.cat((2 * deviation[:-1] @ Q, 2 * deviation[-1:] @ Q_final)), 2 * controls @ R

    def hessian(self, states: Tensor, controls: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """``2 Q`` and ``2 R`` on the diagonal, and ``2 Q_f``; see :meth:`.Cost.hessian`."""
        Q, R, Q_final = self.matrices(states)
        return 2 * torch.block_diag(Q, R), 2 * Q_final


def _definite(value: Any, name: str, *, strictly: bool) -> Matrix:
    """A symmetric matrix as nested tuples, so that a problem can be compared and saved as JSON, once it is checked."""
    try:
        rows = [[plain(entry) for entry in row] for row in value]
        if any(isinstance(entry, bool) for row in rows for entry in row):
            raise TypeError("not numbers")
        matrix = torch.tensor(rows, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise ValueError(f"{name} must be a square matrix, got {shown(value)}.") from None
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise ValueError(f"{name} must be a square matrix, got shape {tuple(matrix.shape)}.")
    for kind, fine in (("finite", torch.isfinite(matrix).all()), ("symmetric", torch.equal(matrix, matrix.T))):
        if not fine:
            raise ValueError(f"{name} must be {kind}, got {matrix.tolist()}.")
    unit = _units(matrix)
    sign = torch.linalg.eigvalsh(unit.unsqueeze(1) * matrix * unit)[0]  # the same in any units
    if sign <= 1e-12 if strictly else sign < -1e-12:
        kind = "positive definite" if strictly else "positive semidefinite"
        smallest = torch.linalg.eigvalsh(matrix)[0].item()
        raise ValueError(f"{name} must be {kind}, but its smallest eigenvalue is {smallest:.3g}.")
    return tuple(map(tuple, matrix.tolist()))


def _units(matrix: Tensor) -> Tensor:
    """Factors ``[..., k]`` by which rows and columns are written in units in which their diagonal is one."""
    own = matrix.diagonal(dim1=-2, dim2=-1).abs()
    return torch.where(own > 0, own, 1.0).rsqrt()


def _second_derivative(function: Any, z: Tensor) -> Tensor:
    """Hessians ``[..., k, k]`` of a function of ``z`` ``[..., k]``, flattened; not a number where there is none."""

    def slope(z: Tensor) -> Tensor:
        value, back = pullback(lambda z: function(z).sum() + 0 * z.sum(), (z,), graph=True)
        return back(torch.ones_like(value))[0] + 0 * z  # a cost, and its slope, may not depend on what is asked for

    value, back = pullback(slope, (z,))
    units = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device).unbind()
    hessian = torch.stack([back(unit.expand_as(value))[0] for unit in units], -2)
    if not all_finite(hessian):  # at the root of nothing, for example; that is not to spoil the others
        there = hessian.isfinite().all(-1).all(-1)[..., None, None]
        flat = _flattened(torch.where(there, hessian, torch.eye(len(units)).to(hessian)))
        return torch.where(there, flat, torch.nan)
    return _flattened(hessian)


def _flattened(hessian: Tensor) -> Tensor:
    """Symmetric matrices, their negative eigenvalues set to zero."""
    unit = _units(hessian).unsqueeze(-1)  # what is flat does not depend on them
    values, vectors = torch.linalg.eigh(unit * (hessian + hessian.mT) / 2 * unit.mT)
    vectors = vectors / unit
    return (vectors * values.clamp_min(0).unsqueeze(-2)) @ vectors.mT
