"""What lanes work on: each takes an instance out of arrays of torch's, and gives back what was found of it.

Arrays hold one instance after the other. A scan works on rows of lanes, in memory of its own that is small enough to
stay near the processor.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .scan import Lanes, Shapes, count

#: Numbers before the arrays in what a program is called with: T, B, and the next instance that no lane has taken.
HEAD = 3


@dataclass(frozen=True)
class Memory:
    """Groups of rows, by name; which of their parts an instance brings, and which it gets.

    Parameters
    ----------
    once, each_time : groups that are there once, and that have their rows for each time
    given, wanted : names of the parts of the groups
    """

    once: Mapping[str, Shapes]
    each_time: Mapping[str, Shapes]
    given: list[str]
    wanted: list[str]

    @property
    def groups(self) -> dict[str, Shapes]:
        """All groups, in order."""
        return {**self.once, **self.each_time}

    def arguments(self) -> str:
        """The groups as arguments of a function."""
        return ", ".join(f"ptr noalias %{name}" for name in self.groups)

    def places(self, lanes: Lanes) -> list[str]:
        """Lines that read T and B, and find the groups in ``%memory``."""
        lines = ["%T = load i64, ptr %a, align 8", "%B.at = getelementptr i64, ptr %a, i64 1"]
        lines += ["%B = load i64, ptr %B.at, align 8", "%next.at = getelementptr i64, ptr %a, i64 2"]
        before = "0"
        for name, shapes in self.groups.items():
            numbers, times = count(shapes) * lanes.count, "%T" if name in self.each_time else "1"
            lines.append(f"%{name} = getelementptr {lanes.number}, ptr %memory, i64 {before}")
            lines.append(f"%{name}.size = mul i64 {times}, {numbers}")
            lines.append(f"%{name}.end = add i64 {before}, %{name}.size")
            before = f"%{name}.end"
        return lines

    def functions(self, lanes: Lanes) -> list[str]:
        """``take`` brings all that is given into some lanes; ``give`` brings back all that is wanted.

        Both are told the first lane, the one after the last, and which instances the lanes hold.
        """
        taken = self._moves("take", self.given, 0, lanes)
        given = self._moves("give", self.wanted, len(self.given), lanes)
        return [*taken, *given, *_move("take", lanes), *_move("give", lanes)]

    def _moves(self, way: str, names: list[str], first: int, lanes: Lanes) -> list[str]:
        number, side = lanes.number, lanes.count
        lines = [f"define internal void @{way}(ptr %a, i64 %first, i64 %end, ptr %held, {self.arguments()}) {{"]
        lines.append("%T = load i64, ptr %a, align 8")
        for i, name in enumerate(names):
            group, shapes = next((group, shapes) for group, shapes in self.groups.items() if name in shapes)
            parts = list(shapes)
            above = count({part: shapes[part] for part in parts[: parts.index(name)]})
            for j, (part, kind) in enumerate((("array", "ptr"), ("time", "i64"), ("stride", "i64"))):
                lines.append(f"%{part}.{i}.at = getelementptr i64, ptr %a, i64 {HEAD + 3 * (first + i) + j}")
                lines.append(f"%{part}.{i} = load {kind}, ptr %{part}.{i}.at, align 8")
            lines += [
                f"%rows.{i} = getelementptr {number}, ptr %{group}, i64 {above * side}",
                f"call void @{way}.part(ptr %rows.{i}, ptr %array.{i}, i64 {'%T' if group in self.each_time else '1'}, "
                f"i64 %time.{i}, i64 %stride.{i}, i64 {math.prod(shapes[name])}, i64 {count(shapes) * side}, "
                "i64 %first, i64 %end, ptr %held)",
            ]
        return [*lines, "ret void", "}"]


def _move(way: str, lanes: Lanes) -> list[str]:
    """A function that copies the rows of one part, for all times, into some lanes or out of them."""
    number = lanes.number
    source, sink = ("outside", "inside") if way == "take" else ("inside", "outside")
    return [
        f"define internal void @{way}.part(ptr noalias %inside, ptr noalias %outside, i64 %times, i64 %time, "
        "i64 %stride, i64 %rows, i64 %width, i64 %first, i64 %end, ptr noalias %held) alwaysinline {",
        "start:",
        "%any = icmp sgt i64 %rows, 0",
        "br i1 %any, label %each, label %return",
        "each:",
        "%t = phi i64 [ 0, %start ], [ %t1, %after ]",
        "%inside.t = mul i64 %t, %width",
        "%outside.t = mul i64 %t, %time",
        "br label %lane",
        "lane:",
        "%l = phi i64 [ %first, %each ], [ %l1, %lane.end ]",
        "%held.at = getelementptr i64, ptr %held, i64 %l",
        "%instance = load i64, ptr %held.at, align 8",
        "%outside.i = mul i64 %instance, %stride",
        "%outside.l = add i64 %outside.t, %outside.i",
        "%inside.l = add i64 %inside.t, %l",
        "br label %row",
        "row:",
        "%r = phi i64 [ 0, %lane ], [ %r1, %row ]",
        f"%inside.r = mul i64 %r, {lanes.count}",
        "%inside.n = add i64 %inside.l, %inside.r",
        "%outside.n = add i64 %outside.l, %r",
        f"%inside.at = getelementptr {number}, ptr %inside, i64 %inside.n",
        f"%outside.at = getelementptr {number}, ptr %outside, i64 %outside.n",
        f"%value = load {number}, ptr %{source}.at, align 4",
        f"store {number} %value, ptr %{sink}.at, align 4",
        "%r1 = add i64 %r, 1",
        "%more = icmp slt i64 %r1, %rows",
        "br i1 %more, label %row, label %lane.end",
        "lane.end:",
        "%l1 = add i64 %l, 1",
        "%others = icmp slt i64 %l1, %end",
        "br i1 %others, label %lane, label %after",
        "after:",
        "%t1 = add i64 %t, 1",
        "%again = icmp slt i64 %t1, %times",
        "br i1 %again, label %each, label %return",
        "return: ret void",
        "}",
    ]


def hold(lanes: Lanes, last: str, after: str) -> list[str]:
    """Lines that let the lanes hold the instances from ``%b`` on, those that would be empty the last one."""
    return [
        "hold:",
        f"%l = phi i64 [ 0, %{last} ], [ %l1, %hold ]",
        "%l1 = add i64 %l, 1",
        "%i = add i64 %b, %l",
        "%j = call i64 @llvm.smin.i64(i64 %i, i64 %last)",
        "%held.l = getelementptr i64, ptr %held, i64 %l",
        "store i64 %j, ptr %held.l, align 8",
        f"%all = icmp eq i64 %l1, {lanes.count}",
        f"br i1 %all, label %{after}, label %hold",
    ]
