"""How a model is trained, and what came of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from ..common.checks import check_choice, check_count, check_kind, check_real, check_seed, from_settings, settle
from ..common.registry import Registry
from .schedules import SCHEDULES

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}

#: What the improvement reward is relative to: the first iterate's cost, the same as a mere number, or the teacher's.
REFERENCES = ("first", "first-detached", "teacher")

#: How an instance is taken through its refinements; see ``trc.training.deep`` and ``trc.training.unrolled``.
SUPERVISIONS = ("deep", "unrolled")

#: What is minimised, by name; each loss registers itself (see ``trc.training.losses``).
LOSSES: Registry[Callable[..., Tensor]] = Registry("loss")

#: What an option that is a choice may be.
CHOICES: dict[str, Iterable[str]] = {"optimizer": OPTIMIZERS, "loss": LOSSES, "schedule": SCHEDULES}
CHOICES |= {"supervision": SUPERVISIONS, "reference": REFERENCES, "device": ("cpu", "cuda")}


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a model is trained.

    Parameters
    ----------
    epochs, batch_size : int
    learning_rate : float
        At the start; the schedule takes it from there.
    schedule : {"cosine", "step", "plateau", "none"}
        Half a cosine wave down to zero; a tenth after half of the steps and a hundredth after three quarters; half of
        it whenever five epochs have brought no lower validation loss; or constant.
    warmup : float
        Share of all steps in which the rate first rises from zero, in a straight line.
    optimizer : {"adamw", "adam"}
    supervision : {"deep", "unrolled"}
        A loss and a step after each refinement, or one loss through all of them. Where a loss is named and no
        supervision it is unrolled, as the guides train.
    loss : {"gap", "cloning", "process", "discounted", "hinge", "trajectory"}, or another that is registered
        Cloning with a term in the logarithm of the cost gap, the default of deep supervision; cloning alone, the
        default of unrolled; cloning with a term in the costs of all iterates (the improvement reward, their discounted
        sum, or a penalty on rises); or the cost of the last iterate alone, without a teacher. See
        ``trc.training.losses``.
    state_weight, process_weight, value_weight : float
        Weights: of a further term, the mean squared difference of the last iterate's states to the teacher's; of the
        term in the costs; of the value loss, where a value predictor is trained along.
    controls_weight, gap_weight, gap_floor : float
        Of the loss in the gap: weights of its two terms, and the gap below which nothing more is to be gained.
    least_depth, most_depth : int
        Of deep supervision: how often an instance is refined, at random.
    mixed_ages : bool
        Of deep supervision: whether each instance that is done is followed by the next one at once, so that a batch
        holds instances of all ages; or a whole batch begins together and ends together.
    start_noise : float
        Of deep supervision: share of the instances that begin elsewhere than at the first guess.
    average : float
        How much of the moving average of the weights a step leaves, which takes the place of the weights in the end; 0
        takes them as the last step leaves them.
    reference : {"first", "first-detached", "teacher"}
        Of the improvement reward.
    discount : float
        Of the discounted sum.
    weight_decay : float
        Decoupled from the gradient (AdamW), or a part of it (Adam).
    max_grad_norm : float
        Gradients are clipped to this norm.
    validation_fraction : float
        Share of the data held out; the epoch with the lowest validation loss is kept.
    patience : int
        Stop after so many epochs without a lower validation loss; 0 never does.
    seed : int
        Of the split, of the order of the batches, and of what dropout drops.
    device : {"cpu", "cuda"}
    """

    epochs: int = 100
    batch_size: int = 64
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    warmup: float = 0.0
    optimizer: str = "adamw"
    supervision: str = "deep"
    loss: str = "gap"
    controls_weight: float = 1.0
    gap_weight: float = 0.005
    gap_floor: float = 1e-4
    least_depth: int = 2
    most_depth: int = 64
    mixed_ages: bool = True
    start_noise: float = 0.75
    average: float = 0.999
    state_weight: float = 0.0
    process_weight: float = 0.1
    reference: str = "first"
    discount: float = 0.9
    value_weight: float = 0.01
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    validation_fraction: float = 0.1
    patience: int = 0
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        settle(self)
        counts = {"epochs": 1, "batch_size": 1, "patience": 0, "least_depth": 1, "most_depth": self.least_depth}
        for name, lowest in counts.items():
            check_count(getattr(self, name), name, lowest)
        check_seed(self.seed)
        for name in ("learning_rate", "max_grad_norm", "gap_floor"):
            check_real(getattr(self, name), name, positive=True)
        for name in ("weight_decay", "state_weight", "process_weight", "value_weight", "controls_weight", "gap_weight"):
            check_real(getattr(self, name), name, minimum=0)
        check_kind(self.mixed_ages, bool, "mixed_ages", "say True or False")
        if not 0 <= check_real(self.warmup, "warmup") < 1:
            raise ValueError(f"warmup must be a share of the steps from 0 to below 1, got {self.warmup}.")
        if not 0 <= check_real(self.start_noise, "start_noise") <= 1:
            raise ValueError(f"start_noise must be a share from 0 to 1, got {self.start_noise}.")
        if not 0 <= check_real(self.average, "average") < 1:
            raise ValueError(f"average must be a share from 0 to below 1, got {self.average}.")
        if not 0 < check_real(self.validation_fraction, "validation_fraction") < 1:
            raise ValueError(f"validation_fraction must lie between 0 and 1, got {self.validation_fraction}.")
        check_discount(self.discount)
        for name, known in CHOICES.items():
            check_choice(getattr(self, name), name, known)
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError('device "cuda" is not available on this machine; say device="cpu".')

    @classmethod
    def from_options(cls, **options: Any) -> Self:
        """Build from keywords; an unknown one is a ``ValueError`` that lists the known ones.

        A process weight alone asks for the improvement reward, and a loss alone for unrolled training.
        """
        asked = {"loss": "process"} if "process_weight" in options else {}
        asked |= options
        asked = ({"supervision": "unrolled"} if "loss" in asked else {}) | asked
        if asked.get("supervision") == "unrolled":
            asked = {"loss": "cloning", "average": 0.0} | asked
        return from_settings(cls, asked, "training option")


def check_discount(discount: float) -> None:
    """Raise ``ValueError`` unless a discount lies between 0 and 1."""
    if not 0 <= check_real(discount, "discount") <= 1:
        raise ValueError(f"discount must lie between 0 and 1, got {discount}.")


@dataclass
class History:
    """Losses by epoch, the first epoch first, and how many samples an epoch learns from."""

    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)  #: of each epoch's last step
    samples_per_epoch: int = 0

    @classmethod
    def from_record(cls, record: Any) -> Self:
        """Read from what was kept of one; a ``ValueError`` if it has another form or a number is not finite."""
        history = from_settings(cls, record, "part of a history")
        losses = history.train_loss, history.validation_loss, history.learning_rate
        if not all(isinstance(some, list) and len(some) == len(history.train_loss) for some in losses):
            raise ValueError("a history has a list of each, one number an epoch.")
        for number in (number for some in losses for number in some):
            check_real(number, "each number of a history")
        history.samples_per_epoch = check_count(history.samples_per_epoch, "samples_per_epoch", 0)
        return history

    @property
    def best_epoch(self) -> int:
        """Epoch (from 0) with the lowest validation loss, whose weights the model has after training."""
        return self.validation_loss.index(min(self.validation_loss))

    def without_progress(self) -> int:
        """Epochs since the best one."""
        return len(self.validation_loss) - 1 - self.best_epoch if self.validation_loss else 0

    def samples_to_convergence(self, tolerance: float = 0.1) -> int:
        """Instances seen until the validation loss had done all but `tolerance` of its way from first to lowest."""
        first, lowest = self.validation_loss[0], min(self.validation_loss)
        bound = lowest + tolerance * (first - lowest)
        epochs = 1 + next(i for i, loss in enumerate(self.validation_loss) if loss <= bound)
        return epochs * self.samples_per_epoch

    def summary(self) -> dict[str, float]:
        """How many epochs there were, which was the best, and how soon the loss was nearly as low."""
        return {
            "epochs": len(self.train_loss),
            "best_epoch": self.best_epoch,
            "best_validation_loss": min(self.validation_loss),
            "samples_to_convergence": self.samples_to_convergence(),
        }
