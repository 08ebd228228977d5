"""``trc generate``: datasets."""

from pathlib import Path
from typing import Any

import click

from ..common.files import make_folder_of
from ..datasets import CHUNK, TRAINING_SEED, Dataset, generate_dataset, load_dataset
from ..experts import EXPERTS
from ..problems import Problem, make_problem
from .options import FOLDER, OneOf, Output, Setting, jobs_option, problem_option

#: Name of a dataset in its folder.
DATASET = "lqr_dataset.npz"


@click.command()
@problem_option
@click.option("--set", "settings", type=Setting(), multiple=True, help="A setting of it, for example --set mu=2.")
@click.option("--num-steps", type=int, help="Number of control steps T.")
@click.option("--time-horizon", type=float, help="Length of the horizon in seconds.")
@click.option("--num-samples", default=10_000, help="How many instances.")
@click.option("--expert", type=OneOf(EXPERTS), default="lqr", help="Who solves them.")
@click.option("--seed", default=TRAINING_SEED, help="Same seed, same bytes; 123 is the test set's.")
@click.option("--scale", default=1.0, help="Widens the box of initial states.")
@click.option("--output-dir", type=FOLDER, help=f"Folder of the dataset, which is called {DATASET} there.")
@click.option("--output", type=Output("a dataset is a", ".npz"), help="File of the dataset, in place of a folder.")
@jobs_option
def generate(
    problem: str,
    settings: tuple[tuple[str, Any], ...],
    num_steps: int | None,
    time_horizon: float | None,
    output_dir: Path | None,
    output: Path | None,
    **choices: Any,
) -> None:
    """Sample instances of a problem and solve each with an expert.

    Saturated LQR (lqr) is the quickest expert, and optimal for the double integrator. Iterative LQR with bounds (ilqr)
    is optimal for other problems too, but for local minima; the best of several of its starts (optimum) has fewer.
    """
    if output is not None and output_dir is not None:
        raise click.UsageError("give --output-dir or --output, not both.")
    if wrong := sorted({"name", "self"} & {name for name, _ in settings}):
        raise ValueError(f"problem {problem!r} has no setting {wrong[0]!r}.")
    length = {} if num_steps is None else {"horizon": num_steps}
    made = make_problem(problem, **dict(settings) | length)
    if time_horizon is not None:
        made = made.replace(dt=time_horizon / made.horizon)
    find_or_generate(made, output or (output_dir or Path("data") / problem) / DATASET, **choices)
    if choices["expert"] == "lqr" and made.teacher != "lqr":
        click.echo(f"saturated LQR need not be optimal on this problem; its own teacher is --expert {made.teacher}")


def find_or_generate(
    problem: Problem, path: Path, *, num_samples: int, seed: int, expert: str, scale: float = 1.0, jobs: int = 1
) -> Dataset:
    """The dataset at `path`, made if it is not there yet; another dataset there is a ``ValueError``."""
    wanted = {"problem": problem.to_dict(), "expert": expert, "seed": seed, "num_samples": num_samples, "scale": scale}
    if path.exists():
        data = load_dataset(path)
        differing = [
            f"{name} ({data.origin.get(name)} there, {value} here)" if name != "problem" else "its problem"
            for name, value in wanted.items()
            if data.origin.get(name) != value
        ]
        if differing:
            raise ValueError(f"{path} holds other data: {'; '.join(differing)}; choose another place, or remove it.")
        click.echo(f"found {len(data):,} instances of {problem.name} in {path}")
        return data
    make_folder_of(path)
    many = num_samples > CHUNK
    data = generate_dataset(problem, num_samples, seed=seed, expert=expert, scale=scale, jobs=jobs, progress=many)
    data.save(path)
    solved = f"{len(data):,} instances of {problem.name}, solved by {expert}"
    click.echo(f"{solved}, mean cost {data.costs.mean():.4g}: {path}")
    return data
