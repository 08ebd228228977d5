"""A step written out: the elementwise operations that turn one state and control into the next state.

:func:`write_out` calls a problem's ``step`` once with symbols in place of tensors and keeps what it computes, number by
number. :func:`derivative` differentiates that by the chain rule. ``trc.replay`` runs both on whole batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin


class Expression:
    """One number of a step: an input (no operation), or an operation on other numbers."""

    __slots__ = ("operation", "terms")

    def __init__(self, operation: str = "", *terms: Expression | float) -> None:
        self.operation, self.terms = operation, terms

    def __add__(self, other: Any) -> Expression | float:
        return apply("add", self, other)

    def __radd__(self, other: Any) -> Expression | float:
        return apply("add", other, self)

    def __sub__(self, other: Any) -> Expression | float:
        return apply("subtract", self, other)

    def __rsub__(self, other: Any) -> Expression | float:
        return apply("subtract", other, self)

    def __mul__(self, other: Any) -> Expression | float:
        return apply("multiply", self, other)

    def __rmul__(self, other: Any) -> Expression | float:
        return apply("multiply", other, self)

    def __truediv__(self, other: Any) -> Expression | float:
        return apply("divide", self, other)

    def __rtruediv__(self, other: Any) -> Expression | float:
        return apply("divide", other, self)

    def __neg__(self) -> Expression | float:
        return apply("negative", self)

    def __pow__(self, exponent: Any) -> Expression | float:
        return apply("power", self, exponent)


def apply(operation: str, *terms: Any) -> Expression | float:
    """``operation(*terms)``, a ufunc of NumPy; numbers at once, and 0 and 1 left out where they do nothing."""
    if operation not in PARTIALS or not all(isinstance(term, Expression | float | int) for term in terms):
        raise TypeError(f"can't write out {operation} of {', '.join(type(term).__name__ for term in terms)}")
    if not any(isinstance(term, Expression) for term in terms):
        return float(getattr(np, operation)(*map(float, terms)))
    a, b = terms[0], terms[-1]
    match operation:
        case "multiply" if 0 in terms:
            return 0.0
        case "multiply" | "add" if a == IDENTITY[operation]:
            return b
        case "multiply" | "divide" | "add" | "subtract" | "power" if b == IDENTITY[operation]:
            return a
        case "power" if b in (2, 3):  # as PyTorch computes them
            return a * a if b == 2 else a * a * a
        case "power" if isinstance(b, Expression):
            raise TypeError("can't write out a power whose exponent is not a number")
    return Expression(operation, *terms)


#: ``operation(a, identity)`` is ``a``.
IDENTITY = {"add": 0, "subtract": 0, "multiply": 1, "divide": 1, "power": 1}

#: Partial derivatives of ``y = operation(a, b)``: how ``y`` changes with each of its terms.
PARTIALS: dict[str, Callable[..., Sequence[Expression | float]]] = {
    "add": lambda y, a, b: (1.0, 1.0),
    "subtract": lambda y, a, b: (1.0, -1.0),
    "multiply": lambda y, a, b: (b, a),
    "divide": lambda y, a, b: (1.0 / b, -(y / b)),
    "power": lambda y, a, b: (b * a ** (b - 1),),
    "negative": lambda y, a: (-1.0,),
    "absolute": lambda y, a: (apply("sign", a),),
    "sign": lambda y, a: (0.0,),
    "sqrt": lambda y, a: (0.5 / y,),
    "exp": lambda y, a: (y,),
    "log": lambda y, a: (1.0 / a,),
    "sin": lambda y, a: (apply("cos", a),),
    "cos": lambda y, a: (-apply("sin", a),),
    "tan": lambda y, a: (1.0 + y * y,),
    "tanh": lambda y, a: (1.0 - y * y,),
}


def in_order(outputs: Iterable[Expression | float]) -> list[Expression]:
    """Every expression that the outputs need, each after its own terms."""
    found: dict[Expression, None] = {}
    waiting = [(output, False) for output in outputs][::-1]
    while waiting:
        one, ready = waiting.pop()
        if not isinstance(one, Expression) or one in found:
            continue
        if ready:
            found[one] = None
        else:
            waiting += [(one, True), *((term, False) for term in one.terms)]
    return list(found)


def derivative(outputs: Sequence[Expression | float], variable: Expression) -> list[Expression | float]:
    """How each output changes with one input."""
    slope: dict[Expression | float, Expression | float] = {variable: 1.0}
    for y in in_order(outputs):
        if not y.operation:
            continue
        changing = [slope.get(term, 0.0) for term in y.terms]
        total: Expression | float = 0.0
        if any(isinstance(change, Expression) or change != 0 for change in changing):
            for partial, change in zip(PARTIALS[y.operation](y, *y.terms), changing, strict=False):
                total = total + partial * change
        slope[y] = total
    return [slope.get(output, 0.0) for output in outputs]


class Symbol(NDArrayOperatorsMixin):
    """Stands for a tensor ``[..., k]`` in a call of ``step``: an array of expressions, the leading shape left out."""

    def __init__(self, parts: Any) -> None:
        self.parts = np.asarray(parts, dtype=object)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *terms: Any, **options: Any) -> Symbol:
        if method != "__call__" or options:
            raise TypeError("can't write out a step that works in place")
        return _elementwise(ufunc.__name__)(*terms)  # what operators come to

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _call(function.__name__, *args, **(kwargs or {}))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name not in FUNCTIONS:
            raise TypeError(f"can't write out .{name}")
        return partial(_call, name, self)

    def __bool__(self) -> bool:
        raise TypeError("can't write out a step that looks at values")

    def __getitem__(self, key: Any) -> Symbol:
        if not isinstance(key, tuple) or key[0] is not Ellipsis:
            raise TypeError("a step must work for any leading shape: index with x[..., i]")
        return Symbol(self.parts[key])


def _call(name: str, *args: Any, **kwargs: Any) -> Any:
    if name not in FUNCTIONS:
        raise TypeError(f"can't write out torch.{name}")
    return FUNCTIONS[name](*args, **kwargs)


def _elementwise(operation: str) -> Callable[..., Symbol]:
    def whole(*terms: Any) -> Symbol:
        parts = [term.parts if isinstance(term, Symbol) else term for term in terms]
        return Symbol(np.frompyfunc(partial(apply, operation), len(parts), 1)(*parts))

    return whole


def _last(dim: int) -> int:
    if dim >= 0:
        raise TypeError("a step must work for any leading shape: count dimensions from the last")
    return dim


#: What a step may call beside operators, by its name in PyTorch.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: _elementwise(name) for name in ("sqrt", "exp", "log", "sin", "cos", "tan", "tanh", "sign")},
    "abs": _elementwise("absolute"),
    "square": lambda symbol: symbol * symbol,
    "stack": lambda symbols, dim: Symbol(np.stack([symbol.parts for symbol in symbols], _last(dim))),
    "cat": lambda symbols, dim: Symbol(np.concatenate([symbol.parts for symbol in symbols], _last(dim))),
    "unbind": lambda symbol, dim: [Symbol(part) for part in np.moveaxis(symbol.parts, _last(dim), 0)],
    "sum": lambda symbol, dim: Symbol(symbol.parts.sum(_last(dim))),
    "zeros_like": lambda symbol: Symbol(np.zeros(symbol.parts.shape)),
    "ones_like": lambda symbol: Symbol(np.ones(symbol.parts.shape)),
}


def write_out(
    step: Callable[..., Any], state_dim: int, control_dim: int, parameters: Iterable[str]
) -> tuple[list[Expression], list[Expression | float]]:
    """Inputs (states, controls, parameters) and next states of ``step(x, u, parameters)``, number by number.

    Raises
    ------
    TypeError
        If the step does what can't be written out: anything but elementwise arithmetic on the last dimension.
    """
    names = list(parameters)
    inputs = [Expression() for _ in range(state_dim + control_dim + len(names))]
    given = {name: Symbol(one) for name, one in zip(names, inputs[state_dim + control_dim :], strict=True)}
    result = step(Symbol(inputs[:state_dim]), Symbol(inputs[state_dim : state_dim + control_dim]), given)
    if not isinstance(result, Symbol) or result.parts.shape != (state_dim,):
        raise TypeError("can't write out a step whose result does not follow from its inputs")
    return inputs, result.parts.tolist()
