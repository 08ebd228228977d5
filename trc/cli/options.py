"""What the commands share: kinds of values, options that several have, and what is imported before they run."""

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from ..common.checks import shown
from ..common.pickles import refuse_pickle
from ..problems import PROBLEMS, problem_name

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


class Output(click.Path):
    """A file to write, of one kind alone, so that a model or data given by mistake are not overwritten."""

    def __init__(self, what: str, suffix: str) -> None:
        super().__init__(dir_okay=False, path_type=Path)
        self.what, self.suffix = what, suffix

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path."""
        path = super().convert(value, param, ctx)
        try:
            refuse_pickle(path, self.what, self.suffix)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if path.suffix != self.suffix:
            self.fail(f"{self.what} {self.suffix} file, got {path}.", param, ctx)
        return path


class OneOf(click.Choice):
    """One of the names in a registry, say, as it is when the command runs: what was imported before is known."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names, self.case_sensitive = names, True

    @property
    def choices(self) -> tuple[str, ...]:
        """The names that there are now."""
        return tuple(self.names)


class ProblemName(OneOf):
    """The name of a problem; hyphens and its other spellings are understood."""

    def __init__(self) -> None:
        super().__init__(PROBLEMS)

    def normalize_choice(self, choice: object, ctx: click.Context | None) -> str:
        """The name as ``trc.PROBLEMS`` has it."""
        return problem_name(str(choice))


class Setting(click.ParamType):
    """``name=value``, the value as JSON."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """Name and value."""
        name, equals, text = str(value).partition("=")
        if not name or not equals:
            self.fail(f"{value!r} is no name=value, for example mu=2.", param, ctx)
        try:
            return name.replace("-", "_"), json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            self.fail(f"{shown(text)} is no number or list, for example mu=2 or control_high=[1].", param, ctx)


def options(*decorators: Callable) -> Callable:
    """Several options as one decorator, shown in this order."""

    def decorate(function: Callable) -> Callable:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def field_option(
    config: type, choices: Mapping[str, Iterable[str]], field: str, help: str, *names: str, **otherwise: Any
) -> Callable:
    """The option for a field of a configuration, with its type, default and choices unless it is said otherwise."""
    found = config.__dataclass_fields__[field]
    kind = OneOf(choices[field]) if field in choices else found.type
    settings = {"type": kind, "default": found.default, "is_flag": kind is bool, "help": help}
    return click.option(*(names or ["--" + field.replace("_", "-")]), field, **settings | otherwise)


problem_option = click.option("--problem", type=ProblemName(), default="double_integrator", help="Which problem.")
jobs_option = click.option("--jobs", default=2, help="Processes that solve instances; the numbers don't depend on it.")


def import_first(name: str) -> None:
    """Import a file or module of the user's: what it registers is known from then on.

    Its folder is put at the end of the module path, so that worker processes, which get the same path, find it too.
    If it can't be imported, or its name is another module's, it is a ``ValueError``.
    """
    path = Path(name)
    from_file = path.suffix == ".py"
    module, folder = (path.stem, path.parent) if from_file else (name, Path())
    if from_file and not path.is_file():
        raise ValueError(f"can't import {name}: there is no such file.")
    if str(folder.resolve()) not in sys.path:
        sys.path.append(str(folder.resolve()))
    try:
        found = importlib.util.find_spec(module)
        if from_file and found is not None and Path(found.origin or "").resolve() != path.resolve():
            raise ImportError(f"there is another module {module!r}; give the file another name")
        importlib.import_module(module)
    except Exception as error:  # whatever a file of the user's may raise
        raise ValueError(f"can't import {name} ({type(error).__name__}: {str(error).rstrip('.')}).") from None
