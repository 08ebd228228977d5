"""What there is of a kind, by name: each thing is registered where it is written, inside the library or outside it."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from .checks import check_choice

T = TypeVar("T")


class Registry(dict[str, T]):
    """Things of one kind by name; `kind` is what messages call one of them, for example ``"expert"``."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self._places: dict[str, tuple[str, str]] = {}  # where each was written: its module and name there

    def register(self, name: str) -> Callable[[T], T]:
        """Add, as a decorator, a function or class under a name."""
        return partial(self.add, name)

    def add(self, name: str, thing: T, written: object = None) -> T:
        """Add a thing and return it; the same one may be added again, as when a notebook's cell is run twice.

        `written` is the function or class that it was made of, where it is neither itself. A name that another thing
        has is a ``ValueError``.
        """
        source = thing if written is None else written
        place = source.__module__, source.__qualname__
        if name in self and self._places[name] != place:
            article, module = "an" if self.kind[0] in "aeiou" else "a", self._places[name][0]
            raise ValueError(f"there is {article} {self.kind} {name!r} already ({module}); choose another name.")
        self[name], self._places[name] = thing, place
        return thing

    def find(self, name: str) -> T:
        """The thing of a name; a ``ValueError`` that lists the known ones otherwise."""
        check_choice(name, self.kind, self)
        return self[name]
