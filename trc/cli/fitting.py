"""``trc train`` and ``trc pipeline``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from ..checkpoints import load_model
from ..checks import check_count
from ..datasets import EXPERTS, TEST_SEED, TRAINING_SEED, Dataset, load_dataset
from ..losses import REFERENCES
from ..model import FEEDBACKS, SIZES, TinyRecursiveControl, ValuePredictor
from ..model.config import CHOICES, TRM_STYLE
from ..problems import make_problem
from ..training import LOSSES, SCHEDULES, TrainingConfig
from ..training import train as fit
from ..training.config import OPTIMIZERS
from ..training.folder import epochs_done
from .data import DATASET, find_or_generate
from .judging import compare_models, evaluate_model
from .options import FILE, FOLDER, ProblemName, jobs_option, options

#: Options whose names click writes otherwise than the configuration does.
_FIELDS = {"l_cycles": "L_cycles"}

#: Losses that have a process weight.
WEIGHTED = ("process", "discounted", "hinge")

model_options = options(
    click.option("--model-size", type=click.Choice(list(SIZES)), default="medium", show_default=True, help="Preset."),
    click.option("--use-two-level", is_flag=True, default=None, help="Two latents z_H and z_L in place of one."),
    click.option(
        "--trm-style", is_flag=True, help="Two levels with SwiGLU, RMSNorm, norms last, fixed initial latents."
    ),
    click.option("--num-outer-cycles", "--H-cycles", type=int, help="Refinements K; with two levels, H-cycles."),
    click.option("--num-inner-cycles", type=int, help="Passes of the blocks in one refinement."),
    click.option("--L-cycles", type=int, help="Updates of z_L in one H-cycle."),
    click.option("--latent-dim", type=int, help="Width of the latent."),
    click.option("--hidden-dim", type=int, help="Width of the encoders' and decoders' hidden layers."),
    click.option("--num-blocks", type=int, help="Reasoning blocks."),
    click.option("--num-heads", type=int, help="Attention heads."),
    click.option("--feedback", type=click.Choice(list(FEEDBACKS)), help="What the simulator tells between iterations."),
    click.option("--decoder", type=click.Choice(CHOICES["decoder"]), help="A step of the controls, or all anew."),
    click.option("--reasoning", type=click.Choice(CHOICES["reasoning"]), help="Attention, or plain blocks."),
    click.option("--dropout", type=float, help="Share of the blocks' updates dropped in training."),
    click.option("--use-gradient-truncation", is_flag=True, default=None, help="Cut the graph between refinements."),
)

training_options = options(
    click.option("--batch-size", type=int, default=64, show_default=True, help="Instances a step."),
    click.option(
        "--lr", "--learning-rate", "learning_rate", type=float, default=1e-3, show_default=True, help="At the start."
    ),
    click.option(
        "--scheduler",
        "schedule",
        type=click.Choice(list(SCHEDULES)),
        default="cosine",
        show_default=True,
        help="How the learning rate falls.",
    ),
    click.option(
        "--warmup", type=float, default=0.0, show_default=True, help="Share of the steps in which it first rises."
    ),
    click.option(
        "--optimizer", type=click.Choice(list(OPTIMIZERS)), default="adamw", show_default=True, help="Of the weights."
    ),
    click.option(
        "--patience",
        type=int,
        default=0,
        show_default=True,
        help="Stop after so many epochs without a lower validation loss; 0 never does.",
    ),
    click.option(
        "--loss", type=click.Choice(list(LOSSES)), help="Cloning by default, process if a process weight is given."
    ),
    click.option(
        "--state-weight", type=float, default=0.0, show_default=True, help="Weight of cloning the teacher's states too."
    ),
    click.option(
        "--process-weight", type=float, help="Weight of the term in the costs of all iterates; 0.1 if the loss has one."
    ),
    click.option(
        "--reference",
        type=click.Choice(REFERENCES),
        default="first",
        show_default=True,
        help="Of the improvement reward.",
    ),
    click.option("--discount", type=float, default=0.9, show_default=True, help="Of the discounted loss."),
    click.option("--use-value-predictor", is_flag=True, help="Train a predictor of the cost along."),
    click.option("--value-weight", type=float, help="Weight of its loss.  [default: 0.01]"),
    click.option("--weight-decay", type=float, default=0.0, show_default=True, help="Of the weights."),
    click.option("--max-grad-norm", type=float, default=1.0, show_default=True, help="Gradients are clipped to it."),
    click.option(
        "--seed", type=int, default=0, show_default=True, help="Of the initial weights, the split and the batches."
    ),
    click.option("--device", type=str, default="cpu", show_default=True, help="cpu or cuda."),
)


@click.command()
@click.option("--data", "--data-path", "data", type=FILE, required=True, help="A dataset of trc generate.")
@click.option("--problem", type=ProblemName(), help="Checked against the dataset, which knows its problem.")
@click.option(
    "--output-dir", type=FOLDER, default=Path("outputs/supervised"), show_default=True, help="Folder of the run."
)
@click.option("--epochs", type=int, default=100, show_default=True, help="Passes over the data.")
@model_options
@training_options
@jobs_option
def train(data: Path, problem: str | None, output_dir: Path, **choices: Any) -> None:
    """Train a network on a dataset.

    Its loss is behaviour cloning; a process weight, or --loss process, adds the improvement reward. The folder gets
    best_model.safetensors, last_model.safetensors, training_stats.json and training_curves.png. An interrupted
    training goes on with the same command, to the same weights.
    """
    dataset = load_dataset(data)
    if problem is not None and dataset.problem.name != problem:
        raise ValueError(f"{data} is for {dataset.problem.name!r}, not for {problem!r}; generate another dataset.")
    train_on(dataset, output_dir, **choices)


def train_on(
    dataset: Dataset,
    output_dir: Path,
    *,
    model_size: str,
    jobs: int,
    seed: int,
    trm_style: bool = False,
    use_value_predictor: bool = False,
    loss: str | None = None,
    process_weight: float | None = None,
    **choices: Any,
) -> TinyRecursiveControl:
    """Make and train a network as the options say."""
    fields = TrainingConfig.__dataclass_fields__
    training = {name: value for name, value in choices.items() if name in fields and value is not None}
    training["loss"] = loss or ("cloning" if process_weight is None else "process")
    if process_weight is not None:
        training["process_weight"] = process_weight
    settings = {
        _FIELDS.get(name, name): value for name, value in choices.items() if name not in fields and value is not None
    }
    if trm_style:
        settings = TRM_STYLE | settings
    two_level = settings.get("use_two_level", False)
    for given, needed, means in (
        ("L_cycles" in settings, two_level, "--L-cycles is for --use-two-level"),
        (
            "num_inner_cycles" in settings,
            not two_level,
            "--num-inner-cycles is for one level; with two, say --L-cycles",
        ),
        ("value_weight" in training, use_value_predictor, "--value-weight is for --use-value-predictor"),
        (process_weight is not None, training["loss"] in WEIGHTED, f"--process-weight is for {', '.join(WEIGHTED)}"),
    ):
        if given and not needed:
            raise click.UsageError(f"{means}.")
    config = TrainingConfig.from_options(seed=seed, **training)  # refused before anything is made
    model = TinyRecursiveControl.create(model_size, problem=dataset.problem, seed=seed, **settings)
    predictor = None
    if use_value_predictor:
        predictor = ValuePredictor.create(model.config.latent_dim, model_size, seed=seed)
    click.echo(
        f"{model_size} network, {model.num_parameters():,} parameters, "
        f"on {len(dataset):,} instances of {dataset.problem.name}\n"
        f"{config.epochs} epochs, batches of {config.batch_size}, learning rate {config.learning_rate:g}, "
        f"{config.schedule}, loss {config.loss}"
        + (f" with process weight {config.process_weight:g}" if config.loss in WEIGHTED else "")
        + (f", state weight {config.state_weight:g}" if config.state_weight else "")
    )
    before, start = epochs_done(output_dir), time.perf_counter()
    if before:
        click.echo(f"found {before} of {training['epochs']} epochs in {output_dir}")
    history = fit(
        model,
        dataset,
        value_predictor=predictor,
        output_dir=output_dir,
        jobs=jobs,
        progress=True,
        seed=seed,
        **training,
    )
    click.echo(
        f"validation loss {min(history.validation_loss):.3g} in epoch {history.best_epoch + 1} of "
        f"{len(history.validation_loss)}, {time.perf_counter() - start:.0f} s: {output_dir / 'best_model.safetensors'}"
    )
    return model


@click.command()
@click.argument("num_samples", type=int, default=10_000)
@click.argument("epochs", type=int, default=100)
@click.argument("size", type=click.Choice(list(SIZES)), default="medium")
@click.option("--problem", type=ProblemName(), default="double_integrator", show_default=True, help="Which problem.")
@click.option("--expert", type=click.Choice(list(EXPERTS)), help="Teacher; lqr by default, ilqr for van_der_pol.")
@click.option("--num-test", type=int, default=1000, show_default=True, help="Instances of the test set.")
@click.option("--data-dir", type=FOLDER, default=Path("data"), show_default=True, help="Folder of the datasets.")
@click.option("--output-dir", type=FOLDER, help="Folder of the run.  [default: outputs/supervised_SIZE]")
@click.option("--batch-size", type=int, default=256, show_default=True, help="Instances a step.")
@click.option(
    "--lr", "--learning-rate", "learning_rate", type=float, default=5e-3, show_default=True, help="At its highest."
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of the initial weights, the split and the batches."
)
@click.option(
    "--state-weight", type=float, default=10.0, show_default=True, help="Weight of cloning the teacher's states too."
)
@jobs_option
def pipeline(
    num_samples: int,
    epochs: int,
    size: str,
    problem: str,
    expert: str | None,
    num_test: int,
    data_dir: Path,
    output_dir: Path | None,
    batch_size: int,
    learning_rate: float,
    seed: int,
    state_weight: float,
    jobs: int,
) -> None:
    """Data, training, evaluation and comparison in one go.

    NUM_SAMPLES instances (10000) are cloned for EPOCHS (100) by a network of SIZE (medium), and judged on the fixed
    test set. The run's folder gets best_model.safetensors, last_model.safetensors, training_stats.json,
    training_curves.png, evaluation_results.json and comparison_results.json.
    """
    start = time.perf_counter()
    TrainingConfig.from_options(
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, state_weight=state_weight, seed=seed
    )
    for name, count in (("num_samples", num_samples), ("num_test", num_test), ("jobs", jobs)):
        check_count(count, name)
    expert = expert or ("lqr" if problem == "double_integrator" else "ilqr")
    made = make_problem(problem)
    usual = problem == "double_integrator"
    stem = expert if usual else f"{problem}_{expert}"
    folder = output_dir or Path("outputs") / (f"supervised_{size}" if usual else f"{problem}_{size}")
    click.echo("1 data")
    data = find_or_generate(
        made,
        data_dir / f"{stem}_train" / DATASET,
        num_samples=num_samples,
        seed=TRAINING_SEED,
        expert=expert,
        jobs=jobs,
    )
    test = find_or_generate(
        made, data_dir / f"{stem}_test" / DATASET, num_samples=num_test, seed=TEST_SEED, expert=expert, jobs=jobs
    )
    click.echo("2 training")
    train_on(
        data,
        folder,
        model_size=size,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warmup=0.1,
        state_weight=state_weight,
        seed=seed,
        jobs=jobs,
    )
    click.echo("3 evaluation")
    model = load_model(folder / "best_model.safetensors")
    evaluate_model(model, test, folder / "evaluation_results.json", stats=folder / "training_stats.json")
    click.echo("4 comparison")
    compare_models({"trained": model}, test, folder / "comparison_results.json")
    click.echo(f"{time.perf_counter() - start:.0f} s in all")
