"""Reading and writing whole files: beside their place and renamed, so that nothing is ever half written."""

import contextlib
import hashlib
import os
import secrets
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError

#: What numpy, zipfile, json and safetensors raise for a file that is damaged or of another kind.
DAMAGED = (ValueError, LookupError, TypeError, AttributeError, EOFError, OSError, RuntimeError)
DAMAGED += (zipfile.BadZipFile, zlib.error, SafetensorError, MemoryError, OverflowError)


def as_path(path: str | os.PathLike[str]) -> Path:
    """A path as a user writes it, where ``~`` is the home; a ``ValueError`` if it is none."""
    try:
        return Path(path).expanduser()
    except (TypeError, RuntimeError):  # no path, or one into the home of nobody
        raise ValueError(f"a path must be text or a pathlib.Path that leads somewhere, got {path!r:.60}.") from None


def make_folder_of(path: str | Path) -> None:
    """Make the folder that a file is to stand in; an ``OSError`` with the reason if it can't be made or written."""
    folder, task = as_path(path).parent, f"make the folder of {path}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        task = f"write {path}"
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"can't {task}: {error.strerror}.") from None


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears at `path` complete, or not at all.

    A new file gets the rights that the umask says, one that is replaced keeps its own; a link stays one, and what
    it leads to is written. An ``OSError`` (a folder that can't be made or written, a full disk) leaves what stood at
    `path` before untouched.
    """
    path = Path(os.path.realpath(as_path(path)))
    if path.exists() and not path.is_file():
        raise OSError(f"can't write {path}: something that is no file stands there.")
    make_folder_of(path)
    name = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with open(name, "xb") as file:
            yield file
        if path.exists():
            shutil.copymode(path, name)
        os.replace(name, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        if isinstance(error, OSError) and error.strerror and error.filename is None:  # such as a full disk
            raise OSError(f"can't write {path}: {error.strerror}.") from None
        raise


def write_text(path: str | Path, text: str) -> Path:
    """Write `text` as UTF-8, whole or not at all."""
    with writing(path) as file:
        file.write(text.encode())
    return as_path(path)


def require_file(path: str | Path, what: str, remedy: str) -> Path:
    """`path` if it is a file; otherwise ``FileNotFoundError`` that says what was expected and how to get it."""
    path = as_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no {what} at {path}; {remedy}.")
    return path


@contextlib.contextmanager
def readable(path: str | Path, what: str, remedy: str) -> Iterator[None]:
    """What goes wrong within is a file that is not `what` it should be, or a damaged one; `remedy` says what to do."""
    try:
        yield
    except DAMAGED as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        reason = " ".join(reason.split()) or type(error).__name__
        raise ValueError(f"{path} is not a readable {what} ({reason}); {remedy}.") from None


def lock_folder(path: Path) -> Callable[[], None]:
    """Hold a folder for this process alone, and give what lets go of it; ``BlockingIOError`` if another one holds it.

    The system lets go with the end of the process, however that ends. Where it has no such locks nothing is held.
    """
    try:
        import fcntl  # Windows has none
    except ImportError:
        return lambda: None
    held = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        raise
    except OSError:
        pass  # a file system without locks
    return lambda: os.close(held)


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
