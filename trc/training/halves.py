"""The gradient of a batch, worked on in two halves: one after the other, or at the same time in two processes.

Both ways add the same numbers in the same order, so the weights don't depend on the number of processes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch import multiprocessing as mp

from ..parallel import start_worker

#: A batch of at least twice this many instances is cut into halves.
HALF = 64

_GONE = (
    "the second process of the training ended unexpectedly; "
    'in a script train under if __name__ == "__main__":, or with jobs=1.'
)

LossOf = Callable[..., Tensor]
Gradients = Sequence[Tensor | None]


class BatchGradient:
    """Mean loss and gradients of the rows of a batch; a context, for the process that it may have.

    Parameters
    ----------
    loss_of : callable
        The mean loss of instances, from their tensors; with two processes it must go through pickle.
    modules : Module
        Whose parameters the gradients are of. With two processes they lie in shared memory inside the context.
    tensors : sequence of Tensor
        Each with the instances along its first dimension.
    processes : {1, 2}
    """

    def __init__(self, loss_of: LossOf, modules: nn.Module, tensors: Sequence[Tensor], processes: int) -> None:
        self.loss_of, self.modules, self.tensors, self.processes = loss_of, modules, list(tensors), processes
        self.parameters = trainable(modules)

    def __enter__(self) -> Self:
        if self.processes == 1:
            return self
        try:
            self.modules.share_memory()
            self.buffer = torch.zeros(sum(p.numel() for p in self.parameters)).to(self.parameters[0].dtype)
            shared = [t.share_memory_() for t in (self.buffer, *self.tensors)]
            context = mp.get_context("spawn")
            self.pipe, theirs = context.Pipe()
            work = (theirs, os.getpid(), self.loss_of, self.modules, shared[0], shared[1:])
            self.worker = context.Process(target=_serve, args=work, daemon=True)
            self.worker.start()
            theirs.close()
        except BaseException:
            self._leave_shared_memory()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        if self.processes > 1:
            self.pipe.close()  # the worker ends when nobody is there to ask it
            self.worker.join(timeout=10)
            self.worker.kill()
            self._leave_shared_memory()

    def _leave_shared_memory(self) -> None:
        for tensor in (*self.modules.parameters(), *self.modules.buffers()):
            tensor.data = tensor.data.clone()

    def __call__(self, rows: Tensor) -> tuple[float, Gradients]:
        """Mean loss of the rows, and its gradient to each parameter."""
        first, *rest = rows.chunk(2 if len(rows) >= 2 * HALF else 1)
        if not rest:
            return loss_and_gradients(self.loss_of, self.parameters, [t[rows] for t in self.tensors])
        second = rest[0]
        shares = [len(half) / len(rows) for half in (first, second)]
        if self.processes > 1:
            self._ask(second, shares[1])
        found = [self._half(first, shares[0])]
        found.append(self._answer() if self.processes > 1 else self._half(second, shares[1]))
        (loss, gradients), (other_loss, others) = found
        total = [a if b is None else b if a is None else a + b for a, b in zip(gradients, others, strict=True)]
        return loss + other_loss, total

    def _half(self, rows: Tensor, share: float) -> tuple[float, Gradients]:
        return loss_and_gradients(self.loss_of, self.parameters, [t[rows] for t in self.tensors], share)

    def _ask(self, rows: Tensor, share: float) -> None:
        try:
            self.pipe.send((rows.numpy(), share))
        except OSError:
            raise ChildProcessError(_GONE) from None

    def _answer(self) -> tuple[float, Gradients]:
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError):
            raise ChildProcessError(_GONE) from None
        if isinstance(answer, Exception):
            raise answer
        loss, used = answer
        parts = self.buffer.split([p.numel() for p in self.parameters])
        return loss, [
            part.view_as(p) if one else None for part, p, one in zip(parts, self.parameters, used, strict=True)
        ]


def trainable(modules: nn.Module) -> list[nn.Parameter]:
    """Parameters that are trained."""
    return [parameter for parameter in modules.parameters() if parameter.requires_grad]


def loss_and_gradients(
    loss_of: LossOf, parameters: Sequence[nn.Parameter], batch: Sequence[Tensor], share: float = 1.0
) -> tuple[float, Gradients]:
    """A share of the mean loss of a batch, and its gradient to each parameter; None for one that it doesn't touch."""
    loss = loss_of(*batch) * share
    return loss.item(), torch.autograd.grad(loss, parameters, allow_unused=True)


def _serve(
    pipe: Connection, parent: int, loss_of: LossOf, modules: nn.Module, buffer: Tensor, tensors: list[Tensor]
) -> None:
    """What the second process does: halves, until nobody asks any more."""
    start_worker(parent)
    parameters = trainable(modules)
    parts = buffer.split([p.numel() for p in parameters])
    while True:
        try:
            rows, share = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            half = torch.from_numpy(rows)
            loss, gradients = loss_and_gradients(loss_of, parameters, [t[half] for t in tensors], share)
            for part, gradient in zip(parts, gradients, strict=True):
                if gradient is not None:
                    part.copy_(gradient.flatten())
            answer: object = (loss, [gradient is not None for gradient in gradients])
        except Exception as error:  # told where the other half is worked on
            answer = error
        try:
            pipe.send(answer)
        except OSError:
            return
