"""The recursion: the same few reasoning blocks, applied to one or two latents again and again."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import ModelConfig
from .feedback import FEEDBACKS
from .layers import AttentionBlock, PlainBlock, perceptron

#: What is carried from one refinement to the next, each ``[B, d]``: ``(z,)``, or ``(z_H, z_L)``. The first is decoded.
Latents = tuple[Tensor, ...]


class Recursion(nn.Module):
    """The reasoning blocks, and what they attend to beside the latent.

    Problem, controls and error do not change within an outer cycle, so each block computes what it needs of them once
    (:meth:`context`) and uses it in all inner cycles.

    Parameters
    ----------
    config : ModelConfig
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.latent_dim
        self.config = config
        block = AttentionBlock if config.reasoning == "attention" else PlainBlock
        self.blocks = nn.ModuleList(block(config) for _ in range(config.num_blocks))
        self.embed_controls = nn.Linear(config.control_horizon * config.control_dim, d)
        kind = FEEDBACKS[config.feedback] or FEEDBACKS["error"]
        features = kind.size(config.state_dim, config.control_dim, config.control_horizon)
        self.embed_error = nn.Linear(features, d)
        self.encode_error = perceptron(features, d, d)

    def context(self, problem: Tensor, controls: Tensor, error: Tensor | None) -> list[Tensor]:
        """What each block needs of the context tokens.

        Parameters
        ----------
        problem : Tensor ``[B, d]``
            Encoding of current state, target and time.
        controls : Tensor ``[B, T·m]``
            The current controls, scaled to [-1, 1].
        error : Tensor ``[B, f]`` or None
            What the feedback shows of the current controls; None without a simulator.
        """
        tokens = [problem, self.embed_controls(controls)]
        if error is not None:
            tokens.append(self.encode_error(error) + self.embed_error(error))
        stacked = torch.stack(tokens, 1)  # (B, 2 or 3, d)
        return [block.context(stacked) for block in self.blocks]

    def think(self, z: Tensor, context: list[Tensor], cycles: int = 1, inject: Tensor | None = None) -> Tensor:
        """The latent ``[B, d]`` after `cycles` passes through all blocks, `inject` being added before each."""
        for _ in range(cycles):
            z = z if inject is None else z + inject
            for block, seen in zip(self.blocks, context, strict=True):
                z = block(z, seen)
        return z


class SingleLevel(Recursion):
    """One latent ``z``, which starts as the encoding of the problem and is updated `num_inner_cycles` times."""

    def start(self, problem: Tensor) -> Latents:
        """The latent before the first refinement, from the problem's encoding ``[B, d]``."""
        return (problem,)

    def forward(self, latents: Latents, context: list[Tensor]) -> Latents:
        """The latent after the inner cycles of one refinement."""
        return (self.think(*latents, context, self.config.num_inner_cycles),)


class TwoLevel(Recursion):
    """Two latents and one module for both: ``z_L`` works on the details, ``z_H`` keeps the plan.

    In one refinement (an H-cycle) ``z_L`` is updated `L_cycles` times, from ``z_L + z_H`` with the context in view, and
    then ``z_H`` once, from ``z_H + z_L`` alone. Source: Jolicoeur-Martineau (2025).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        for name in ("initial_z_H", "initial_z_L"):
            initial = torch.randn(config.latent_dim)
            if config.learnable_initial_latents:
                self.register_parameter(name, nn.Parameter(initial))
            else:
                self.register_buffer(name, initial)

    def start(self, problem: Tensor) -> Latents:
        """Both latents before the first refinement, the same for every problem."""
        return self.initial_z_H.expand_as(problem), self.initial_z_L.expand_as(problem)

    def forward(self, latents: Latents, context: list[Tensor]) -> Latents:
        """Both latents after one H-cycle."""
        z_H, z_L = latents
        z_L = self.think(z_L, context, self.config.L_cycles, inject=z_H)
        nothing = z_H.new_zeros(len(z_H), 0, self.config.latent_dim)
        z_H = self.think(z_H + z_L, [block.context(nothing) for block in self.blocks])
        return z_H, z_L
