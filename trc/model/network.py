"""Tiny Recursive Control: propose a control sequence, simulate it, refine it, with the same weights each time.

:meth:`TinyRecursiveControl.iterates` is the whole method: encode the question, guess controls, and then as often as one
likes simulate them, let the latent think about what came out, and decode a step. B is the batch, n and m the
dimensions of state and control, T the horizon, d the width of the latent, h the attention heads.
"""

from typing import Any, Self

import torch
from torch import Tensor, nn

from ..problems import Problem
from .base import Begun, ControlNetwork, Iterates
from .config import TRM_STYLE, ModelConfig
from .feedback import FEEDBACKS, Observation, Simulator
from .guarded import Guard, Instances
from .layers import AttentionBlock, PlainBlock, perceptron, seeded

#: What is carried from one refinement to the next: ``(z,)``, or ``(z_H, z_L)``, each [B, d]. The first is decoded.
Latents = tuple[Tensor, ...]


class TinyRecursiveControl(ControlNetwork):
    """A network of 0.1 to 2.6 million parameters that proposes and refines whole control sequences.

    It takes a :class:`~trc.ModelConfig` and, for the feedback, a problem; :meth:`create` makes the first from a size.

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
        n, d, hidden = config.state_dim, config.latent_dim, config.hidden_dim
        flat = config.control_horizon * config.control_dim
        told = FEEDBACKS[config.feedback]
        features = told.size(n, config.control_dim, config.control_horizon)
        self.encode_state = perceptron(2 * n + 1, hidden, d)
        self.initial_controls = perceptron(d, hidden, flat)
        self.initial_latents = nn.Module()  # z_H and z_L; with one level there is nothing to begin with
        block = AttentionBlock if config.reasoning == "attention" else PlainBlock
        self.blocks = nn.ModuleList(block(config) for _ in range(config.num_blocks))
        self.embed_controls = nn.Linear(flat, d)
        self.embed_error = nn.Linear(features, d)
        self.encode_error = perceptron(features, d, d)
        for name in ("z_H", "z_L") if config.use_two_level else ():
            z = torch.randn(d)
            if config.learnable_initial_latents:
                self.initial_latents.register_parameter(name, nn.Parameter(z))
            else:
                self.initial_latents.register_buffer(name, z)
        self.decode = perceptron(d + flat if config.decoder == "residual" else d, hidden, flat)
        self.trust = nn.Linear(d, 1) if told.steps else None
        self.start_small(self.initial_controls[-1], self.decode[-1])

    def iterates(
        self,
        question: Tensor,
        initial: Tensor,
        target: Tensor,
        simulator: Simulator | None,
        iterations: int,
        begun: Begun | None = None,
    ) -> Iterates:
        """The first guess and its refinements, from the scaled question [B, 2n + 1]; arguments as in the base class."""
        z_0 = self.encode_state(question)  # [B, d]
        controls, latents = self.first_guess(z_0), self.first_latents(z_0)  # [B, T, m]; z, or z_H and z_L, each [B, d]
        controls = controls if begun is None else begun(controls)
        all_controls, all_latents, seen = [controls], [latents], []
        for k in range(iterations):
            observed = None if simulator is None else self.observe(simulator, initial, target, controls)
            seen += [] if observed is None else [observed]
            if self.config.use_gradient_truncation and k > 0:  # the iterate itself and its simulation keep their graph
                latents, controls = tuple(z.detach() for z in latents), controls.detach()
                observed = None if observed is None else observed._replace(features=observed.features.detach())
            latents, controls = self.refinement(z_0, latents, controls, observed)
            all_controls.append(controls)
            all_latents.append(latents)
        whole = [one.states for one in seen if one.states.ndim == 3]
        return Iterates(all_controls, all_latents, [one.error for one in seen], whole)

    @torch.no_grad()
    def guarded_iterates(
        self, question: Tensor, some: Instances, iterations: int, guard: Guard, begun: Begun | None = None
    ) -> tuple[Iterates, dict[str, Tensor]]:
        """As :meth:`iterates`, but each instance for as long as that helps it, and with a safeguard no plan gets worse.

        There are as many iterates as the most patient instance has; the others keep their last.
        """
        z_0 = self.encode_state(question)
        controls, latents = self.first_guess(z_0), self.first_latents(z_0)
        some.begin(controls if begun is None else begun(controls), judged=guard.safeguard)
        all_controls, all_latents, errors = [some.controls], [latents], []
        asks = self.uses_feedback and some.simulator.is_known
        for _ in range(iterations):
            seen = some.observe(self.observe) if asks and len(some.rows) else None
            all_controls[-1] = some.controls  # those that overflow are one iterate back
            error = None if seen is None else some.filled(seen.error, errors[-1] if errors else None)
            if guard.tolerance is not None and seen is not None and seen.residual is not None:
                seen = some.leave(seen.residual <= guard.tolerance, seen)
            if not len(some.rows):
                break
            errors += [] if error is None else [error]
            rows, before = some.rows, some.controls[some.rows]
            thought, proposal = self.refinement(z_0[rows], tuple(z[rows] for z in latents), before, seen)
            latents = tuple(z.index_copy(0, rows, new) for z, new in zip(latents, thought, strict=True))
            after = some.cheapest(proposal, seen) if guard.safeguard else some.replace(proposal)
            change = (self.scaled_controls(after) - self.scaled_controls(before)).square().mean(1).sqrt()
            settled = torch.zeros_like(rows, dtype=torch.bool)
            if guard.safeguard and not self.config.carry_latents:
                settled = change == 0  # it would propose the same again
            if guard.tolerance is not None and (seen is None or seen.residual is None):
                settled = settled | (change <= guard.tolerance)
            some.spend(rows, iterations=1)
            some.leave(settled)
            all_controls.append(some.controls)
            all_latents.append(latents)
        told = some.finish()
        all_controls[-1] = some.controls
        return Iterates(all_controls, all_latents, errors), told

    def first_guess(self, z_0: Tensor) -> Tensor:
        """Controls [B, T, m] to begin with, from the problem's encoding [B, d]."""
        return self.within_bounds(self.initial_controls(z_0))

    def observe(self, simulator: Simulator, initial: Tensor, target: Tensor, controls: Tensor) -> Observation:
        """What the simulator tells of controls [B, T, m]."""
        return FEEDBACKS[self.config.feedback].observe(simulator, initial, target, controls, self.state_scale)

    def refinement(
        self, z_0: Tensor, latents: Latents, controls: Tensor, seen: Observation | None
    ) -> tuple[Latents, Tensor]:
        """The next latents, each [B, d], and controls [B, T, m], from the present ones and what is seen of them."""
        if not self.config.carry_latents:
            latents = self.first_latents(z_0)
        unit = self.scaled_controls(controls)  # [B, T·m]
        latents = self.think(latents, self.context(z_0, unit, None if seen is None else seen.features))
        return latents, self.refine(latents[0], controls, unit, None if seen is None else seen.step)

    def first_latents(self, z_0: Tensor) -> Latents:
        """One level begins with the problem's encoding [B, d], two with a ``z_H`` and ``z_L`` of their own."""
        if not self.config.use_two_level:
            return (z_0,)
        return self.initial_latents.z_H.expand_as(z_0), self.initial_latents.z_L.expand_as(z_0)

    def context(self, z_0: Tensor, unit: Tensor, features: Tensor | None) -> list[Tensor]:
        """What each block needs of problem [B, d], controls [B, T·m] and feedback [B, f], once for all inner cycles."""
        tokens = [z_0, self.embed_controls(unit)]  # each [B, d]
        if features is not None:
            tokens.append(self.encode_error(features) + self.embed_error(features))
        stacked = torch.stack(tokens, 1)  # [B, 2 or 3, d]
        return [block.context(stacked) for block in self.blocks]

    def think(self, latents: Latents, context: list[Tensor]) -> Latents:
        """The latents after one refinement's passes through the blocks.

        One level: ``z`` passes `num_inner_cycles` times. Two: ``z_L``, to which ``z_H`` is added, passes `L_cycles`
        times with the context in view, then ``z_H`` once, with ``z_L`` added and no context. Source:
        Jolicoeur-Martineau (2025).
        """
        if not self.config.use_two_level:
            (z,) = latents
            for _ in range(self.config.num_inner_cycles):
                z = self.through_blocks(z, context)
            return (z,)
        z_H, z_L = latents
        for _ in range(self.config.L_cycles):
            z_L = self.through_blocks(z_L + z_H, context)
        nothing = z_H.new_zeros(z_H.shape[0], 0, z_H.shape[-1])  # [B, 0, d]
        return self.through_blocks(z_H + z_L, [block.context(nothing) for block in self.blocks]), z_L

    def through_blocks(self, z: Tensor, context: list[Tensor]) -> Tensor:
        """The latent [B, d] after all reasoning blocks, each with what it sees of the context."""
        for block, seen in zip(self.blocks, context, strict=True):
            z = block(z, seen)
        return z

    def refine(self, z: Tensor, controls: Tensor, unit: Tensor, proposed: Tensor | None = None) -> Tensor:
        """The next controls [B, T, m], from the latent [B, d] and the current ones (also scaled, [B, T·m]).

        Beside a step that the simulator has proposed, [B, T, m], what is added is in proportion to that, by as much as
        the latent distrusts it: where there is nothing more to propose, the controls stay as they are.
        """
        if self.config.decoder == "full":
            return self.within_bounds(self.decode(z))
        half = (self.control_high - self.control_low) / 2
        step = torch.tanh(self.decode(torch.cat((z, unit), -1))).view_as(controls) * half  # [B, T, m]
        if proposed is None:
            step = step / 2  # at most half a symmetric bound
        else:
            size = (proposed / half).flatten(1).square().mean(1).sqrt()  # [B]
            radius = (size * (self.trust(z).squeeze(-1) - 2).exp()).clamp_max(1.0)
            step = proposed + radius[:, None, None] * step
        return (controls + step).clamp(self.control_low, self.control_high)

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
        config.check_fits(trained=True)
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
        """Two levels, SwiGLU, RMSNorm after each half of a block, fixed initial latents. See :meth:`create`."""
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
            "decoder": [self.decode, *([] if self.trust is None else [self.trust])],
        }
        return [(part, sum(p.numel() for m in modules for p in m.parameters())) for part, modules in parts.items()]
