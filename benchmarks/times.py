"""Time the targets of the Makefile as a newcomer meets them: a fresh clone, then again.

    python benchmarks/times.py [--write]

With --write the times go to results/targets/, which the book's page on reproduction shows.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from trc.artifact.results import Record
from trc.common.provenance import project_root

ROOT = Path(__file__).resolve().parent.parent

#: Command, what is the case when it is given, and what is removed before.
STEPS = (
    ("make book", "fresh clone, installation included", ()),
    ("make book", "nothing changed", ()),
    ("make book", "everything built anew", ("_build",)),
    ("make figures", "nothing changed", ()),
    ("make figures ONLY=fig1", "one figure", ()),
    ("make verify", "", ()),
    ("make experiments PRESET=smoke", "", ("_build/models", "_build/smoke", "_build/pipeline")),
    ("make test", "", ()),
)


def main() -> None:
    """Clone, run, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="write results/targets/")
    options = parser.parse_args()
    record = Record(project_root(ROOT) / "results" / "targets")
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch) / "clone"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        for command, case, removed in STEPS:
            for name in removed:
                shutil.rmtree(clone / name, ignore_errors=True)
            begin = time.perf_counter()
            done = subprocess.run(command.split(), cwd=clone, env=environment, capture_output=True, text=True)
            seconds = time.perf_counter() - begin
            if done.returncode:
                sys.exit(f"{command} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
            print(f"{seconds:7.1f} s  {command}  {case}", flush=True)
            record.time(command=command, case=case, seconds=round(seconds, 1))
    if options.write:
        record.write({}, parameters={"preset": "paper", "cores": os.cpu_count()})


if __name__ == "__main__":
    main()
