"""A plain feed-forward network: what the recursion has to be better than."""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from ..common.checks import check_count
from ..problems import Problem
from .base import Begun, ControlNetwork, Iterates
from .config import NetworkConfig
from .feedback import Simulator
from .layers import seeded


@dataclass(frozen=True, kw_only=True)
class FeedForwardConfig(NetworkConfig):
    """The shape of a plain network, and what :class:`~trc.model.config.NetworkConfig` says."""

    width: int  #: of every hidden layer
    depth: int = 3  #: number of hidden layers

    num_outer_cycles: ClassVar[int] = 0  # it refines nothing
    feedback: ClassVar[str] = "none"  # and asks no simulator

    def least_weights(self) -> int:
        """At least so many weights: the matrices."""
        inputs, outputs = 2 * self.state_dim + 1, super().least_weights()
        return self.width * (inputs + outputs + (self.depth - 1) * self.width)


class FeedForward(ControlNetwork):
    """State and target to controls in one go: hidden layers of one width, no refinement, no simulator.

    Examples
    --------
    >>> import trc
    >>> network = trc.FeedForward.create(problem=trc.make_problem("double_integrator"), width=64)
    >>> network.num_parameters()
    10063
    """

    def __init__(self, config: FeedForwardConfig, problem: Problem | None = None) -> None:
        super().__init__(config, problem)
        widths = [2 * config.state_dim + 1, *[config.width] * config.depth]
        hidden = []
        for inputs, outputs in pairwise(widths):
            hidden += [nn.Linear(inputs, outputs), nn.SiLU(), nn.LayerNorm(outputs)]
        self.layers = nn.Sequential(*hidden, nn.Linear(config.width, config.control_horizon * config.control_dim))
        self.start_small(self.layers[-1])

    @classmethod
    def create(cls, *, problem: Problem, seed: int | None = None, **settings: Any) -> Self:
        """A network for a problem, its weights by a seed if one is given; `settings` are those of its configuration."""
        config = FeedForwardConfig.for_problem(problem, **settings)
        config.check_fits(trained=True)
        with seeded(seed):
            return cls(config, problem)

    @classmethod
    def create_within(cls, parameters: int, *, problem: Problem, depth: int = 3, seed: int | None = None) -> Self:
        """The widest network with at most so many parameters. See :meth:`create`."""
        parameters, depth = check_count(parameters, "parameters"), check_count(depth, "depth")
        inputs, outputs = 2 * problem.state_dim + 1, problem.horizon * problem.control_dim

        def needed(width: int) -> int:
            """Weights and biases of the linear layers, scale and shift of the normalisations."""
            hidden = (inputs + 1) * width + (depth - 1) * (width + 1) * width + 2 * depth * width
            return hidden + (width + 1) * outputs

        width = bisect_right(range(parameters // inputs + 1), parameters, key=needed) - 1
        if width < 1:
            raise ValueError(f"no network of depth {depth} has as few as {parameters} parameters.")
        return cls.create(problem=problem, width=width, depth=depth, seed=seed)

    def iterates(
        self,
        question: Tensor,
        initial: Tensor,
        target: Tensor,
        simulator: Simulator | None,
        iterations: int,
        begun: Begun | None = None,
    ) -> Iterates:
        """The one guess from the scaled question ``[B, 2n + 1]``."""
        if begun is not None:
            raise ValueError("a feed-forward network begins nowhere but at its answer: leave start out.")
        if iterations:
            raise ValueError(f"a feed-forward network has no refinement: iterations must be 0, got {iterations}.")
        return Iterates([self.within_bounds(self.layers(question))])
