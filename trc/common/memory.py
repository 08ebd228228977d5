"""What is asked for and could never fit is refused with the memory that it would need, before anything is begun."""

import os
from pathlib import Path

import torch

from .modes import is_watched

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")


def _machine() -> int | None:
    """Bytes of memory of this machine, or of the container that the process runs in."""
    sizes = []
    try:
        sizes.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):  # a system that does not tell
        return None
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            sizes.append(int(Path(limit).read_text("ascii")))
        except (OSError, ValueError):  # none is set
            continue
    return min(sizes) if min(sizes) > 0 else None


#: Bytes; None where the system does not tell.
MACHINE = _machine()


def check_memory(needed: int, what: str, remedy: str, device: str | torch.device = "cpu") -> None:
    """Raise ``ValueError`` if `what` needs more bytes than the machine has; `needed` is the least that it takes.

    So nothing that fits is refused. Other devices than the CPU tell by themselves.
    """
    if MACHINE is None or is_watched() or needed <= MACHINE or torch.device(device).type != "cpu":
        return
    needs = f"{what} would need about {amount(needed)} of memory"
    raise ValueError(f"{needs}; this machine has {amount(MACHINE)}, so {remedy}.")


def amount(size: int) -> str:
    """Bytes as one reads them: ``7.3 TB``."""
    power = min((len(str(size)) - 1) // 3, len(_UNITS) - 1)
    value = size / 1000**power
    return f"{value:,.{1 if value < 10 and power else 0}f} {_UNITS[power]}"
