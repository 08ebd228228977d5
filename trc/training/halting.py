"""Training of a halting head on what a trained network does with instances whose optimum is known."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..common.checks import check_count, check_real, check_tensor
from ..common.parallel import single_thread
from ..model.halting import HaltingHead

#: Gaps below this are as good as none, in the gain.
GAP_FLOOR = 1e-6


def gains(gaps: Tensor) -> Tensor:
    """What the best later refinement takes off the gap ``[B, K]``, as a logarithm; nothing after the last."""
    later = gaps.flip(1).cummin(1).values.flip(1)  # the best from here on, this one included
    return (gaps.clamp_min(0) - later.clamp_min(0) + GAP_FLOOR).log()


def train_halting(
    kind: str,
    features: Tensor,
    gaps: Tensor,
    *,
    good: float = 1e-3,
    steps: int = 2000,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> HaltingHead:
    """A head that was trained on features ``[B, K, f]`` of refinements and the gaps ``[B, K]`` after them.

    ``"act"`` learns by cross-entropy whether the gap is below `good`; ``"q"`` the same as the value of halting, and as
    that of going on the larger of the two after the next refinement; ``"gain"`` the logarithm of what the best of the
    later refinements takes off the gap. Sources: Graves (2016); Jolicoeur-Martineau (2025); Wang et al. (2025).
    """
    check_real(good, "good", positive=True)
    check_real(learning_rate, "learning_rate", positive=True)
    check_count(batch_size, "batch_size")
    check_tensor(features, (None, None, None), "features")
    check_tensor(gaps, features.shape[:2], "gaps")
    head = HaltingHead(kind, features.shape[-1], seed=seed)
    features = features.to(next(head.parameters()))
    is_good, gained = (gaps < good).to(features), gains(gaps).to(features)
    optimizer = torch.optim.AdamW(head.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, check_count(steps, "steps"))
    generator = torch.Generator().manual_seed(seed)
    with single_thread():
        for _ in range(steps):
            rows = torch.randint(len(features), (batch_size,), generator=generator)
            told = head(features[rows])
            if kind == "gain":
                loss = F.mse_loss(told[..., 0], gained[rows])
            else:
                loss = F.binary_cross_entropy_with_logits(told[..., 0], is_good[rows])
            if kind == "q":
                with torch.no_grad():
                    value = told.sigmoid()
                    after = torch.cat((value[:, 1:].amax(-1), value[:, -1:, 0]), 1)
                loss = loss + F.binary_cross_entropy_with_logits(told[..., 1], after)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return head.eval()
