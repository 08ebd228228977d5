"""Takes out the old claims of the comparison and puts the new ones in."""
import re
P = "/work/main/book/claims.yml"
s = open(P).read()
head, rest = s.split("claims:\n", 1)
body, tail = rest.split("\ncheckpoints:\n", 1)
blocks = [b.strip("\n") for b in re.split(r"\n(?=- id: )", "\n" + body) if b.strip()]
drop = {"di-gap","vdp-gap","vdp-beats-lqr","misses-more","feedback-vdp","feedback-di","feedback-further-out","process-di","process-vdp","process-arrival","process-further-out","process-further-out-di","further-out-vdp","further-out-di","twice-the-range"}
pages = {"book/costate","book/test_time","book/outside","book/halting","book/counting"}
def idof(b): return re.match(r"- id: (\S+)", b).group(1)
def pageof(b): return re.search(r"page: (\S+)", b).group(1)
blocks = [b for b in blocks if idof(b) not in drop and pageof(b) not in pages]

def num(name, table, row, show, column=None, take=None):
    extra = (f", column: {column}" if column else "") + (f", take: {take}" if take else "")
    row = f'"{row}"' if "*" in row or "'" in row else row
    return f"    {name}: {{table: {table}, row: {row}{extra}, show: {show}}}"

def claim(id, page, text, numbers, holds, readme=False):
    lines = [f"- id: {id}", f"  page: book/{page}", f"  text: {chr(34) + text + chr(34) if chr(58) + chr(32) in text else text}", "  numbers:"]
    lines += [num(*n[:4], **(n[4] if len(n) > 4 else {})) for n in numbers]
    lines += [f"  holds: {holds}"] + (["  readme: true"] if readme else [])
    return "\n".join(lines)

from new_claims import claims
new = [claim(*c) for c in claims]
keep_first = [b for b in blocks if pageof(b) == "book/comparison"]
others = [b for b in blocks if pageof(b) != "book/comparison"]
comparison = [c for c in new if "page: book/comparison" in c] + keep_first
rest = [c for c in new if "page: book/comparison" not in c]
checks = []
for problem in ("double_integrator", "van_der_pol"):
    for told, tol in (("unrolled", "{gap: 0.00002, success: 0.002, terminal_error: 0.0001}"), ("error", "{gap: 0.000002, success: 0.002, terminal_error: 0.0001}"), ("costate", "{gap: 0.000002, success: 0.002, terminal_error: 0.0001}"), ("newton", "{gap: 0.0000001, success: 0.002, terminal_error: 0.0001}")):
        checks.append(f"- file: results/checkpoints/{problem}-{told}.safetensors\n  page: book/{'comparison' if told == 'unrolled' else 'costate'}\n  table: comparison/runs\n  row: {problem} test {told} 0\n" + ("" if told == "unrolled" else "  iterations: 10\n") + f"  tolerance: {tol}")
open(P, "w").write(head + "claims:\n\n" + "\n\n".join(comparison + rest + others) + "\n\ncheckpoints:\n\n" + "\n\n".join(checks) + "\n")
