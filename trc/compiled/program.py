"""Programs for whole batches: one scan for each block of lanes, or two in turn until an instance is done."""

from array import array
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from .build import Compiled
from .memory import HEAD, Memory, hold
from .scan import Lanes, Loop, Scan, count

#: Bytes side by side, for few instances and for many: what registers of the usual processors take, and twice as much,
#: so that one half is worked on while the other waits.
WIDTHS = (32, 64)

#: So many blocks of few are still faster than the blocks of many.
FEW = 2

#: For so many instances a further thread is worth while, if torch may have one.
ENOUGH = 64


class Program:
    """A compiled ``main(a, memory)``: it is called with sizes, where arrays lie, and memory for its lanes.

    Parameters
    ----------
    alike : mapping of str to Tensor
        What is given alike to all instances, at all times and in all calls.
    """

    def __init__(
        self,
        memory: Memory,
        main: Callable[[Lanes], list[str]],
        dtype: torch.dtype,
        alike: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._memory, self._main, self._dtype, self._alike = memory, main, dtype, alike or {}
        self._numbers = array("q", [0] * HEAD)
        self._given, self._wanted = self._places(memory.given, self._alike), self._places(memory.wanted, {})
        self._few, self._many = (Lanes(dtype, width // dtype.itemsize) for width in WIDTHS)
        self._compiled: dict[int, Compiled] = {}  # by how many lanes
        self._once, self._each_time = (sum(map(count, groups.values())) for groups in (memory.once, memory.each_time))

    def _places(self, names: list[str], alike: Mapping[str, Tensor]) -> list[tuple[int, str, bool]]:
        """Where each array goes among the numbers that the program is called with, and whether it has times."""
        timed = {name for shapes in self._memory.each_time.values() for name in shapes}
        places = []
        for name in names:
            if name not in alike:
                places.append((len(self._numbers), name, name in timed))
            self._numbers.extend((alike[name].data_ptr() if name in alike else 0, 0, 0))
        return places

    def _compile(self, lanes: Lanes) -> Compiled:
        lines = [*self._main(lanes), *self._memory.functions(lanes)]
        declared = sorted({line for line in lines if line.startswith("declare")})
        lines = [line for line in lines if not line.startswith("declare")]
        self._compiled[lanes.count] = Compiled("\n".join([*lines, *declared, ""]))
        return self._compiled[lanes.count]

    def run(self, batch: int, T: int, given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
        """Run it for a batch and T ≥ 1 steps, on as many threads as torch has; what is wanted is written.

        Arrays are ``[B, …]``, and ``[T, B, …]`` where there is something at each time, with any strides over both, but
        what belongs to one instance at one time lies together.
        """
        a = self._numbers[:]  # the threads share it, the next instance is in it
        a[0], a[1] = T, batch
        for arrays, places in ((given, self._given), (wanted, self._wanted)):
            for at, name, timed in places:
                tensor = arrays[name]
                strides = tensor.stride()
                a[at], a[at + 2] = tensor.data_ptr(), strides[timed]
                if timed:
                    a[at + 1] = strides[0]
        lanes = self._few if batch <= FEW * self._few.count else self._many
        compiled = self._compiled.get(lanes.count) or self._compile(lanes)
        place, _ = a.buffer_info()
        threads = min(torch.get_num_threads(), -(-batch // ENOUGH))
        own = torch.empty(threads, lanes.count * (self._once + T * self._each_time), dtype=self._dtype, device="cpu")
        if threads == 1:
            compiled(place, own.data_ptr())
            return
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda memory: compiled(place, memory.data_ptr()), own))


def scanned(scan: Scan, dtype: torch.dtype, given: list[str] | None = None, wanted: list[str] | None = None) -> Program:
    """A program that runs a scan for a batch.

    Given by name are what is fixed, what is carried, and the streams, unless the scan begins with some itself; wanted
    are, by default, all outputs.
    """
    streams = {f"stream{i}": shapes for i, shapes in enumerate(scan.streams)}
    once, each_time = {"fixed": scan.fixed, "carried": scan.carried}, {**streams, "out": scan.outputs}
    every = [name for group in (scan.fixed, scan.carried, *scan.streams) for name in group]
    memory = Memory(
        once,
        each_time,
        every if given is None else given,
        list(scan.outputs) if wanted is None else wanted,
    )
    loop = Loop(scan, dtype)

    def main(lanes: Lanes) -> list[str]:
        # while there are instances: hold the next, one a lane; take what is given of them; scan; give what is wanted
        groups = ", ".join(f"ptr %{name}" for name in memory.groups)
        return [
            *loop.function("scan", lanes),
            "define void @main(ptr noalias %a, ptr noalias %memory) {",
            "start:",
            *memory.places(lanes),
            f"%held = alloca i64, i64 {lanes.count}, align 8",
            "%last = sub i64 %B, 1",
            "br label %block",
            "block:",
            f"%b = atomicrmw add ptr %next.at, i64 {lanes.count} monotonic",
            "%some = icmp slt i64 %b, %B",
            "br i1 %some, label %hold, label %return",
            *hold(lanes, "block", "run"),
            "run:",
            f"call void @take(ptr %a, i64 0, i64 {lanes.count}, ptr %held, {groups})",
            f"call void @scan(i64 %T, {groups})",
            "%rest = sub i64 %B, %b",
            f"%full = call i64 @llvm.smin.i64(i64 %rest, i64 {lanes.count})",
            f"call void @give(ptr %a, i64 0, i64 %full, ptr %held, {groups})",
            "br label %block",
            "return: ret void",
            "}",
            "declare i64 @llvm.smin.i64(i64, i64)",
        ]

    return Program(memory, main, dtype)
