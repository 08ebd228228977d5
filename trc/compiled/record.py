"""A function written in torch as operations on single numbers: it is run once, and every operation is noted.

What reaches torch's dispatcher is noted, so torch's own derivative of a function is noted as the function is. A tensor
is then an array of places in the list of numbers. What only moves numbers needs no rule: it is done to the places.
"""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch._decomp import decomposition_table
from torch.utils._python_dispatch import TorchDispatchMode

from .operations import ARITHMETIC, FILLS, KNOWN, MOVES, RULES, TRUTHS

Place = int


class Refused(ValueError):
    """Why a function can't be recorded."""


class Numbers(Tensor):
    """A tensor without values, which says of each entry where in a recording its number is."""

    places: Tensor

    @staticmethod
    def __new__(cls, places: Tensor, dtype: torch.dtype) -> Self:
        """Of such a shape and type, and with such places."""
        layout = {"strides": places.stride(), "storage_offset": places.storage_offset()}
        made = Tensor._make_wrapper_subclass(cls, places.shape, dtype=dtype, **layout)
        made.places = places
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise Refused("it leaves its recording")


class Recording(TorchDispatchMode):
    """Numbers in the order in which they are made, the first one zero.

    Each is ``("input", i)``, ``("constant", value)`` or ``(operation, *places)``.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.made: list[tuple] = []
        self._found: dict[tuple, Place] = {}
        self.constant(0.0)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # it would be imported, for seconds

    def inputs(self, *shape: int) -> Numbers:
        """A tensor of new inputs."""
        first = sum(how[0] == "input" for how in self.made)
        places = [self._make("input", first + i) for i in range(math.prod(shape))]
        return Numbers(torch.tensor(places, dtype=torch.int64).reshape(shape), self.dtype)

    def constant(self, value: float) -> Place:
        """Where a constant is."""
        return self._make("constant", float(value))

    def value(self, place: Place) -> float | None:
        """What a constant is, or None."""
        kind, value = self.made[place][:2]
        return value if kind == "constant" else None

    def _make(self, *how: Any) -> Place:
        """Where a number is; one that was made before is not made again."""
        if how not in self._found:
            self._found[how] = len(self.made)
            self.made.append(how)
        return self._found[how]

    def needed(self, outputs: Iterable[Place]) -> list[Place]:
        """Places of all that outputs depend on, each after what it is made of."""
        found, waiting = set(), list(outputs)
        while waiting:
            if (place := waiting.pop()) not in found:
                found.add(place)
                kind, *terms = self.made[place]
                waiting += terms if kind in KNOWN else ()
        return sorted(found)

    def apply(self, operation: str, *terms: Place) -> Place:
        """What an operation makes of numbers: constants are computed, and 0 and 1 are left out."""
        values = [self.value(term) for term in terms]
        if None not in values:
            first, *others = (torch.tensor(value, dtype=torch.float64) for value in values)
            first = first != 0 if operation == "where" else first
            return self.constant(getattr(torch, operation)(first, *others).item())
        match operation, *values:
            case "where", condition, _, _ if condition is not None:
                return terms[1 if condition else 2]
            case ("mul", 0, _) | ("mul", _, 0) | ("div", 0, _):
                return 0
            case ("add", 0, _) | ("mul", 1, _):
                return terms[1]
            case ("add" | "sub", _, 0) | ("mul" | "div" | "pow", _, 1):
                return terms[0]
            case "pow", _, (2 | 3) as exponent:  # as torch computes them
                square = self.apply("mul", terms[0], terms[0])
                return square if exponent == 2 else self.apply("mul", square, terms[0])
            case "pow", _, 0.5:
                return self.apply("sqrt", terms[0])
        return self._make(operation, *terms)

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = operation._schema.name.removeprefix("aten::")
        in_place = name.endswith("_") and not name.endswith("__")  # add_, but not __or__
        base = name.removesuffix("_") if in_place else name
        if torch.Tag.nondeterministic_seeded in operation.tags:
            raise Refused("it is random")
        if name == "lift_fresh":  # written into the function as numbers
            return self._constants(*args)
        args, kwargs = _map(Tensor, self._as_numbers, (args, kwargs or {}))
        if name == "_local_scalar_dense":
            return self._values(*args).item()
        if name in ("_to_copy", "to"):
            return self.convert(*args, **kwargs)
        if operation.is_view or name in MOVES:
            return self._move(operation, args, kwargs)
        if name in FILLS:
            blank = _map(Numbers, lambda one: torch.zeros(one.shape, dtype=one.dtype), args)
            return self._constants(operation(*blank, **kwargs))
        if base in KNOWN and kwargs.keys() <= {"alpha"}:
            found = self.elementwise(base, *args, **kwargs)
        elif base == "index_put":
            found = self._put(*args)
        elif base in RULES:
            with self:
                found = RULES[base](*args, **kwargs)
        elif all(self.value(place) is not None for one in _numbers(args, kwargs) for place in entries(one)):
            found = self._compute(operation, args, kwargs)
        else:
            with self:
                found = decomposition_table.get(operation, operation.decompose)(*args, **kwargs)
            if found is NotImplemented:
                raise Refused(f"torch's {name} is not among the operations that are known")
        if in_place:
            args[0].places.copy_(found.places)
            return args[0]
        return found

    def _as_numbers(self, tensor: Tensor) -> Numbers:
        """An argument, or what was computed of constants; only whole numbers, as indices are, may be from outside."""
        if isinstance(tensor, Numbers):
            return tensor
        if tensor.is_floating_point() or tensor.dtype == torch.bool:
            raise Refused("it uses a tensor from outside; make it in the step, or make it a parameter of the problem")
        return self._constants(tensor)

    def _constants(self, tensor: Tensor) -> Numbers:
        places = [self.constant(value) for value in tensor.detach().flatten().tolist()]
        return Numbers(torch.tensor(places, dtype=torch.int64).reshape(tensor.shape), tensor.dtype)

    def _values(self, numbers: Numbers) -> Tensor:
        values = [self.value(place) for place in entries(numbers)]
        if None in values:
            raise Refused("it looks at values; torch.where chooses without looking")
        return torch.tensor(values, dtype=torch.float64).reshape(numbers.shape).to(numbers.dtype)

    def _compute(self, operation: Any, args: Any, kwargs: Any) -> Any:
        args, kwargs = _map(Numbers, self._values, (args, kwargs))
        return _map(Tensor, self._constants, operation(*args, **kwargs))

    def _move(self, operation: Any, args: Any, kwargs: Any) -> Any:
        first = _numbers(args, kwargs)[0]
        if operation._schema.name in ("aten::index", "aten::index_select", "aten::gather"):
            args = (args[0], *_map(Numbers, self._values, args[1:]))
        args, kwargs = _map(Numbers, lambda one: one.places, (args, kwargs))
        moved = operation(*args, **kwargs)
        if operation._schema.name.endswith("_"):
            return first
        return _map(Tensor, lambda places: Numbers(places, first.dtype), moved)

    def _put(self, x: Numbers, indices: Sequence[Any], values: Numbers, accumulate: bool = False) -> Numbers:
        """What :func:`torch.index_put` does, which is also the derivative of taking entries by an index."""
        which = torch.arange(x.numel()).reshape(x.shape)[
            tuple(slice(None) if i is None else self._values(i) for i in indices)
        ]
        places = x.places.flatten().tolist()
        for at, value in zip(entries(which), entries(values.places.expand(which.shape)), strict=True):
            places[at] = self.apply("add", places[at], value) if accumulate else value
        return Numbers(torch.tensor(places).reshape(x.shape), x.dtype)

    def elementwise(self, operation: str, *terms: Any, alpha: float = 1) -> Numbers:
        """What an operation makes of tensors and numbers, entry by entry; the last one times `alpha`."""
        if alpha != 1:
            terms = (terms[0], self.elementwise("mul", terms[1], alpha))
        if operation in ARITHMETIC:
            terms = tuple(self.convert(one, self.dtype) if _is_truth(one) else one for one in terms)
        dtype = self._dtype(terms[1:] if operation == "where" else terms)
        named = torch.broadcast_tensors(*(torch.as_tensor(self._places(term)) for term in terms))
        rows = zip(*map(entries, named), strict=True)
        places = torch.tensor([self.apply(operation, *row) for row in rows], dtype=torch.int64)
        return Numbers(places.reshape(named[0].shape), torch.bool if operation in TRUTHS else dtype)

    def _places(self, term: Any) -> Tensor | Place:
        return term.places if isinstance(term, Numbers) else self.constant(term)

    def _dtype(self, terms: Sequence[Any]) -> torch.dtype:
        """The type that torch would give a result."""
        found = {one.dtype for one in terms if isinstance(one, Numbers)}
        if found == {self.dtype}:
            return self.dtype
        kinds = [torch.empty((1,) * t.ndim, dtype=t.dtype) if isinstance(t, Numbers) else t for t in terms]
        return functools.reduce(torch.promote_types, (torch.result_type(kinds[0], kind) for kind in kinds))

    def convert(self, x: Numbers, *how: Any, dtype: torch.dtype | None = None, **_: Any) -> Numbers:
        """Numbers in another type."""
        dtype = next((getattr(one, "dtype", one) for one in how if isinstance(one, torch.dtype | Tensor)), dtype)
        if dtype in (None, x.dtype):
            return Numbers(x.places.clone(), x.dtype)
        if _is_truth(x):
            return self.elementwise("where", x, 1.0, 0.0)
        return self._constants(self._values(x).to(dtype))


def _map(kind: type, function: Callable[[Any], Any], arguments: Any) -> Any:
    """Arguments, in whatever lists and dictionaries, with the function done to those of a kind."""
    if isinstance(arguments, kind):
        return function(arguments)
    if isinstance(arguments, tuple | list):
        return [_map(kind, function, one) for one in arguments]
    if isinstance(arguments, dict):
        return {name: _map(kind, function, one) for name, one in arguments.items()}
    return arguments


def _numbers(*arguments: Any) -> list[Numbers]:
    found: list[Numbers] = []
    _map(Numbers, found.append, arguments)
    return found


def entries(tensor: Tensor) -> list[Place]:
    """Places of all entries, in order."""
    return (tensor.places if isinstance(tensor, Numbers) else tensor).flatten().tolist()


def _is_truth(term: Any) -> bool:
    return isinstance(term, Numbers) and term.dtype == torch.bool
