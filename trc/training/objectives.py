"""What training minimises, by name: the losses put together as a configuration asks for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from ..losses import (
    cloning_loss,
    discounted_cost,
    improvement_reward,
    iterate_costs,
    rise_penalty,
    state_loss,
    trajectory_loss,
    value_loss,
)
from ..model import ControlNetwork, Simulator, ValuePredictor
from ..simulation import Dynamics

Cost = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Attempt:
    """What a model did with a batch of instances, and what it is held against.

    Parameters
    ----------
    output : dict
        What the model returned with ``return_all_iterations=True``.
    initial, target : Tensor ``[B, n]``
    expert_controls : Tensor ``[B, T, m]``
    teacher_costs : Tensor ``[B]``, optional
    simulate : callable
        Trajectories ``[B, T+1, n]`` from initial states and controls.
    cost : callable
        From states, controls and target to ``[B]``.
    """

    output: dict[str, Tensor]
    initial: Tensor
    target: Tensor
    expert_controls: Tensor
    teacher_costs: Tensor | None
    simulate: Dynamics
    cost: Cost

    @cached_property
    def cloning(self) -> Tensor:
        """See :func:`trc.losses.cloning_loss`."""
        return cloning_loss(self.output, self.expert_controls)

    @cached_property
    def costs(self) -> Tensor:
        """Costs ``[B, K+1]``; see :func:`trc.losses.iterate_costs`."""
        return iterate_costs(self.output, self.initial, self.target, self.simulate, self.cost)

    @cached_property
    def states(self) -> Tensor:
        """States ``[B, T+1, n]`` of the last iterate."""
        return self.simulate(self.initial, self.output["controls"])


# The second argument is the training's configuration, which in turn lists these losses as its choices.


def _process(attempt: Attempt, config: Any) -> Tensor:
    reward = improvement_reward(attempt.costs, reference=config.reference, teacher_costs=attempt.teacher_costs)
    return attempt.cloning - config.process_weight * reward


def _discounted(attempt: Attempt, config: Any) -> Tensor:
    return attempt.cloning + config.process_weight * discounted_cost(
        attempt.costs, attempt.teacher_costs, config.discount
    )


def _hinge(attempt: Attempt, config: Any) -> Tensor:
    return attempt.cloning + config.process_weight * rise_penalty(attempt.costs, attempt.teacher_costs)


LOSSES: dict[str, Callable[[Attempt, Any], Tensor]] = {
    "cloning": lambda attempt, config: attempt.cloning,
    "process": _process,
    "discounted": _discounted,
    "hinge": _hinge,
    "trajectory": lambda attempt, config: trajectory_loss(
        attempt.cost(attempt.states, attempt.output["controls"], attempt.target)
    ),
}


@dataclass(frozen=True)
class Objective:
    """The mean loss of instances, a function of ``initial, target, expert_controls`` and the expert's costs and states.

    Parameters
    ----------
    model : TinyRecursiveControl or FeedForward
    config : TrainingConfig
    simulator : Simulator
        For the feedback, and for the costs of the iterates.
    cost : callable
        From states, controls and target.
    value_predictor : ValuePredictor, optional
        Trained along with the weight ``config.value_weight``.
    """

    model: ControlNetwork
    config: Any
    simulator: Simulator
    cost: Cost | None
    value_predictor: ValuePredictor | None = None

    def __call__(
        self,
        initial: Tensor,
        target: Tensor,
        controls: Tensor,
        costs: Tensor | None = None,
        states: Tensor | None = None,
    ) -> Tensor:
        """The mean loss of a batch; an expert's costs and states are needed by some losses alone."""
        dynamics_fn = self.simulator.dynamics_fn
        output = self.model(initial, target, dynamics_fn=dynamics_fn, return_all_iterations=True)
        attempt = Attempt(output, initial, target, controls, costs, self.simulator, self.cost)
        loss = LOSSES[self.config.loss](attempt, self.config)
        if self.config.state_weight:
            loss = loss + self.config.state_weight * state_loss(attempt.states, states, self.model.state_scale)
        if self.value_predictor is not None:
            first = int(self.model.config.use_two_level)  # z_H knows nothing of the instance before its first update
            predicted = self.value_predictor.log_cost(output["all_latents"][:, first:])
            loss = loss + self.config.value_weight * value_loss(predicted, attempt.costs[:, first:])
        return loss
