"""A committed model, evaluated again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..checkpoints import load_model, read_training_record
from ..evaluation import outcome, propose
from ..evaluation.outcomes import QUANTITIES
from ..experiments import instances
from ..files import require_file
from ..parallel import single_thread
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

    @property
    def id(self) -> str:
        """The file's name."""
        return Path(self.file).stem

    def measure(self, root: Path) -> dict[str, float]:
        """Metrics of the model on the fixed instances, evaluated now."""
        problem, set_name, *_ = self.row.split()
        some, model = instances(problem, "paper", set_name), load_model(root / self.file)
        with single_thread():
            iterates = propose(model, some.initial, some.target)
            found = outcome(some.problem, some.initial, some.target, iterates, some.optimal_cost)[-1]
        return {metric: QUANTITIES[metric].value(found) for metric in self.tolerance}

    def wrong(self, root: Path) -> str:
        """What does not come out again; empty if everything does."""
        try:
            require_file(root / self.file, "checkpoint", "restore it with git")
            return self._difference(root)
        except (ValueError, OSError) as error:
            return str(error)

    def _difference(self, root: Path) -> str:
        recorded = read_training_record(root / self.file).get("recipe") or {}
        problem, _, _, seed = self.row.split()
        if (recorded.get("problem"), str(recorded.get("seed"))) != (problem, seed):
            return f"{self.file} is not a model of {problem} with seed {seed}"
        wrong = []
        for metric, value in self.measure(root).items():
            committed = Number(table=self.table, row=f"{self.row} {metric}").value(root)
            if not abs(value - committed) <= self.tolerance[metric]:
                wrong.append(f"{metric} is {value:.6g}, committed is {committed:.6g} ± {self.tolerance[metric]:g}")
        return "; ".join(wrong)
