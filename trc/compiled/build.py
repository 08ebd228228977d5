"""LLVM's code into code of this processor, once: it is kept in a folder of the user's, named by what it computes.

What is kept is code that will be run, so the folder has to belong to the user and to be closed to others; where it
isn't, nothing is kept. A digest guards against damage, not against someone who can write as the user.
"""

import ctypes
import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numpy as np
import platformdirs
import torch

from ..common.files import writing
from .scan import Scan, code, count, lanes

#: The environment variable that names another folder.
FOLDER = "TRC_CACHE_DIR"

#: How hard LLVM tries; what would change the order of sums is not among it.
LEVEL = 2


def folder() -> Path | None:
    """Where compiled code is kept; None where it can't be, and each process compiles for itself."""
    path = Path(os.environ.get(FOLDER) or platformdirs.user_cache_path("trc"))
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
    except OSError:
        return None
    mine = not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & 0o077)
    return path if mine else None


def _machine() -> llvm.TargetMachine:
    """This processor; each engine has one of its own."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=features, opt=LEVEL, jit=True)


def _translate(text: str) -> bytes:
    module = llvm.parse_assembly(text)
    module.verify()
    machine = _machine()
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=LEVEL))
    builder.getModulePassManager().run(module, builder)
    return machine.emit_object(module)


def _translated(text: str) -> bytes:
    """The code of this processor, as it was kept or anew."""
    made_for = (llvmlite.__version__, llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten(), str(LEVEL))
    place, name = folder(), hashlib.sha256("\n".join((*made_for, text)).encode()).hexdigest()[:32]
    path = place and place / f"{name}.o"
    try:
        digest, found = (whole := path.read_bytes())[:32], whole[32:]
        if hashlib.sha256(found).digest() == digest:
            return found
    except (OSError, AttributeError):
        pass
    found = _translate(text)
    try:
        if path is not None:
            with writing(path) as file:
                file.write(hashlib.sha256(found).digest() + found)
    except OSError:  # a full disk, a folder that can't be written: it is compiled again next time
        pass
    return found


class Compiled:
    """A scan for instances of a type: called with numbers of steps and blocks and arrays, or by its `address`."""

    def __init__(self, scan: Scan, dtype: torch.dtype) -> None:
        self.scan, self.dtype, self.lanes = scan, dtype, lanes(dtype)
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(_translated(code(scan, dtype))))
        self._engine.finalize_object()
        self.address = self._engine.get_function_address("scan")
        pointers = [ctypes.c_void_p] * (3 + len(scan.streams))
        self._call = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, *pointers)(self.address)

    def prepare(self, T: int, blocks: int, *arrays: np.ndarray) -> Callable[[], None]:
        """A call on these arrays, to be made as often as one likes while they live."""
        return functools.partial(self._call, T, blocks, *(array.ctypes.data for array in arrays))

    def __call__(self, T: int, blocks: int, *arrays: np.ndarray) -> None:
        self.prepare(T, blocks, *arrays)()


def run(
    compiled: Compiled, fixed: torch.Tensor, carried: torch.Tensor, *streams: torch.Tensor, steps: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run a scan on a batch; what is carried in the end ``[B, ·]`` and what went out ``[T, B, ·]``.

    Parameters
    ----------
    fixed, carried : Tensor ``[B, ·]``
    streams : Tensor ``[T, B, ·]``
    steps : int, optional
        T, where there is no stream.
    """
    (B, inside), T = carried.shape, len(streams[0]) if streams else steps
    blocks = -(-B // compiled.lanes)
    outside = count(compiled.scan.outputs)

    def block(tensor: torch.Tensor) -> torch.Tensor:
        """Instances ``[..., B, k]`` as lanes ``[blocks, ..., k, lanes]``; the last instance fills up the last block."""
        missing = blocks * compiled.lanes - B
        if missing:
            tensor = torch.cat((tensor, tensor[..., -1:, :].expand(*tensor.shape[:-2], missing, -1)), -2)
        tensor = tensor.unflatten(-2, (blocks, compiled.lanes))
        return tensor.movedim(-3, 0).mT.contiguous()

    state, out = block(carried), carried.new_empty(blocks, T, outside, compiled.lanes)
    compiled(T, blocks, *(one.numpy() for one in (block(fixed), state, *map(block, streams), out)))
    return (
        state.mT.flatten(0, 1)[:B],
        out.movedim(0, 1).mT.flatten(1, 2)[:, :B],
    )
