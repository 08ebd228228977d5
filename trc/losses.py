r"""Training losses: what the network's iterates are held against.

Behaviour cloning looks at the last iterate alone. Process supervision looks at the costs :math:`c_0, \dots, c_K` of all
iterates and rewards that they fall. The reward as it was proposed,

.. math:: \frac{1}{K} \sum_{k=1}^{K} \frac{c_{k-1} - c_k}{c_0} = \frac{1 - c_K / c_0}{K},

telescopes: the iterates between the first and the last cancel, and a *worse* first guess raises it. Dividing by another
cost does not change that; taking the first iterate's cost as a mere number does. A discounted sum of the costs never
rewards a worse first guess, a penalty on rises only where the first refinement makes it worse still.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .checks import check_choice, check_real
from .simulation import Dynamics

#: What the improvement reward is relative to: the first iterate's cost, the same as a mere number, or the teacher's.
REFERENCES = ("first", "first-detached", "teacher")


def cloning_loss(output: dict[str, Tensor], expert_controls: Tensor) -> Tensor:
    """Behaviour cloning: mean squared difference of the *last* iterate to the teacher's controls.

    Parameters
    ----------
    output : dict
        What the model returned, with ``controls`` ``[B, T, m]``.
    expert_controls : Tensor ``[B, T, m]``
    """
    return F.mse_loss(output["controls"], expert_controls)


def state_loss(states: Tensor, expert_states: Tensor, scale: Tensor) -> Tensor:
    """Cloning of where the controls lead: mean squared difference of the states to the teacher's.

    Parameters
    ----------
    states, expert_states : Tensor ``[B, T+1, n]``
    scale : Tensor ``[n]``
        The unit of each state.
    """
    return ((states - expert_states) / scale).square().mean()


def iterate_costs(
    output: dict[str, Tensor],
    initial: Tensor,
    target: Tensor,
    simulate: Dynamics,
    cost: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Tensor:
    """Costs ``[B, K+1]`` of all iterates; what the feedback has simulated already is not simulated again.

    Parameters
    ----------
    output : dict
        What the model returned with ``return_all_iterations=True``.
    initial, target : Tensor ``[B, n]``
    simulate : callable
        Trajectories from initial states and controls, for example ``functools.partial(trc.rollout, problem)``.
    cost : callable
        From states, controls and target, for example ``problem.cost``.

    Raises
    ------
    ValueError
        If `simulate` gives final states alone, which have no cost, or no gradient where one is asked for.
    """
    controls, known = output["all_controls"], output.get("all_states")
    missing = controls if known is None else controls[:, known.shape[1] :]
    states = simulate(initial.repeat_interleave(missing.shape[1], 0), missing.flatten(0, 1))
    if states.ndim != 3:
        raise ValueError(
            f"the cost needs trajectories [B, T+1, n], but dynamics_fn returned final states {list(states.shape)}; "
            "let it return every state."
        )
    if missing.requires_grad and not states.requires_grad:
        raise ValueError(
            "this loss needs the gradient of the simulation, but dynamics_fn gives none; write it in torch."
        )
    states = states.unflatten(0, missing.shape[:2])
    states = states if known is None else torch.cat((known, states), 1)
    return cost(states, controls, target.unsqueeze(1))


def improvement_reward(costs: Tensor, *, reference: str = "first", teacher_costs: Tensor | None = None) -> Tensor:
    """Mean fall of the cost from one iterate to the next, as a share of a reference cost.

    Parameters
    ----------
    costs : Tensor ``[B, K+1]``
    reference : {"first", "first-detached", "teacher"}
        ``"first"`` is the reward as it was proposed, see above. With ``"first-detached"`` no gradient reaches the first
        iterate, neither through the denominator nor through the first difference.
    teacher_costs : Tensor ``[B]``, optional
        For ``"teacher"``.

    Raises
    ------
    ValueError
        If the reference is unknown, or the teacher's costs are missing.
    """
    check_choice(reference, "reference", REFERENCES)
    _check_refined(costs)
    if reference == "teacher" and teacher_costs is None:
        raise ValueError('reference="teacher" needs teacher_costs.')
    if reference == "first-detached":
        costs = torch.cat((costs[:, :1].detach(), costs[:, 1:]), 1)
    by = teacher_costs if reference == "teacher" else costs[:, 0]
    return ((costs[:, :-1] - costs[:, 1:]) / by.unsqueeze(1)).mean()


def discounted_cost(costs: Tensor, teacher_costs: Tensor, discount: float = 0.9) -> Tensor:
    """Weighted mean of the iterates' costs over the teacher's, the last one with the weight 1 before normalisation.

    Parameters
    ----------
    costs : Tensor ``[B, K+1]``
    teacher_costs : Tensor ``[B]``
    discount : float
        Weight of an iterate relative to the next one, between 0 (only the last counts) and 1 (all alike).
    """
    if not 0 <= check_real(discount, "discount") <= 1:
        raise ValueError(f"discount must lie between 0 and 1, got {discount}.")
    weights = discount ** torch.arange(costs.shape[1] - 1, -1, -1, dtype=costs.dtype, device=costs.device)
    return ((costs / teacher_costs.unsqueeze(1)) @ (weights / weights.sum())).mean()


def rise_penalty(costs: Tensor, teacher_costs: Tensor) -> Tensor:
    """Mean rise of the cost from one iterate to the next over the teacher's cost; falls count nothing.

    Parameters
    ----------
    costs : Tensor ``[B, K+1]``
    teacher_costs : Tensor ``[B]``
    """
    _check_refined(costs)
    return (F.relu(costs[:, 1:] - costs[:, :-1]) / teacher_costs.unsqueeze(1)).mean()


def _check_refined(costs: Tensor) -> None:
    if costs.shape[1] < 2:
        raise ValueError("this loss compares each iterate with the one before: it needs at least one refinement.")


def trajectory_loss(costs: Tensor) -> Tensor:
    """Mean logarithm of the costs ``[B]``: no teacher, and every instance counts relative to its own cost."""
    return costs.log().mean()


def value_loss(predicted_log: Tensor, costs: Tensor) -> Tensor:
    """Mean squared difference of the predicted logarithms of costs to those of the true costs, both ``[B, K+1]``.

    No gradient reaches the true costs: the prediction is to follow the controls, not the controls the prediction.
    """
    return F.mse_loss(predicted_log, costs.detach().log())
