"""Fixed loops that the guard times hot paths against: each does the least that its kind of work can be done with.

They are not to be made faster: what they measure is the machine.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from __future__ import annotations

import numba
import numpy as np

DOUBLE, INTEGER, TEXT = 0, 1, 2  # kinds of Avro fields
NULLABLE = 4  # added to a kind: a byte before it says that it is there


@numba.njit(cache=True, nogil=True)
def read_avro(data, ends, kinds, out):
    """Framed Avro records to numbers, bits of doubles as they are.

    Args:
        data: uint8, all records. ends: int32 (n + 1,). kinds: int64 (d,). out: int64 (n, d).
    """
    for i in range(len(ends) - 1):
        p = ends[i] + 5
        for j in range(len(kinds)):
            kind = kinds[j]
            if kind & NULLABLE:
                p += 1
            if kind & 3 == DOUBLE:
                bits = np.uint64(0)
                for k in range(8):
                    bits |= np.uint64(data[p + k]) << np.uint64(8 * k)
                out[i, j] = np.int64(bits)
                p += 8
                continue
            number, shift = np.uint64(0), np.uint64(0)
            while data[p] & 128:
                number |= np.uint64(data[p] & 127) << shift
                shift += np.uint64(7)
                p += 1
            number |= np.uint64(data[p]) << shift
            p += 1
            value = np.int64(number >> np.uint64(1)) ^ -np.int64(number & np.uint64(1))
            if kind & 3 == TEXT:
                length = value
                value = np.int64(0)
                for k in range(length):
                    value = 10 * value + data[p + k] - 48
                p += length
            out[i, j] = value


@numba.njit(cache=True, nogil=True)
def write_avro(numbers, kinds, out):
    """The same the other way round; text is one digit. The number of bytes written.

    Args:
        numbers: int64 (n, d). out: uint8, large enough.
    """
    p = 0
    for i in range(len(numbers)):
        for k in range(5):
            out[p + k] = k
        p += 5
        for j in range(len(kinds)):
            kind = kinds[j]
            if kind & NULLABLE:
                out[p] = 2
                p += 1
            bits = np.uint64(numbers[i, j])
            if kind & 3 == DOUBLE:
                for k in range(8):
                    out[p + k] = np.uint8(bits >> np.uint64(8 * k))
                p += 8
            elif kind & 3 == TEXT:
                out[p], out[p + 1] = 2, 48 + bits % np.uint64(10)
                p += 2
            else:
                bits = bits << np.uint64(1)
                while bits > np.uint64(127):
                    out[p] = np.uint8(bits) | 128
                    bits >>= np.uint64(7)
                    p += 1
                out[p] = np.uint8(bits)
                p += 1
    return p


@numba.njit(cache=True, nogil=True)
def read_digits(data, out):
    """The digits between commas and line ends as one whole number each; how many there were.

    Args:
        data: uint8. out: int64, large enough.
    """
    found, number = 0, 0
    for byte in data:
        if 48 <= byte <= 57:
            number = 10 * number + byte - 48
        elif byte == 44 or byte == 10:
            out[found] = number
            found += 1
            number = 0
    return found


@numba.njit(cache=True, nogil=True)
def descend(X, y, w, size, rate):
    """One step of least squares for each batch, in place.

    Args:
        X: float64 (n, d). y: float64 (n,). w: float64 (d,).
    """
    d = X.shape[1]
    gradient = np.empty(d)
    for first in range(0, len(y), size):
        gradient[:] = 0.0
        for i in range(first, first + size):
            error = -y[i]
            for j in range(d):
                error += X[i, j] * w[j]
            for j in range(d):
                gradient[j] += error * X[i, j]
        for j in range(d):
            w[j] -= rate * 2 / size * gradient[j]


def descend_in_numpy(X, y, w, size, rate):
    """The same in NumPy, a step in four lines."""
    for first in range(0, len(y), size):
        rows = X[first : first + size]
        error = rows @ w - y[first : first + size]
        w -= rate * 2 / size * (rows.T @ error)


@numba.cfunc("int64(int64, int64)", cache=True)
def no_timestamp(message, kind):
    """Stands for rd_kafka_message_timestamp."""
    return message


@numba.cfunc("void(int64)", cache=True)
def no_destroy(message):
    """Stands for rd_kafka_message_destroy."""
