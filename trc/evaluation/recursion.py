"""Does a recursion really refine? Measures of the map from controls to the next controls, that a reader can check.

They are for networks that carry nothing but the controls from one refinement to the next: then a refinement is one map,
where it leads does not depend on how the controls came about, and its fixed points and their rates mean something.
"""

import torch
from torch import Tensor

from ..common.checks import check_count
from ..common.modes import values_only
from ..model import ControlNetwork, TinyRecursiveControl
from .models import CHUNK

#: How far controls are moved, as a share of half their range, to see where the map leads then.
NUDGE = 1e-4


def refined(model: ControlNetwork, initial: Tensor, target: Tensor, controls: Tensor, iterations: int = 1) -> Tensor:
    """Controls ``[B, T, m]`` after some refinements of such controls, in the dtype of the model."""
    if not isinstance(model, TinyRecursiveControl) or model.config.carry_latents:
        raise ValueError(
            "only a recursion that carries nothing but the controls is one map of them: carry_latents=False."
        )
    parts = zip(*(tensor.split(CHUNK) for tensor in (initial, target, controls)), strict=True)
    return torch.cat([model(x, goal, iterations=iterations, start=u)["controls"] for x, goal, u in parts])


@values_only
def alignment(model: ControlNetwork, one: Tensor, other: Tensor) -> Tensor:
    """How far two plans of the same instances ``[B, T, m]`` point the same way ``[B]``: 1 if they are in proportion.

    The cosine between them, each control as a share of half its range. Taken between where a network comes from its own
    start and from another instance's plan it is the alignment score of Anil et al. (2022).
    """
    return torch.cosine_similarity(*(model.scaled_controls(plan.to(model.control_low)) for plan in (one, other)), dim=1)


@values_only
def contraction(
    model: ControlNetwork,
    initial: Tensor,
    target: Tensor,
    controls: Tensor,
    generator: torch.Generator,
    *,
    iterations: int = 40,
) -> Tensor:
    """The factor ``[B]`` by which a refinement shrinks small disturbances of controls, in the long run.

    At a fixed point it is the spectral radius of the map's Jacobian: below 1 the controls come back. By power iteration
    on differences of the map, in the model's dtype, which should be float64; the growth is averaged over the second
    half of the iterations, since it turns where eigenvalues are complex. Directions that the bounds cut off shrink to
    nothing, as they do in use.
    """
    check_count(iterations, "iterations")
    half = (model.control_high - model.control_low) / 2
    given = tuple(tensor.to(half) for tensor in (initial, target))
    controls = controls.to(half)

    def unit(direction: Tensor) -> tuple[Tensor, Tensor]:
        size = (direction / half).flatten(1).norm(dim=1).clamp_min(torch.finfo(direction.dtype).tiny)
        return direction / size[:, None, None], size

    drawn = torch.randn(controls.shape, generator=generator, dtype=torch.float64)
    direction, _ = unit(drawn.to(half) * half)
    grown = []
    nudge = NUDGE * controls[0].numel() ** 0.5
    centre = refined(model, *given, controls)
    for _ in range(iterations):
        moved = (controls + nudge * direction).clamp(model.control_low, model.control_high)
        direction, size = unit((refined(model, *given, moved) - centre) / nudge)
        grown.append(size)
    return torch.stack(grown[iterations // 2 :]).log().mean(0).exp()


@values_only
def observed_rate(iterates: Tensor) -> Tensor:
    """The factor ``[B]`` by which the change from one of iterates ``[B, K+1, T, m]`` to the next shrinks, in the mean.

    NaN where they stand still.
    """
    if iterates.shape[1] < 3:
        raise ValueError(f"a rate needs two changes, and so three iterates or more, got {iterates.shape[1]}.")
    change = iterates.diff(dim=1).flatten(2).norm(dim=2)  # [B, K]
    first, last = change[:, 0], change[:, -1]
    return torch.where((first > 0) & (last > 0), (last / first) ** (1 / (change.shape[1] - 1)), torch.nan)
