"""Two scans in turn, as LLVM's code: each block goes on until its lanes are done."""

import torch

from .scan import FLOATS, Scan, count, function, lanes


def turns(first: Scan, second: Scan, done: str, dtype: torch.dtype) -> str:
    """A function ``main(T, blocks, fixed, carried, plan, tried, other, most)`` that lets two scans take turns.

    The first makes what is `tried` of the plan, the second another plan of both, which takes the plan's place. A block
    goes on until the row `done` of what is carried is not zero in any lane, or the turn `most[0]` (int64) has come.
    """
    row = f"<{lanes(dtype)} x {FLOATS[dtype]}>"
    width = {"fixed": count(first.fixed), "carried": count(first.carried)}
    height = {"plan": count(second.outputs), "tried": count(first.outputs), "other": count(second.outputs)}
    names = list(first.carried)
    before = count({name: first.carried[name] for name in names[: names.index(done)]})
    both = [*function(first, dtype, "first"), *function(second, dtype, "second")]
    declared = sorted({line for line in both if line.startswith("declare")})
    lines = [line.replace("define void", "define internal void") for line in both if not line.startswith("declare")]
    arrays = ", ".join(f"ptr noalias %{name}" for name in ("fixed", "carried", "plan", "tried", "other", "most"))
    lines += [f"define void @main(i64 %T, i64 %blocks, {arrays}) {{", "start:", "%last = load i64, ptr %most, align 8"]
    lines += ["br label %block", "block:", "%b = phi i64 [ 0, %start ], [ %next, %after ]", "%time = mul i64 %b, %T"]
    for name, rows in (width | height).items():
        lines.append(f"%{name}.row = mul i64 {'%b' if name in width else '%time'}, {rows}")
        lines.append(f"%{name}.at = getelementptr {row}, ptr %{name}, i64 %{name}.row")
    return "\n".join(
        [
            *lines,
            "br label %round",
            "round:",
            "%r = phi i64 [ 0, %block ], [ %r1, %round ]",
            "%now = phi ptr [ %plan.at, %block ], [ %then, %round ]",
            "%then = phi ptr [ %other.at, %block ], [ %now, %round ]",
            "call void @first(i64 %T, i64 1, ptr %fixed.at, ptr %carried.at, ptr %now, ptr %tried.at)",
            "call void @second(i64 %T, i64 1, ptr %fixed.at, ptr %carried.at, ptr %now, ptr %tried.at, ptr %then)",
            "%r1 = add i64 %r, 1",
            f"%done.at = getelementptr {row}, ptr %carried.at, i64 {before}",
            f"%done = load {row}, ptr %done.at, align 4",
            f"%going = fcmp oeq {row} %done, zeroinitializer",
            f"%bits = bitcast <{lanes(dtype)} x i1> %going to i{lanes(dtype)}",
            f"%some = icmp ne i{lanes(dtype)} %bits, 0",
            "%early = icmp slt i64 %r1, %last",
            "%more = and i1 %some, %early",
            "br i1 %more, label %round, label %ended",
            "ended:",
            "%moved = icmp ne ptr %then, %plan.at",
            "br i1 %moved, label %move, label %after",
            "move:",
            f"%bytes = mul i64 %T, {height['plan'] * lanes(dtype) * dtype.itemsize}",
            "call void @llvm.memcpy.p0.p0.i64(ptr %plan.at, ptr %then, i64 %bytes, i1 false)",
            "br label %after",
            "after:",
            "%next = add i64 %b, 1",
            "%again = icmp slt i64 %next, %blocks",
            "br i1 %again, label %block, label %return",
            "return: ret void",
            "}",
            *declared,
            "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)",
        ]
    )
