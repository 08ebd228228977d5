"""A committed model, evaluated again."""

from dataclasses import dataclass
from pathlib import Path

from ...common.checks import check_choice, check_real, check_types
from ...common.files import require_file
from ...common.parallel import single_thread
from ...evaluation import propose
from ...model.checkpoints import load_model, read_training_record
from ..instances import instances
from ..outcomes import QUANTITIES
from .claim import Number


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A committed model and the committed numbers that it must give again.

    Parameters
    ----------
    file : str
    page : str
        The page that rests on it.
    table, row : str
        Where its numbers stand: a table of ``problem, set, method, seed, metric, value``, and its first four columns.
    tolerance : dict of str to float
        Largest difference by metric; processors differ in the last digits.
    """

    file: str
    page: str
    table: str
    row: str
    tolerance: dict[str, float]

    kind = "checkpoint"

    def __post_init__(self) -> None:
        check_types(self)
        if len(self.row.split()) != 4:
            raise ValueError(f"row must name problem, set, method and seed, got {self.row!r}.")
        for metric, limit in self.tolerance.items():
            check_choice(metric, "metric", QUANTITIES)
            check_real(limit, f"tolerance of {metric}", positive=True)

    @property
    def id(self) -> str:
        """The file's name."""
        return Path(self.file).stem

    def measure(self, root: Path) -> dict[str, float]:
        """Metrics of the model on the fixed instances, evaluated now."""
        problem, set_name, *_ = self.row.split()
        some, model = instances(problem, "paper", set_name), load_model(root / self.file)
        with single_thread():
            found = some.judge(propose(model, some.initial, some.target))[-1]
        return {metric: QUANTITIES[metric].value(found) for metric in self.tolerance}

    def wrong(self, root: Path) -> str:
        """What does not come out again; empty if everything does."""
        problem, _, _, seed = self.row.split()
        wrong = []
        try:
            path = require_file(root / self.file, "checkpoint", "restore it with git")
            recorded = read_training_record(path).get("recipe") or {}
            if (recorded.get("problem"), str(recorded.get("seed"))) != (problem, seed):
                return f"{self.file} is not a model of {problem} with seed {seed}"
            for metric, value in self.measure(root).items():
                committed = Number(table=self.table, row=f"{self.row} {metric}").value(root)
                if not abs(value - committed) <= self.tolerance[metric]:
                    wrong.append(f"{metric} is {value:.6g}, committed is {committed:.6g} ± {self.tolerance[metric]:g}")
        except (ValueError, OSError) as error:
            return str(error)
        return "; ".join(wrong)
