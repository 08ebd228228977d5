"""What the networks are built of: perceptrons, normalisations, reasoning blocks, and initial weights by a seed.

B is the batch, d the width of the latent, h the attention heads, S the number of context tokens.
"""

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


class AttentionBlock(nn.Module):
    """Attention and feed-forward, with residual connections, on a single latent.

    Self-attention over one token would be a constant: its softmax is always 1 and the query and key weights never
    learn. Here the latent is the one *query*; it attends to itself, to the context tokens, and to one zero key
    and value. The zero key gives softmax a fixed point to compare with, without which the key bias would shift
    all scores alike and cancel.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.latent_dim
        self.num_heads, self.norm_first = config.num_heads, config.norm_first
        self.norm_attention = norm(config)
        self.query_key_value = nn.Linear(d, 3 * d)
        self.attention_out = nn.Linear(d, d)
        self.norm_feedforward = norm(config)
        self.feedforward = feedforward(config)
        self.dropout = nn.Dropout(config.dropout)

    def context(self, tokens: Tensor) -> Tensor:
        """Keys and values [B, S+1, 2, h, d/h] of context tokens [B, S, d] and of the zero token."""
        d = tokens.shape[-1]
        weight, bias = self.query_key_value.weight[d:], self.query_key_value.bias[d:]
        tokens = self.norm_attention(tokens) if self.norm_first else tokens
        return F.pad(F.linear(tokens, weight, bias), (0, 0, 0, 1)).unflatten(-1, (2, self.num_heads, -1))

    def forward(self, z: Tensor, context: Tensor) -> Tensor:
        """Update the latent [B, d] from itself and the context's keys and values."""
        if self.norm_first:
            z = z + self.dropout(self.attention_out(self.attend(self.norm_attention(z), context)))
            return z + self.dropout(self.feedforward(self.norm_feedforward(z)))
        z = self.norm_attention(z + self.dropout(self.attention_out(self.attend(z, context))))
        return self.norm_feedforward(z + self.dropout(self.feedforward(z)))

    def attend(self, z: Tensor, context: Tensor) -> Tensor:
        """Attention [B, d] of the one query over itself, the context and the zero token."""
        all_three = self.query_key_value(z).unflatten(-1, (3, self.num_heads, -1))  # [B, 3, h, d/h]
        query, itself = all_three.split((1, 2), 1)
        keys, values = torch.cat((itself.unsqueeze(1), context), 1).unbind(2)  # [B, S+2, h, d/h]
        scores = (query * keys).sum(-1) / keys.shape[-1] ** 0.5  # [B, S+2, h]
        return (scores.softmax(1).unsqueeze(-1) * values).sum(1).flatten(1)  # [B, d]


class PlainBlock(nn.Module):
    """A feed-forward with a residual connection; the context tokens are simply added to what it reads."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm_first = config.norm_first
        self.norm = norm(config)
        self.feedforward = feedforward(config)
        self.dropout = nn.Dropout(config.dropout)

    def context(self, tokens: Tensor) -> Tensor:
        """The sum [B, d] of context tokens [B, S, d]."""
        return tokens.sum(1)

    def forward(self, z: Tensor, context: Tensor) -> Tensor:
        """Update the latent [B, d] from itself and the context's sum."""
        seen = z + context
        if self.norm_first:
            return z + self.dropout(self.feedforward(self.norm(seen)))
        return self.norm(z + self.dropout(self.feedforward(seen)))
