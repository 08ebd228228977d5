"""Rules for when to stop refining, compared at an equal mean number of refinements."""

import torch
from torch import Tensor


def halts(scores: Tensor, threshold: float) -> Tensor:
    """After how many refinements ``[B]`` each instance halts: the first whose score ``[B, K]`` is at most this."""
    low = scores <= threshold
    first = low.to(torch.int64).argmax(1) + 1
    return torch.where(low.any(1), first, scores.shape[1])


def threshold_for(scores: Tensor, mean: float) -> float:
    """The least threshold at which instances halt after at most so many refinements in the mean."""
    each = scores.flatten().sort().values
    low, high = 0, len(each) - 1
    while low < high:  # the mean falls as the threshold rises
        middle = (low + high) // 2
        if halts(scores, each[middle].item()).double().mean() > mean:
            low = middle + 1
        else:
            high = middle
    return each[low].item()


def cost_of(costs: Tensor, refinements: Tensor) -> Tensor:
    """What each instance ``[B]`` costs that halts after so many refinements, of costs ``[B, K+1]``."""
    return costs.gather(1, refinements.unsqueeze(1)).squeeze(1)


def mixed(costs: Tensor, mean: float) -> Tensor:
    """What instances cost ``[B]`` after a fixed number of refinements: between two whole ones in proportion."""
    below = int(mean)
    share = mean - below
    return (1 - share) * costs[:, below] + share * costs[:, min(below + 1, costs.shape[1] - 1)]
