"""What is minimised, epoch by epoch: the mean loss of a network's answers, as a configuration says."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..model import ControlNetwork, Simulator, ValuePredictor
from ..problems import Cost
from .config import LOSSES, TrainingConfig
from .losses import Attempt, value_loss

#: Instances validated at a time.
CHUNK = 1024


class Portion(NamedTuple):
    """A part of an epoch: what the optimizer makes one step for."""

    loss: Tensor
    count: int  #: of the instances that it is the mean of
    progress: float  #: the share of the epoch that lay behind it


@dataclass(frozen=True)
class Objective(ABC):
    """The mean loss of instances; how a network is taken through them is what the kinds differ in.

    The simulator serves the feedback and the costs of the iterates; a cost is needed by the losses that look at costs.
    Instances are ``tensors``: initial and target states ``[N, n]`` and the teacher's controls, costs and states, where
    they are needed.
    """

    model: ControlNetwork
    config: TrainingConfig
    simulator: Simulator
    cost: Cost | None
    value_predictor: ValuePredictor | None = None  #: trained along, with the weight ``config.value_weight``

    @abstractmethod
    def epoch(self, tensors: Sequence[Tensor], generator: torch.Generator) -> Iterator[Portion]:
        """Go through the instances once; the model is changed by a step between one portion and the next."""

    @abstractmethod
    def validation(self, *tensors: Tensor) -> Tensor:
        """The mean loss of some instances that nothing is learned from."""

    def validate(self, tensors: Sequence[Tensor]) -> float:
        """The mean loss of any number of them."""
        parts = zip(*(t.split(CHUNK) for t in tensors), strict=True)
        return sum(self.validation(*part).item() * len(part[0]) for part in parts) / len(tensors[0])

    def loss_of(
        self,
        output: dict[str, Tensor],
        initial: Tensor,
        target: Tensor,
        controls: Tensor,
        costs: Tensor | None = None,
        states: Tensor | None = None,
        first_valued: int = 0,
    ) -> Tensor:
        """The loss of what the model returned, with the terms that stand beside it.

        A value predictor is trained on all iterates that are not before the `first_valued`.
        """
        attempt = Attempt(self.model, output, initial, target, controls, costs, self.simulator, self.cost)
        loss = LOSSES[self.config.loss](attempt, self.config)
        if self.config.state_weight:
            off = (attempt.states - states) / self.model.state_scale  # [B, T+1, n]
            loss = loss + self.config.state_weight * off.square().mean()
        if self.value_predictor is not None and first_valued < output["all_latents"].shape[1]:
            predicted = self.value_predictor.log_cost(output["all_latents"][:, first_valued:])
            loss = loss + self.config.value_weight * value_loss(predicted, attempt.costs[:, first_valued:])
        return loss
