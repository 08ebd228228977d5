"""Scans on batches: instances are brought side by side into lanes, and what comes out is brought back."""

import numpy as np
import torch
from torch import Tensor

from .build import Compiled
from .scan import Scan, code, count, lanes


class Lanes:
    """Where the instances of a batch lie in blocks of lanes; the last instance fills up the last block."""

    def __init__(self, batch: int, dtype: torch.dtype) -> None:
        self.batch, self.lanes = batch, lanes(dtype)
        self.blocks = -(-batch // self.lanes)
        self._full = batch == self.blocks * self.lanes
        self._which = None if self._full else np.minimum(np.arange(self.blocks * self.lanes), batch - 1)

    def pack(self, array: np.ndarray) -> np.ndarray:
        """Instances ``[B, …]`` as lanes ``[blocks, …, lanes]``."""
        whole = array if self._full else array[self._which]
        whole = whole.reshape(self.blocks, self.lanes, *array.shape[1:])
        return np.ascontiguousarray(whole.transpose(0, *range(2, whole.ndim), 1))

    def unpack(self, array: np.ndarray) -> np.ndarray:
        """Lanes as instances again."""
        last = array.ndim - 1
        whole = array.transpose(0, last, *range(1, last))
        return whole.reshape(self.blocks * self.lanes, *array.shape[1:-1])[: self.batch]


class Scanned:
    """A scan, compiled for numbers of a type."""

    def __init__(self, scan: Scan, dtype: torch.dtype) -> None:
        self.scan, self.dtype, self.compiled = scan, dtype, Compiled(code(scan, dtype))

    def run(self, fixed: Tensor, carried: Tensor, *streams: Tensor, steps: int | None = None) -> tuple[Tensor, Tensor]:
        """Of a batch what is carried in the end ``[B, ·]``, and what goes out ``[T, B, ·]``.

        Parameters
        ----------
        fixed, carried : Tensor ``[B, ·]``
        streams : Tensor ``[T, B, ·]``
        steps : int, optional
            T, where there is no stream.
        """
        batch = Lanes(len(carried), self.dtype)
        fixed, state, *inward = (
            batch.pack(one.numpy()) for one in (fixed, carried, *(stream.transpose(0, 1) for stream in streams))
        )
        T = inward[0].shape[1] if streams else steps
        out = self.on(batch, T, fixed, state, *inward)
        return torch.from_numpy(batch.unpack(state)), torch.from_numpy(batch.unpack(out)).transpose(0, 1)

    def on(self, batch: Lanes, T: int, fixed: np.ndarray, carried: np.ndarray, *streams: np.ndarray) -> np.ndarray:
        """What goes out of lanes ``[blocks, T, ·, lanes]``; what is carried is changed."""
        out = np.empty((batch.blocks, T, count(self.scan.outputs), batch.lanes), fixed.dtype)
        self.compiled(T, batch.blocks, fixed, carried, *streams, out)
        return out
