"""``trc train`` and ``trc pipeline``."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import click

from ..common.checks import check_count
from ..datasets import TEST_SEED, TRAINING_SEED, Dataset, load_dataset
from ..experts import EXPERTS
from ..model import SIZES, ModelConfig, TinyRecursiveControl, ValuePredictor
from ..model.checkpoints import load_model
from ..model.config import CHOICES as MODEL_CHOICES
from ..model.config import TRM_STYLE
from ..problems import make_problem
from ..training import LOSSES, TrainingConfig
from ..training import train as train_network
from ..training.config import CHOICES as TRAINING_CHOICES
from ..training.losses import RELATIVE
from ..training.run_folder import epochs_done
from .evaluate import compare_models, evaluate_model
from .generate import DATASET, find_or_generate
from .options import FILE, FOLDER, OneOf, ProblemName, field_option, jobs_option, options, problem_option

#: Losses of the library without a process weight; one that is registered elsewhere may have one.
UNWEIGHTED = ("gap", "cloning", "trajectory")

#: Options that are fields of the configurations; what isn't given of the network is as in its preset.
of_model = partial(field_option, ModelConfig, MODEL_CHOICES, default=None)
of_training = partial(field_option, TrainingConfig, TRAINING_CHOICES)

seed_option = of_training("seed", "Of the initial weights, the split and the batches.")

model_options = options(
    click.option("--model-size", type=OneOf(SIZES), default="medium", help="Preset."),
    of_model("use_two_level", "Two latents z_H and z_L in place of one."),
    click.option(
        "--trm-style", is_flag=True, help="Two levels with SwiGLU, RMSNorm, norms last, fixed initial latents."
    ),
    of_model("num_outer_cycles", "Refinements K; with two levels, H-cycles.", "--num-outer-cycles", "--H-cycles"),
    of_model("num_inner_cycles", "Passes of the blocks in one refinement."),
    of_model("L_cycles", "Updates of z_L in one H-cycle."),
    of_model("latent_dim", "Width of the latent."),
    of_model("hidden_dim", "Width of the encoders' and decoders' hidden layers."),
    of_model("num_blocks", "Reasoning blocks."),
    of_model("num_heads", "Attention heads."),
    of_model("feedback", "What the simulator tells between iterations."),
    of_model("decoder", "A step of the controls, or all anew."),
    of_model("reasoning", "Attention, or plain blocks."),
    of_model("dropout", "Share of the blocks' updates dropped in training."),
    of_model("use_gradient_truncation", "Cut the graph between refinements."),
)

training_options = options(
    of_training("batch_size", "Instances a step."),
    of_training("learning_rate", "At the start.", "--lr", "--learning-rate"),
    of_training("schedule", "How the learning rate falls.", "--scheduler"),
    of_training("warmup", "Share of the steps in which it first rises."),
    of_training("optimizer", "Of the weights."),
    of_training("patience", "Stop after so many epochs without a lower validation loss; 0 never does."),
    of_training(
        "supervision",
        "A loss after each refinement, or one through all.  [default: deep, without --loss]",
        default=None,
    ),
    of_training("loss", "The gap by default, process if a process weight is given.", default=None),
    of_training("gap_weight", f"Weight of the gap's logarithm.  [default: {TrainingConfig.gap_weight}]", default=None),
    of_training(
        "gap_floor", f"Gap below which that asks for no more.  [default: {TrainingConfig.gap_floor}]", default=None
    ),
    of_training(
        "most_depth",
        f"How often an instance is refined at most, from 2 on.  [default: {TrainingConfig.most_depth}]",
        default=None,
    ),
    of_training(
        "start_noise",
        f"Share of the instances that begin elsewhere.  [default: {TrainingConfig.start_noise}]",
        default=None,
    ),
    of_training(
        "average", "How much of the weights' moving average a step leaves.  [default: 0.999, unrolled 0]", default=None
    ),
    of_training("state_weight", "Weight of cloning the teacher's states too."),
    of_training(
        "process_weight", "Weight of the term in the costs of all iterates; 0.1 if the loss has one.", default=None
    ),
    of_training("reference", "Of the improvement reward."),
    of_training("discount", "Of the discounted loss."),
    click.option("--use-value-predictor", is_flag=True, help="Train a predictor of the cost along."),
    of_training("value_weight", f"Weight of its loss.  [default: {TrainingConfig.value_weight}]", default=None),
    of_training("weight_decay", "Of the weights."),
    of_training("max_grad_norm", "Gradients are clipped to it."),
    seed_option,
    of_training("device", "cpu or cuda.", type=str),
)


@click.command()
@click.option("--data", "--data-path", "data", type=FILE, required=True, help="A dataset of trc generate.")
@click.option("--problem", type=ProblemName(), help="Checked against the dataset, which knows its problem.")
@click.option("--output-dir", type=FOLDER, default="outputs/supervised", help="Folder of the run.")
@of_training("epochs", "Passes over the data.")
@click.option("--jobs", type=click.IntRange(1), expose_value=False, help="Without effect: a training is one process.")
@model_options
@training_options
def train(data: Path, problem: str | None, output_dir: Path, **choices: Any) -> None:
    """Train a network on a dataset.

    It is judged after every refinement, by the teacher's controls and by its gap to the teacher's cost. A process
    weight, or --loss process, trains as the guides do, by the improvement reward beside cloning, with one level or two.
    The folder gets best_model.safetensors, last_model.safetensors, training_stats.json and
    training_curves.png. An interrupted training goes on with the same command, to the same weights.
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
    config = TrainingConfig.from_options(**training)  # refused before anything is made
    if trm_style:
        settings = TRM_STYLE | settings
    two_level = settings.get("use_two_level", False)
    weighted = [loss for loss in LOSSES if loss not in UNWEIGHTED]
    for given, needed, means in (
        ("L_cycles" in settings, two_level, "--L-cycles is for --use-two-level"),
        ("num_inner_cycles" in settings, not two_level, "--num-inner-cycles is for one level; with two, --L-cycles"),
        ("value_weight" in training, use_value_predictor, "--value-weight is for --use-value-predictor"),
        (
            "most_depth" in training or "start_noise" in training,
            config.supervision == "deep",
            "--most-depth and --start-noise are for --supervision deep",
        ),
        (
            "gap_weight" in training or "gap_floor" in training,
            config.loss == "gap",
            "--gap-weight and --gap-floor are for --loss gap",
        ),
        ("process_weight" in training, config.loss in weighted, f"--process-weight is for {', '.join(weighted)}"),
    ):
        if given and not needed:
            raise click.UsageError(f"{means}.")
    model = TinyRecursiveControl.create(model_size, problem=dataset.problem, seed=config.seed, **settings)
    predictor = None
    if use_value_predictor:
        predictor = ValuePredictor.create(model.config.latent_dim, model_size, seed=config.seed)
    instances = f"{len(dataset):,} instances of {dataset.problem.name}"
    click.echo(f"{model_size} network, {model.num_parameters():,} parameters, on {instances}")
    weighs = "process_weight" in training or config.loss in RELATIVE
    length = "1 epoch" if config.epochs == 1 else f"{config.epochs} epochs"
    click.echo(
        f"{length}, batches of {config.batch_size}, learning rate {config.learning_rate:g}, "
        f"{config.schedule}, {config.supervision} supervision, loss {config.loss}"
        + (f" with process weight {config.process_weight:g}" if weighs else "")
        + (f", state weight {config.state_weight:g}" if config.state_weight else "")
    )
    if (two_level or use_value_predictor) and config.supervision == "deep" and config.loss == "gap":
        click.echo(
            "this is deep supervision of the gap; for process supervision, with which the first guides train two "
            "levels and a value predictor, add "
            f"--process-weight {TrainingConfig.process_weight:g} and another --output-dir"
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
@click.argument("size", type=OneOf(SIZES), default="medium")
@problem_option
@click.option("--expert", type=OneOf(EXPERTS), help="Who solves the instances; the problem's teacher by default.")
@click.option("--num-test", default=1000, help="Instances of the test set.")
@click.option("--data-dir", type=FOLDER, default="data", help="Folder of the datasets.")
@click.option("--output-dir", type=FOLDER, help="Folder of the run.  [default: outputs/supervised_SIZE]")
@of_training("batch_size", "Instances a step.", default=128)
@of_training("learning_rate", "At its highest.", "--lr", "--learning-rate")
@of_training("warmup", "Share of the steps in which it first rises.", default=0.02)
@seed_option
@of_training("supervision", "A loss after each refinement, or one through all.")
@of_training("state_weight", "Weight of cloning the teacher's states too.")
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

    A network of SIZE (medium) learns from NUM_SAMPLES instances (10000) for EPOCHS (100), and is judged on the fixed
    test set. The run's folder gets best_model.safetensors, last_model.safetensors, training_stats.json,
    training_curves.png, evaluation_results.json and comparison_results.json.
    """
    start = time.perf_counter()
    TrainingConfig.from_options(**training)  # refused before any work is done
    for name, count in (("num_samples", num_samples), ("num_test", num_test), ("jobs", jobs)):
        check_count(count, name)
    made = make_problem(problem)
    expert = expert or made.teacher
    usual = problem == "double_integrator"  # its files have the shorter names
    stem = expert if usual else f"{problem}_{expert}"
    folder = output_dir or Path("outputs") / (f"supervised_{size}" if usual else f"{problem}_{size}")
    click.echo("1 data")
    solved = partial(find_or_generate, made, expert=expert, jobs=jobs)
    data = solved(data_dir / f"{stem}_train" / DATASET, num_samples=num_samples, seed=TRAINING_SEED)
    test = solved(data_dir / f"{stem}_test" / DATASET, num_samples=num_test, seed=TEST_SEED)
    click.echo("2 training")
    train_on(data, folder, model_size=size, **training)
    click.echo("3 evaluation")
    checkpoint = folder / "best_model.safetensors"
    model = load_model(checkpoint)
    evaluate_model(checkpoint, model, test, folder / "evaluation_results.json")
    click.echo("4 comparison")
    compare_models({"trained": model}, test, folder / "comparison_results.json")
    click.echo(f"{time.perf_counter() - start:.0f} s in all")
