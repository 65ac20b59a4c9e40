"""Columns to librdkafka's producer, compiled: one call of its C API a record, and no Python object for any."""

# mypy: disable-error-code="no-any-return,no-untyped-call"
from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from gradstream.wire import avro_numba
from gradstream.wire.avro_numba import load_i32, load_i64, load_u8, store_i32, store_i64
from gradstream.wire.compiled import compiled, stamp

# A call's arguments, rd_kafka_vu_t: what the argument is, then up to 64 bytes of it.
SLOT, IN_SLOT = 72, 8
TOPIC, FLAGS, PARTITION, VALUE, KEY, TIMESTAMP = range(6)
MEANINGS = (2, 7, 3, 4, 5, 8)  # RD_KAFKA_VTYPE_RKT, MSGFLAGS, PARTITION, VALUE, KEY, TIMESTAMP

_I64 = ir.IntType(64)


@intrinsic
def _call_produce(typingctx: Any, function: Any, handle: Any, slots: Any, count: Any) -> Any:
    """``rd_kafka_error_t *f(handle, slots, size_t count)``"""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_I64, [_I64, _I64, _I64]).as_pointer()
        return builder.call(builder.inttoptr(arguments[0], kind), arguments[1:])

    return types.int64(*[types.int64] * 4), codegen


@njit
def _place(slot: int, row: int, ends: int, data: int, valid: int, first: int) -> None:
    """Put where a value lies into its slot; address 0 is a null."""
    bit = first + row
    if ends == 0 or (valid != 0 and load_u8(valid + (bit >> 3)) >> (bit & 7) & 1 == 0):
        store_i64(slot, 0)
        store_i64(slot + 8, 0)
        return
    begin = load_i32(ends + 4 * row)
    store_i64(slot, data + begin)
    store_i64(slot + 8, load_i32(ends + 4 * row + 4) - begin)


@compiled(stamp(avro_numba), nogil=True)
def hand_over(
    start: int, stop: int, produce: int, handle: int, slots: int, values: Any, keys: Any, partitions: int,
    timestamps: int, taken: Any,
) -> int:  # fmt: skip
    """Hand over rows in [start, stop) until one is refused.

    Args:
        produce: address of rd_kafka_produceva; ``handle`` of the producer, ``slots`` of its arguments, with topic and
            flags in place.
        values, keys: int64 (4,): addresses of where each ends, of the data and of the validity bits, each 0 where there
            is none, and the first bit.
        partitions, timestamps: addresses of int32 and int64, 0 for none.
        taken: int64 (1,), counts the records taken.

    Returns:
        the address of the error, 0 for none.
    """
    for row in range(start, stop):
        partition = load_i32(partitions + 4 * row) if partitions != 0 else -1
        timestamp = load_i64(timestamps + 8 * row) if timestamps != 0 else 0
        store_i32(slots + SLOT * PARTITION + IN_SLOT, partition)
        store_i64(slots + SLOT * TIMESTAMP + IN_SLOT, timestamp)
        _place(slots + SLOT * VALUE + IN_SLOT, row, values[0], values[1], values[2], values[3])
        _place(slots + SLOT * KEY + IN_SLOT, row, keys[0], keys[1], keys[2], keys[3])
        error = _call_produce(produce, handle, slots, len(MEANINGS))
        if error != 0:
            return error
        taken[0] += 1
    return 0


def compile_all() -> None:
    """Compile, or load from the cache on disk, before the first record waits for it."""
    words = np.zeros(4, np.int64)
    hand_over(0, 0, 0, 0, 0, words, words, 0, 0, words)
