"""The compiled loops of the Numba backend: all steps of a call in one function, without a call back into Python.

Rows are worked on in tiles: the rows of a tile stand as columns, one a feature, so that the innermost loops run over
rows, whatever the widths of the model, and the compiler makes vector instructions of them. Each row is read from memory
once a step; what a tile needs stays in the processor's caches until its part of the gradient is known. Where several
passes go over the same batches, the tiles are made once.

A model without layers is a network of one layer and one output, so there is one way for all models.
All parameters stand in one vector, in the order in which they are exported, and so do gradient and optimizer slots.
"""

# mypy: disable-error-code="untyped-decorator,no-any-return"
from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit, types

log = logging.getLogger(__name__)

Array: TypeAlias = npt.NDArray[Any]

# Sums may be taken in any order, which vector instructions need; infinities and NaN stay what they are. The order is
# that of the compiled code, so the same call gives the same bits on one machine.
fast = njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
# A function that stands on rounding as it is told.
exact = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})

SQUARES, LOG_LOSS, RECONSTRUCTION = range(3)
IDENTITY, TANH, RELU = range(3)
SGD, MOMENTUM, ADAM = range(3)
INPUTS, OUTPUTS, ACTIVATION, WEIGHTS, INTERCEPTS = range(5)  # columns of the table of layers

# Rows of a tile: few enough for the tile to stay in the caches, many enough for long loops.
SHORTEST, LONGEST, TILE = 128, 1024, 2**17

LOG2_E = 1 / np.log(2)
LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10  # their sum is ln 2
ROUNDER = 1.5 * 2.0**52  # what is added to it becomes a whole number, in its lowest bits


@exact
def _exp(x: Any) -> Any:
    """eˣ for x ≤ 0 within 4e-16; no call of a library, so that loops become vector instructions.

    eˣ = 2ᵏ eʳ with |r| ≤ ln 2 / 2, and eʳ by its series. What is below e⁻⁷⁰⁸ comes out as that.
    """
    x = -708.0 if x < -708.0 else x  # NaN stays NaN
    shifted = x * LOG2_E + ROUNDER
    k = shifted - ROUNDER
    r = x - k * LN2_HIGH - k * LN2_LOW
    s = r / 479001600.0 + 1 / 39916800.0
    s = s * r + 1 / 3628800.0
    s = s * r + 1 / 362880.0
    s = s * r + 1 / 40320.0
    s = s * r + 1 / 5040.0
    s = s * r + 1 / 720.0
    s = s * r + 1 / 120.0
    s = s * r + 1 / 24.0
    s = s * r + 1 / 6.0
    s = s * r + 0.5
    s = s * r + 1.0
    s = s * r + 1.0
    return s * np.int64((np.float64(shifted).view(np.int64) + 1023) << 52).view(np.float64)


@fast
def _log1p(e: Any) -> Any:
    """ln(1 + e) for 0 ≤ e ≤ 1: 2 artanh(q) with q = e / (2 + e) ≤ 1/3, by its series."""
    q = e / (2.0 + e)
    z = q * q
    s = 1 / 33.0
    s = s * z + 1 / 31.0
    s = s * z + 1 / 29.0
    s = s * z + 1 / 27.0
    s = s * z + 1 / 25.0
    s = s * z + 1 / 23.0
    s = s * z + 1 / 21.0
    s = s * z + 1 / 19.0
    s = s * z + 1 / 17.0
    s = s * z + 1 / 15.0
    s = s * z + 1 / 13.0
    s = s * z + 1 / 11.0
    s = s * z + 1 / 9.0
    s = s * z + 1 / 7.0
    s = s * z + 1 / 5.0
    s = s * z + 1 / 3.0
    s = s * z + 1.0
    return 2.0 * q * s


@fast
def _turned(X: Array, skip: int, h: Array) -> None:
    """Rows X (m, inputs) without the first ``skip`` columns, as the first columns of h; eight rows at a time."""
    rows, inputs = X.shape
    whole = rows - rows % 8
    for r in range(0, whole, 8):
        for j in range(inputs - skip):
            k = skip + j
            a, b, c, d = X[r, k], X[r + 1, k], X[r + 2, k], X[r + 3, k]
            s, t, u, v = X[r + 4, k], X[r + 5, k], X[r + 6, k], X[r + 7, k]
            h[j, r], h[j, r + 1], h[j, r + 2], h[j, r + 3] = a, b, c, d
            h[j, r + 4], h[j, r + 5], h[j, r + 6], h[j, r + 7] = s, t, u, v
    for r in range(whole, rows):
        for j in range(inputs - skip):
            h[j, r] = X[r, skip + j]


@fast
def _add(
    to: Array, x: Array, first: int, count: int, w: Array, at: int, stride: int, rows: int
) -> None:
    """to[r] += Σ w[at + i · stride] · x[first + i, r] over i < count; four columns a loop, to load ``to`` less often."""
    i = 0
    while i + 4 <= count:
        j, k = first + i, at + i * stride
        a, b, c, d = w[k], w[k + stride], w[k + 2 * stride], w[k + 3 * stride]
        for r in range(rows):
            to[r] += (a * x[j, r] + b * x[j + 1, r]) + (c * x[j + 2, r] + d * x[j + 3, r])
        i += 4
    while i < count:
        a = w[at + i * stride]
        for r in range(rows):
            to[r] += a * x[first + i, r]
        i += 1


@fast
def _sum(
    e: Array, x: Array, first: int, count: int, g: Array, at: int, stride: int, rows: int
) -> None:
    """g[at + i · stride] += Σ e[r] · x[first + i, r] over the rows, for each i < count."""
    i, zero = 0, e.dtype.type(0)
    while i + 4 <= count:
        j, k = first + i, at + i * stride
        a, b, c, d = zero, zero, zero, zero
        for r in range(rows):
            a += e[r] * x[j, r]
            b += e[r] * x[j + 1, r]
            c += e[r] * x[j + 2, r]
            d += e[r] * x[j + 3, r]
        g[k] += a
        g[k + stride] += b
        g[k + 2 * stride] += c
        g[k + 3 * stride] += d
        i += 4
    while i < count:
        a = zero
        for r in range(rows):
            a += e[r] * x[first + i, r]
        g[at + i * stride] += a
        i += 1


@fast
def _fill(x: Array, value: Any, rows: int) -> None:
    for r in range(rows):
        x[r] = value


@fast
def _sum_of(x: Array, rows: int) -> Any:
    total = x.dtype.type(0)
    for r in range(rows):
        total += x[r]
    return total


@fast
def _activate(kind: int, h: Array, rows: int) -> None:
    if kind == TANH:
        for r in range(rows):
            e = _exp(-2.0 * abs(h[r]))
            t = (1.0 - e) / (1.0 + e)
            h[r] = t if h[r] >= 0 else -t
    elif kind == RELU:
        for r in range(rows):
            h[r] = 0 if h[r] < 0 else h[r]  # NaN stays NaN


@fast
def _through(kind: int, h: Array, e: Array, rows: int) -> None:
    """∂ loss / ∂ what an activation took, from its outputs h and ∂ loss / ∂ these."""
    if kind == TANH:
        for r in range(rows):
            e[r] *= 1 - h[r] * h[r]
    elif kind == RELU:
        for r in range(rows):
            e[r] = e[r] if h[r] > 0 else e[r] * 0


@fast
def _forward(h: Array, p: Array, layers: Array, rows: int) -> None:
    """Fills the columns of each layer's outputs in h, from those of the inputs before them."""
    first = 0
    for number in range(len(layers)):
        inputs, outputs = layers[number, INPUTS], layers[number, OUTPUTS]
        W, b = layers[number, WEIGHTS], layers[number, INTERCEPTS]
        for o in range(outputs):
            to = h[first + inputs + o]
            _fill(to, p[b + o] if b >= 0 else p.dtype.type(0), rows)
            _add(to, h, first, inputs, p, W + o, outputs, rows)
            _activate(layers[number, ACTIVATION], to, rows)
        first += inputs


@fast
def _backwards(h: Array, e: Array, p: Array, g: Array, layers: Array, rows: int) -> None:
    """Adds to the gradient g, from e = ∂ loss / ∂ h of the last layer; fills the rest of e but for the inputs'."""
    end = len(h)
    for number in range(len(layers) - 1, -1, -1):
        inputs, outputs = layers[number, INPUTS], layers[number, OUTPUTS]
        W, b = layers[number, WEIGHTS], layers[number, INTERCEPTS]
        end -= outputs
        first = end - inputs
        for o in range(outputs):
            _sum(e[end + o], h, first, inputs, g, W + o, outputs, rows)
            if b >= 0:
                g[b + o] += _sum_of(e[end + o], rows)
        for i in range(inputs if number > 0 else 0):
            to = e[first + i]
            _fill(to, p.dtype.type(0), rows)
            _add(to, e, end, outputs, p, W + i * outputs, 1, rows)
            _through(layers[number - 1, ACTIVATION], h[first + i], to, rows)


@fast
def _log_losses(a: Array, y: Array, e: Array, each: Array, score: Array, rows: int) -> None:
    """∂ loss / ∂ answer, loss and probability of each row, from the answers a; e may be a."""
    for r in range(rows):
        answer = np.float64(a[r])
        small = _exp(-abs(answer))
        score[r] = (1.0 if answer >= 0 else small) / (1.0 + small)
        each[r] = (0.0 if answer < 0 else answer) - answer * y[r] + _log1p(small)
        e[r] = score[r] - y[r]


@fast
def _square_losses(a: Array, t: Array, e: Array, each: Array, rows: int) -> None:
    """Adds the squares of a − t to each; half of their derivative is e."""
    for r in range(rows):
        e[r] = a[r] - t[r]
        each[r] += e[r] * e[r]


@fast
def _judge(
    loss: int, inputs: int, h: Array, y: Array, e: Array, each: Array, score: Array, rows: int
) -> None:
    """∂ loss / ∂ answer but for a factor in e, loss and score of each row. The answers are the last columns of h."""
    last = len(h) - 1
    if loss == LOG_LOSS:
        _log_losses(h[last], y, e[last], each, score, rows)
        return
    _fill(each, h.dtype.type(0), rows)
    if loss == SQUARES:
        _square_losses(h[last], y, e[last], each, rows)
        for r in range(rows):
            score[r] = h[last, r]
        return
    for j in range(inputs):
        o = len(h) - inputs + j
        _square_losses(h[o], h[j], e[o], each, rows)
    for r in range(rows):
        each[r] /= inputs
        score[r] = each[r]


@fast
def _total(s: Array, e: Array, outputs: int, each: Array, rows: int) -> Any:
    """The sum of the rows' losses, with the weights s, if any, on these and on ∂ loss / ∂ answer."""
    if len(s):
        for r in range(rows):
            each[r] *= s[r]
        for o in range(len(e) - outputs, len(e)):
            for r in range(rows):
                e[o, r] *= s[r]
    return _sum_of(each, rows)


@fast
def _update(p: Array, g: Array, m: Array, v: Array, decay: Array, how: Array, row: Array) -> None:
    """One step on all parameters p with the gradient g of the data's loss; m and v are the optimizer's."""
    optimizer, clip, beta1, beta2, epsilon = int(how[0]), how[1], how[2], how[3], how[4]
    rate, first, second, one = row[0], row[1], row[2], p.dtype.type(1)
    if len(decay):
        for i in range(len(p)):
            g[i] += decay[i] * p[i]
    if clip > 0:
        norm = p.dtype.type(0)
        for i in range(len(p)):
            norm += g[i] * g[i]
        norm = np.sqrt(norm)
        if norm > clip:
            for i in range(len(p)):
                g[i] *= clip / norm
    if optimizer == SGD:
        for i in range(len(p)):
            p[i] -= rate * g[i]
    elif optimizer == MOMENTUM:
        for i in range(len(p)):
            m[i] = beta1 * m[i] + g[i]
            p[i] -= rate * m[i]
    else:
        for i in range(len(p)):
            m[i] = beta1 * m[i] + (one - beta1) * g[i]
            v[i] = beta2 * v[i] + (one - beta2) * (g[i] * g[i])
            p[i] -= rate * (m[i] * first) / (np.sqrt(v[i] * second) + epsilon)


@fast
def _line(x: Array, y: Array, p: Array, g: Array, rows: int) -> Any:
    """Least squares of an intercept and one feature, the column x, in one loop: no number is written before its end.

    Adds to the gradient g but for its factor; returns the sum of the losses.
    """
    intercept, slope = p[0], p[1]
    total, a, b = p.dtype.type(0), p.dtype.type(0), p.dtype.type(0)
    for r in range(rows):
        e = intercept + slope * x[r] - y[r]
        total += e * e
        a += e
        b += e * x[r]
    g[0] += a
    g[1] += b
    return total


@fast
def _plane(X: Array, y: Array, p: Array, g: Array) -> Any:
    """Least squares over rows (m, inputs) as they stand, four at a time: in batches that are small, and so are many,
    turning them takes longer than it saves. Does what ``_line`` does.
    """
    rows, inputs = X.shape
    whole, total = rows - rows % 4, p.dtype.type(0)
    for r in range(0, whole, 4):
        a, b, c, d = -y[r], -y[r + 1], -y[r + 2], -y[r + 3]
        for j in range(inputs):
            w = p[j]
            a += w * X[r, j]
            b += w * X[r + 1, j]
            c += w * X[r + 2, j]
            d += w * X[r + 3, j]
        total += a * a + b * b + c * c + d * d
        for j in range(inputs):
            g[j] += (a * X[r, j] + b * X[r + 1, j]) + (c * X[r + 2, j] + d * X[r + 3, j])
    for r in range(whole, rows):
        a = -y[r]
        for j in range(inputs):
            a += p[j] * X[r, j]
        total += a * a
        for j in range(inputs):
            g[j] += a * X[r, j]
    return total


@fast
def descend(
    X: Array,
    y: Array,
    weights: Array,
    p: Array,
    m: Array,
    v: Array,
    decay: Array,
    layers: Array,
    loss: int,
    bias: int,
    how: Array,
    table: Array,
    losses: Array,
    scores: Array,
) -> None:
    """One step for each row of ``table``, on the batches of X in turn. Changes p, m, v; fills losses and scores.

    Args:
        X: float64 (batches, rows, inputs). All else that is no int64 is in the precision to compute in.
        y, weights: shape (batches, rows); weights of shape (batches, 0) where all are 1.
        p, m, v, decay: one vector each; m, v and decay are empty where there is none.
        layers: int64 (number, 5): inputs, outputs, activation, and where in p weights and intercepts begin (-1: none).
        bias: 1 where column 0 of X is all ones, which the first layer's inputs leave out.
        how: optimizer, clip (0: none), beta1 or momentum, beta2, epsilon.
        table: as Descent.table gives it; empty to fill the scores and learn nothing.
        losses: float64, one a step. scores: (batches, rows), or (batches, 0) where they are not wanted.
    """
    batches, n, _ = X.shape
    inputs, outputs = layers[0, INPUTS], layers[-1, OUTPUTS]
    columns = inputs
    for number in range(len(layers)):
        columns += layers[number, OUTPUTS]
    size = min(n, LONGEST if len(layers) == 1 else SHORTEST, max(SHORTEST, TILE // columns))
    tiles = (n + size - 1) // size
    kept = len(layers) == 1 and len(table) > batches  # several passes: the inputs are turned once
    plain = len(layers) == 1 and loss == SQUARES and not weights.shape[1] and not scores.shape[1]
    line = plain and inputs == 1 and bias == 1
    h = np.empty((batches * tiles if kept else 1, columns, size), p.dtype)
    e = np.empty((columns, size), p.dtype)
    each, score, g = np.empty(size, p.dtype), np.empty(size, p.dtype), np.empty_like(p)
    factor = p.dtype.type((1 if loss == LOG_LOSS else 2) / (n * outputs))
    for step in range(max(len(table), batches)):
        i, total = step % batches, 0.0
        _fill(g, p.dtype.type(0), len(g))
        for t in range(tiles):
            start, end = t * size, min((t + 1) * size, n)
            rows, x = end - start, h[i * tiles + t if kept else 0]
            if plain and not line and n <= LONGEST:
                total += _plane(X[i, start:end], y[i, start:end], p, g)
                continue
            if step < batches or not kept:
                _turned(X[i, start:end], bias, x)
            if line:
                total += _line(x[0], y[i, start:end], p, g, rows)
                continue
            _forward(x, p, layers, rows)
            _judge(loss, inputs, x, y[i, start:end], e, each, score, rows)
            if scores.shape[1] and step < batches:
                for r in range(rows):
                    scores[i, start + r] = score[r]
            if len(table):
                total += _total(weights[i, start:end], e, outputs, each, rows)
                _backwards(x, e, p, g, layers, rows)
        if len(table):
            losses[step] = total / n
            for j in range(len(p)):
                g[j] *= factor
            _update(p, g, m, v, decay, how, table[step])


COMPILED: set[str] = set()  # precisions that the loops are ready for


def compile_for(dtype: str) -> None:
    """Compile, or load from the cache on disk, what a precision needs."""
    if not any(Path(descend.stats.cache_path or ".").glob("numba_loops.descend-*.nbi")):
        # A warning only so that it is seen: a first start that takes seconds longer has to say why.
        log.warning("compiling the training loops, once on this machine (some seconds)")
    wide, kind, whole = types.float64, getattr(types, dtype), types.int64
    # Read-only, which arrays that can be written pass for as well: else each sort would be compiled for by itself.
    X, layers = types.Array(wide, 3, "C", readonly=True), types.Array(whole, 2, "C", readonly=True)
    rows, read = (types.Array(kind, n, "C", readonly=True) for n in (2, 1))
    p, scores, losses = kind[::1], kind[:, ::1], wide[::1]
    descend.disable_compile(False)
    descend.compile(
        (X, rows, rows, p, p, p, read, layers, whole, whole, read, rows, losses, scores)
    )
    descend.disable_compile()
    COMPILED.add(dtype)
