"""The operations that a recording knows: those on single numbers, as LLVM writes them, and others in terms of them."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

#: Operations on numbers by torch's name, with LLVM's instruction, which follows from the kind of the operation.
INSTRUCTIONS = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv", "fmod": "frem"}
INTRINSICS = {name: name for name in "sqrt exp log sin cos tan asin acos atan sinh cosh tanh floor ceil".split()}
INTRINSICS |= {"abs": "fabs", "pow": "pow", "atan2": "atan2"}
COMPARISONS = {"gt": "ogt", "ge": "oge", "lt": "olt", "le": "ole", "eq": "oeq", "ne": "une"}
LOGIC = {"logical_and": "and", "logical_or": "or", "logical_xor": "xor"}
ARITHMETIC = INSTRUCTIONS | INTRINSICS
TRUTHS = COMPARISONS | LOGIC
KNOWN = {*ARITHMETIC, *TRUTHS, "where"}

#: How often Jacobi's rotations go through a matrix; six times are enough for double precision, if it is small.
SWEEPS = 7

#: Operations, beside views, that only move numbers, or put zeros beside them.
MOVES = set("cat stack clone flip roll repeat index index_select gather constant_pad_nd zero_ _unsafe_view".split())
MOVES |= set("select_backward slice_backward diagonal_backward unfold_backward select_scatter slice_scatter".split())

#: Operations that ask of a tensor no more than its shape and type.
FILLS = set("zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty".split())


def _reduce(
    operation: Callable, x: Tensor, dims: Sequence[int] | None = None, keepdim: bool = False, **_: Any
) -> Tensor:
    for dim in sorted((dim % x.ndim for dim in dims or range(x.ndim)), reverse=True):
        x = functools.reduce(operation, x.unbind(dim))
        x = x.unsqueeze(dim) if keepdim else x
    return x


def _mean(x: Tensor, dims: Sequence[int] | None = None, keepdim: bool = False, **_: Any) -> Tensor:
    total = _reduce(torch.add, x, dims, keepdim)
    return total / (x.numel() / total.numel())


def _remainder(x: Tensor, y: Any) -> Tensor:
    """As :func:`torch.fmod`, but with the sign of `y`."""
    y = torch.full_like(x, y) if isinstance(y, int | float) else y
    rest = torch.fmod(x, y)
    return torch.where((rest != 0) & ((rest < 0) ^ (y < 0)), rest + y, rest)


def _larger(x: Tensor, y: Tensor) -> Tensor:
    return torch.where((x > y) | (x != x), x, y)  # what is not a number stays so


def _smaller(x: Tensor, y: Tensor) -> Tensor:
    return torch.where((x < y) | (x != x), x, y)


def _clamp(x: Tensor, low: Any = None, high: Any = None) -> Tensor:
    low, high = (torch.full_like(x, bound) if isinstance(bound, int | float) else bound for bound in (low, high))
    x = x if low is None else _larger(x, low)
    return x if high is None else _smaller(x, high)


def _sign(x: Tensor) -> Tensor:
    zero = torch.zeros_like(x)
    return torch.where(x > 0, zero + 1, torch.where(x < 0, zero - 1, zero))


def _product(a: Tensor, b: Tensor) -> Tensor:
    return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2)


def _add_product(c: Tensor, a: Tensor, b: Tensor, beta: float = 1, alpha: float = 1) -> Tensor:
    return c * beta + _product(a, b) * alpha


def _over(x: Tensor) -> Tensor:
    return torch.ones_like(x) / x


def _solve(A: Tensor, b: Tensor, **_: Any) -> tuple[Tensor, ...]:
    """Elimination, the row of the largest pivot first; in place of its factors the matrix, for its derivative."""
    if b.ndim < A.ndim:  # one vector
        x, *rest = _solve(A, b.unsqueeze(-1))
        return x.squeeze(-1), *rest
    rows, b = [list(row.unbind(-1)) for row in A.unbind(-2)], list(b.unbind(-2))
    size = len(rows)
    for k in range(size):
        for i in range(k + 1, size):
            larger = rows[i][k].abs() > rows[k][k].abs()
            pairs = list(zip(rows[k], rows[i], strict=True))
            rows[k] = [torch.where(larger, y, x) for x, y in pairs]
            rows[i] = [torch.where(larger, x, y) for x, y in pairs]
            each = larger.unsqueeze(-1)
            b[k], b[i] = torch.where(each, b[i], b[k]), torch.where(each, b[k], b[i])
        for i in range(k + 1, size):
            factor = rows[i][k] / rows[k][k]
            rows[i] = [x - factor * y for x, y in zip(rows[i], rows[k], strict=True)]
            b[i] = b[i] - factor.unsqueeze(-1) * b[k]
    for k in reversed(range(size)):
        for i in range(k + 1, size):
            b[k] = b[k] - rows[k][i].unsqueeze(-1) * b[i]
        b[k] = b[k] / rows[k][k].unsqueeze(-1)
    pivots = torch.zeros(A.shape[:-1], dtype=torch.int32)
    return torch.stack(b, -2), A, pivots, pivots[..., 0]


def _solve_again(A: Tensor, _: Tensor, b: Tensor, left: bool = True, adjoint: bool = False) -> Tensor:
    """For another right side, with the matrix that :func:`_solve` gave in place of its factors."""
    A, b = A.mT if adjoint == left else A, b if left else b.mT
    x, *_ = _solve(A, b)
    return x if left else x.mT


def _cholesky(A: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
    """Not a number where the matrix is not positive definite, which is not said otherwise."""
    rows = [list(row.unbind(-1)) for row in A.unbind(-2)]
    size = len(rows)
    for i in range(size):
        for j in range(i + 1):
            rest = functools.reduce(torch.sub, [rows[i][k] * rows[j][k] for k in range(j)], rows[i][j])
            rows[i][j] = rest.sqrt() if j == i else rest / rows[j][j]
        rows[i][i + 1 :] = [torch.zeros_like(one) for one in rows[i][i + 1 :]]
    return torch.stack([torch.stack(row, -1) for row in rows], -2), torch.zeros(A.shape[:-2], dtype=torch.int32)


def _cholesky_solve(b: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    b, size = list(b.unbind(-2)), L.shape[-1]
    for i in range(size):
        for k in range(i):
            b[i] = b[i] - L[..., i, k, None] * b[k]
        b[i] = b[i] / L[..., i, i, None]
    for i in reversed(range(size)):
        for k in range(i + 1, size):
            b[i] = b[i] - L[..., k, i, None] * b[k]
        b[i] = b[i] / L[..., i, i, None]
    return torch.stack(b, -2)


def _eigenvalues(A: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
    """Jacobi's rotations of a symmetric matrix; the eigenvalues are in no order."""
    rows = [list(row.unbind(-1)) for row in A.unbind(-2)]
    size = len(rows)
    one, zero = torch.ones_like(rows[0][0]), torch.zeros_like(rows[0][0])
    vectors = [[one if i == j else zero for j in range(size)] for i in range(size)]
    pairs = [(p, q) for q in range(size) for p in range(q)]
    for p, q in pairs * (SWEEPS if size > 2 else 1):
        ratio = (rows[q][q] - rows[p][p]) / (2 * rows[p][q])
        tangent = torch.where(ratio < 0, -one, one) / (ratio.abs() + (ratio * ratio + 1).sqrt())
        tangent = torch.where(rows[p][q] == 0, zero, tangent)
        c = _over((tangent * tangent + 1).sqrt())
        s = tangent * c
        for row in (*rows, *vectors):
            row[p], row[q] = c * row[p] - s * row[q], s * row[p] + c * row[q]
        for i in range(size):
            rows[p][i], rows[q][i] = c * rows[p][i] - s * rows[q][i], s * rows[p][i] + c * rows[q][i]
    return torch.stack([rows[i][i] for i in range(size)], -1), torch.stack(
        [torch.stack(row, -1) for row in vectors], -2
    )


#: Operations in terms of others, where torch doesn't say how.
RULES: dict[str, Callable[..., Any]] = {
    "sum": functools.partial(_reduce, torch.add),
    "mean": _mean,
    "amax": functools.partial(_reduce, _larger),
    "amin": functools.partial(_reduce, _smaller),
    "maximum": _larger,
    "minimum": _smaller,
    "clamp": _clamp,
    "clamp_min": _clamp,
    "clamp_max": lambda x, high: _clamp(x, None, high),
    "remainder": _remainder,
    "hypot": lambda x, y: (x * x + y * y).sqrt(),
    "relu": lambda x: _clamp(x, 0.0),
    "sign": _sign,
    "sgn": _sign,
    "neg": lambda x: x * -1.0,  # of zero, too
    "mm": _product,
    "bmm": _product,
    "addmm": _add_product,
    "baddbmm": _add_product,
    "rsub": lambda x, y, alpha=1: x * -alpha + y,
    "reciprocal": _over,
    "rsqrt": lambda x: _over(x.sqrt()),
    "sigmoid": lambda x: _over(1 + (-x).exp()),
    "logical_not": lambda x: x ^ torch.ones_like(x),
    "bitwise_not": lambda x: x ^ torch.ones_like(x),
    "bitwise_and": torch.logical_and,
    "bitwise_or": torch.logical_or,
    "bitwise_xor": torch.logical_xor,
    "copy": lambda into, x, *_: x.expand(into.shape).clone(),
    "fill": lambda into, value: torch.zeros_like(into) + value,
    "_linalg_eigh": _eigenvalues,
    "linalg_cholesky_ex": _cholesky,
    "cholesky_solve": _cholesky_solve,
    "_linalg_solve_ex": _solve,
    "linalg_lu_solve": _solve_again,
}
