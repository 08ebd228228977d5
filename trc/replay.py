"""Expressions run on whole batches: a short list of NumPy operations that write into a few reused buffers.

What PyTorch does around an operation (dispatch, allocation, the graph) takes longer than the arithmetic of a small
batch, and a step has many operations. NumPy, told where to write, does less; and buffers that are used again stay in
the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .expressions import Expression, in_order


class Plan:
    """In which order, from where and to where: made once for given outputs, used for arrays of any shape.

    Equal operations are done once, and a buffer is used again as soon as its number is not needed any more.

    Parameters
    ----------
    inputs : list of Expression
    outputs : list of Expression or float
    """

    def __init__(self, inputs: Sequence[Expression], outputs: Sequence[Expression | float]) -> None:
        self.num_inputs = len(inputs)
        self.constants: list[float] = []
        place: dict[Expression | float, int] = {one: i for i, one in enumerate(inputs)}
        same: dict[tuple, int] = {}
        numbered: list[tuple[str, tuple[int, ...], int]] = []

        def number(term: Expression | float) -> int:
            if term not in place:  # only constants are not there yet
                place[term] = self.num_inputs + len(self.constants)
                self.constants.append(float(term))
            return place[term]

        order = [one for one in in_order(outputs) if one.operation]
        for term in (term for one in order for term in one.terms if not isinstance(term, Expression)):
            number(term)
        for output in outputs:
            if not isinstance(output, Expression):
                number(output)
        fixed = self.num_inputs + len(self.constants)
        for one in order:
            key = (one.operation, *(place[term] for term in one.terms))
            if key not in same:
                same[key] = fixed + len(numbered)
                numbered.append((one.operation, key[1:], same[key]))
            place[one] = same[key]
        final = [place[output] for output in outputs]
        self._share_buffers(numbered, final, fixed)

    def _share_buffers(self, numbered: list[tuple[str, tuple[int, ...], int]], final: list[int], fixed: int) -> None:
        last_use = {term: i for i, (_, terms, _) in enumerate(numbered) for term in terms}
        buffer: dict[int, int] = {i: i for i in range(fixed)}
        free: list[int] = []
        self.size = fixed
        self.operations: list[tuple[np.ufunc, tuple[int, ...]]] = []
        for i, (operation, terms, result) in enumerate(numbered):
            sources = tuple(buffer[term] for term in terms)
            free += [buffer[t] for t in set(terms) if t >= fixed and last_use[t] == i and t not in final]
            if not free:
                free.append(self.size)
                self.size += 1
            buffer[result] = free.pop()
            self.operations.append((getattr(np, operation), (*sources, buffer[result])))
        self.outputs = [buffer[result] for result in final]

    def bind(
        self, inputs: Sequence[np.ndarray], shape: tuple[int, ...], dtype: np.dtype
    ) -> tuple[list[np.ndarray], Callable[[], None]]:
        """Outputs, and the function that computes them from what is in the inputs when it is called.

        Parameters
        ----------
        inputs : list of ndarray
            Arrays that broadcast to `shape`; write new values into them before each call.
        shape : tuple of int
        dtype : numpy.dtype
        """
        arrays = [*inputs, *(np.array(value, dtype) for value in self.constants)]
        arrays += list(np.empty((self.size - len(arrays), *shape), dtype))
        calls = [(function, tuple(arrays[i] for i in places)) for function, places in self.operations]

        def run() -> None:
            with np.errstate(all="ignore"):  # states that overflow are reported by who rolls them out
                for function, places in calls:
                    function(*places)

        return [arrays[i] for i in self.outputs], run
