"""Tiny Recursive Control: propose a control sequence, simulate it, refine it, with the same weights each time."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from ..checks import check_count
from ..problems import Problem
from ..simulation import Dynamics
from .config import TRM_STYLE, ModelConfig
from .feedback import FEEDBACKS, Simulator
from .interface import ControlNetwork
from .layers import perceptron, seeded
from .recursion import SingleLevel, TwoLevel


class TinyRecursiveControl(ControlNetwork):
    """A network of 0.1 to 2.6 million parameters that proposes and refines whole control sequences.

    Parameters
    ----------
    config : ModelConfig
    problem : Problem, optional
        The simulator behind the feedback. It is no parameter of the network; checkpoints keep its recipe.

    Examples
    --------
    >>> import torch, trc
    >>> problem = trc.make_problem("double_integrator")
    >>> model = trc.TinyRecursiveControl.create_medium(problem=problem)
    >>> model.num_parameters()
    530590
    >>> x0, target = problem.sample(4, generator=torch.Generator().manual_seed(0))
    >>> model(x0, target)["controls"].shape
    torch.Size([4, 15, 1])
    """

    def __init__(self, config: ModelConfig, problem: Problem | None = None) -> None:
        super().__init__(config, problem)
        d, hidden = config.latent_dim, config.hidden_dim
        flat = config.control_horizon * config.control_dim
        self.encode_state = perceptron(2 * config.state_dim + 1, hidden, d)
        self.initial_controls = perceptron(d, hidden, flat)
        self.recursion = (TwoLevel if config.use_two_level else SingleLevel)(config)
        self.decode = perceptron(d + flat if config.decoder == "residual" else d, hidden, flat)
        self.start_small(self.initial_controls[-1], self.decode[-1])

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

    def forward(
        self,
        current_state: Tensor,
        target_state: Tensor,
        time_remaining: Tensor | float | None = None,
        dynamics_fn: Dynamics | None = None,
        return_all_iterations: bool = False,
        iterations: int | None = None,
    ) -> dict[str, Tensor]:
        """Propose controls and refine them.

        Parameters
        ----------
        current_state, target_state : Tensor ``[B, n]``
        time_remaining : Tensor ``[B]`` or float, optional
            Seconds left; the whole horizon by default.
        dynamics_fn : callable, optional
            ``(states [B, n], controls [B, T, m])`` to final states ``[B, n]`` or trajectories ``[B, T+1, n]``, used
            for the feedback instead of the model's own problem.
        return_all_iterations : bool
        iterations : int, optional
            Number of refinements; ``config.num_outer_cycles`` by default, any number is possible.

        Returns
        -------
        dict
            In the dtype of the question: ``controls`` ``[B, T, m]``. If feedback was active also ``errors``
            ``[B, K, n]``: the terminal error of iterates 0 to K-1, as the network saw it. With `return_all_iterations`
            also ``all_controls`` ``[B, K+1, T, m]`` (the initial guess first), ``all_latents`` ``[B, K+1, d]`` (``z``;
            with two levels ``z_H``, and ``z_L`` in ``all_low_latents``) and, if the feedback's simulator gives
            trajectories, ``all_states`` ``[B, K, T+1, n]``.
        """
        config = self.config
        self.check_states(current_state, target_state)
        asked, dtype = current_state.dtype, self.control_low.dtype
        current_state, target_state = current_state.to(dtype), target_state.to(dtype)
        iterations = config.num_outer_cycles if iterations is None else check_count(iterations, "iterations", 0)
        simulator = self._simulator(dynamics_fn)

        problem = self.encode_state(self.scaled_inputs(current_state, target_state, time_remaining))  # (B, d)
        latents, controls = self.recursion.start(problem), self.within_bounds(self.initial_controls(problem))
        all_controls, all_latents, observations = [controls], [latents], []
        for k in range(iterations):
            features = None
            if simulator is not None:
                observe = FEEDBACKS[config.feedback].observe
                observations.append(observe(simulator, current_state, target_state, controls, self.state_scale))
                features = observations[-1].features
            if config.use_gradient_truncation and k > 0:  # the iterate itself and its simulation keep their graph
                latents, controls = tuple(z.detach() for z in latents), controls.detach()
                features = None if features is None else features.detach()
            scaled = self._scale(controls).flatten(1)
            latents = self.recursion(latents, self.recursion.context(problem, scaled, features))
            controls = self._refine(latents[0], controls, scaled)
            all_controls.append(controls)
            all_latents.append(latents)

        output = {"controls": controls}
        if simulator is not None:
            none = current_state.new_zeros(len(current_state), 0, config.state_dim)
            output["errors"] = torch.stack([seen.error for seen in observations], 1) if observations else none
        if return_all_iterations:
            output["all_controls"] = torch.stack(all_controls, 1)
            for name, latent in zip(("all_latents", "all_low_latents"), zip(*all_latents, strict=True), strict=False):
                output[name] = torch.stack(latent, 1)
            if observations and observations[0].states.ndim == 3:
                output["all_states"] = torch.stack([seen.states for seen in observations], 1)
        return {name: tensor.to(asked) for name, tensor in output.items()}

    @property
    def uses_feedback(self) -> bool:
        """Whether the simulator tells the network something between iterations."""
        return self.config.feedback != "none"

    def parameter_table(self) -> list[tuple[str, int]]:
        """Parts of the network and their parameters, in the order of the data's way; they add up to the total."""

        def count(*modules: nn.Module) -> int:
            return sum(parameter.numel() for module in modules for parameter in module.parameters())

        recursion, two_level = self.recursion, self.config.use_two_level
        return [
            ("state encoder", count(self.encode_state)),
            ("initial generator", count(self.initial_controls)),
            ("error encoder", count(recursion.encode_error)),
            ("control and error embedding", count(recursion.embed_controls, recursion.embed_error)),
            ("reasoning blocks", count(recursion.blocks)),
            *([("initial latents", sum(p.numel() for p in recursion.parameters(recurse=False)))] if two_level else []),
            ("decoder", count(self.decode)),
        ]

    def _refine(self, z: Tensor, controls: Tensor, scaled: Tensor) -> Tensor:
        """The next controls ``[B, T, m]``, from the latent and the current ones (also `scaled`, ``[B, T·m]``)."""
        if self.config.decoder == "full":
            return self.within_bounds(self.decode(z))
        residual = torch.tanh(self.decode(torch.cat((z, scaled), -1))).view_as(controls)
        step = residual * (self.control_high - self.control_low) / 4  # at most half a symmetric bound
        return (controls + step).clamp(self.control_low, self.control_high)

    def _scale(self, controls: Tensor) -> Tensor:
        """Controls mapped from their bounds to [-1, 1]."""
        return 2 * (controls - self.control_low) / (self.control_high - self.control_low) - 1

    def _simulator(self, dynamics_fn: Dynamics | None) -> Simulator | None:
        """What simulates between iterations, or None where feedback is off or no simulator is known."""
        if not self.uses_feedback:
            return None
        if dynamics_fn is not None or self.problem is not None:
            return Simulator(self.problem, dynamics_fn)
        if self.needs_simulator:
            raise ValueError(
                "this model was trained with simulator feedback and has no simulator: set model.problem, "
                "or pass dynamics_fn."
            )
        return None
