"""``trc generate``: datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..datasets import EXPERTS, TRAINING_SEED, Dataset, generate_dataset, load_dataset
from ..files import make_folder_of
from ..problems import Problem
from .options import FILE, FOLDER, jobs_option, problem_of, problem_options

#: Name of a dataset in its folder.
DATASET = "lqr_dataset.npz"


@click.command()
@problem_options
@click.option("--num-samples", type=int, default=10_000, show_default=True, help="How many instances.")
@click.option("--expert", type=click.Choice(list(EXPERTS)), default="lqr", show_default=True, help="Who solves them.")
@click.option(
    "--seed", type=int, default=TRAINING_SEED, show_default=True, help="Same seed, same bytes; 123 is the test set's."
)
@click.option("--scale", type=float, default=1.0, show_default=True, help="Widens the box of initial states.")
@click.option("--output-dir", type=FOLDER, help=f"Folder of the dataset, which is called {DATASET} there.")
@click.option("--output", type=FILE, help="File of the dataset (.npz), in place of a folder.")
@jobs_option
def generate(
    problem: str,
    settings: tuple[tuple[str, Any], ...],
    num_steps: int | None,
    time_horizon: float | None,
    num_samples: int,
    expert: str,
    seed: int,
    scale: float,
    output_dir: Path | None,
    output: Path | None,
    jobs: int,
) -> None:
    """Sample instances of a problem and solve each with an expert.

    The experts are saturated LQR (lqr), which is optimal for the double integrator alone, iterative LQR with bounds
    (ilqr), which is optimal for both problems but for local minima, and the best of several of its starts (optimum).
    """
    if output is not None and output_dir is not None:
        raise click.UsageError("give --output-dir or --output, not both.")
    path = output or (output_dir or Path("data") / problem) / DATASET
    made = problem_of(problem, dict(settings), num_steps, time_horizon)
    find_or_generate(made, path, num_samples=num_samples, seed=seed, expert=expert, scale=scale, jobs=jobs)


def find_or_generate(
    problem: Problem, path: Path, *, num_samples: int, seed: int, expert: str, scale: float = 1.0, jobs: int = 1
) -> Dataset:
    """The dataset at `path`, made if it is not there yet.

    Raises
    ------
    ValueError
        If another dataset is there.
    """
    wanted = {
        "problem": problem.recipe(),
        "expert": expert,
        "seed": seed,
        "num_samples": num_samples,
        "scale": scale,
    }
    if path.suffix != ".npz":
        raise ValueError(f"a dataset is a .npz file, got {path}.")
    if path.exists():
        data = load_dataset(path)
        differing = [
            f"{name} ({data.recipe.get(name)} there, {value} here)" if name != "problem" else "its problem"
            for name, value in wanted.items()
            if data.recipe.get(name) != value
        ]
        if differing:
            raise ValueError(f"{path} holds other data: {'; '.join(differing)}; choose another place, or remove it.")
        click.echo(f"found {len(data):,} instances of {problem.name} in {path}")
        return data
    make_folder_of(path)
    data = generate_dataset(
        problem, num_samples, seed=seed, expert=expert, scale=scale, jobs=jobs, progress=num_samples > 1024
    )
    data.save(path)
    click.echo(
        f"{len(data):,} instances of {problem.name}, solved by {expert}, mean cost {data.costs.mean():.4g}: {path}"
    )
    return data
