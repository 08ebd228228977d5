"""A network and its simulator without torch: compiled by numba, one instance at a time, for a control loop.

    planner = Planner()
    controls = planner(state, target)  # [T, m]

NumPy and numba are all it needs. The first plan compiles, which takes some tens of seconds; what is compiled is kept
beside this file. Written by ``trc export --standalone``; the weights lie in ``weights.npz`` beside it.
"""

from math import exp, sqrt, tanh  # noqa: F401
from pathlib import Path  # noqa: F401

import numpy as np
from numba import njit

# --- what follows, up to the next such line, is written anew for each network ---

N, M, T = 2, 1, 15  # states, controls, steps
CONTROL_LOW, CONTROL_HIGH = (-1.0,), (1.0,)
STATE_SCALE, TIME_SCALE = (1.0, 1.0), 1.0
D, HIDDEN, HEADS, BLOCKS, EXPANDED = 64, 128, 2, 2, 128  # widths, attention heads, reasoning blocks
ITERATIONS, CYCLES = 3, 3  # refinements, and passes through the blocks in each
ATTENTION, SWIGLU, RMS, NORM_FIRST, TWO_LEVELS, RESIDUAL, FEEDBACK = True, False, False, True, False, True, True
CARRIED = False  # whether a refinement goes on from the latents of the one before
ROOT = float(np.finfo(np.float32).eps)  # what RMSNorm adds


@njit(cache=True, error_model="numpy")
def step(x, u, following):
    """One step of the dynamics, from `x` under `u`."""
    following[0] = x[0] + x[1]
    following[1] = x[1] + u[0]


# --- the same for every network ---

FLAT = T * M
FULL = 2 * EXPANDED if SWIGLU else EXPANDED
NORM = D if RMS else 2 * D
FEEDFORWARD = D * FULL + EXPANDED * D + (0 if SWIGLU else FULL + D)
BLOCK = NORM + FEEDFORWARD + ((D * 3 * D + 3 * D) + (D * D + D) + NORM if ATTENTION else 0)
TOKENS = 3 if FEEDBACK else 2
ONES = np.ones(max(D, HIDDEN), np.float32)


def perceptron_size(inputs, outputs):
    """How many numbers a perceptron has."""
    return inputs * HIDDEN + HIDDEN + 2 * HIDDEN + HIDDEN * outputs + outputs


def _ends(*sizes):
    return tuple(int(end) for end in np.cumsum((0, *sizes)))


DECODED = D + FLAT if RESIDUAL else D
ENCODE_STATE, FIRST_CONTROLS, EMBED_CONTROLS, EMBED_ERROR, ENCODE_ERROR, LATENTS, BLOCKS_AT, DECODE, END = _ends(
    perceptron_size(2 * N + 1, D),
    perceptron_size(D, FLAT),
    FLAT * D + D,
    N * D + D,
    N * D + D + 2 * D + D * D + D,
    2 * D if TWO_LEVELS else 0,
    BLOCKS * BLOCK,
    perceptron_size(DECODED, FLAT),
)


@njit(cache=True)
def linear(w, at, x, y, bias):
    """``y = W x + b``, the weights from `at` on, those of one input after the other; where they end."""
    inputs, outputs = x.shape[0], y.shape[0]
    end = at + inputs * outputs
    for i in range(outputs):
        y[i] = w[end + i] if bias else np.float32(0)
    for j in range(0, inputs - 3, 4):  # four at a time: y is read and written less often
        a, b, c, d = x[j], x[j + 1], x[j + 2], x[j + 3]
        row = w[at + j * outputs : at + (j + 4) * outputs]
        for i in range(outputs):
            y[i] += (a * row[i] + b * row[outputs + i]) + (c * row[2 * outputs + i] + d * row[3 * outputs + i])
    for j in range(inputs - inputs % 4, inputs):
        row = w[at + j * outputs : at + (j + 1) * outputs]
        for i in range(outputs):
            y[i] += x[j] * row[i]
    return end + outputs if bias else end


@njit(cache=True)
def silu(x):
    """``x / (1 + exp(-x))``, in place."""
    for i in range(x.shape[0]):
        x[i] = x[i] / (np.float32(1) + exp(-x[i]))


@njit(cache=True)
def dot(x, y):
    """Sum of products, in four sums that do not wait for each other."""
    a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    size = x.shape[0]
    for i in range(0, size - 3, 4):
        a += x[i] * y[i]
        b += x[i + 1] * y[i + 1]
        c += x[i + 2] * y[i + 2]
        d += x[i + 3] * y[i + 3]
    for i in range(size - size % 4, size):
        a += x[i] * y[i]
    return (a + b) + (c + d)


@njit(cache=True)
def layer_norm(w, at, x, y):
    """Centred, scaled and shifted; where the weights end."""
    size = x.shape[0]
    mean = dot(x, ONES[:size]) / np.float32(size)
    for i in range(size):
        y[i] = x[i] - mean
    scale = np.float32(1) / sqrt(dot(y, y) / np.float32(size) + np.float32(1e-5))
    for i in range(size):
        y[i] = y[i] * scale * w[at + i] + w[at + size + i]
    return at + 2 * size


@njit(cache=True)
def norm(w, at, x, y):
    """A block's normalisation; where the weights end."""
    if not RMS:
        return layer_norm(w, at, x, y)
    scale = np.float32(1) / sqrt(dot(x, x) / np.float32(D) + np.float32(ROOT))
    for i in range(D):
        y[i] = x[i] * scale * w[at + i]
    return at + D


@njit(cache=True)
def perceptron(w, at, x, y, hidden):
    """Linear, SiLU, LayerNorm, linear."""
    at = linear(w, at, x, hidden, True)
    silu(hidden)
    at = layer_norm(w, at, hidden, hidden)
    linear(w, at, hidden, y, True)


@njit(cache=True)
def feedforward(w, at, x, y):
    """The second half of a block; where the weights end."""
    wide = np.empty(FULL, np.float32)
    at = linear(w, at, x, wide, not SWIGLU)
    if SWIGLU:
        silu(wide[:EXPANDED])
        for i in range(EXPANDED):
            wide[i] *= wide[EXPANDED + i]
    else:
        silu(wide)
    return linear(w, at, wide[:EXPANDED], y, not SWIGLU)


@njit(cache=True)
def see(w, at, tokens, count, seen):
    """What a block sees of the context: keys and values of `count` tokens, and of a zero one; or the tokens' sum."""
    if not ATTENTION:
        seen[0, :D] = 0
        for s in range(count):
            for i in range(D):
                seen[0, i] += tokens[s, i]
        return
    normed, all_three = np.empty(D, np.float32), np.empty(3 * D, np.float32)
    product = at + NORM
    for s in range(count):
        normed[:] = tokens[s]
        if NORM_FIRST:
            norm(w, at, tokens[s], normed)
        linear(w, product, normed, all_three, True)
        seen[s] = all_three[D:]
    seen[count] = 0


@njit(cache=True)
def attend(all_three, seen, count, y):
    """Attention of the latent over itself, the context and the zero token, a head at a time."""
    width = D // HEADS
    scores = np.empty(count + 2, np.float32)
    for head in range(HEADS):
        first = head * width
        query = all_three[first : first + width]
        for s in range(count + 2):
            key = all_three[D + first : D + first + width] if s == 0 else seen[s - 1, first : first + width]
            scores[s] = dot(query, key) / np.float32(sqrt(width))
        top = scores.max()
        total = np.float32(0)
        for s in range(count + 2):
            scores[s] = exp(scores[s] - top)
            total += scores[s]
        for i in range(first, first + width):
            y[i] = scores[0] / total * all_three[2 * D + i]
        for s in range(count + 1):
            share = scores[s + 1] / total
            for i in range(first, first + width):
                y[i] += share * seen[s, D + i]


@njit(cache=True)
def block(w, at, z, seen, count):
    """One reasoning block, in place."""
    normed, change = np.empty(D, np.float32), np.empty(D, np.float32)
    if ATTENTION:
        all_three, attended = np.empty(3 * D, np.float32), np.empty(D, np.float32)
        product = at + NORM
        normed[:] = z
        if NORM_FIRST:
            norm(w, at, z, normed)
        after = linear(w, product, normed, all_three, True)
        attend(all_three, seen, count, attended)
        after = linear(w, after, attended, change, True)
        for i in range(D):
            z[i] += change[i]
        if not NORM_FIRST:
            norm(w, at, z, z)
        at = after
        normed[:] = z
    else:
        for i in range(D):
            normed[i] = z[i] + seen[0, i]
    if NORM_FIRST:
        norm(w, at, normed, normed)
    feedforward(w, at + NORM, normed, change)
    for i in range(D):
        z[i] += change[i]
    if not NORM_FIRST:
        norm(w, at, z, z)


@njit(cache=True)
def through_blocks(w, z, seen, count):
    """All blocks, in place."""
    for b in range(BLOCKS):
        block(w, BLOCKS_AT + b * BLOCK, z, seen[b], count)


@njit(cache=True)
def simulate(initial, controls, state):
    """The final state."""
    following = np.empty(N, np.float32)
    state[:] = initial
    for t in range(T):
        step(state, controls[t], following)
        state[:] = following
