"""``trc train`` and ``trc pipeline``."""

import time
from pathlib import Path
from typing import Any

import click

from ..common.checks import check_count
from ..datasets import TEST_SEED, TRAINING_SEED, Dataset, load_dataset
from ..experts import EXPERTS
from ..model import FEEDBACKS, SIZES, TinyRecursiveControl, ValuePredictor
from ..model.checkpoints import load_model
from ..model.config import CHOICES, TRM_STYLE
from ..problems import make_problem
from ..training import LOSSES, SCHEDULES, TrainingConfig
from ..training import train as train_network
from ..training.config import OPTIMIZERS, REFERENCES
from ..training.run_folder import epochs_done
from .evaluate import compare_models, evaluate_model
from .generate import DATASET, find_or_generate
from .options import FILE, FOLDER, ProblemName, Registered, jobs_option, options, problem_option, seed_option

#: Losses of the library without a process weight; one that is registered elsewhere may have one.
UNWEIGHTED = ("cloning", "trajectory")

model_options = options(
    click.option("--model-size", type=click.Choice(SIZES), default="medium", help="Preset."),
    click.option("--use-two-level", is_flag=True, default=None, help="Two latents z_H and z_L in place of one."),
    click.option(
        "--trm-style", is_flag=True, help="Two levels with SwiGLU, RMSNorm, norms last, fixed initial latents."
    ),
    click.option("--num-outer-cycles", "--H-cycles", type=int, help="Refinements K; with two levels, H-cycles."),
    click.option("--num-inner-cycles", type=int, help="Passes of the blocks in one refinement."),
    click.option("--L-cycles", "L_cycles", type=int, help="Updates of z_L in one H-cycle."),
    click.option("--latent-dim", type=int, help="Width of the latent."),
    click.option("--hidden-dim", type=int, help="Width of the encoders' and decoders' hidden layers."),
    click.option("--num-blocks", type=int, help="Reasoning blocks."),
    click.option("--num-heads", type=int, help="Attention heads."),
    click.option("--feedback", type=Registered(FEEDBACKS), help="What the simulator tells between iterations."),
    click.option("--decoder", type=click.Choice(CHOICES["decoder"]), help="A step of the controls, or all anew."),
    click.option("--reasoning", type=click.Choice(CHOICES["reasoning"]), help="Attention, or plain blocks."),
    click.option("--dropout", type=float, help="Share of the blocks' updates dropped in training."),
    click.option("--use-gradient-truncation", is_flag=True, default=None, help="Cut the graph between refinements."),
)

training_options = options(
    click.option("--batch-size", default=64, help="Instances a step."),
    click.option("--lr", "--learning-rate", "learning_rate", default=1e-3, help="At the start."),
    click.option(
        *("--scheduler", "schedule"), type=Registered(SCHEDULES), default="cosine", help="How the learning rate falls."
    ),
    click.option("--warmup", default=0.0, help="Share of the steps in which it first rises."),
    click.option("--optimizer", type=click.Choice(OPTIMIZERS), default="adamw", help="Of the weights."),
    click.option(
        "--patience", default=0, help="Stop after so many epochs without a lower validation loss; 0 never does."
    ),
    click.option("--loss", type=Registered(LOSSES), help="Cloning by default, process if a process weight is given."),
    click.option("--state-weight", default=0.0, help="Weight of cloning the teacher's states too."),
    click.option(
        "--process-weight", type=float, help="Weight of the term in the costs of all iterates; 0.1 if the loss has one."
    ),
    click.option("--reference", type=click.Choice(REFERENCES), default="first", help="Of the improvement reward."),
    click.option("--discount", default=0.9, help="Of the discounted loss."),
    click.option("--use-value-predictor", is_flag=True, help="Train a predictor of the cost along."),
    click.option("--value-weight", type=float, help="Weight of its loss.  [default: 0.01]"),
    click.option("--weight-decay", default=0.0, help="Of the weights."),
    click.option("--max-grad-norm", default=1.0, help="Gradients are clipped to it."),
    seed_option,
    click.option("--device", default="cpu", help="cpu or cuda."),
)


@click.command()
@click.option("--data", "--data-path", "data", type=FILE, required=True, help="A dataset of trc generate.")
@click.option("--problem", type=ProblemName(), help="Checked against the dataset, which knows its problem.")
@click.option("--output-dir", type=FOLDER, default="outputs/supervised", help="Folder of the run.")
@click.option("--epochs", default=100, help="Passes over the data.")
@model_options
@training_options
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
    trm_style: bool = False,
    use_value_predictor: bool = False,
    **choices: Any,
) -> None:
    """Make and train a network as the options say: fields of the training's configuration, the others the model's."""
    settings = {name: value for name, value in choices.items() if value is not None}
    training = {name: settings.pop(name) for name in TrainingConfig.__dataclass_fields__ if name in settings}
    training.setdefault("loss", "process" if "process_weight" in training else "cloning")
    if trm_style:
        settings = TRM_STYLE | settings
    two_level = settings.get("use_two_level", False)
    weighted = [loss for loss in LOSSES if loss not in UNWEIGHTED]
    for given, needed, means in (
        ("L_cycles" in settings, two_level, "--L-cycles is for --use-two-level"),
        (
            "num_inner_cycles" in settings,
            not two_level,
            "--num-inner-cycles is for one level; with two, --L-cycles",
        ),
        ("value_weight" in training, use_value_predictor, "--value-weight is for --use-value-predictor"),
        ("process_weight" in training, training["loss"] in weighted, f"--process-weight is for {', '.join(weighted)}"),
    ):
        if given and not needed:
            raise click.UsageError(f"{means}.")
    config = TrainingConfig.from_options(**training)  # refused before anything is made
    model = TinyRecursiveControl.create(model_size, problem=dataset.problem, seed=config.seed, **settings)
    predictor = None
    if use_value_predictor:
        predictor = ValuePredictor.create(model.config.latent_dim, model_size, seed=config.seed)
    click.echo(
        f"{model_size} network, {model.num_parameters():,} parameters, "
        f"on {len(dataset):,} instances of {dataset.problem.name}\n"
        f"{config.epochs} epochs, batches of {config.batch_size}, learning rate {config.learning_rate:g}, "
        f"{config.schedule}, loss {config.loss}"
        + (f" with process weight {config.process_weight:g}" if config.loss in weighted else "")
        + (f", state weight {config.state_weight:g}" if config.state_weight else "")
    )
    before, start = epochs_done(output_dir), time.perf_counter()
    if before:
        click.echo(f"found {before} of {config.epochs} epochs in {output_dir}")
    history = train_network(model, dataset, value_predictor=predictor, output_dir=output_dir, progress=True, **training)
    click.echo(
        f"validation loss {min(history.validation_loss):.3g} in epoch {history.best_epoch + 1} of "
        f"{len(history.validation_loss)}, {time.perf_counter() - start:.0f} s: {output_dir / 'best_model.safetensors'}"
    )


@click.command()
@click.argument("num_samples", default=10_000)
@click.argument("epochs", default=100)
@click.argument("size", type=click.Choice(SIZES), default="medium")
@problem_option
@click.option("--expert", type=Registered(EXPERTS), help="Who solves the instances; the problem's teacher by default.")
@click.option("--num-test", default=1000, help="Instances of the test set.")
@click.option("--data-dir", type=FOLDER, default="data", help="Folder of the datasets.")
@click.option("--output-dir", type=FOLDER, help="Folder of the run.  [default: outputs/supervised_SIZE]")
@click.option("--batch-size", default=256, help="Instances a step.")
@click.option("--lr", "--learning-rate", "learning_rate", default=5e-3, help="At its highest.")
@seed_option
@click.option("--state-weight", default=10.0, help="Weight of cloning the teacher's states too.")
@jobs_option
def pipeline(
    num_samples: int,
    size: str,
    problem: str,
    expert: str | None,
    num_test: int,
    data_dir: Path,
    output_dir: Path | None,
    jobs: int,
    **training: Any,
) -> None:
    """Data, training, evaluation and comparison in one go.

    NUM_SAMPLES instances (10000) are cloned for EPOCHS (100) by a network of SIZE (medium), and judged on the fixed
    test set. The run's folder gets best_model.safetensors, last_model.safetensors, training_stats.json,
    training_curves.png, evaluation_results.json and comparison_results.json.
    """
    start = time.perf_counter()
    training["warmup"] = 0.1
    TrainingConfig.from_options(**training)  # refused before any work is done
    for name, count in (("num_samples", num_samples), ("num_test", num_test), ("jobs", jobs)):
        check_count(count, name)
    made = make_problem(problem)
    expert = expert or made.teacher
    usual = problem == "double_integrator"  # its files have the shorter names
    stem = expert if usual else f"{problem}_{expert}"
    folder = output_dir or Path("outputs") / (f"supervised_{size}" if usual else f"{problem}_{size}")
    click.echo("1 data")
    data, test = (
        find_or_generate(
            *(made, data_dir / f"{stem}_{part}" / DATASET), num_samples=count, seed=seed, expert=expert, jobs=jobs
        )
        for part, count, seed in (("train", num_samples, TRAINING_SEED), ("test", num_test, TEST_SEED))
    )
    click.echo("2 training")
    train_on(data, folder, model_size=size, **training)
    click.echo("3 evaluation")
    checkpoint = folder / "best_model.safetensors"
    model = load_model(checkpoint)
    evaluate_model(checkpoint, model, test, folder / "evaluation_results.json")
    click.echo("4 comparison")
    compare_models({"trained": model}, test, folder / "comparison_results.json")
    click.echo(f"{time.perf_counter() - start:.0f} s in all")
