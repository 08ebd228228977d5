"""Deep supervision: a loss and a step of the optimizer after every refinement, wherever an instance stands.

Many instances are refined side by side, each in a *slot* and at its own age: some are at their first guess, others far
on. One refinement of all of them is one step. What an instance has reached is carried on as mere numbers, so that no
gradient goes back further than one refinement and memory does not grow with their number. How long it is refined is
drawn at random, so that there is nothing to count; when it is done, the next instance takes its slot. The network never
knows where a plan came from: some begin elsewhere than at its own first guess.
Source: Jolicoeur-Martineau (2025), whose batches are refilled in the same way.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..common.checks import check_kind
from ..model import TinyRecursiveControl
from .losses import RELATIVE
from .objective import Objective, Portion

#: Refinements after which instances are judged that nothing is learned from.
JUDGED = (1, 3, 8)

#: Of a perturbed start: how large it may be, as a share of the bounds, and by how many powers of ten smaller; and
#: between how many points in time a smooth one is interpolated.
LARGEST, SPAN, KNOTS = 1.0, 2.0, 6


@dataclass(frozen=True)
class Deep(Objective):
    """As the Tiny Recursive Model trains."""

    def __post_init__(self) -> None:
        check_kind(self.model, TinyRecursiveControl, "model", 'another has no refinements: say supervision="unrolled"')
        if self.config.loss in RELATIVE:
            raise ValueError(
                f"the loss {self.config.loss} compares iterates, and deep supervision sees one at a time: "
                'say supervision="unrolled", or loss="gap".'
            )

    def epoch(self, tensors: Sequence[Tensor], generator: torch.Generator) -> Iterator[Portion]:
        """Every instance once, from its first guess on, as slots become free.

        When the instances run out, and half of the slots are empty, the epoch is over: no step is made for a handful
        that is left of a batch of mixed ages.
        """
        model, count = self.model, len(tensors[0])
        waiting = torch.randperm(count, generator=generator)
        slots = min(self.config.batch_size, count)
        rows = left = waiting[:0]
        controls, latents = None, None
        while True:
            going = left > 0
            free = slots - int(going.sum()) if self.config.mixed_ages or not going.any() else 0
            fresh = waiting[:free]
            waiting = waiting[len(fresh) :]
            rows, left = torch.cat((rows[going], fresh)), torch.cat((left[going], self.depths(len(fresh), generator)))
            if not len(rows) or (self.config.mixed_ages and 2 * len(rows) < slots):
                return
            batch = [tensor[rows] for tensor in tensors]
            new = slice(len(rows) - len(fresh), None)  # they are the last
            z_0 = model.encode_state(model.scaled_inputs(*batch[:2], None))  # [b, d]
            guess, first = model.first_guess(z_0[new]), [z[new] for z in model.first_latents(z_0)]
            begun = self.elsewhere(guess.detach(), generator)
            if controls is None:
                controls, latents = begun, first
            else:
                controls = torch.cat((controls[going], begun))
                latents = [torch.cat((old[going], z)) for old, z in zip(latents, first, strict=True)]
            loss, controls, latents = self.refine(z_0, latents, controls, batch)
            if len(fresh):
                guessed = self.loss_at(guess, first, [part[new] for part in batch], valued=not self.two_levels)
                loss = loss + guessed * len(fresh) / len(rows)
            yield Portion(loss * len(rows) / slots, len(rows), (count - len(waiting) - len(rows)) / count)
            left, controls, latents = left - 1, controls.detach(), [z.detach() for z in latents]

    def refine(
        self, z_0: Tensor, latents: Sequence[Tensor], controls: Tensor, batch: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """One refinement, and the loss after it."""
        model, initial, target = self.model, *batch[:2]
        asks = model.uses_feedback and self.simulator.is_known
        seen = model.observe(self.simulator, initial, target, controls) if asks else None
        latents, controls = model.refinement(z_0, tuple(latents), controls, seen)
        return self.loss_at(controls, latents, batch), controls, latents

    @property
    def two_levels(self) -> bool:
        """Whether the first latent is the same for all instances, and so says nothing of what they cost."""
        return self.model.config.use_two_level

    def loss_at(
        self, controls: Tensor, latents: Sequence[Tensor], batch: Sequence[Tensor], *, valued: bool = True
    ) -> Tensor:
        """The loss of one iterate; a value predictor learns from those that are `valued`."""
        output = {"controls": controls, "all_controls": controls.unsqueeze(1), "all_latents": latents[0].unsqueeze(1)}
        return self.loss_of(output, *batch, first_valued=0 if valued else 1)

    def depths(self, count: int, generator: torch.Generator) -> Tensor:
        """How often instances are refined before they are done: whole numbers ``[count]``, their logarithms uniform.

        Those that begin together are all refined as often.
        """
        least, most = self.config.least_depth, self.config.most_depth
        drawn = torch.rand(count if self.config.mixed_ages else 1, generator=generator).expand(count)
        return (least * ((most + 1) / least) ** drawn).long()

    def elsewhere(self, guess: Tensor, generator: torch.Generator) -> Tensor:
        """First guesses ``[B, T, m]``, some of them put elsewhere: perturbed, another instance's, or random controls.

        A third of these is perturbed, by white or by smooth noise of any size, a sixth is that of one that begins at
        the same time, half are random.
        """
        low, high = self.model.control_low, self.model.control_high
        (size, T, m), place = guess.shape, guess

        def draw(how: Callable[..., Tensor], *shape: int) -> Tensor:
            return how(shape, generator=generator).to(place)

        white, knots = draw(torch.randn, size, T, m), draw(torch.randn, size, m, KNOTS)
        smooth = F.interpolate(knots, size=T, mode="linear", align_corners=True).mT
        noise = torch.where(draw(torch.rand, size, 1, 1) < 0.5, white, smooth)
        noise = noise * LARGEST * 10 ** (-SPAN * draw(torch.rand, size, 1, 1))
        perturbed = guess + noise * (high - low) / 2
        others = guess[torch.randperm(size, generator=generator).to(guess.device)]
        random = low + draw(torch.rand, size, T, m) * (high - low)
        which = draw(torch.rand, size, 1, 1) / max(self.config.start_noise, 1e-9)
        begun = torch.where(which < 1 / 3, perturbed, torch.where(which < 1 / 2, others, random))
        return torch.where(which < 1, begun, guess).clamp(low, high)

    @torch.no_grad()
    def validation(self, *tensors: Tensor) -> Tensor:
        """The mean of the losses after a few and after more refinements."""
        output = self.model(
            *tensors[:2],
            dynamics_fn=self.simulator.dynamics_fn,
            return_all_iterations=True,
            iterations=JUDGED[-1],
        )
        found = [self.loss_at(output["all_controls"][:, k], [output["all_latents"][:, k]], tensors) for k in JUDGED]
        return torch.stack(found).mean()
