"""Where something came from: the project's folder, the commit of its sources, packages, processor."""

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

#: What tells this project's folder from any other, another book's among them.
MARK = "book/claims.yml"


def project_root(start: str | Path | None = None) -> Path:
    """The folder of the project: the nearest one upwards from `start` (the working folder) with ``book/claims.yml``.

    Without `start`, and outside any project, it is the clone that ``trc`` is installed from; ``FileNotFoundError`` if
    there is none.
    """
    here = Path(start or Path.cwd()).resolve()
    installed = [] if start else [Path(__file__).resolve().parents[2]]
    for folder in (here, *here.parents, *installed):
        if (folder / MARK).is_file():
            return folder
    raise FileNotFoundError(f"no project at or above {here} (no {MARK}); work inside a clone of the project.")


def package_versions(*names: str) -> dict[str, str]:
    """Versions of installed packages, without what a build adds after a plus."""
    return {name: version(name).partition("+")[0] for name in names}


def processor() -> str:
    """Name of the processor, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or sys.platform


def source_commit() -> tuple[str | None, bool | None]:
    """Commit of the project, and whether library or notebooks differ from it; None outside a git checkout of its own.

    Another repository may lie around the project's folder, when it was unpacked from an archive, or be named in the
    environment, when git itself runs this: neither says anything about these sources.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*arguments: str) -> bytes:
        how = {"cwd": project_root(), "env": environment, "capture_output": True, "check": True}
        return subprocess.run(["git", *arguments], **how).stdout.strip()

    try:
        if git("rev-parse", "--show-prefix") or not git("ls-files", "--", "trc"):
            return None, None
        return git("rev-parse", "HEAD").decode(), bool(git("status", "--porcelain", "--", "trc", "notebooks"))
    except (OSError, subprocess.CalledProcessError):
        return None, None
