"""Trajectories of a few instances as a tidy table."""

from collections.abc import Mapping

import pandas as pd
import torch
from torch import Tensor

from ..problems import Problem
from ..simulation import rollout


def trajectory_table(
    problem: Problem, initial: Tensor, target: Tensor, proposed: Mapping[str, Tensor], names: list[int] | None = None
) -> pd.DataFrame:
    """States and controls over time: one row a method, an iterate, an instance and a step.

    From ``[N, n]`` states and, by method, iterates ``[N, K+1, T, m]`` to columns ``problem, method, instance, iterate,
    time, state_…, target_…, control_…``, in which the final state has no control. Instances are called by `names`, or 0
    to N-1.
    """
    tables = []
    for method, iterates in proposed.items():
        for k, controls in enumerate(iterates.unbind(1)):
            states = rollout(problem, initial, controls)
            padded = torch.nn.functional.pad(controls, (0, 0, 0, 1), value=float("nan"))
            for i, (x, u) in enumerate(zip(states, padded, strict=True)):
                key = {"problem": problem.name, "method": method, "instance": names[i] if names else i, "iterate": k}
                columns = {"time": torch.arange(len(x), dtype=torch.float64) * problem.dt}
                columns |= {f"state_{j}": x[:, j] for j in range(problem.state_dim)}
                columns |= {f"target_{j}": target[i, j].expand(len(x)) for j in range(problem.state_dim)}
                columns |= {f"control_{j}": u[:, j] for j in range(problem.control_dim)}
                tables.append(pd.DataFrame(key | {name: values.numpy() for name, values in columns.items()}))
    return pd.concat(tables, ignore_index=True)
