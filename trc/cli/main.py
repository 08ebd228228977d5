"""The group of commands, and how their errors are told."""

import sys
from collections.abc import Sequence

import click

from ..common.interrupts import STATUS, end, heard
from ..common.streams import plain_warnings, usable_streams
from .demo import demo, doctor
from .evaluate import compare, evaluate, refine
from .export import export
from .generate import generate
from .options import import_first
from .train import pipeline, train


@click.group(
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda token: token.replace("_", "-"),  # --num_samples is --num-samples
        "max_content_width": 110,
        "show_default": True,
    }
)
@click.version_option(package_name="trc", prog_name="trc")
@click.option(
    *("--import", "imports"),
    multiple=True,
    metavar="FILE_OR_MODULE",
    help="Import it first; the problems, experts, losses, … that it registers are known to the command.",
)
def trc(imports: tuple[str, ...]) -> None:
    """Tiny Recursive Control: a tiny network that proposes, simulates and refines control sequences.

    \b
    The whole way in one command (data, training, evaluation, comparison):
      trc pipeline 10000 100 medium
    Step by step:
      trc generate --num-samples 10000 --output-dir data/lqr_train
      trc train --data data/lqr_train/lqr_dataset.npz --output-dir outputs/supervised
      trc evaluate --checkpoint outputs/supervised/best_model.safetensors
      trc compare --trc-checkpoint outputs/supervised/best_model.safetensors
    With a problem of one's own:
      trc --import my_problem.py generate --problem my_problem

    Options may be written with hyphens or underscores. A command that was interrupted, or is given twice, says what
    it found and goes on from there.
    """  # noqa: D301
    for name in imports:
        import_first(name)


for command in (generate, train, evaluate, compare, refine, export, demo, doctor, pipeline):
    trc.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command, by default with the process's arguments; what is wrong is told in one line, exit status 2."""
    usable_streams()
    try:
        with heard(), plain_warnings():
            trc.main(arguments, prog_name="trc", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help())
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "trc"
        listed = f" {command} --help lists all." if isinstance(error, click.NoSuchOption) else ""
        _fail(command, error.format_message() + listed)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; give the same command again to go on", err=True)
        end()
        sys.exit(STATUS)
    except OverflowError:
        _fail("trc", "a number is too large to compute with; give a smaller one.")
    except MemoryError:
        _fail("trc", "there is not enough memory for this; give smaller numbers.")
    except (ValueError, OSError, RuntimeError) as error:
        about = f"{error.strerror}: {error.filename}" if getattr(error, "filename", None) else str(error)
        _fail("trc", about)


def _fail(command: str, message: str) -> None:
    click.echo(f"{command}: error: {' '.join(message.split())}", err=True)
    sys.exit(2)
