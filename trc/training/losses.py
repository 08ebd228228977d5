r"""Training losses: what the network's iterates are held against, each registered under its name.

Behaviour cloning looks at the last iterate alone. Process supervision looks at the costs :math:`c_0, \dots, c_K` of all
iterates and rewards that they fall. The reward as it was proposed,

.. math:: \frac{1}{K} \sum_{k=1}^{K} \frac{c_{k-1} - c_k}{c_0} = \frac{1 - c_K / c_0}{K},

telescopes: the iterates between the first and the last cancel, and a *worse* first guess raises it. Dividing by another
cost does not change that; taking the first iterate's cost as a mere number does. A discounted sum of the costs never
rewards a worse first guess, a penalty on rises only where the first refinement makes it worse still.

A loss of one's own is a function of an :class:`Attempt` and the :class:`~trc.TrainingConfig`, registered by
``@LOSSES.register("name")``.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from ..common.checks import check_choice
from ..model import ControlNetwork
from ..problems import Cost
from ..simulation import Dynamics
from .config import LOSSES, REFERENCES, TrainingConfig, check_discount

#: Losses of the library that look at the costs of all iterates, each as a share of a cost of its instance, with the
#: process weight.
RELATIVE = ("process", "discounted", "hinge")

#: Losses of the library that divide by costs, which no instance may have for nothing.
DIVIDING = ("gap", *RELATIVE)


def cloning_loss(output: dict[str, Tensor], teacher_controls: Tensor) -> Tensor:
    """Behaviour cloning: mean squared difference of the *last* iterate to the teacher's controls ``[B, T, m]``.

    `output` is what the model returned, with ``controls`` of the same shape.
    """
    return F.mse_loss(output["controls"], teacher_controls)


def iterate_costs(output: dict[str, Tensor], initial: Tensor, target: Tensor, simulate: Dynamics, cost: Cost) -> Tensor:
    """Costs ``[B, K+1]`` of all iterates; what the feedback has simulated already is not simulated again.

    `output` is what the model returned with ``return_all_iterations=True`` for initial and target states ``[B, n]``.
    `simulate` must give trajectories, for example ``functools.partial(trc.rollout, problem)``, with a gradient where
    one is asked for; it is a ``ValueError`` otherwise.
    """
    controls, known = output["all_controls"], output.get("all_states")  # [B, K+1, T, m], [B, K, T+1, n]
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
    states = states if known is None else torch.cat((known, states), 1)  # [B, K+1, T+1, n]
    return cost(states, controls, target.unsqueeze(1))


def improvement_reward(costs: Tensor, *, reference: str = "first", teacher_costs: Tensor | None = None) -> Tensor:
    """Mean fall of the costs ``[B, K+1]`` from one iterate to the next, as a share of a reference cost.

    With ``"first"`` it is the reward as it was proposed; with ``"first-detached"`` no gradient reaches the first
    iterate, neither through the denominator nor through the first difference; ``"teacher"`` needs the teacher's costs.
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
    """Weighted mean of the iterates' costs ``[B, K+1]`` over the teacher's ``[B]``.

    An iterate weighs `discount` times what the next one does: with 0 only the last counts, with 1 all alike.
    """
    check_discount(discount)
    weights = discount ** torch.arange(costs.shape[1] - 1, -1, -1, dtype=costs.dtype, device=costs.device)
    return ((costs / teacher_costs.unsqueeze(1)) @ (weights / weights.sum())).mean()


def rise_penalty(costs: Tensor, teacher_costs: Tensor) -> Tensor:
    """Mean rise of the costs ``[B, K+1]`` from one iterate to the next over the teacher's ``[B]``; falls count 0."""
    _check_refined(costs)
    return (F.relu(costs[:, 1:] - costs[:, :-1]) / teacher_costs.unsqueeze(1)).mean()


def _check_refined(costs: Tensor) -> None:
    if costs.shape[1] < 2:
        raise ValueError("this loss compares each iterate with the one before: it needs at least one refinement.")


def trajectory_loss(costs: Tensor) -> Tensor:
    """Mean logarithm of the costs ``[B]``: no teacher, and every instance counts relative to its own cost."""
    return costs.log().mean()


def log_gap(costs: Tensor, teacher_costs: Tensor, floor: float) -> Tensor:
    """Mean logarithm of how far costs ``[B]`` are above the teacher's, as a share of those.

    To halve a gap is worth the same for an instance that is far off and for one that is near, down to the `floor`: what
    is below it, or cheaper than a teacher that is not optimal, is as good as none.
    """
    return ((costs / teacher_costs - 1).clamp_min(0) + floor).log().mean()


def value_loss(predicted_log: Tensor, costs: Tensor) -> Tensor:
    """Mean squared difference of the predicted logarithms of costs to those of the true costs, both ``[B, K+1]``.

    No gradient reaches the true costs: the prediction is to follow the controls, not the controls the prediction.
    """
    return F.mse_loss(predicted_log, costs.detach().log())


@dataclass(frozen=True)
class Attempt:
    """What a model did with a batch of instances, and what it is held against."""

    model: ControlNetwork
    output: dict[str, Tensor]  #: what the model returned with ``return_all_iterations=True``
    initial: Tensor  #: [B, n]
    target: Tensor  #: [B, n]
    teacher_controls: Tensor  #: [B, T, m]
    teacher_costs: Tensor | None  #: [B]
    simulate: Dynamics  #: trajectories [B, T+1, n] from initial states and controls
    cost: Cost

    @cached_property
    def cloning(self) -> Tensor:
        """See :func:`cloning_loss`."""
        return cloning_loss(self.output, self.teacher_controls)

    @cached_property
    def costs(self) -> Tensor:
        """Costs ``[B, K+1]`` of all iterates; see :func:`iterate_costs`."""
        return iterate_costs(self.output, self.initial, self.target, self.simulate, self.cost)

    @cached_property
    def states(self) -> Tensor:
        """States ``[B, T+1, n]`` of the last iterate."""
        return self.simulate(self.initial, self.output["controls"])


@LOSSES.register("cloning")
def _cloning(attempt: Attempt, config: TrainingConfig) -> Tensor:
    return attempt.cloning


@LOSSES.register("process")
def _process(attempt: Attempt, config: TrainingConfig) -> Tensor:
    reward = improvement_reward(attempt.costs, reference=config.reference, teacher_costs=attempt.teacher_costs)
    return attempt.cloning - config.process_weight * reward


@LOSSES.register("discounted")
def _discounted(attempt: Attempt, config: TrainingConfig) -> Tensor:
    sum_of_costs = discounted_cost(attempt.costs, attempt.teacher_costs, config.discount)
    return attempt.cloning + config.process_weight * sum_of_costs


@LOSSES.register("hinge")
def _hinge(attempt: Attempt, config: TrainingConfig) -> Tensor:
    return attempt.cloning + config.process_weight * rise_penalty(attempt.costs, attempt.teacher_costs)


@LOSSES.register("trajectory")
def _trajectory(attempt: Attempt, config: TrainingConfig) -> Tensor:
    return trajectory_loss(attempt.cost(attempt.states, attempt.output["controls"], attempt.target))


@LOSSES.register("gap")
def _gap(attempt: Attempt, config: TrainingConfig) -> Tensor:
    unit = attempt.model.scaled_controls
    off = unit(attempt.output["controls"]) - unit(attempt.teacher_controls)  # [B, T·m], in no unit
    gap = log_gap(attempt.costs[:, -1], attempt.teacher_costs, config.gap_floor)
    return config.controls_weight * off.square().mean() + config.gap_weight * gap
