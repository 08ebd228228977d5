"""A plain feed-forward network: what the recursion has to be better than."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

from torch import Tensor, nn

from ..checks import check_count
from ..problems import Problem
from ..simulation import Dynamics
from .interface import ControlNetwork, InterfaceConfig, interface_of
from .layers import seeded


@dataclass(frozen=True, kw_only=True)
class FeedForwardConfig(InterfaceConfig):
    """The shape of a plain network, and what :class:`~trc.model.interface.InterfaceConfig` says.

    Parameters
    ----------
    width : int
        Of every hidden layer.
    depth : int
        Number of hidden layers.
    """

    width: int
    depth: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self.width, "width")
        check_count(self.depth, "depth")


class FeedForward(ControlNetwork):
    """State and target to controls in one go: hidden layers of one width, no refinement, no simulator.

    Parameters
    ----------
    config : FeedForwardConfig
    problem : Problem, optional

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
        """A freshly initialised network for a problem.

        Parameters
        ----------
        problem : Problem
        seed : int, optional
            Seed of the initial weights; torch's current random state is used otherwise, and left as it was if given.
        **settings
            ``width`` and ``depth``.
        """
        config = FeedForwardConfig.from_dict({**interface_of(problem), **settings})
        with seeded(seed):
            return cls(config, problem)

    @classmethod
    def create_within(cls, parameters: int, *, problem: Problem, depth: int = 3, seed: int | None = None) -> Self:
        """The widest network with at most so many parameters. See :meth:`create`."""
        check_count(parameters, "parameters")
        check_count(depth, "depth")
        inputs, outputs = 2 * problem.state_dim + 1, problem.horizon * problem.control_dim
        width = 0
        while _count(inputs, width + 1, outputs, depth) <= parameters:
            width += 1
        if width == 0:
            raise ValueError(f"no network of depth {depth} has as few as {parameters} parameters.")
        return cls.create(problem=problem, width=width, depth=depth, seed=seed)

    def forward(
        self,
        current_state: Tensor,
        target_state: Tensor,
        time_remaining: Tensor | float | None = None,
        dynamics_fn: Dynamics | None = None,
        return_all_iterations: bool = False,
        iterations: int | None = None,
    ) -> dict[str, Tensor]:
        """Propose controls, with the arguments and results of :class:`~trc.TinyRecursiveControl`.

        There is one iterate, the first guess; `dynamics_fn` is not asked.

        Raises
        ------
        ValueError
            If `iterations` is above 0, beside what is wrong with the states.
        """
        if iterations:
            raise ValueError(f"a feed-forward network has no refinement: iterations must be 0, got {iterations}.")
        self.check_states(current_state, target_state)
        asked, dtype = current_state.dtype, self.control_low.dtype
        inputs = self.scaled_inputs(current_state.to(dtype), target_state.to(dtype), time_remaining)
        controls = self.within_bounds(self.layers(inputs)).to(asked)
        return {"controls": controls} | ({"all_controls": controls.unsqueeze(1)} if return_all_iterations else {})


def _count(inputs: int, width: int, outputs: int, depth: int) -> int:
    """Parameters: weights and biases of the linear layers, scale and shift of the normalisations."""
    return (inputs + 1) * width + (depth - 1) * (width + 1) * width + 2 * depth * width + (width + 1) * outputs
