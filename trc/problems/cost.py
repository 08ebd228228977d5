"""The one cost of a problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Matrix = tuple[tuple[float, ...], ...]


def as_matrix(value: Any, name: str) -> Matrix:
    """Turn lists, arrays or tensors into nested tuples, so that a problem can be compared and saved as JSON."""
    try:
        given = torch.as_tensor(value)
        if given.is_complex():
            raise TypeError("complex")
        array = torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise ValueError(f"{name} must be a square matrix, got {value!r}.") from None
    if array.ndim != 2 or array.shape[0] != array.shape[1] or not len(array):
        raise ValueError(f"{name} must be a square matrix, got shape {tuple(array.shape)}.")
    return tuple(tuple(row) for row in array.tolist())


@dataclass(frozen=True)
class QuadraticCost:
    r"""The one cost of a problem, for the teacher, every loss and every metric alike.

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
            matrix = as_matrix(getattr(self, name), name)
            object.__setattr__(self, name, matrix)
            _check_definite(matrix, name, strictly=name == "R")
        if len(self.Q) != len(self.Q_final):
            raise ValueError(
                f"Q is {len(self.Q)} x {len(self.Q)} but Q_final is {len(self.Q_final)} x "
                f"{len(self.Q_final)}; both weigh the state and must have its size."
            )

    def matrices(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``Q``, ``R`` and ``Q_final`` as tensors with the dtype and on the device of `like`."""
        return tuple(like.new_tensor(matrix) for matrix in (self.Q, self.R, self.Q_final))

    def __call__(self, states: Tensor, controls: Tensor, target: Tensor) -> Tensor:
        """Cost ``J`` of trajectories.

        Parameters
        ----------
        states : Tensor ``[..., T+1, n]``
        controls : Tensor ``[..., T, m]``
        target : Tensor ``[..., n]``

        Returns
        -------
        Tensor ``[...]``
        """
        Q, R, Q_final = self.matrices(states)
        deviation = states - target.unsqueeze(-2)
        running, final = deviation[..., :-1, :], deviation[..., -1, :]
        return (
            ((running @ Q) * running).sum((-1, -2))
            + ((controls @ R) * controls).sum((-1, -2))
            + ((final @ Q_final) * final).sum(-1)
        )


def _check_definite(matrix: Matrix, name: str, *, strictly: bool) -> None:
    tensor = torch.tensor(matrix, dtype=torch.float64)
    if not torch.isfinite(tensor).all():
        raise ValueError(f"{name} must be finite, got {matrix}.")
    if not torch.equal(tensor, tensor.T):
        raise ValueError(f"{name} must be symmetric, got {matrix}.")
    eigenvalues = torch.linalg.eigvalsh(tensor)
    smallest, rounding = eigenvalues[0].item(), 1e-12 * eigenvalues.abs().max().item()
    if smallest <= rounding if strictly else smallest < -rounding:
        kind = "positive definite" if strictly else "positive semidefinite"
        raise ValueError(f"{name} must be {kind}, but its smallest eigenvalue is {smallest:.3g}.")
