"""Kill `make` at random moments and start it again: what it ends with must be what an undisturbed run ends with.

    python tests/support/interruptions.py experiments        # or book; --kills 10 --seed 0

Two clones of the committed tree share this project's .venv. One runs undisturbed; the other is killed, in turn with
SIGINT and SIGKILL, at moments drawn from the time that the first one took, and then left to finish.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGETS = {"experiments": "_build/smoke", "book": "_build/html"}


def clone(folder: Path) -> Path:
    """A clone of the committed tree that uses this project's packages."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    for name in ("pyproject.toml", "constraints.txt"):  # older than the stamp of the installation
        os.utime(folder / name, (0, 0))
    return folder


def start(target: str, folder: Path) -> subprocess.Popen:
    """`make` in a process group of its own; the clone's sources come before the installed ones."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.Popen(["make", target], cwd=folder, env=environment, **quiet, start_new_session=True)


def finish(target: str, folder: Path) -> float:
    """Seconds that an undisturbed `make` takes; stops with its message if it fails."""
    begin = time.perf_counter()
    process = start(target, folder)
    _, message = process.communicate()
    if process.returncode:
        sys.exit(f"make {target} failed in {folder}:\n{message.decode()[-3000:]}")
    return time.perf_counter() - begin


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but for times: what differs from run to run is left out of manifests."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "timings.csv"):
        data = path.read_bytes()
        if path.name == "manifest.json":
            data = json.dumps(json.loads(data) | {"run": None}).encode()
        found[str(path.relative_to(folder))] = data
    return found


def main() -> None:
    """Measure, kill, finish, compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which what a shell runs in the background has not
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        calm, disturbed = (clone(Path(scratch) / name) for name in ("calm", "disturbed"))
        seconds = finish(options.target, calm)
        print(f"undisturbed: {seconds:.0f} s", flush=True)
        kills = 0
        while kills < options.kills:
            moment, how = chance.uniform(0, seconds), (signal.SIGINT, signal.SIGKILL)[kills % 2]
            process = start(options.target, disturbed)
            try:
                _, message = process.communicate(timeout=moment)
                if process.returncode:
                    sys.exit(f"make {options.target} failed after an interruption:\n{message.decode()[-3000:]}")
                shutil.rmtree(disturbed / "_build")  # it was done before that moment: begin anew
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, how)
                process.communicate()
                kills += 1
                print(f"{kills}: {how.name} after {moment:.1f} s", flush=True)
                time.sleep(3)  # kernels notice that their parent is gone
        print(f"finished in {finish(options.target, disturbed):.0f} s", flush=True)
        expected, found = (contents(folder / TARGETS[options.target]) for folder in (calm, disturbed))
        different = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        left = [str(p) for p in disturbed.rglob("*.tmp") if ".git" not in p.parts]
        status = subprocess.run(["git", "status", "--porcelain"], cwd=disturbed, capture_output=True, text=True).stdout
        changed = [line for line in status.splitlines() if line != "?? .venv"]
    print(f"{len(expected)} files, different: {different or 'none'}; half-written: {left or 'none'}")
    print(f"tree: {changed or 'clean'}")
    sys.exit(bool(different or changed or left))


if __name__ == "__main__":
    main()
