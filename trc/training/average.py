"""A moving average of the weights: what is evaluated and kept in place of the last step's."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """An exponential moving average of a module's tensors.

    At first it forgets faster than by the `decay`, so that after few steps too it is near to what they have reached;
    with a decay of 0 it is the module itself.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay = module, decay
        self.tensors = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Go on after a step of the optimizer."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 9))
        torch._foreach_lerp_(list(self.tensors.values()), list(self.module.state_dict().values()), 1 - decay)

    def restore(self, tensors: dict[str, Tensor], updates: int) -> None:
        """Go on from where another was."""
        self.tensors = {name: tensors[name].to(own) for name, own in self.tensors.items()}  # in the module's order
        self.updates = updates

    def copy(self) -> dict[str, Tensor]:
        """The tensors as they are now."""
        return {name: tensor.clone() for name, tensor in self.tensors.items()}

    @contextmanager
    def instead(self) -> Iterator[None]:
        """Put the average into the module, and its own tensors back at the end."""
        own = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}
        self.module.load_state_dict(self.tensors)
        try:
            yield
        finally:
            self.module.load_state_dict(own)
