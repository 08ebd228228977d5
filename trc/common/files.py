"""Reading and writing whole files: beside their place and renamed, so that nothing is ever half written."""

import contextlib
import hashlib
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError

#: What numpy, zipfile, json and safetensors raise for a file that is damaged or of another kind.
DAMAGED = (ValueError, LookupError, TypeError, AttributeError, EOFError, OSError, RuntimeError)
DAMAGED += (zipfile.BadZipFile, zlib.error, SafetensorError)


def make_folder_of(path: str | Path) -> None:
    """Make the folder that a file is to stand in; an ``OSError`` with the reason if it can't be made or written."""
    folder, task = Path(path).parent, f"make the folder of {path}"
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

    An ``OSError`` (a folder that can't be made or written, a full disk) leaves what stood at `path` before untouched.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise OSError(f"can't write {path}: something that is no file stands there.")
    make_folder_of(path)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        os.chmod(name, 0o644)  # mkstemp makes private files
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
    return Path(path)


def require_file(path: str | Path, what: str, remedy: str) -> Path:
    """`path` if it is a file; otherwise ``FileNotFoundError`` that says what was expected and how to get it."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no {what} at {path}; {remedy}.")
    return path


@contextlib.contextmanager
def readable(path: str | Path, what: str, remedy: str) -> Iterator[None]:
    """What goes wrong within is a file that is not `what` it should be, or a damaged one; `remedy` says what to do."""
    try:
        yield
    except DAMAGED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is not a readable {what} ({reason}); {remedy}.") from None


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
