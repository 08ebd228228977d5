"""The two building blocks: a small perceptron, and a reasoning block whose one query is the latent."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KeysValues = tuple[Tensor, Tensor]


def perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Linear, SiLU, LayerNorm, Linear: every encoder and decoder of the model has this form."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.LayerNorm(hidden), nn.Linear(hidden, outputs))


class ReasoningBlock(nn.Module):
    """Pre-norm attention and feed-forward, with residual connections, on a single latent.

    Self-attention over one token would be a constant: its softmax is always 1 and the query and key weights never
    learn. Here the latent is the one *query*; it attends to itself, to the context tokens, and to one zero key
    and value. The zero key gives softmax a fixed point to compare with, without which the key bias would shift
    all scores alike and cancel.

    Parameters
    ----------
    latent_dim, hidden_dim, num_heads : int
    """

    def __init__(self, latent_dim: int, hidden_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm_attention = nn.LayerNorm(latent_dim)
        self.query_key_value = nn.Linear(latent_dim, 3 * latent_dim)
        self.attention_out = nn.Linear(latent_dim, latent_dim)
        self.norm_feedforward = nn.LayerNorm(latent_dim)
        self.feedforward = nn.Sequential(
            nn.Linear(latent_dim, hidden_dim), nn.SiLU(), nn.Linear(hidden_dim, latent_dim)
        )

    def context(self, tokens: Tensor) -> KeysValues:
        """Keys and values ``[B, heads, S + 1, d/heads]`` of context tokens ``[B, S, d]`` and the zero token."""
        d = tokens.shape[-1]
        weight, bias = self.query_key_value.weight[d:], self.query_key_value.bias[d:]
        pair = F.pad(F.linear(self.norm_attention(tokens), weight, bias), (0, 0, 0, 1))  # (B, S+1, 2d)
        key, value = pair.unflatten(-1, (2, self.num_heads, -1)).unbind(2)
        return key.transpose(1, 2), value.transpose(1, 2)

    def forward(self, z: Tensor, context: KeysValues) -> Tensor:
        """Update the latent ``[B, d]`` from itself and the context's keys and values."""
        z = z + self.attention_out(self.attend(self.norm_attention(z), context))
        return z + self.feedforward(self.norm_feedforward(z))

    def attend(self, z: Tensor, context: KeysValues) -> Tensor:
        """Attention of the one query over itself, the context and the zero token ``[B, d]``."""
        query, key, value = self.query_key_value(z).unflatten(-1, (3, self.num_heads, 1, -1)).unbind(1)
        keys = torch.cat((context[0], key), 2)  # (B, heads, S+2, d/heads)
        values = torch.cat((context[1], value), 2)
        return F.scaled_dot_product_attention(query, keys, values).flatten(1)
