"""What there is of a kind, by name: each thing is registered where it is written, inside the library or outside it."""

from collections.abc import Callable
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

        def decorate(thing: T) -> T:
            self.add(name, thing)
            return thing

        return decorate

    def add(self, name: str, thing: T, written: object = None) -> None:
        """Add a thing; the same one may be added again, as when a notebook's cell is run twice.

        Parameters
        ----------
        name : str
        thing : object
        written : function or class, optional
            What the thing was made of, where it is neither itself.

        Raises
        ------
        ValueError
            If the name is taken by another.
        """
        source = thing if written is None else written
        place = source.__module__, source.__qualname__
        if name in self and self._places[name] != place:
            article = "an" if self.kind[0] in "aeiou" else "a"
            raise ValueError(
                f"there is {article} {self.kind} {name!r} already ({self._places[name][0]}); choose another name."
            )
        self[name], self._places[name] = thing, place

    def find(self, name: str) -> T:
        """The thing of a name; a ``ValueError`` that lists the known ones otherwise."""
        check_choice(name, self.kind, self)
        return self[name]
