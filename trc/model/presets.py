"""Ready-made recursive networks: the three sizes, with one level and with two, and what their parts weigh."""

from typing import Any, Self

from ..problems import Problem
from .config import TRM_STYLE, ModelConfig
from .layers import seeded


class Presets:
    """The ways to create a :class:`~trc.TinyRecursiveControl`."""

    @classmethod
    def create(cls, size: str, *, problem: Problem | None = None, seed: int | None = None, **settings: Any) -> Self:
        """A freshly initialised network of a size.

        Parameters
        ----------
        size : {"small", "medium", "large"}
        problem : Problem, optional
            Gives dimensions, bounds and scales, and the simulator; otherwise ``state_dim``, ``control_dim`` and
            ``control_horizon`` say the dimensions.
        seed : int, optional
            Seed of the initial weights; torch's current random state is used otherwise, and left as it was if given.
        **settings
            Any field of :class:`~trc.ModelConfig`.
        """
        config = ModelConfig.of_size(size, problem=problem, **settings)
        with seeded(seed):
            return cls(config, problem)

    @classmethod
    def create_small(cls, **settings: Any) -> Self:
        """Latent 64, hidden 128, 2 blocks, 2 heads. See :meth:`create`."""
        return cls.create("small", **settings)

    @classmethod
    def create_medium(cls, **settings: Any) -> Self:
        """Latent 128, hidden 256, 3 blocks, 4 heads. See :meth:`create`."""
        return cls.create("medium", **settings)

    @classmethod
    def create_large(cls, **settings: Any) -> Self:
        """Latent 256, hidden 512, 4 blocks, 8 heads. See :meth:`create`."""
        return cls.create("large", **settings)

    @classmethod
    def create_two_level_small(cls, *, H_cycles: int = 3, **settings: Any) -> Self:
        """Latent 64, 2 blocks for both latents, 3 H-cycles of 4 L-cycles. See :meth:`create`."""
        return cls.create("small", use_two_level=True, num_outer_cycles=H_cycles, **settings)

    @classmethod
    def create_two_level_medium(cls, *, H_cycles: int = 3, **settings: Any) -> Self:
        """Latent 128, 2 blocks for both latents, 3 H-cycles of 4 L-cycles. See :meth:`create`."""
        return cls.create("medium", use_two_level=True, num_outer_cycles=H_cycles, **settings)

    @classmethod
    def create_two_level_large(cls, *, H_cycles: int = 3, **settings: Any) -> Self:
        """Latent 256, 3 blocks for both latents, 3 H-cycles of 6 L-cycles. See :meth:`create`."""
        return cls.create("large", use_two_level=True, num_outer_cycles=H_cycles, **settings)

    @classmethod
    def create_trm_style(cls, size: str = "medium", *, H_cycles: int = 3, **settings: Any) -> Self:
        """Two levels with SwiGLU, RMSNorm after each half of a block, expansion 4 and fixed initial latents.

        See :meth:`create` for `size` and `settings`.
        """
        return cls.create(size, **{**TRM_STYLE, "num_outer_cycles": H_cycles, **settings})

    def parameter_table(self) -> list[tuple[str, int]]:
        """Parts of the network and their parameters, in the order of the data's way; they add up to the total."""
        parts = {
            "state encoder": [self.encode_state],
            "initial generator": [self.initial_controls],
            "error encoder": [self.encode_error],
            "control and error embedding": [self.embed_controls, self.embed_error],
            "reasoning blocks": [self.blocks],
            **({"initial latents": [self.initial_latents]} if self.config.use_two_level else {}),
            "decoder": [self.decode],
        }
        return [(part, sum(p.numel() for m in modules for p in m.parameters())) for part, modules in parts.items()]
