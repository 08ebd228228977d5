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
    """A committed model and the committed numbers that it must give again."""

    file: str
    page: str  # that rests on it
    table: str  # where its numbers stand, by problem, set, method, seed and metric
    row: str  # the first four of these
    tolerance: dict[str, float]  # largest difference by metric; processors differ in the last digits
    iterations: int | None = None  # refinements, where they are not as many as it was made for

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

    def wrong(self, root: Path) -> str:
        """What does not come out again from the model, evaluated now; empty if everything does."""
        problem, set_name, _, seed = self.row.split()
        wrong = []
        try:
            path = require_file(root / self.file, "checkpoint", "restore it with git")
            recorded = read_training_record(path).get("recipe") or {}
            found = (recorded.get("problem"), str(recorded.get("seed"))) if isinstance(recorded, dict) else None
            if found != (problem, seed):
                return f"{self.file} is not a model of {problem} with seed {seed}"
            some, model = instances(problem, "paper", set_name), load_model(path)
            with single_thread():
                answer = some.judge(propose(model, some.initial, some.target, self.iterations))[-1]
            for metric, tolerance in self.tolerance.items():
                value = QUANTITIES[metric].value(answer)
                committed = Number(table=self.table, row=f"{self.row} {metric}").value(root)
                if not abs(value - committed) <= tolerance:
                    wrong.append(f"{metric} is {value:.6g}, committed is {committed:.6g} ± {tolerance:g}")
        except (ValueError, OSError) as error:
            return str(error)
        return "; ".join(wrong)
