"""Heads that say when a plan has been thought about for long enough: what they look at, and what they say.

A head looks at what is known of a refinement when it is done, and never at the optimum. It belongs to a network that is
trained already, and changes nothing of it.
"""

import torch
from torch import Tensor, nn

from ..common.checks import check_choice
from .feedback import FARTHEST, LOG_SCALE
from .layers import perceptron, seeded
from .network import TinyRecursiveControl

#: What a head predicts: whether the plan is good enough, as adaptive computation time asks (ACT); what halting and
#: going on are each worth (Q); or what going on would gain. And how many numbers that is.
HALTINGS = {"act": 1, "q": 2, "gain": 1}

#: Width of a head's hidden layer; and changes and costs below which there are none.
WIDTH, NOTHING = 64, 1e-12


class HaltingHead(nn.Module):
    """Scores refinements by how much they ask for another one: an instance halts where the score is low.

    Parameters
    ----------
    kind : {"act", "q", "gain"}
        See :data:`HALTINGS`.
    features : int
        As many as :func:`halting_features` gives.
    """

    def __init__(self, kind: str, features: int, *, seed: int | None = None) -> None:
        super().__init__()
        check_choice(kind, "halting", HALTINGS)
        self.kind = kind
        with seeded(seed):
            self.head = perceptron(features, WIDTH, HALTINGS[kind])

    def forward(self, features: Tensor) -> Tensor:
        """What is predicted, ``[..., 1]`` or for ``"q"`` ``[..., 2]``, from features ``[..., f]``."""
        return self.head(features)

    def scores(self, features: Tensor) -> Tensor:
        """How much each refinement ``[...]`` asks for another."""
        told = self(features)
        if self.kind == "q":
            return told[..., 1] - told[..., 0]
        return -told[..., 0] if self.kind == "act" else told[..., 0]


@torch.no_grad()
def halting_features(
    model: TinyRecursiveControl, output: dict[str, Tensor], costs: Tensor, ends: Tensor, target: Tensor
) -> Tensor:
    """What is known after each refinement, ``[B, K, f]``.

    The changes of plan and latent by it, cost and terminal error of the plan, and the latent. `output` is what the
    network returned with ``return_all_iterations=True``, `costs` ``[B, K+1]`` and `ends` ``[B, K+1, n]`` are the costs
    and the final states of its iterates, `target` is ``[B, n]``: they need the simulation of the last plan, which a
    rule that looks at changes does without.
    """
    moved, thought = plan_changes(model, output["all_controls"]), output["all_latents"].diff(dim=1).norm(dim=-1)
    error = (ends[:, 1:] - target.unsqueeze(1)) / model.state_scale.to(ends)
    logs = [value.clamp_min(NOTHING).log() / LOG_SCALE for value in (moved, thought, costs[:, 1:])]
    count = torch.arange(1, moved.shape[1] + 1).to(moved).log().expand_as(moved)
    own = torch.stack([*(value.to(moved) for value in logs), count], -1)
    return torch.cat((own, error.clamp(-FARTHEST, FARTHEST).to(moved), output["all_latents"][:, 1:]), -1)


def plan_changes(model: TinyRecursiveControl, iterates: Tensor) -> Tensor:
    """By how much each refinement has changed the plan ``[B, K]``, in the mean, as a share of half the bounds."""
    unit = torch.stack([model.scaled_controls(controls) for controls in iterates.unbind(1)], 1)
    return unit.diff(dim=1).square().mean(-1).sqrt()
