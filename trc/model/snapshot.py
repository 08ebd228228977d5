"""A network frozen for one instance at a time, in NumPy: what a control loop calls.

For one instance the arithmetic of a tiny network takes less time than what PyTorch does around it. NumPy does less, and
what does not change from call to call is done once: a layer normalisation's weights go into the layer that follows it.
``TinyRecursiveControl`` says the same in plain words and is what the tests hold this against.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from ..checks import check_count, check_kind, check_real
from ..simulation import rollout
from .layers import AttentionBlock
from .trc import TinyRecursiveControl


class _Affine(NamedTuple):
    """``x @ W + b``, the weights of one output side by side in memory."""

    W: np.ndarray
    b: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        y = x @ self.W
        y += self.b
        return y


class _Block(NamedTuple):
    """One reasoning block, the weights of its norms folded into the layers behind them."""

    eps: float
    query_key_value: _Affine
    attention_out: _Affine
    first: _Affine
    second: _Affine

    def __call__(self, z: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
        """The latent ``[d]`` after the block; in `keys` and `values`, ``[heads, S + 2, d/heads]``, it comes first."""
        heads, _, width = keys.shape
        query, keys[:, 0], values[:, 0] = self.query_key_value(_normalise(z, self.eps)).reshape(3, heads, width)
        share = keys @ query[:, :, np.newaxis]  # (heads, S + 2, 1); the query is scaled already
        share -= share.max(1, keepdims=True)
        np.exp(share, out=share)
        share /= share.sum(1, keepdims=True)
        half = self.attention_out((share.swapaxes(1, 2) @ values).reshape(-1))
        half += z
        updated = self.second(_silu(self.first(_normalise(half, self.eps))))
        updated += half
        return updated


class _Perceptron(NamedTuple):
    """Linear, SiLU, LayerNorm, Linear; the weights of the norm are folded into the last."""

    eps: float
    first: _Affine
    second: _Affine

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.second(_normalise(_silu(self.first(x)), self.eps))


class Snapshot:
    """The controls that a trained network proposes for one instance, without what PyTorch does around the arithmetic.

    Later changes of the network do not change it.

    Parameters
    ----------
    model : TinyRecursiveControl
        With attention blocks of the usual kind: LayerNorm first, SiLU feed-forward. With feedback it needs its problem.

    Raises
    ------
    ValueError
        If the network is of another kind, or its simulator is missing.

    Examples
    --------
    >>> import trc
    >>> model = trc.TinyRecursiveControl.create_small(problem=trc.make_problem("double_integrator"), seed=0)
    >>> trc.Snapshot(model)([1.0, 0.0], [0.0, 0.0]).shape
    (15, 1)
    """

    def __init__(self, model: TinyRecursiveControl) -> None:
        check_kind(model, TinyRecursiveControl, "model", "read it with trc.load_model(path)")
        config, recursion = model.config, model.recursion
        usual = {"reasoning": "attention", "feedforward": "silu", "norm": "layer", "norm_first": True}
        if other := [f"{name}={getattr(config, name)!r}" for name in usual if getattr(config, name) != usual[name]]:
            raise ValueError(f"a snapshot is made of attention blocks of the usual kind, not with {', '.join(other)}.")
        if config.feedback not in ("none", "error"):
            raise ValueError(f"a snapshot knows the feedbacks none and error, not {config.feedback!r}.")
        model._simulator(None)  # complains where a simulator is needed and missing
        self.config = config
        self.problem = model.problem if config.feedback == "error" else None
        self.state_scale, self.low, self.high = (
            _array(t) for t in (model.state_scale, model.control_low, model.control_high)
        )
        self.encode_state, self.initial_controls, self.decode, self.encode_error = (
            _perceptron(part)
            for part in (model.encode_state, model.initial_controls, model.decode, recursion.encode_error)
        )
        self.embed_controls, self.embed_error = _affine(recursion.embed_controls), _affine(recursion.embed_error)
        self.blocks = [_block(block) for block in recursion.blocks]
        self.context_weights = [_context_weights(block) for block in recursion.blocks]
        if config.use_two_level:
            self.initial_latents = (_array(recursion.initial_z_H), _array(recursion.initial_z_L))

    def __call__(
        self,
        current_state: ArrayLike,
        target_state: ArrayLike,
        time_remaining: float | None = None,
        iterations: int | None = None,
    ) -> np.ndarray:
        """Controls ``[T, m]``.

        Parameters
        ----------
        current_state, target_state : array_like ``[n]``
        time_remaining : float, optional
            Seconds left; the whole horizon by default.
        iterations : int, optional
            Number of refinements; as many as the network was made for by default.
        """
        config = self.config
        current, target = (self._state(s, name) for s, name in ((current_state, "current"), (target_state, "target")))
        time = 1.0 if time_remaining is None else check_real(time_remaining, "time_remaining") / config.time_scale
        count = config.num_outer_cycles if iterations is None else check_count(iterations, "iterations", 0)
        with np.errstate(over="ignore"):  # the exponential of a strongly negative unit; its SiLU is 0 all the same
            inputs = np.concatenate(
                (current / self.state_scale, target / self.state_scale, [time]), dtype=current.dtype
            )
            problem = self.encode_state(inputs)
            latents = self.initial_latents if config.use_two_level else (problem,)
            controls = self._within_bounds(self.initial_controls(problem))
            for _ in range(count):
                scaled = (2 * (controls - self.low) / (self.high - self.low) - 1).reshape(-1)
                tokens = [problem, self.embed_controls(scaled)]
                if self.problem is not None:
                    error = self._error(current, target, controls)
                    tokens.append(self.encode_error(error) + self.embed_error(error))
                latents = self._recur(latents, np.stack(tokens))
                controls = self._refine(latents[0], controls, scaled)
        return controls

    def _state(self, state: ArrayLike, name: str) -> np.ndarray:
        array = np.asarray(state, self.state_scale.dtype)
        if array.shape != self.state_scale.shape or not np.isfinite(array).all():
            raise ValueError(f"{name}_state must be {len(self.state_scale)} finite numbers, got {state!r:.60}.")
        return array

    def _error(self, current: np.ndarray, target: np.ndarray, controls: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            states = rollout(self.problem, *(torch.from_numpy(a).unsqueeze(0) for a in (current, controls)))
        return (states[0, -1].numpy() - target) / self.state_scale

    def _recur(self, latents: tuple[np.ndarray, ...], tokens: np.ndarray) -> tuple[np.ndarray, ...]:
        seen = self._context(tokens)
        if not self.config.use_two_level:
            return (self._think(latents[0], seen, self.config.num_inner_cycles, None),)
        z_H, z_L = latents
        z_L = self._think(z_L, seen, self.config.L_cycles, z_H)
        return self._think(z_H + z_L, self._context(tokens[:0]), 1, None), z_L

    def _think(
        self, z: np.ndarray, context: list[tuple[np.ndarray, np.ndarray]], cycles: int, inject: np.ndarray | None
    ) -> np.ndarray:
        for _ in range(cycles):
            z = z if inject is None else z + inject
            for block, (keys, values) in zip(self.blocks, context, strict=True):
                z = block(z, keys, values)
        return z

    def _context(self, tokens: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Keys and values of each block: a place for the latent's own, the tokens', and the zero token's."""
        heads, (count, d) = self.config.num_heads, tokens.shape
        normal = np.stack([_normalise(token, self.blocks[0].eps) for token in tokens]) if count else tokens
        found = []
        for layer in self.context_weights:
            keys_values = np.zeros((2, heads, count + 2, d // heads), tokens.dtype)
            keys_values[:, :, 1:-1] = layer(normal).reshape(count, 2, heads, d // heads).transpose(1, 2, 0, 3)
            found.append(tuple(keys_values))
        return found

    def _within_bounds(self, decoded: np.ndarray) -> np.ndarray:
        unit = np.tanh(decoded).reshape(self.config.control_horizon, -1)
        return self.low + (unit + 1) / 2 * (self.high - self.low)

    def _refine(self, z: np.ndarray, controls: np.ndarray, scaled: np.ndarray) -> np.ndarray:
        if self.config.decoder == "full":
            return self._within_bounds(self.decode(z))
        step = np.tanh(self.decode(np.concatenate((z, scaled)))).reshape(controls.shape)
        return np.clip(controls + step * ((self.high - self.low) / 4), self.low, self.high)


def _normalise(z: np.ndarray, eps: float) -> np.ndarray:
    """``z`` less its mean, over its standard deviation."""
    z = z - np.add.reduce(z) / len(z)
    z *= 1 / np.sqrt(z.dot(z) / len(z) + z.dtype.type(eps))
    return z


def _silu(x: np.ndarray) -> np.ndarray:
    y = np.exp(-x)
    y += 1
    return np.divide(x, y, out=y)


def _array(tensor: Tensor) -> np.ndarray:
    return np.array(tensor.numpy(force=True))


def _affine(layer: nn.Linear, norm: nn.LayerNorm | None = None) -> _Affine:
    """A layer, with the weights of the norm before it folded in."""
    W, b = (_array(t).astype(np.float64) for t in (layer.weight, layer.bias))
    if norm is not None:
        W, b = W * _array(norm.weight), b + W @ _array(norm.bias)
    dtype = layer.weight.numpy(force=True).dtype
    return _Affine(np.ascontiguousarray(W, dtype).T, b.astype(dtype))


def _perceptron(layers: nn.Sequential) -> _Perceptron:
    first, _, norm, second = layers
    return _Perceptron(norm.eps, _affine(first), _affine(second, norm))


def _block(block: AttentionBlock) -> _Block:
    first, _, second = block.feedforward
    mixed = _affine(block.query_key_value, block.norm_attention)
    d = mixed.W.shape[0]
    for part in (mixed.W[:, :d], mixed.b[:d]):
        part *= (d / block.num_heads) ** -0.5  # softmax's scale, folded into the query
    return _Block(
        block.norm_attention.eps,
        mixed,
        _affine(block.attention_out),
        _affine(first, block.norm_feedforward),
        _affine(second),
    )


def _context_weights(block: AttentionBlock) -> _Affine:
    """Keys and values alone."""
    mixed = _affine(block.query_key_value, block.norm_attention)
    d = mixed.W.shape[0]
    return _Affine(mixed.W[:, d:], mixed.b[d:])
