"""A loop over time, written in torch for one step, as LLVM's code for some instances side by side.

Each instance has a lane, and an operation is done for all lanes at once. The memory that it works on is made of such
rows of lanes: what is fixed and what is carried are ``[rows, lanes]``, what comes in or goes out at each time
``[T, rows, lanes]``.
"""

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .operations import COMPARISONS, INSTRUCTIONS, INTRINSICS, LOGIC
from .record import Place, Recording, Refused, entries

Shapes = Mapping[str, tuple[int, ...]]
Step = Callable[..., Mapping[str, Tensor]]

#: Operations of a step: LLVM takes some seconds for so many, and longer for each the more there are.
LONGEST = 20_000


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


def count(shapes: Shapes) -> int:
    """How many numbers all have."""
    return sum(math.prod(shape) for shape in shapes.values())


@dataclass(frozen=True)
class Lanes:
    """How many instances lie side by side, and of which type their numbers are."""

    dtype: torch.dtype
    count: int

    @property
    def number(self) -> str:
        """LLVM's name of a number."""
        return {torch.float32: "float", torch.float64: "double"}[self.dtype]

    @property
    def row(self) -> str:
        """And of a row of them."""
        return f"<{self.count} x {self.number}>"


@dataclass(frozen=True)
class Recorded:
    """A step that is recorded: where its inputs are, and where what it finds, by name."""

    recording: Recording
    inputs: Mapping[str, list[Place]]
    found: Mapping[str, list[Place]]


class Loop:
    """A scan, recorded for numbers of a type; `Refused` where it can't be."""

    def __init__(self, scan: Scan, dtype: torch.dtype) -> None:
        every = {name: shape for group in (scan.fixed, scan.carried, *scan.streams) for name, shape in group.items()}
        once = {**scan.fixed, **scan.carried}
        self.scan = scan
        self.begin = scan.begin and record(scan.begin, once, scan.carried, dtype)
        self.step = record(scan.step, every, {**scan.carried, **scan.outputs}, dtype)
        self.end = scan.end and record(scan.end, once, scan.carried, dtype)

    def function(self, name: str, lanes: Lanes) -> list[str]:
        """Lines of ``name(T, fixed, carried, *streams, out)``, and of what it declares."""
        scan, writer = self.scan, _Writer(lanes)
        arrays = ["fixed", "carried", *(f"stream{i}" for i in range(len(scan.streams))), "out"]
        fixed = writer.load("fixed", "0", scan.fixed)
        carried = writer.load("carried", "0", scan.carried)
        begun = carried | writer.write("begin", self.begin, fixed | carried)
        opening = writer.take()
        states = {name: [f"%{name}.{i}" for i in range(math.prod(shape))] for name, shape in scan.carried.items()}
        streams = [writer.load(f"stream{i}", "%at", shapes) for i, shapes in enumerate(scan.streams)]
        given = {name: rows for group in (fixed, states, *streams) for name, rows in group.items()}
        found = writer.write("step", self.step, given)
        writer.store("out", "%at", [row for name in scan.outputs for row in found[name]])
        loop, stepped = writer.take(), states | {name: found[name] for name in scan.carried if name in found}
        ended = stepped | writer.write("end", self.end, fixed | stepped)
        writer.store("carried", "0", [row for name in scan.carried for row in ended[name]])
        return [
            f"define internal void @{name}(i64 %T, {', '.join(f'ptr noalias %{array}' for array in arrays)}) {{",
            "start:",
            *opening,
            "br label %step",
            "step:",
            "%s = phi i64 [ 0, %start ], [ %s1, %step ]",
            *(
                f"{row} = phi {lanes.row} [ {before}, %start ], [ {new}, %step ]"
                for name in scan.carried
                for row, before, new in zip(states[name], begun[name], stepped[name], strict=True)
            ),
            "%s1 = add i64 %s, 1",
            f"%at = {'sub i64 %T, %s1' if scan.backwards else 'add i64 %s, 0'}",
            *loop,
            "%more = icmp slt i64 %s1, %T",
            "br i1 %more, label %step, label %after",
            "after:",
            *writer.take(),
            "ret void",
            "}",
            *sorted(writer.declared),
        ]


def record(step: Step, shapes: Shapes, wanted: Shapes, dtype: torch.dtype) -> Recorded:
    """Run a step once, of one instance, and note what it does to inputs of such shapes."""
    recording = Recording(dtype)
    given = {name: recording.inputs(1, *shape) for name, shape in shapes.items()}
    inputs = {name: entries(tensor) for name, tensor in given.items()}
    with recording:
        found = step(**given)
        found = {name: found[name].expand(1, *shape) for name, shape in wanted.items() if name in found}
    if any(entries(tensor) != inputs[name] for name, tensor in given.items()):
        raise Refused("it changes its arguments; let it make new tensors")
    results = {name: entries(tensor) for name, tensor in found.items()}
    length = len(recording.needed(place for places in results.values() for place in places))
    if length > LONGEST:
        raise Refused(
            f"it is {length:,} operations long, more than the {LONGEST:,} that are compiled in reasonable time"
        )
    return Recorded(recording, inputs, results)


class _Writer:
    """Lines of LLVM's code, and the names of their results: a list of rows for each name of the scan."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes, self._row, self._truth = lanes, lanes.row, f"<{lanes.count} x i1>"
        self._lines: list[str] = []
        self.declared: set[str] = set()

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
            self._lines += [f"{place}.row = load {self._row}, ptr {place}, align 4" for place in rows]
        return found

    def store(self, array: str, at: str, rows: list[str]) -> None:
        """Write rows into an array, at a block or a time."""
        for row, place in zip(rows, self._places(array, at, len(rows), f"%to.{array}"), strict=True):
            self._lines.append(f"store {self._row} {row}, ptr {place}, align 4")

    def _places(self, array: str, at: str, rows: int, name: str) -> list[str]:
        places = [f"{name}.{i}" for i in range(rows)]
        self._lines.append(f"{name}.first = mul i64 {at}, {rows}")
        self._lines.append(f"{name}.base = getelementptr {self._row}, ptr %{array}, i64 {name}.first")
        self._lines += [
            f"{place} = getelementptr {self._row}, ptr {name}.base, i64 {i}" for i, place in enumerate(places)
        ]
        return places

    def write(self, part: str, recorded: Recorded | None, rows: Mapping[str, list[str]]) -> dict[str, list[str]]:
        """Write what a step does to rows, and give those of what it finds; `part` is how it is called."""
        if recorded is None:
            return {}
        names: dict[Place, str] = {}
        for name, places in recorded.inputs.items():
            names |= zip(places, rows[name], strict=True)
        recording = recorded.recording
        for place in recording.needed(place for places in recorded.found.values() for place in places):
            if place not in names:
                names[place] = self._operation(f"%{part}.{place}", recording, place, names)
        return {name: [names[place] for place in places] for name, places in recorded.found.items()}

    def _operation(self, name: str, recording: Recording, place: Place, names: Mapping[Place, str]) -> str:
        """Write one operation, and give the name of its result; that of a constant is the constant."""
        operation, *terms = recording.made[place]
        if operation == "constant":
            return self._constant(terms[0])
        rows, truths = [names[term] for term in terms], [self._as_truth(recording, term, names) for term in terms]
        if operation in INSTRUCTIONS:
            text = f"{INSTRUCTIONS[operation]} {self._row} {', '.join(rows)}"
        elif operation in COMPARISONS:
            text = f"fcmp {COMPARISONS[operation]} {self._row} {', '.join(rows)}"
        elif operation in LOGIC:
            text = f"{LOGIC[operation]} {self._truth} {', '.join(truths)}"
        elif operation == "where":
            text = f"select {self._truth} {truths[0]}, {self._row} {rows[1]}, {self._row} {rows[2]}"
        else:
            function = f"@llvm.{INTRINSICS[operation]}.v{self._lanes.count}f{8 * self._lanes.dtype.itemsize}"
            text = f"call {self._row} {function}({', '.join(f'{self._row} {row}' for row in rows)})"
            self.declared.add(f"declare {self._row} {function}({', '.join([self._row] * len(rows))})")
        self._lines.append(f"{name} = {text}")
        return name

    def _as_truth(self, recording: Recording, place: Place, names: Mapping[Place, str]) -> str:
        value = recording.value(place)
        return names[place] if value is None else f"<{', '.join([f'i1 {int(value != 0)}'] * self._lanes.count)}>"

    def _constant(self, value: float) -> str:
        """The same in each lane; LLVM writes also single precision with the bits of double precision."""
        rounded = torch.tensor(value, dtype=self._lanes.dtype).item()
        bits = struct.unpack("<Q", struct.pack("<d", rounded))[0]
        return f"<{', '.join([f'{self._lanes.number} 0x{bits:016X}'] * self._lanes.count)}>"
