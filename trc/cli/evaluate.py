"""``trc evaluate``, ``trc compare`` and ``trc refine``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pandas as pd
import torch

from ..common.checks import check_count
from ..common.files import make_folder_of, write_text
from ..common.parallel import single_thread
from ..datasets import Dataset, evaluation_set, load_dataset
from ..evaluation import compare as compare_methods
from ..evaluation import judge_iterates, refinement_metrics, report
from ..model import TinyRecursiveControl
from ..model.checkpoints import load_model
from ..problems import Problem
from ..training.run_folder import teacher_of, training_summary
from .options import FILE, Output, ProblemName, options

#: What is shown of a comparison: heading, column and format.
COLUMNS = {
    "error": ("terminal_error", "{:.4g}"),
    "success": ("success", "{:.1%}"),
    "cost": ("cost", "{:.2f}"),
    "gap": ("gap", "{:.3%}"),
    "less error": ("error_reduction", "{:.1%}"),
}

test_options = options(
    click.option("--test-data", "--data", "test_data", type=FILE, help="A dataset; the fixed test set by default."),
    click.option("--num-eval-samples", type=int, help="Only so many of its instances."),
    click.option("--problem", type=ProblemName(), help="Checked against the checkpoint, which knows its problem."),
)
checkpoint_option = click.option(
    "--checkpoint", type=FILE, required=True, help="A model, for example best_model.safetensors of trc train."
)
refinement_options = options(
    click.option("--iterations", type=int, help="Refinements; as many as the model was made for by default."),
    click.option(
        "--start",
        multiple=True,
        help="Where to begin: guess, lqr, zero, or one of the problem's own; of several the cheapest.",
    ),
    click.option("--safeguard", is_flag=True, help="No iterate may cost more than the one before."),
    click.option("--tolerance", type=float, help="A plan with such a residual, or such a change, is good enough."),
)
results_option = click.option("--output", type=Output("the results are a", ".json"), help="JSON file of the results.")


@click.command()
@checkpoint_option
@test_options
@refinement_options
@results_option
def evaluate(checkpoint: Path, output: Path | None, **choices: Any) -> None:
    """Judge a model on the test set: errors, success, cost gaps, refinement, speed and memory."""
    if output is not None:
        make_folder_of(output)
    how = refined(choices)
    model, instances = read(checkpoint, **choices)
    evaluate_model(checkpoint, model, instances, output, **how)


@click.command()
@click.option(
    *("--trc-checkpoint", "--checkpoint", "checkpoints"),
    type=FILE,
    required=True,
    multiple=True,
    help="A model; several may be given.",
)
@test_options
@click.option("--seed", default=0, help="Of random controls and bootstrap.")
@results_option
def compare(checkpoints: tuple[Path, ...], seed: int, output: Path | None, **test: Any) -> None:
    """Put models beside random and zero controls, the untrained network, saturated LQR and the optimum."""
    if output is not None:
        make_folder_of(output)
    found = {name: read(path, **test) for name, path in _names(checkpoints).items()}
    models = {name: model for name, (model, _) in found.items()}
    _, instances = next(iter(found.values()))
    for name, model in models.items():
        if model.problem != instances.problem:
            raise ValueError(f"the model {name!r} is for another problem than the first one; compare them apart.")
    compare_models(models, instances, output, seed=seed)


@click.command()
@checkpoint_option
@click.option("--baseline", type=FILE, help="Another model to draw beside it.")
@test_options
@refinement_options
@click.option(
    "--output",
    type=Output("the figure is a", ".png"),
    default="refinement_analysis.png",
    help="PNG file; the numbers go beside it as .json.",
)
def refine(checkpoint: Path, baseline: Path | None, output: Path, **choices: Any) -> None:
    """Look at the refinement: cost, improvement and distance to the teacher, iterate by iterate."""
    from ..plots import refinement_panels, save_png  # matplotlib takes a second to import

    make_folder_of(output)
    paths = _names([path for path in (checkpoint, baseline) if path is not None])
    how = refined(choices)
    judged = {name: read(path, by_teacher=True, **choices) for name, path in paths.items()}
    panels, summaries = {}, {}
    for name, (model, data) in judged.items():
        instances = data.initial_states, data.target_states
        with single_thread():
            metrics = judge_iterates(model, model.problem, *instances, expert_controls=data.control_sequences, **how)
        panels[name] = metrics["cost"], metrics["control_mse"]
        found = summaries[name] = refinement_metrics(*panels[name])
        table = pd.DataFrame({"cost": found["iteration_costs"], "control_mse": found["control_mse"]})
        table = table.rename_axis("iterate")
        click.echo(f"{name}\n{table.to_string(float_format='{:.4g}'.format)}")
        click.echo(
            f"cost never rises on {found['monotone_share']:.1%} of {len(data):,} instances, "
            f"last below first on {found['share_improving']:.1%}"
        )
    save_png(refinement_panels(panels), output)
    _write(output.with_suffix(".json"), summaries)
    click.echo(f"drawn: {output}")


def refined(choices: dict[str, Any]) -> dict[str, Any]:
    """How a model is to refine, taken out of what was chosen."""
    how = {name: choices.pop(name) for name in ("iterations", "start", "safeguard", "tolerance")}
    return how | {"start": list(how["start"]) or None}


def read(
    path: Path, problem: str | None, test_data: Path | None, num_eval_samples: int | None, by_teacher: bool = False
) -> tuple[TinyRecursiveControl, Dataset]:
    """A checkpoint's model, which must know its problem, and the instances that it is judged on.

    They are a dataset of that problem; without one the fixed test set, solved by LQR where it can, or by the teacher.
    """
    model = load_model(path)
    if model.problem is None:
        raise ValueError(f"{path} doesn't say which problem its model is for; train it with trc train.")
    if problem is not None and model.problem.name != problem:
        raise ValueError(f"{path} is for {model.problem.name!r}, not for {problem!r}.")
    if test_data is None:
        teacher = teacher_of(path) or model.problem.teacher
        try:
            data = evaluation_set(model.problem, expert=teacher if by_teacher else "lqr")
        except ValueError:  # a problem that LQR can't solve
            data = evaluation_set(model.problem, expert=teacher)
    else:
        data = load_dataset(test_data)
        data.check_problem(model.problem)
    return model, data if num_eval_samples is None else data.first(check_count(num_eval_samples, "num_eval_samples"))


def evaluate_model(
    checkpoint: Path, model: TinyRecursiveControl, test: Dataset, output: Path | None, **how: Any
) -> None:
    """Judge a checkpoint's model, print the results and write them."""
    problem = model.problem
    with single_thread():
        results = report(model, test.initial_states, test.target_states, test.control_sequences, **how)
    results["refined"], results["training"] = how, training_summary(checkpoint)
    found, speed = results["metrics"], results["speed"]
    to_lqr = f"{found['gap_to_lqr']:.3%}" if "gap_to_lqr" in found else "none: LQR can't solve this problem"
    single = f"median {found['gap_median']:.3%}, 99th percentile {found['gap_p99']:.3%}"
    own = type(problem).success is not Problem.success
    by = "as the problem says" if own else f"threshold {problem.success_threshold:g}"
    threshold = f"{by} (the optimum: {found['optimum_success']:.1%})"
    click.echo(
        f"{len(test):,} instances of {problem.name}\n"
        f"  gap to the optimum    {found['gap']:.3%} of the mean cost ({single})\n"
        f"  gap to saturated LQR  {to_lqr}\n"
        f"  success               {found['success']:.1%}, {threshold}\n"
        f"  terminal error        {found['terminal_error']:.4g}, "
        f"{found['error_reduction']:.1%} less than random controls"
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


def compare_models(
    models: dict[str, TinyRecursiveControl], test: Dataset, output: Path | None, *, seed: int = 0
) -> None:
    """Compare models, print the table and write it."""
    problem = next(iter(models.values())).problem
    with single_thread():
        table = compare_methods(
            models, problem, test.initial_states, test.target_states, generator=torch.Generator().manual_seed(seed)
        )
    shown = pd.DataFrame({name: table[column].map(form.format) for name, (column, form) in COLUMNS.items()})
    interval = "{0.cost_iqm:.2f} [{0.cost_low:.2f}, {0.cost_high:.2f}]"
    shown["cost IQM [95 %]"] = [interval.format(row) for row in table.itertuples()]
    click.echo(f"{len(test):,} instances of {problem.name}; gap to the optimum, error against random controls")
    click.echo(shown.to_string())
    if "lqr" not in table.index:
        click.echo("saturated LQR is left out: it can't solve this problem")
    if output is not None:
        methods = json.loads(table.to_json(orient="index", double_precision=15))
        _write(output, {"problem": problem.to_dict(), "num_instances": len(test), "seed": seed, "methods": methods})
        click.echo(f"written to {output}")


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
