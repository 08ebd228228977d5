"""The rollout as anyone would write it, with PyTorch's own gradient: what every faster way is held against."""

import torch


def step_by_step(problem, initial, controls, parameters=None):
    """States ``[B, T+1, n]``, one call of ``problem.step`` after another."""
    states = [initial]
    for u in controls.unbind(1):
        states.append(problem.step(states[-1], u, {**problem.parameters, **(parameters or {})}))
    return torch.stack(states, 1)
