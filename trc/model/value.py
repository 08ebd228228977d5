"""A value predictor: the cost of an iterate, read off the latent before anything is simulated."""

from typing import Self

import torch
from torch import Tensor, nn

from ..common.checks import check_choice, check_count
from ..common.memory import check_memory
from .config import SIZES
from .layers import perceptron, seeded


class ValuePredictor(nn.Module):
    """Predicts the cost ``J`` of an iterate from the latent that it was decoded from."""

    def __init__(self, latent_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.latent_dim = check_count(latent_dim, "latent_dim")
        self.hidden_dim = check_count(hidden_dim, "hidden_dim")
        weights = self.hidden_dim * self.latent_dim * torch.get_default_dtype().itemsize
        check_memory(weights, "such a value predictor", "make it smaller", torch.get_default_device())
        self.head = perceptron(self.latent_dim, self.hidden_dim, 1)

    @classmethod
    def create(cls, latent_dim: int, size: str = "small", seed: int | None = None) -> Self:
        """A predictor of a network's ``config.latent_dim``, as wide as one of the sizes; weights by a seed if given."""
        check_choice(size, "size", SIZES)
        with seeded(seed):
            return cls(latent_dim, SIZES[size]["hidden_dim"])

    def log_cost(self, latents: Tensor) -> Tensor:
        """Logarithms of the costs ``[...]`` of latents ``[..., d]``."""
        return self.head(latents).squeeze(-1)

    def forward(self, latents: Tensor) -> Tensor:
        """Costs ``[...]`` of latents ``[..., d]``; ``output["all_latents"]`` gives ``[B, K+1]``.

        With two levels the first of these is the same for all instances and says nothing about their first guess.
        """
        return self.log_cost(latents).exp()
