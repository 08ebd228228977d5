"""Paths of pickles, the files that PyTorch and other programs write: they are neither read nor written here."""

from pathlib import Path

from .files import as_path

#: Ends of their names. What is in such a file can run as a program when it is loaded.
SUFFIXES = (".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def refuse_pickle(path: str | Path, what: str, suffix: str, remedy: str = "") -> None:
    """Raise ``ValueError`` for the path of a pickle, before anything looks for the file.

    The message says `what` has which `suffix`, as in ``"a dataset is a"``, and names the path with that suffix: it may
    be there already, or takes the place of ``{instead}`` in the `remedy`. Without a remedy the file is to be written.
    """
    path = as_path(path)
    if path.suffix.lower() not in SUFFIXES:
        return
    instead = path.with_suffix(suffix)
    cure = remedy.format(instead=instead) or f"name it {instead}"
    if remedy and instead.is_file():
        cure = f"give {instead}, which is there"
    raise ValueError(f"{what} {suffix} file, got {path}, and no pickle is ever read or written; {cure}.")
