"""``trc export``."""

from pathlib import Path

import click

from ..model import TinyRecursiveControl
from ..model.checkpoints import load_model
from ..standalone import export_standalone
from .evaluate import checkpoint_option
from .options import FOLDER


@click.command()
@checkpoint_option
@click.option("--standalone", is_flag=True, required=True, help="As Python that needs neither torch nor trc.")
@click.option("--output-dir", type=FOLDER, default="planner", help="Folder of planner.py and weights.npz.")
def export(checkpoint: Path, standalone: bool, output_dir: Path) -> None:
    """Write a trained network as a planner of its own, for the machine that controls."""
    model = load_model(checkpoint)
    if not isinstance(model, TinyRecursiveControl):
        raise ValueError(f"{checkpoint} is no recursive network, so there is nothing to plan and refine with.")
    folder = export_standalone(model, output_dir)
    click.echo(
        f"written: {folder / 'planner.py'} and weights.npz; it needs NumPy and numba, and compiles at its first plan"
    )
