"""What the commands share: how options are spelled, which kinds of values there are, and how errors are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..checks import check_choice
from ..problems import PROBLEMS, Problem, make_problem

#: Other spellings of problems.
ALIASES = {"vanderpol": "van_der_pol", "vdp": "van_der_pol", "doubleintegrator": "double_integrator"}

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


class ProblemName(click.ParamType):
    """The name of a problem; hyphens and a few other spellings are understood."""

    name = "problem"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name as ``trc.PROBLEMS`` has it."""
        name = str(value).lower().replace("-", "_")
        name = ALIASES.get(name.replace("_", ""), name)
        check_choice(name, "problem", PROBLEMS)
        return name


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
        except json.JSONDecodeError:
            self.fail(f"{text!r} is no number or list, for example mu=2 or control_high=[1].", param, ctx)


def options(*decorators: Callable) -> Callable:
    """Several options as one decorator, shown in this order."""

    def decorate(function: Callable) -> Callable:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def problem_of(name: str, settings: dict[str, Any], num_steps: int | None, time_horizon: float | None) -> Problem:
    """The problem as the options describe it; a time horizon in seconds sets the length of a step."""
    if wrong := sorted({"name", "self"} & set(settings)):
        raise ValueError(f"problem {name!r} has no setting {wrong[0]!r}.")
    if num_steps is not None:
        settings = settings | {"horizon": num_steps}
    problem = make_problem(name, **settings)
    return problem if time_horizon is None else problem.replace(dt=time_horizon / problem.horizon)


jobs_option = click.option(
    "--jobs", type=int, default=2, show_default=True, help="Threads or processes; the numbers don't depend on it."
)
problem_options = options(
    click.option(
        "--problem", type=ProblemName(), default="double_integrator", show_default=True, help="Which problem."
    ),
    click.option(
        "--set", "settings", type=Setting(), multiple=True, help="A setting of the problem, for example --set mu=2."
    ),
    click.option("--num-steps", type=int, help="Number of control steps T."),
    click.option("--time-horizon", type=float, help="Length of the horizon in seconds."),
)
