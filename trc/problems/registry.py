"""The problems by name: each file of this folder registers its own, and so may any other."""

import re
from typing import Any, TypeVar

from ..common.registry import Registry
from .base import Problem

P = TypeVar("P", bound=type[Problem])

PROBLEMS: Registry[type[Problem]] = Registry("problem")


def register(problem: P) -> P:
    """Make a problem known by its name; a decorator of its class, above ``@dataclass``.

    From then on :func:`trc.make_problem` makes it, files of data and models that name it can be read, and the ``trc``
    command takes it. A ``ValueError`` if its name, or another spelling of it, is taken.
    """
    name = getattr(problem, "name", None)
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(
            f'{problem.__name__} needs a name like "cart_pole": a default of the field name, got {name!r}.'
        )
    names = {_spellings().get(_plain(spelling), name) for spelling in (name, *problem.aliases)}
    for one in sorted(names, key=lambda one: one == name):  # what is another's is refused before anything is added
        PROBLEMS.add(one, problem)
    if not vars(problem).get("title"):
        problem.title = name.replace("_", " ").capitalize()
    return problem


def problem_name(name: str) -> str:
    """The name as ``trc.PROBLEMS`` has it, from any case, hyphens or alias; a ``ValueError`` where there is none."""
    found = _spellings().get(_plain(str(name)), name)
    PROBLEMS.find(found)
    return found


def make_problem(name: str, **overrides: Any) -> Problem:
    """Make a problem by its name in ``trc.PROBLEMS``, some of its settings changed.

    An override is a field of :class:`~trc.Problem` (``horizon``, ``dt``, …), a cost weight (``Q``, ``R``, ``Q_final``)
    or a physical parameter of the problem (``mu``, …). A ``ValueError`` names what is unknown or not valid.

    Examples
    --------
    >>> import trc
    >>> trc.make_problem("van_der_pol", mu=2.0, horizon=50).duration
    2.5
    """
    return PROBLEMS[problem_name(name)]().replace(**overrides)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _spellings() -> dict[str, str]:
    return {_plain(one): name for name, made in PROBLEMS.items() for one in (name, *made.aliases)}
