"""The planner: guess, simulate, refine. It is written behind :mod:`.network`, into one file."""

from math import tanh
from pathlib import Path

import numpy as np
from numba import njit

from .network import (
    BLOCK,
    BLOCKS,
    BLOCKS_AT,
    CARRIED,
    CONTROL_HIGH,
    CONTROL_LOW,
    CYCLES,
    DECODE,
    EMBED_CONTROLS,
    EMBED_ERROR,
    ENCODE_ERROR,
    ENCODE_STATE,
    END,
    FEEDBACK,
    FIRST_CONTROLS,
    FLAT,
    HIDDEN,
    ITERATIONS,
    LATENTS,
    RESIDUAL,
    STATE_SCALE,
    TIME_SCALE,
    TOKENS,
    TWO_LEVELS,
    D,
    M,
    N,
    T,
    layer_norm,
    linear,
    perceptron,
    see,
    silu,
    simulate,
    through_blocks,
)

# --- what stands behind the network ---


@njit(cache=True)
def within_bounds(decoded, controls):
    """Controls inside their bounds by a tanh."""
    for t in range(T):
        for i in range(M):
            low, high = np.float32(CONTROL_LOW[i]), np.float32(CONTROL_HIGH[i])
            unit = (tanh(decoded[t * M + i]) + np.float32(1)) / np.float32(2)
            controls[t, i] = low + unit * (high - low)


@njit(cache=True)
def refine(w, z, unit, controls, decoded, hidden):
    """The next controls, from the latent and the current ones."""
    if not RESIDUAL:
        perceptron(w, DECODE, z, decoded, hidden)
        within_bounds(decoded, controls)
        return
    both = np.empty(D + FLAT, np.float32)
    both[:D], both[D:] = z, unit
    perceptron(w, DECODE, both, decoded, hidden)
    for t in range(T):
        for i in range(M):
            low, high = np.float32(CONTROL_LOW[i]), np.float32(CONTROL_HIGH[i])
            changed = controls[t, i] + tanh(decoded[t * M + i]) * (high - low) / np.float32(4)
            controls[t, i] = min(max(changed, low), high)


@njit(cache=True)
def show(w, initial, target, controls, tokens, hidden):
    """Simulate, and put what the network is told of it into the context."""
    state, features, embedded = np.empty(N, np.float32), np.empty(N, np.float32), np.empty(D, np.float32)
    simulate(initial, controls, state)
    for i in range(N):
        features[i] = (state[i] - target[i]) / np.float32(STATE_SCALE[i])
    linear(w, EMBED_ERROR, features, embedded, True)
    narrow = hidden[:D]
    at = linear(w, ENCODE_ERROR, features, narrow, True)
    silu(narrow)
    at = layer_norm(w, at, narrow, narrow)
    linear(w, at, narrow, tokens[2], True)
    for i in range(D):
        tokens[2, i] += embedded[i]


@njit(cache=True)
def plan(w, initial, target, time, iterations, controls):
    """The first guess and its refinements, in place."""
    question, hidden, decoded = (
        np.empty(2 * N + 1, np.float32),
        np.empty(HIDDEN, np.float32),
        np.empty(FLAT, np.float32),
    )
    for i in range(N):
        question[i] = initial[i] / np.float32(STATE_SCALE[i])
        question[N + i] = target[i] / np.float32(STATE_SCALE[i])
    question[2 * N] = time / np.float32(TIME_SCALE)
    tokens = np.empty((TOKENS, D), np.float32)
    seen = np.empty((BLOCKS, TOKENS + 1, 2 * D), np.float32)
    nothing = np.zeros((BLOCKS, 1, 2 * D), np.float32)
    z, z_low, unit = np.empty(D, np.float32), np.empty(D, np.float32), np.empty(FLAT, np.float32)
    perceptron(w, ENCODE_STATE, question, z, hidden)
    tokens[0] = z
    perceptron(w, FIRST_CONTROLS, z, decoded, hidden)
    within_bounds(decoded, controls)
    for k in range(iterations):
        if k == 0 or not CARRIED:
            z[:] = w[LATENTS : LATENTS + D] if TWO_LEVELS else tokens[0]
            if TWO_LEVELS:
                z_low[:] = w[LATENTS + D : LATENTS + 2 * D]
        for t in range(T):
            for i in range(M):
                low, high = np.float32(CONTROL_LOW[i]), np.float32(CONTROL_HIGH[i])
                unit[t * M + i] = np.float32(2) * (controls[t, i] - low) / (high - low) - np.float32(1)
        linear(w, EMBED_CONTROLS, unit, tokens[1], True)
        if FEEDBACK:
            show(w, initial, target, controls, tokens, hidden)
        for b in range(BLOCKS):
            see(w, BLOCKS_AT + b * BLOCK, tokens, TOKENS, seen[b])
        if TWO_LEVELS:
            for _ in range(CYCLES):
                for i in range(D):
                    z_low[i] += z[i]
                through_blocks(w, z_low, seen, TOKENS)
            for i in range(D):
                z[i] += z_low[i]
            through_blocks(w, z, nothing, 0)
        else:
            for _ in range(CYCLES):
                through_blocks(w, z, seen, TOKENS)
        refine(w, z, unit, controls, decoded, hidden)


class Planner:
    """Plans controls from a state to a target; not finite numbers and wrong sizes are a ``ValueError``."""

    def __init__(self, weights=None):
        path = Path(__file__).with_name("weights.npz") if weights is None else Path(weights)
        with np.load(path, allow_pickle=False) as parts:
            self.weights = np.concatenate([parts[name].ravel() for name in parts.files]).astype(np.float32)
        if len(self.weights) != END:
            raise ValueError(f"{path} has {len(self.weights)} weights, but this network needs {END}.")

    def __call__(self, state, target, time_remaining=TIME_SCALE, iterations=ITERATIONS):
        """Controls ``[T, m]`` from a state ``[n]`` to a target ``[n]``, refined `iterations` times."""
        state, target = (np.ascontiguousarray(one, np.float32) for one in (state, target))
        if state.shape != (N,) or target.shape != (N,):
            raise ValueError(f"state and target have {N} numbers each, got shapes {state.shape} and {target.shape}.")
        if not (np.isfinite(state).all() and np.isfinite(target).all() and np.isfinite(time_remaining)):
            raise ValueError(f"states and time must be finite, got {state}, {target} and {time_remaining}.")
        if iterations != int(iterations) or iterations < 0:
            raise ValueError(f"iterations must be a whole number, 0 or more, got {iterations}.")
        controls = np.empty((T, M), np.float32)
        plan(self.weights, state, target, np.float32(time_remaining), iterations, controls)
        return controls
