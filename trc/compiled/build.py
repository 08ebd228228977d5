"""LLVM's code into code of this processor, once: it is kept in a folder of the user's, named by what it computes.

What is kept is code that will be run, so the folder has to belong to the user and to be closed to others; where it
isn't, nothing is kept. A digest guards against damage, not against someone who can write as the user.
"""

import contextlib
import ctypes
import hashlib
import os
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm
import platformdirs

from ..common.files import writing

#: The environment variable that names another folder.
FOLDER = "TRC_CACHE_DIR"

#: How hard LLVM tries; what would change the order of sums is not among it.
LEVEL = 2


def folder() -> Path | None:
    """Where compiled code is kept; None where it can't be, and each process compiles for itself."""
    try:
        path = Path(os.environ.get(FOLDER) or platformdirs.user_cache_path("trc")).expanduser()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
    except (OSError, RuntimeError):
        return None
    mine = not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & 0o077)
    return path if mine else None


def _machine() -> llvm.TargetMachine:
    """LLVM's idea of the processor here; each engine has one of its own."""
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
    if place is None:
        return _translate(text)
    path = place / f"{name}.o"
    with contextlib.suppress(OSError):
        whole = path.read_bytes()
        if hashlib.sha256(whole[32:]).digest() == whole[:32]:
            return whole[32:]
    found = _translate(text)
    # a full disk, a folder that can't be written: it is compiled again next time
    with contextlib.suppress(OSError), writing(path) as file:
        file.write(hashlib.sha256(found).digest() + found)
    return found


class Compiled:
    """The function ``main(a, memory)`` of some code of LLVM's, to be called; other threads may go on meanwhile."""

    def __init__(self, text: str) -> None:
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())  # what it compiles lives in it
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(_translated(text)))
        self._engine.finalize_object()
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
        self._call = kind(self._engine.get_function_address("main"))

    def __call__(self, a: int, memory: int) -> None:
        """Run it, with the places of its numbers and its memory."""
        self._call(a, memory)
