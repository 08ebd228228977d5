"""What the simulator tells the network between iterations.

Each kind of feedback is one entry of :data:`FEEDBACKS`. The recursion embeds what a kind observes as one more context
token; nothing else of the model knows the kinds apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..problems import Problem
from ..simulation import Dynamics, rollout


@dataclass(frozen=True)
class Simulator:
    """Where the states come from: a problem, or a function of the user's.

    Parameters
    ----------
    problem : Problem, optional
    dynamics_fn : callable, optional
        ``(states [B, n], controls [B, T, m])`` to final states ``[B, n]`` or trajectories ``[B, T+1, n]``; used in
        place of the problem's own dynamics.
    """

    problem: Problem | None = None
    dynamics_fn: Dynamics | None = None

    def __call__(self, initial: Tensor, controls: Tensor) -> Tensor:
        """Trajectories ``[B, T+1, n]``, or final states ``[B, n]`` where the user's function gives no more.

        Raises
        ------
        ValueError
            If the user's function returns something else, or states that are not finite.
        """
        if self.dynamics_fn is None:
            return rollout(self.problem, initial, controls)
        states = self._ask(initial, controls)
        (B, n), T = initial.shape, controls.shape[1]
        if not isinstance(states, Tensor) or states.shape not in {(B, n), (B, T + 1, n)}:
            got = list(states.shape) if isinstance(states, Tensor) else type(states).__name__
            raise ValueError(
                f"dynamics_fn must return final states [{B}, {n}] or trajectories [{B}, {T + 1}, {n}], got {got}."
            )
        if not torch.isfinite(states).all():
            raise ValueError("dynamics_fn returned states that are not finite; check it with the same controls.")
        return states.to(initial)

    def _ask(self, initial: Tensor, controls: Tensor) -> object:
        """What the user's function returns; one that knows no gradients is asked without them."""
        try:
            return self.dynamics_fn(initial, controls)
        except RuntimeError as error:
            if not controls.requires_grad or "requires grad" not in str(error):
                raise
            return self.dynamics_fn(initial.detach(), controls.detach())


class Observation(NamedTuple):
    """What one simulation of the current controls gives.

    Parameters
    ----------
    states : Tensor ``[B, T+1, n]`` or ``[B, n]``
        Where the controls lead, as the simulator gave it.
    error : Tensor ``[B, n]``
        Terminal error as it is shown.
    features : Tensor ``[B, f]``
        What the network sees of it, scaled.
    """

    states: Tensor
    error: Tensor
    features: Tensor


def terminal_error(
    simulator: Simulator, initial: Tensor, target: Tensor, controls: Tensor, state_scale: Tensor
) -> Observation:
    """Simulate, and show the network by how much the final state misses the target."""
    states = simulator(initial, controls)
    error = (states[:, -1] if states.ndim == 3 else states) - target
    return Observation(states, error, error / state_scale)


def shuffled_error(
    simulator: Simulator, initial: Tensor, target: Tensor, controls: Tensor, state_scale: Tensor
) -> Observation:
    """Simulate, and show for each instance the terminal error of the batch's *next* one: a control experiment.

    What is shown is distributed like a terminal error and says nothing about the plan at hand.
    """
    if len(initial) < 2:
        raise ValueError('feedback "shuffled" shows the error of another instance: give at least two at a time.')
    seen = terminal_error(simulator, initial, target, controls, state_scale)
    return seen._replace(error=seen.error.roll(-1, 0), features=seen.features.roll(-1, 0))


def wrong_error(
    simulator: Simulator, initial: Tensor, target: Tensor, controls: Tensor, state_scale: Tensor
) -> Observation:
    """Show by how much half the controls would miss the target, as if of a weaker actuator: a control experiment."""
    seen = terminal_error(simulator, initial, target, controls / 2, state_scale)
    return seen._replace(states=simulator(initial, controls))


class Feedback(NamedTuple):
    """One kind of feedback.

    Parameters
    ----------
    size : callable
        Number of features ``f``, from ``n``, ``m`` and ``T``.
    observe : callable
        Arguments like those of :func:`terminal_error`.
    """

    size: Callable[[int, int, int], int]
    observe: Callable[[Simulator, Tensor, Tensor, Tensor, Tensor], Observation]


#: The kinds by name; ``"none"`` observes nothing and leaves the encoder of the error unused.
FEEDBACKS: dict[str, Feedback | None] = {
    "none": None,
    "error": Feedback(size=lambda n, m, T: n, observe=terminal_error),
    "shuffled": Feedback(size=lambda n, m, T: n, observe=shuffled_error),
    "wrong": Feedback(size=lambda n, m, T: n, observe=wrong_error),
}
