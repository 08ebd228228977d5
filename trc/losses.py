"""Training losses: what the network's iterates are held against."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def cloning_loss(output: dict[str, Tensor], expert_controls: Tensor) -> Tensor:
    """Behaviour cloning: mean squared difference of the *last* iterate to the teacher's controls.

    Parameters
    ----------
    output : dict
        What the model returned, with ``controls`` ``[B, T, m]``.
    expert_controls : Tensor ``[B, T, m]``
    """
    return F.mse_loss(output["controls"], expert_controls)
