"""The recursion: the same few reasoning blocks, applied to one latent again and again."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import ModelConfig
from .layers import KeysValues, ReasoningBlock, perceptron


class RecursiveRefinement(nn.Module):
    """Refines the latent ``z`` given the problem, the current controls and the error that they leave.

    Problem, controls and error do not change within an outer cycle, so each block computes their keys and values
    once (:meth:`context`) and uses them in all ``n`` inner cycles.

    Parameters
    ----------
    config : ModelConfig
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.latent_dim
        self.blocks = nn.ModuleList(
            ReasoningBlock(d, config.hidden_dim, config.num_heads) for _ in range(config.num_blocks)
        )
        self.embed_controls = nn.Linear(config.control_horizon * config.control_dim, d)
        self.embed_error = nn.Linear(config.state_dim, d)
        self.encode_error = perceptron(config.state_dim, d, d)

    def context(self, problem: Tensor, controls: Tensor, error: Tensor | None) -> list[KeysValues]:
        """Keys and values of the context tokens, for each block.

        Parameters
        ----------
        problem : Tensor ``[B, d]``
            Encoding of current state, target and time.
        controls : Tensor ``[B, T·m]``
            The current controls, scaled to [-1, 1].
        error : Tensor ``[B, n]`` or None
            Scaled terminal error of the current controls; None without a simulator.
        """
        tokens = [problem, self.embed_controls(controls)]
        if error is not None:
            tokens.append(self.encode_error(error) + self.embed_error(error))
        stacked = torch.stack(tokens, 1)  # (B, 2 or 3, d)
        return [block.context(stacked) for block in self.blocks]

    def forward(self, z: Tensor, context: list[KeysValues], num_inner_cycles: int) -> Tensor:
        """The latent ``[B, d]`` after `num_inner_cycles` passes through all blocks."""
        for _ in range(num_inner_cycles):
            for block, keys_values in zip(self.blocks, context, strict=True):
                z = block(z, keys_values)
        return z
