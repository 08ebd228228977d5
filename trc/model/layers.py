"""What the networks are built of: small perceptrons, normalisations, and initial weights by a seed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..common.checks import check_seed
from .config import ModelConfig


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Draw initial weights from a seed and leave torch's random state as it was; without one, draw from that state."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(check_seed(seed))
        yield


def perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Linear, SiLU, LayerNorm, Linear: every encoder and decoder of the model has this form."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.LayerNorm(hidden), nn.Linear(hidden, outputs))


class SwiGLU(nn.Module):
    """A perceptron whose hidden layer is multiplied by a gate, without biases. Source: Shazeer (2020)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_and_value = nn.Linear(width, 2 * hidden, bias=False)
        self.out = nn.Linear(hidden, width, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        """``[B, d]`` to ``[B, d]``."""
        gate, value = self.gate_and_value(z).chunk(2, -1)
        return self.out(F.silu(gate) * value)


def feedforward(config: ModelConfig) -> nn.Module:
    """The second half of a reasoning block."""
    d, hidden = config.latent_dim, config.expansion * config.latent_dim
    if config.feedforward == "swiglu":
        return SwiGLU(d, hidden)
    return nn.Sequential(nn.Linear(d, hidden), nn.SiLU(), nn.Linear(hidden, d))


def norm(config: ModelConfig) -> nn.Module:
    """A normalisation of the latent."""
    return {"layer": nn.LayerNorm, "rms": nn.RMSNorm}[config.norm](config.latent_dim)
