"""Two scans in turn, until an instance is done; then its lane takes the next one."""

from collections.abc import Mapping

import torch
from torch import Tensor

from .memory import Memory, hold
from .program import Program
from .scan import Lanes, Loop, Scan, count


def turns(
    first: Scan,
    second: Scan,
    *,
    done: str,
    begin: list[str],
    wanted: list[str],
    alike: Mapping[str, Tensor],
    dtype: torch.dtype,
) -> Program:
    """A program that lets two scans take turns.

    The first tries a plan, the second makes the next plan of that and of what came of it. Given by name are what is
    fixed, and what of the carried and of the plan `begin` names; wanted are parts of both. An instance goes on until
    `done`, which is carried, is not zero.
    """
    once = {"fixed": first.fixed, "carried": first.carried}
    each_time = {"plan": second.outputs, "tried": first.outputs}
    # the plan is written where the other one was, so there are two; both have the same parts
    memory = Memory(once, {**each_time, "other": second.outputs}, [*first.fixed, *begin], wanted)
    loops = Loop(first, dtype), Loop(second, dtype)
    return Program(memory, lambda lanes: _main(memory, *loops, done, lanes), dtype, alike)


def _main(memory: Memory, first: Loop, second: Loop, done: str, lanes: Lanes) -> list[str]:
    """What a thread runs.

    In short::

        hold the next instances, one a lane; take what is given of them
        while a lane holds an instance:
            first(); second()
            for each lane whose instance is done: give what is wanted of it; hold the next one and take it
    """
    side, carried = lanes.count, first.scan.carried
    names = list(carried)
    row = count({name: carried[name] for name in names[: names.index(done)]}) * side
    groups = "ptr %fixed, ptr %carried, ptr %{now}, ptr %tried, ptr %{other}"
    start, now = groups.format(now="plan", other="other"), groups.format(now="then", other="now")
    return [
        *first.function("first", lanes),
        *second.function("second", lanes),
        "define void @main(ptr noalias %a, ptr noalias %memory) {",
        "start:",
        *memory.places(lanes),
        f"%held = alloca i64, i64 {side}, align 8",
        "%last = sub i64 %B, 1",
        f"%b = atomicrmw add ptr %next.at, i64 {side} monotonic",
        "%some = icmp slt i64 %b, %B",
        "br i1 %some, label %hold, label %return",
        *hold(lanes, "start", "begin"),
        "begin:",
        f"call void @take(ptr %a, i64 0, i64 {side}, ptr %held, {start})",
        "%rest = sub i64 %B, %b",
        "br label %own",
        "own:",  # the others hold nothing, which is negative
        "%o = phi i64 [ 0, %begin ], [ %o1, %own ]",
        "%o1 = add i64 %o, 1",
        "%held.o = getelementptr i64, ptr %held, i64 %o",
        "%holds = icmp slt i64 %o, %rest",
        "%is = load i64, ptr %held.o, align 8",
        "%owns = select i1 %holds, i64 %is, i64 -1",
        "store i64 %owns, ptr %held.o, align 8",
        f"%begun = icmp eq i64 %o1, {side}",
        "br i1 %begun, label %round, label %own",
        "round:",
        "%now = phi ptr [ %plan, %own ], [ %then, %ended ]",
        "%then = phi ptr [ %other, %own ], [ %now, %ended ]",
        "call void @first(i64 %T, ptr %fixed, ptr %carried, ptr %now, ptr %tried)",
        "call void @second(i64 %T, ptr %fixed, ptr %carried, ptr %now, ptr %tried, ptr %then)",
        "br label %lane",
        "lane:",
        "%k = phi i64 [ 0, %round ], [ %k1, %next ]",
        "%busy = phi i64 [ -1, %round ], [ %both, %next ]",  # negative as long as no lane holds an instance
        "%k1 = add i64 %k, 1",
        "%held.k = getelementptr i64, ptr %held, i64 %k",
        "%instance = load i64, ptr %held.k, align 8",
        f"%done.row = add i64 %k, {row}",
        f"%done.at = getelementptr {lanes.number}, ptr %carried, i64 %done.row",
        f"%done = load {lanes.number}, ptr %done.at, align 4",
        f"%finished = fcmp une {lanes.number} %done, 0.0",
        "%held.some = icmp sge i64 %instance, 0",
        "%ready = and i1 %finished, %held.some",
        "br i1 %ready, label %give, label %next",
        "give:",
        f"call void @give(ptr %a, i64 %k, i64 %k1, ptr %held, {now})",
        "%new = atomicrmw add ptr %next.at, i64 1 monotonic",
        "%left = icmp slt i64 %new, %B",
        "%taken = select i1 %left, i64 %new, i64 -1",
        "store i64 %taken, ptr %held.k, align 8",
        "br i1 %left, label %take, label %next",
        "take:",
        f"call void @take(ptr %a, i64 %k, i64 %k1, ptr %held, {now})",
        "br label %next",
        "next:",
        "%holding = phi i64 [ %instance, %lane ], [ -1, %give ], [ %new, %take ]",
        "%both = and i64 %busy, %holding",
        f"%through = icmp eq i64 %k1, {side}",
        "br i1 %through, label %ended, label %lane",
        "ended:",
        "%empty = icmp slt i64 %both, 0",
        "br i1 %empty, label %return, label %round",
        "return: ret void",
        "}",
        "declare i64 @llvm.smin.i64(i64, i64)",
    ]
