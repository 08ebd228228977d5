"""The fixed instances that experiments are judged on, with their optimum."""

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from ..datasets import evaluation_set
from ..evaluation.metrics import iterate_metrics
from ..experts import EXPERTS
from ..problems import Problem, make_problem
from .outcomes import Outcome
from .presets import settings
from .results import read_table
from .rows import select


@dataclass(frozen=True)
class Instances:
    """Test instances of a problem with saturated LQR's controls, and cost and terminal error of the best known."""

    problem: Problem
    initial: Tensor  # [N, n]
    target: Tensor  # [N, n]
    lqr_controls: Tensor  # [N, T, m]
    optimal_cost: Tensor  # [N]
    optimal_error: Tensor  # [N]

    def optimum(self) -> Outcome:
        """What the optimum would score itself."""
        success = (self.optimal_error < self.problem.success_threshold).double()
        found = {"cost": self.optimal_cost, "optimal_cost": self.optimal_cost}
        found |= {"terminal_error": self.optimal_error, "success": success}
        return {name: values.unsqueeze(0) for name, values in found.items()}

    def first(self, count: int) -> Self:
        """The first `count` of them, or all if there are fewer."""
        each = {f.name: getattr(self, f.name)[:count] for f in fields(self) if f.name != "problem"}
        return Instances(self.problem, **each)

    def judge(self, iterates: Tensor, teacher_controls: Tensor | None = None) -> list[Outcome]:
        """What became of one seed's iterates ``[N, K+1, T, m]``: metrics ``[1, N]`` of each, the first guess first.

        They are those of :func:`trc.instance_metrics`, ``optimal_cost``, ``first_cost`` (of the first guess),
        ``previous_cost`` (of the iterate before), ``monotone`` (1 if the cost has not risen up to this iterate,
        otherwise 0) and, beside teachers' controls, ``control_mse``.
        """
        metrics = iterate_metrics(self.problem, self.initial, self.target, iterates, teacher_controls)
        cost = metrics["cost"]
        rises = torch.nn.functional.pad(cost.diff(dim=1) > 0, (1, 0))
        metrics |= {
            "optimal_cost": self.optimal_cost.double().unsqueeze(1).expand_as(cost),
            "first_cost": cost[:, :1].expand_as(cost),
            "previous_cost": torch.cat((cost[:, :1], cost[:, :-1]), 1),
            "monotone": (rises.cumsum(1) == 0).double(),
        }
        return [{name: values[:, k].unsqueeze(0) for name, values in metrics.items()} for k in range(cost.shape[1])]

    def teacher_controls(self) -> Tensor:
        """Controls ``[N, T, m]`` of the problem's teacher, solved anew."""
        teacher = EXPERTS.find(self.problem.teacher)
        return teacher(self.problem, self.initial.double(), self.target.double()).controls


def instances(problem: str, preset: str, name: str = "test") -> Instances:
    """The first instances of an evaluation set, with the optimal costs that the experiment ``teachers`` has found.

    For a problem that is none of the paper's the optimum is found here and now.
    """
    made = make_problem(problem)
    whole = evaluation_set(made, name)
    count = min(settings(preset).num_test, len(whole))
    some = whole.first(count)
    optima = select(read_table("teachers", "optima.csv"), problem=problem, set=name)
    rows = optima.sort_values("instance")[:count]
    if rows.empty:
        found = EXPERTS.find("optimum")(made, some.initial_states, some.target_states)
        best = (found.cost, (found.states[:, -1] - some.target_states).norm(dim=-1))
    else:
        best = (torch.tensor(rows[column].to_numpy()) for column in ("optimal_cost", "terminal_error"))
    return Instances(made, some.initial_states, some.target_states, some.control_sequences, *best)
