"""``trc evaluate``, ``trc compare`` and ``trc refine``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pandas as pd
import torch

from ..checkpoints import load_model, read_training_record
from ..checks import check_count
from ..datasets import Dataset, evaluation_set, load_dataset
from ..evaluation import (
    aggregate,
    instance_metrics,
    iterate_metrics,
    measure_speed,
    propose,
    random_controls,
    refinement_metrics,
)
from ..evaluation import compare as compare_methods
from ..experts import lqr, optimum
from ..files import make_folder_of, write_text
from ..model import TinyRecursiveControl
from ..parallel import single_thread
from .options import FILE, ProblemName, options

test_options = options(
    click.option("--test-data", "--data", "test_data", type=FILE, help="A dataset; the fixed test set by default."),
    click.option("--num-eval-samples", type=int, help="Only so many of its instances."),
    click.option("--problem", type=ProblemName(), help="Checked against the checkpoint, which knows its problem."),
)
checkpoint_option = click.option(
    "--checkpoint", type=FILE, required=True, help="A model, for example best_model.safetensors of trc train."
)


@click.command()
@checkpoint_option
@test_options
@click.option("--iterations", type=int, help="Refinements; as many as the model was made for by default.")
@click.option("--output", type=FILE, help="JSON file of the results.")
def evaluate(
    checkpoint: Path,
    test_data: Path | None,
    num_eval_samples: int | None,
    problem: str | None,
    iterations: int | None,
    output: Path | None,
) -> None:
    """Judge a model on the test set: errors, success, cost gaps, refinement, speed and memory."""
    _check_output(output)
    model = read_model(checkpoint, problem)
    test = test_instances(model, test_data, num_eval_samples)
    stats = checkpoint.parent / "training_stats.json"
    evaluate_model(model, test, output, stats=stats, iterations=iterations)


@click.command()
@click.option(
    "--trc-checkpoint",
    "--checkpoint",
    "checkpoints",
    type=FILE,
    required=True,
    multiple=True,
    help="A model; several may be given.",
)
@test_options
@click.option("--seed", type=int, default=0, show_default=True, help="Of random controls and bootstrap.")
@click.option("--output", type=FILE, help="JSON file of the results.")
def compare(
    checkpoints: tuple[Path, ...],
    test_data: Path | None,
    num_eval_samples: int | None,
    problem: str | None,
    seed: int,
    output: Path | None,
) -> None:
    """Put models beside random and zero controls, the untrained network, saturated LQR and the optimum."""
    _check_output(output)
    models = {name: read_model(path, problem) for name, path in _names(checkpoints).items()}
    test = test_instances(next(iter(models.values())), test_data, num_eval_samples)
    for name, model in models.items():
        if model.problem != test.problem:
            raise ValueError(f"the model {name!r} is for another problem than the first one; compare them apart.")
    compare_models(models, test, output, seed=seed)


@click.command()
@checkpoint_option
@click.option("--baseline", type=FILE, help="Another model to draw beside it.")
@test_options
@click.option("--iterations", type=int, help="Refinements; as many as the model was made for by default.")
@click.option(
    "--output",
    type=FILE,
    default=Path("refinement_analysis.png"),
    show_default=True,
    help="PNG file; the numbers go beside it as .json.",
)
def refine(
    checkpoint: Path,
    baseline: Path | None,
    test_data: Path | None,
    num_eval_samples: int | None,
    problem: str | None,
    iterations: int | None,
    output: Path,
) -> None:
    """Look at the refinement: cost, improvement and distance to the teacher, iterate by iterate."""
    from ..figures import refinement_panels, save_png

    if output.suffix != ".png":
        raise click.BadParameter(f"the figure is a .png file, got {output}.", param_hint="--output")
    make_folder_of(output)
    found, panels = {}, {}
    paths = _names([path for path in (checkpoint, baseline) if path is not None])
    models = {name: read_model(path, problem) for name, path in paths.items()}
    for name, path in paths.items():
        model = models[name]
        test = test_instances(model, test_data, num_eval_samples, expert=_teacher_of(path))
        with single_thread():
            iterates = propose(model, test.initial_states, test.target_states, iterations)
            costs = iterate_metrics(model.problem, test.initial_states, test.target_states, iterates)["cost"]
        distance = (iterates - test.control_sequences.unsqueeze(1)).square().mean((-1, -2))
        found[name], panels[name] = refinement_metrics(costs, distance), (costs, distance)
        table = pd.DataFrame({"cost": costs.mean(0), "control_mse": distance.mean(0)}).rename_axis("iterate")
        click.echo(f"{name}\n{table.to_string(float_format='{:.4g}'.format)}")
        click.echo(
            f"cost never rises on {found[name]['monotone_share']:.1%} of {len(test):,} instances, "
            f"last below first on {found[name]['share_improving']:.1%}"
        )
    save_png(refinement_panels(panels), output)
    _write(output.with_suffix(".json"), found)
    click.echo(f"drawn: {output}")


def read_model(path: Path, problem: str | None = None) -> TinyRecursiveControl:
    """A checkpoint's model, which must know its problem."""
    model = load_model(path)
    if model.problem is None:
        raise ValueError(f"{path} doesn't say which problem its model is for; train it with trc train.")
    if problem is not None and model.problem.name != problem:
        raise ValueError(f"{path} is for {model.problem.name!r}, not for {problem!r}.")
    return model


def test_instances(model: TinyRecursiveControl, path: Path | None, count: int | None, expert: str = "lqr") -> Dataset:
    """The instances that a model is judged on: a dataset of its own problem, or the fixed test set."""
    data = evaluation_set(model.problem, expert=expert) if path is None else load_dataset(path)
    data.check_problem(model.problem)
    if count is None:
        return data
    return data.first(check_count(count, "num_eval_samples"))


def evaluate_model(
    model: TinyRecursiveControl,
    test: Dataset,
    output: Path | None,
    *,
    stats: Path | None = None,
    iterations: int | None = None,
) -> dict[str, Any]:
    """Judge a model, print the results and write them."""
    problem, initial, target = model.problem, test.initial_states, test.target_states
    with single_thread():
        best = optimum(problem, initial, target)
        iterates = propose(model, initial, target, iterations)
        metrics = iterate_metrics(problem, initial, target, iterates)
    last = {name: values[:, -1] for name, values in metrics.items()}
    report = aggregate(last, best.cost)
    report["gap_to_lqr"] = aggregate(last, lqr(problem, initial, target).cost)["gap"]
    report["optimum_success"] = instance_metrics(problem, initial, target, best.controls)["success"].mean().item()
    drawn = random_controls(problem, len(test), torch.Generator().manual_seed(0))
    random = instance_metrics(problem, initial, target, drawn)["terminal_error"].mean().item()
    report["error_reduction"] = 1 - report["terminal_error"] / random
    results: dict[str, Any] = {"problem": problem.recipe(), "num_instances": len(test), "metrics": report}
    if iterates.shape[1] > 1:
        distance = (iterates - test.control_sequences.unsqueeze(1)).square().mean((-1, -2))
        results["refinement"] = refinement_metrics(metrics["cost"], distance)
    results["training"] = _training(stats)
    results["speed"] = measure_speed(model, problem, batch_size=min(1000, len(test)))
    speed = results["speed"]
    click.echo(
        f"{len(test):,} instances of {problem.name}\n"
        f"  gap to the optimum    {report['gap']:.3%} of the mean cost (median {report['gap_median']:.3%}, "
        f"99th percentile {report['gap_p99']:.3%})\n"
        f"  gap to saturated LQR  {report['gap_to_lqr']:.3%}\n"
        f"  success               {report['success']:.1%} end within {problem.success_threshold:g} of the target "
        f"(the optimum: {report['optimum_success']:.1%})\n"
        f"  terminal error        {report['terminal_error']:.4g}, "
        f"{report['error_reduction']:.1%} less than random controls"
    )
    if "refinement" in results:
        costs = " → ".join(f"{cost:.4g}" for cost in results["refinement"]["iteration_costs"])
        click.echo(f"  mean cost by iterate  {costs}; never rises on {results['refinement']['monotone_share']:.1%}")
    click.echo(
        f"  time                  {speed['latency_ms']:.1f} ms one instance, {speed['throughput']:,.0f} instances/s "
        f"in batches of {speed['batch_size']}\n"
        f"  memory                {speed['weights_mb']:.1f} MB of weights, "
        f"{speed['peak_memory_mb']:,.0f} MB the process at its peak"
    )
    if output is not None:
        _write(output, results)
        click.echo(f"  written to            {output}")
    return results


def compare_models(
    models: dict[str, TinyRecursiveControl], test: Dataset, output: Path | None, *, seed: int = 0
) -> pd.DataFrame:
    """Compare models, print the table and write it."""
    problem = next(iter(models.values())).problem
    with single_thread():
        table = compare_methods(
            models, problem, test.initial_states, test.target_states, generator=torch.Generator().manual_seed(seed)
        )
    shown = pd.DataFrame(
        {
            "error": table["terminal_error"].map("{:.4g}".format),
            "success": table["success"].map("{:.1%}".format),
            "cost": table["cost"].map("{:.2f}".format),
            "gap": table["gap"].map("{:.3%}".format),
            "less error": table["error_reduction"].map("{:.1%}".format),
            "cost IQM [95 %]": [
                f"{row.cost_iqm:.2f} [{row.cost_low:.2f}, {row.cost_high:.2f}]" for row in table.itertuples()
            ],
        }
    )
    click.echo(f"{len(test):,} instances of {problem.name}; gap to the optimum, error against random controls")
    click.echo(shown.to_string())
    if output is not None:
        methods = json.loads(table.to_json(orient="index", double_precision=15))
        _write(output, {"problem": problem.recipe(), "num_instances": len(test), "seed": seed, "methods": methods})
        click.echo(f"written to {output}")
    return table


def _training(stats: Path | None) -> dict[str, Any]:
    """What the statistics of a model's training say, where there are any."""
    if stats is None or not stats.is_file():
        return {}
    try:
        found = json.loads(stats.read_text())
        return {
            name: found[name] for name in ("epochs", "best_epoch", "best_validation_loss", "samples_to_convergence")
        }
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{stats} is not the statistics of a training; remove it.") from None


def _check_output(output: Path | None) -> None:
    """Refuse a file of results that is no .json, which may well be a model or data, or can't be written."""
    if output is not None:
        if output.suffix != ".json":
            raise click.BadParameter(f"the results are a .json file, got {output}.", param_hint="--output")
        make_folder_of(output)


def _teacher_of(path: Path) -> str:
    """The expert that a checkpoint's model was trained on, as its record says."""
    recipe = read_training_record(path).get("recipe") or {}
    return (recipe.get("data") or {}).get("expert", "lqr")


def _names(paths: Sequence[Path]) -> dict[str, Path]:
    """Short names of checkpoints: those of the files, or of their folders, or the whole paths, whichever differ."""
    if len(set(paths)) < len(paths):
        raise click.UsageError("the same checkpoint is given twice.")
    for name_of in (lambda path: path.stem, lambda path: path.parent.name, str):
        names = {name_of(path): path for path in paths}
        if len(names) == len(paths):
            break
    return names


def _write(path: Path, results: dict[str, Any]) -> None:
    write_text(path, json.dumps(results, indent=2) + "\n")
