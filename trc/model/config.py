"""The strict, frozen configurations of the networks."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Self

import torch

from ..common.checks import (
    check_bounds,
    check_choice,
    check_count,
    check_kind,
    check_real,
    check_reals,
    from_settings,
    plain,
    settle,
)
from ..common.memory import check_memory
from ..problems import Problem, check_problem
from .feedback import FEEDBACKS

#: What a setting that is a choice may be.
CHOICES: dict[str, Iterable[str]] = {"reasoning": ("attention", "mlp"), "feedforward": ("silu", "swiglu")}
CHOICES |= {"norm": ("layer", "rms"), "decoder": ("residual", "full"), "feedback": FEEDBACKS}

#: Bytes of a block's modules, beside its weights; and how often training holds the weights: as they are, their
#: gradient, the optimizer's two averages, and as they were in the best epoch.
BLOCK, TRAINED = 16_000, 5

#: What the three sizes change together: width, depth and heads.
SIZES: dict[str, dict[str, int]] = {
    "small": {"latent_dim": 64, "hidden_dim": 128, "num_blocks": 2, "num_heads": 2},
    "medium": {"latent_dim": 128, "hidden_dim": 256, "num_blocks": 3, "num_heads": 4},
    "large": {"latent_dim": 256, "hidden_dim": 512, "num_blocks": 4, "num_heads": 8},
}

#: What two latents change of it: fewer blocks, passed through more often.
TWO_LEVELS: dict[str, dict[str, int]] = {
    "small": {"num_blocks": 2, "L_cycles": 4},
    "medium": {"num_blocks": 2, "L_cycles": 4},
    "large": {"num_blocks": 3, "L_cycles": 6},
}

#: What the blocks of the Tiny Recursive Model do otherwise. Source: Jolicoeur-Martineau (2025).
TRM_STYLE: dict[str, Any] = {"use_two_level": True, "learnable_initial_latents": False, "carry_latents": True}
TRM_STYLE |= {"feedforward": "swiglu", "expansion": 4, "norm": "rms", "norm_first": False}


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The meaning of a network's inputs and outputs, the same for every kind of network.

    Parameters
    ----------
    state_dim, control_dim, control_horizon : int
        ``n``, ``m`` and ``T``.
    control_low, control_high : tuple of float, one a control dimension
    state_scale, time_scale : tuple of float, one a state dimension; float
        What states, targets and errors, and the remaining time, are divided by (no sample statistics).
    initial_scale : float
        What the last layers of the decoders are multiplied by before training; 1 leaves them as PyTorch draws them.
    """

    state_dim: int
    control_dim: int
    control_horizon: int
    control_low: tuple[float, ...]
    control_high: tuple[float, ...]
    state_scale: tuple[float, ...]
    time_scale: float = 1.0
    initial_scale: float = 0.1

    def __post_init__(self) -> None:
        settle(self)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in CHOICES:
                check_choice(value, field.name, CHOICES[field.name])
            elif field.type is int:
                check_count(value, field.name)
            elif field.type is bool:
                check_kind(value, bool, field.name, "say True or False")
        low, high = check_bounds(self.control_low, self.control_high, self.control_dim)
        scale = check_reals(self.state_scale, "state_scale", self.state_dim, positive=True)
        for name, value in {"control_low": low, "control_high": high, "state_scale": scale}.items():
            object.__setattr__(self, name, value)
        for name in ("time_scale", "initial_scale"):
            check_real(getattr(self, name), name, positive=True)  # a whole number stays one, so that recipes keep names

    def least_weights(self) -> int:
        """At least so many weights a network of this configuration has."""
        return self.control_horizon * self.control_dim

    def check_fits(self, *, trained: bool = False) -> None:
        """Raise ``ValueError`` if such a network can't fit into memory, or can't be `trained` there."""
        weights = self.least_weights() * torch.get_default_dtype().itemsize * (TRAINED if trained else 1)
        modules = getattr(self, "num_blocks", 0) * BLOCK
        what = f"such a network{', to be trained,' if trained else ''}"
        device = torch.get_default_device()
        check_memory(weights + modules, what, "make it smaller, or the horizon shorter", device)

    @classmethod
    def for_problem(cls, problem: Problem, **settings: Any) -> Self:
        """With the dimensions, bounds and scales of `problem`; dimensions and bounds given too must agree with it."""
        check_problem(problem)
        fixed = {"state_dim": problem.state_dim, "control_dim": problem.control_dim, "control_horizon": problem.horizon}
        fixed |= {"control_low": problem.control_low, "control_high": problem.control_high}
        for name in [name for name in fixed if name in settings]:
            given = plain(settings[name])
            given = tuple(map(plain, given)) if isinstance(given, Iterable) else given
            if given != fixed[name]:
                raise ValueError(
                    f"{name}={given} does not match the problem {problem.name!r}, "
                    f"which has {fixed[name]}; leave it out."
                )
        scales = {"state_scale": problem.state_scale, "time_scale": problem.duration}
        return cls.from_dict(scales | settings | fixed)

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> Self:
        """Build from a mapping; an unknown or missing key is a ``ValueError`` that lists the known ones."""
        return from_settings(cls, settings, "model setting")


@dataclass(frozen=True, kw_only=True)
class ModelConfig(NetworkConfig):
    """Everything that fixes the shape of a recursive network, and what :class:`NetworkConfig` says.

    Parameters
    ----------
    latent_dim, hidden_dim, num_blocks, num_heads : int
        Width of the latent, width of the hidden layers of encoders and decoders, reasoning blocks, attention heads.
    num_outer_cycles, num_inner_cycles : int
        Refinement iterations ``K``, with two levels the H-cycles; the call may override it, since the weights are the
        same. With a single latent, passes ``n`` of the reasoning blocks within each of them.
    use_two_level, L_cycles : bool, int
        Two latents ``z_H`` and ``z_L`` in place of one, and updates of ``z_L`` within one H-cycle.
    learnable_initial_latents : bool
        Whether ``z_H`` and ``z_L`` start from parameters or from fixed random numbers.
    carry_latents : bool
        Whether a refinement goes on from the latents of the one before; or from those that the first began with, so
        that nothing but the controls is remembered, and there is nothing to count with.
    use_gradient_truncation : bool
        Cut the graph between refinements, so that each iterate's loss reaches its own cycle alone.
    reasoning : {"attention", "mlp"}
        Whether a block's latent attends to the context tokens, or is added to their sum.
    feedforward, expansion : {"silu", "swiglu"}, int
        The second half of a block: a perceptron with one hidden layer, or one with a gate and no biases; and the width
        of that layer over the width of the latent.
    norm, norm_first : {"layer", "rms"}, bool
        LayerNorm, or RMSNorm, which neither centres nor shifts; and whether a block normalises what goes into its
        halves, or what comes out of them.
    dropout : float
        Share of the blocks' updates that is dropped in training.
    decoder : {"residual", "full"}
        Whether a refinement adds a bounded step to the current controls, or writes the whole sequence anew.
    feedback : {"error", "costate", "newton", "none", "shuffled", "wrong"}
        What the simulator tells the network between iterations; see ``trc.model.feedback``.
    """

    latent_dim: int
    hidden_dim: int
    num_blocks: int
    num_heads: int
    num_outer_cycles: int = 3
    num_inner_cycles: int = 3
    use_two_level: bool = False
    L_cycles: int = 4
    learnable_initial_latents: bool = True
    carry_latents: bool = False
    use_gradient_truncation: bool = False
    reasoning: str = "attention"
    feedforward: str = "silu"
    expansion: int = 2
    norm: str = "layer"
    norm_first: bool = True
    dropout: float = 0.0
    decoder: str = "residual"
    feedback: str = "error"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.latent_dim % self.num_heads:
            raise ValueError(f"latent_dim {self.latent_dim} must be a multiple of num_heads {self.num_heads}.")
        if self.decoder == "full" and FEEDBACKS[self.feedback].steps:
            raise ValueError(
                f'decoder "full" takes no steps, and feedback {self.feedback!r} proposes them: use decoder "residual".'
            )
        if check_real(self.dropout, "dropout", minimum=0) >= 1:
            raise ValueError(f"dropout must be below 1, got {self.dropout}.")

    def least_weights(self) -> int:
        """At least so many weights: matrices of the coders and of the blocks."""
        n, d, hidden = self.state_dim, self.latent_dim, self.hidden_dim
        flat = super().least_weights()
        coders = hidden * (2 * n + 1 + 3 * d + 2 * flat) + d * flat
        attention = 4 * d * d if self.reasoning == "attention" else 0
        return coders + self.num_blocks * (attention + 2 * self.expansion * d * d)

    @property
    def H_cycles(self) -> int:
        """Refinements of a two-level network, under their own name."""
        return self.num_outer_cycles

    @classmethod
    def of_size(cls, size: str, *, problem: Problem | None = None, **settings: Any) -> Self:
        """The preset `size` for a problem, with any of its fields changed.

        Without a problem the dimensions default to 2, 1 and 15 and the bounds to ±4 (those of the double
        integrator), and inputs are not scaled.
        """
        check_choice(size, "size", SIZES)
        shape = SIZES[size] | (TWO_LEVELS[size] if settings.get("use_two_level") else {})
        if problem is not None:
            return cls.for_problem(problem, **shape | settings)
        settings = {"state_dim": 2, "control_dim": 1, "control_horizon": 15} | settings
        n, m = (check_count(settings[name], name) for name in ("state_dim", "control_dim"))
        check_memory(64 * (n + 2 * m), "such a network", "give it fewer dimensions")  # for bounds and scales alone
        unscaled = {"control_low": (-4.0,) * m, "control_high": (4.0,) * m, "state_scale": (1.0,) * n}
        return cls.from_dict(unscaled | shape | settings)
