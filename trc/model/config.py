"""The strict, frozen configuration of a Tiny Recursive Control network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from ..checks import check_choice, check_count, check_kind, check_real
from ..problems import Problem
from .feedback import FEEDBACKS
from .interface import InterfaceConfig, interface_of

#: What a setting that is a choice may be.
CHOICES: dict[str, tuple[str, ...]] = {
    "reasoning": ("attention", "mlp"),
    "feedforward": ("silu", "swiglu"),
    "norm": ("layer", "rms"),
    "decoder": ("residual", "full"),
}

#: What the three sizes change together: width, depth and heads.
SIZES: dict[str, dict[str, int]] = {
    "small": {"latent_dim": 64, "hidden_dim": 128, "num_blocks": 2, "num_heads": 2},
    "medium": {"latent_dim": 128, "hidden_dim": 256, "num_blocks": 3, "num_heads": 4},
    "large": {"latent_dim": 256, "hidden_dim": 512, "num_blocks": 4, "num_heads": 8},
}


#: The same with two latents: fewer blocks, passed through more often.
TWO_LEVEL_SIZES: dict[str, dict[str, int]] = {
    "small": SIZES["small"] | {"num_blocks": 2, "L_cycles": 4},
    "medium": SIZES["medium"] | {"num_blocks": 2, "L_cycles": 4},
    "large": SIZES["large"] | {"num_blocks": 3, "L_cycles": 6},
}

#: What the blocks of the Tiny Recursive Model do otherwise. Source: Jolicoeur-Martineau (2025).
TRM_STYLE: dict[str, Any] = {
    "use_two_level": True,
    "feedforward": "swiglu",
    "norm": "rms",
    "norm_first": False,
    "expansion": 4,
    "learnable_initial_latents": False,
}


@dataclass(frozen=True, kw_only=True)
class ModelConfig(InterfaceConfig):
    """Everything that fixes the network's shape, and what :class:`~trc.model.interface.InterfaceConfig` says.

    Parameters
    ----------
    latent_dim, hidden_dim, num_blocks, num_heads : int
        Width of the latent, width of the hidden layers of encoders and decoders, reasoning blocks, attention heads.
    num_outer_cycles : int
        Refinement iterations ``K``; the call may override it, since the weights are the same. With two levels these
        are the H-cycles.
    num_inner_cycles : int
        Passes ``n`` of the reasoning blocks within one refinement iteration, with a single latent.
    use_two_level : bool
        Two latents ``z_H`` and ``z_L`` in place of one.
    L_cycles : int
        Updates of ``z_L`` within one H-cycle.
    learnable_initial_latents : bool
        Whether ``z_H`` and ``z_L`` start from parameters or from fixed random numbers.
    use_gradient_truncation : bool
        Cut the graph between refinements, so that each iterate's loss reaches its own cycle alone.
    reasoning : {"attention", "mlp"}
        Whether a block's latent attends to the context tokens, or is added to their sum.
    feedforward : {"silu", "swiglu"}
        The second half of a block: a perceptron with one hidden layer, or one with a gate and no biases.
    expansion : int
        Width of that hidden layer over the width of the latent.
    norm : {"layer", "rms"}
        LayerNorm, or RMSNorm, which neither centres nor shifts.
    norm_first : bool
        Whether a block normalises what goes into its halves, or what comes out of them.
    dropout : float
        Share of the blocks' updates that is dropped in training.
    decoder : {"residual", "full"}
        Whether a refinement adds a bounded step to the current controls, or writes the whole sequence anew.
    feedback : {"error", "none", "shuffled", "wrong"}
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
        for name in (*SIZES["small"], "num_outer_cycles", "num_inner_cycles", "L_cycles", "expansion"):
            check_count(getattr(self, name), name)
        for name in ("use_two_level", "learnable_initial_latents", "use_gradient_truncation", "norm_first"):
            check_kind(getattr(self, name), bool, name, "say True or False")
        if self.latent_dim % self.num_heads:
            raise ValueError(f"latent_dim {self.latent_dim} must be a multiple of num_heads {self.num_heads}.")
        for name, known in CHOICES.items():
            check_choice(getattr(self, name), name, known)
        check_choice(self.feedback, "feedback", FEEDBACKS)
        if check_real(self.dropout, "dropout", minimum=0) >= 1:
            raise ValueError(f"dropout must be below 1, got {self.dropout}.")

    @property
    def H_cycles(self) -> int:
        """Refinements of a two-level network, under their own name."""
        return self.num_outer_cycles

    @classmethod
    def of_size(
        cls,
        size: str,
        *,
        problem: Problem | None = None,
        state_dim: int | None = None,
        control_dim: int | None = None,
        control_horizon: int | None = None,
        **changes: Any,
    ) -> Self:
        """The preset `size`, its dimensions, bounds and scales taken from `problem`.

        Without a problem the dimensions default to 2, 1 and 15 and the bounds to ±4 (those of the double
        integrator), and inputs are not scaled. Dimensions given beside a problem must agree with it.
        """
        check_choice(size, "size", SIZES)
        shape = (TWO_LEVEL_SIZES if changes.get("use_two_level") else SIZES)[size]
        given = {"state_dim": state_dim, "control_dim": control_dim, "control_horizon": control_horizon}
        if problem is not None:
            from_problem = interface_of(problem)
            bounds = {name: tuple(changes[name]) for name in ("control_low", "control_high") if name in changes}
            for name, value in (given | bounds).items():
                if value is not None and value != from_problem[name]:
                    raise ValueError(
                        f"{name}={value} does not match the problem {problem.name!r}, "
                        f"which has {from_problem[name]}; leave it out."
                    )
            return cls.from_dict({**shape, **from_problem, **changes})
        defaults = {"state_dim": 2, "control_dim": 1, "control_horizon": 15}
        dims = {name: check_count(defaults[name] if value is None else value, name) for name, value in given.items()}
        free = {
            "control_low": (-4.0,) * dims["control_dim"],
            "control_high": (4.0,) * dims["control_dim"],
            "state_scale": (1.0,) * dims["state_dim"],
        }
        return cls.from_dict({**shape, **dims, **free, **changes})
