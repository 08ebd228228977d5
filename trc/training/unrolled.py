"""Unrolled supervision: one loss for all refinements of an instance, and its gradient goes back through all of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .objective import Objective, Portion


@dataclass(frozen=True)
class Unrolled(Objective):
    """As the guides train: a batch is refined as often as the network was made for, and judged at the end."""

    def epoch(self, tensors: Sequence[Tensor], generator: torch.Generator) -> Iterator[Portion]:
        """One batch after the other, in random order."""
        batches = torch.randperm(len(tensors[0]), generator=generator).split(self.config.batch_size)
        for step, rows in enumerate(batches):
            loss = self.validation(*(tensor[rows] for tensor in tensors))
            yield Portion(loss, len(rows), step / len(batches))

    def validation(self, *tensors: Tensor) -> Tensor:
        """The loss that is learned from, too."""
        dynamics_fn = self.simulator.dynamics_fn
        output = self.model(*tensors[:2], dynamics_fn=dynamics_fn, return_all_iterations=True)
        knowing = getattr(self.model.config, "use_two_level", False)  # z_H knows no instance before its first update
        return self.loss_of(output, *tensors, first_valued=int(knowing))
