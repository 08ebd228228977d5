"""A loop over time, written in torch for one step, as LLVM's code for some instances side by side.

Each instance has a lane, and an operation is done for all lanes at once. Arrays are made of such rows of lanes: what is
fixed and what is carried are ``[blocks, rows, lanes]``, and what comes in or goes out at each time
``[blocks, T, rows, lanes]``.
"""

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .operations import COMPARISONS, INSTRUCTIONS, INTRINSICS, LOGIC
from .record import Place, Recording, entries

#: Bytes side by side: what the registers of the usual processors take at once.
WIDTH = 32

FLOATS = {torch.float32: "float", torch.float64: "double"}

Shapes = Mapping[str, tuple[int, ...]]
Step = Callable[..., Mapping[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Scan:
    """One step of a loop over time, and the shapes of all that it is about, one instance each.

    The step is called by name with what is `fixed` for all of time, what is `carried` from step to step, and what comes
    from each of the `streams`. It gives `outputs`, and what of the carried has changed. So do `begin` and `end`, before
    and after all steps, but they have no streams and no outputs.
    """

    step: Step
    fixed: Shapes
    carried: Shapes
    streams: tuple[Shapes, ...] = ()
    outputs: Shapes
    begin: Step | None = None
    end: Step | None = None
    backwards: bool = False


def sizes(shapes: Shapes) -> list[int]:
    """How many numbers each has."""
    return [math.prod(shape) for shape in shapes.values()]


def count(shapes: Shapes) -> int:
    """How many numbers all have."""
    return sum(sizes(shapes))


def lanes(dtype: torch.dtype) -> int:
    """How many instances lie side by side."""
    return WIDTH // dtype.itemsize


def code(scan: Scan, dtype: torch.dtype) -> str:
    """LLVM's code of ``main(T, blocks, fixed, carried, *streams, out)``; `Refused` where there is none."""
    return "\n".join(function(scan, dtype, "main")) + "\n"


def function(scan: Scan, dtype: torch.dtype, name: str) -> list[str]:
    """The same as lines of a function of any name, those that declare what it calls at the end."""
    writer = _Writer(dtype)
    arrays = ["fixed", "carried", *(f"stream{i}" for i in range(len(scan.streams))), "out"]
    fixed = writer.load("fixed", "%b", scan.fixed)
    carried = writer.load("carried", "%b", scan.carried)
    opening = writer.take()
    shapes = {name: shape for group in (scan.fixed, scan.carried, *scan.streams) for name, shape in group.items()}
    begun = carried | writer.write(scan.begin, shapes, fixed | carried, scan.carried)
    opening += writer.take()
    states = {name: [f"%{name}.{i}" for i in range(math.prod(shape))] for name, shape in scan.carried.items()}
    streams = [writer.load(f"stream{i}", "%at", shapes) for i, shapes in enumerate(scan.streams)]
    given = {name: rows for group in (fixed, states, *streams) for name, rows in group.items()}
    found = writer.write(scan.step, shapes, given, scan.carried | scan.outputs)
    writer.store("out", "%at", [row for name in scan.outputs for row in found[name]])
    loop, stepped = writer.take(), states | {name: found[name] for name in scan.carried if name in found}
    ended = stepped | writer.write(scan.end, shapes, fixed | stepped, scan.carried)
    writer.store("carried", "%b", [row for name in scan.carried for row in ended[name]])
    chosen = "%last" if scan.backwards else "%s"
    return [
        f"define void @{name}(i64 %T, i64 %blocks, {', '.join(f'ptr noalias %{array}' for array in arrays)}) {{",
        "start: br label %block",
        "block:",
        "%b = phi i64 [ 0, %start ], [ %next, %after ]",
        *opening,
        "br label %step",
        "step:",
        "%s = phi i64 [ 0, %block ], [ %s1, %step ]",
        *(
            f"{row} = phi {writer.row} [ {before}, %block ], [ {new}, %step ]"
            for name in scan.carried
            for row, before, new in zip(states[name], begun[name], stepped[name], strict=True)
        ),
        "%s1 = add i64 %s, 1",
        "%first = mul i64 %b, %T",
        "%last = sub i64 %T, %s1",
        f"%at = add i64 %first, {chosen}",
        *loop,
        "%more = icmp slt i64 %s1, %T",
        "br i1 %more, label %step, label %after",
        "after:",
        *writer.take(),
        "%next = add i64 %b, 1",
        "%again = icmp slt i64 %next, %blocks",
        "br i1 %again, label %block, label %return",
        "return: ret void",
        "}",
        *sorted(writer.declared),
    ]


class _Writer:
    """Lines of LLVM's code, and the names of their results: a list of rows for each name of the scan."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype, self.lanes, self.number = dtype, lanes(dtype), FLOATS[dtype]
        self.row, self.truth = f"<{self.lanes} x {self.number}>", f"<{self.lanes} x i1>"
        self.declared: set[str] = set()
        self._lines: list[str] = []
        self._parts = 0

    def take(self) -> list[str]:
        """The lines since it was asked last."""
        lines, self._lines = self._lines, []
        return lines

    def load(self, array: str, at: str, shapes: Shapes) -> dict[str, list[str]]:
        """Read the rows of an array, at a block or a time."""
        places = iter(self._places(array, at, count(shapes), f"%{array}"))
        found = {}
        for name, shape in shapes.items():
            rows = [next(places) for _ in range(math.prod(shape))]
            found[name] = [f"{place}.row" for place in rows]
            self._lines += [f"{place}.row = load {self.row}, ptr {place}, align 4" for place in rows]
        return found

    def store(self, array: str, at: str, rows: list[str]) -> None:
        """Write rows into an array, at a block or a time."""
        for row, place in zip(rows, self._places(array, at, len(rows), f"%to.{array}"), strict=True):
            self._lines.append(f"store {self.row} {row}, ptr {place}, align 4")

    def _places(self, array: str, at: str, rows: int, name: str) -> list[str]:
        places = [f"{name}.{i}" for i in range(rows)]
        self._lines.append(f"{name}.first = mul i64 {at}, {rows}")
        self._lines.append(f"{name}.base = getelementptr {self.row}, ptr %{array}, i64 {name}.first")
        self._lines += [
            f"{place} = getelementptr {self.row}, ptr {name}.base, i64 {i}" for i, place in enumerate(places)
        ]
        return places

    def write(
        self, step: Step | None, shapes: Shapes, rows: Mapping[str, list[str]], wanted: Shapes
    ) -> dict[str, list[str]]:
        """Write what a step does to rows of such shapes, and give those of what it finds of what is wanted."""
        if step is None:
            return {}
        self._parts += 1
        recording, names = Recording(self.dtype), {}
        given = {name: recording.inputs(1, *shapes[name]) for name in rows}
        for name, tensor in given.items():
            names |= dict(zip(entries(tensor), rows[name], strict=True))
        with recording:
            found = step(**given)
            found = {name: found[name].expand(1, *shape) for name, shape in wanted.items() if name in found}
        places = {name: entries(tensor) for name, tensor in found.items()}
        for place in recording.needed(place for each in places.values() for place in each):
            if place not in names:
                names[place] = self._operation(recording, place, names)
        return {name: [names[place] for place in each] for name, each in places.items()}

    def _operation(self, recording: Recording, place: Place, names: Mapping[Place, str]) -> str:
        """Write one operation, and give its name; that of a constant is the constant."""
        operation, *terms = recording.made[place]
        if operation == "constant":
            return self._constant(terms[0])
        rows, truths = [names[term] for term in terms], [self._as_truth(recording, term, names) for term in terms]
        if operation in INSTRUCTIONS:
            text = f"{INSTRUCTIONS[operation]} {self.row} {', '.join(rows)}"
        elif operation in COMPARISONS:
            text = f"fcmp {COMPARISONS[operation]} {self.row} {', '.join(rows)}"
        elif operation in LOGIC:
            text = f"{LOGIC[operation]} {self.truth} {', '.join(truths)}"
        elif operation == "where":
            text = f"select {self.truth} {truths[0]}, {self.row} {rows[1]}, {self.row} {rows[2]}"
        else:
            function = f"@llvm.{INTRINSICS[operation]}.v{self.lanes}f{8 * self.dtype.itemsize}"
            text = f"call {self.row} {function}({', '.join(f'{self.row} {row}' for row in rows)})"
            self.declared.add(f"declare {self.row} {function}({', '.join([self.row] * len(rows))})")
        name = f"%part{self._parts}.{place}"
        self._lines.append(f"{name} = {text}")
        return name

    def _as_truth(self, recording: Recording, place: Place, names: Mapping[Place, str]) -> str:
        value = recording.value(place)
        return names[place] if value is None else f"<{', '.join([f'i1 {int(value != 0)}'] * self.lanes)}>"

    def _constant(self, value: float) -> str:
        """The same in each lane; LLVM writes also single precision with the bits of double precision."""
        rounded = torch.tensor(value, dtype=self.dtype).item()
        bits = struct.unpack("<Q", struct.pack("<d", rounded))[0]
        return f"<{', '.join([f'{self.number} 0x{bits:016X}'] * self.lanes)}>"
