"""librdkafka's messages to columns, compiled: each message is read once and given back once.

Function pointers come in as integers and are called by intrinsics, so that the compiled code can be cached on disk.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# rd_kafka_message_t in words of 8 bytes
ERR, TOPIC, PARTITION, PAYLOAD, PAYLOAD_LENGTH, KEY, KEY_LENGTH, OFFSET = range(8)

_I64 = ir.IntType(64)


@intrinsic
def _word(typing, message, place):
    """One word of a message; an intrinsic, since an array over it would take seconds to compile."""

    def generate(context, builder, signature, arguments):
        words = builder.inttoptr(arguments[0], _I64.as_pointer())
        return builder.load(builder.gep(words, [arguments[1]]))

    return types.int64(types.int64, types.int64), generate


@intrinsic
def _call_destroy(typing, function, message):
    """``void f(message)``"""

    def generate(context, builder, signature, arguments):
        kind = ir.FunctionType(ir.VoidType(), [_I64]).as_pointer()
        builder.call(builder.inttoptr(arguments[0], kind), [arguments[1]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def _call_timestamp(typing, function, message):
    """``int64_t f(message, int *kind)``; the kind is not wanted, and may be null"""

    def generate(context, builder, signature, arguments):
        kind = ir.FunctionType(_I64, [_I64, _I64]).as_pointer()
        return builder.call(
            builder.inttoptr(arguments[0], kind), [arguments[1], ir.Constant(_I64, 0)]
        )

    return types.int64(types.int64, types.int64), generate


@intrinsic
def _copy(typing, target, source, length):
    def generate(context, builder, signature, arguments):
        to, of = (builder.inttoptr(a, cgutils.voidptr_t) for a in arguments[:2])
        cgutils.raw_memcpy(builder, to, of, arguments[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@numba.njit(cache=True, nogil=True)
def sort_out(messages, n, limit, errors, slot, slot_topic, slot_partition, slot_last):
    """Part good messages from errors, and find which partitions they belong to.

    Args:
        messages: int64 (n,), addresses; the good ones are moved, in their order, to before the first that was not
            looked at, and what lies before them is 0: each message is in one place only, wherever Ctrl-C comes.
        limit: most bytes of values, and of keys, to take; and one message always.
        errors: int64 (n,), takes the addresses of those that are errors.
        slot: int32 (n,), takes the slot of each good message.
        slot_topic, slot_partition, slot_last: (s,), take address of the topic, partition and last offset of each slot.

    Returns:
        how many messages were looked at, of them good, of them errors; bytes of values and of keys; slots used.
    """
    looked, good, bad, used, here = 0, 0, 0, 0, 0
    value_bytes, key_bytes = 0, 0
    for i in range(n):
        message = messages[i]
        if message == 0:  # Ctrl-C came after it was given back
            looked += 1
            continue
        if _word(message, ERR) & 0xFFFFFFFF != 0:
            errors[bad] = message
            bad += 1
            looked += 1
            continue
        values, keys = (
            value_bytes + _word(message, PAYLOAD_LENGTH),
            key_bytes + _word(message, KEY_LENGTH),
        )
        if good > 0 and max(values, keys) > limit:
            break
        topic, partition = _word(message, TOPIC), np.int32(_word(message, PARTITION) & 0xFFFFFFFF)
        if (
            used == 0 or slot_topic[here] != topic or slot_partition[here] != partition
        ):  # records come in runs of a partition
            here = 0
            while here < used and (slot_topic[here] != topic or slot_partition[here] != partition):
                here += 1
            if here == used:
                if used == len(slot_topic):
                    break
                slot_topic[here], slot_partition[here] = topic, partition
                used += 1
        slot_last[here] = _word(message, OFFSET)
        slot[good] = here
        messages[good] = message
        good += 1
        looked += 1
        value_bytes, key_bytes = values, keys
    if good < looked:
        for i in range(good - 1, -1, -1):
            messages[looked - good + i] = messages[i]
        messages[: looked - good] = 0
    return looked, good, bad, value_bytes, key_bytes, used


@numba.njit(cache=True, nogil=True)
def gather(
    messages, n, timestamp, destroy, values, value_ends, value_set, keys, key_ends, key_set,
    offsets, timestamps,
):  # fmt: skip
    """Copy n good messages to columns and give each back to librdkafka.

    Args:
        messages: int64 (n,), addresses; they are 0 afterwards.
        timestamp, destroy: addresses of rd_kafka_message_timestamp and rd_kafka_message_destroy.
        values, keys: uint8, all bytes one after the other.
        value_ends, key_ends: int32 (n + 1,), Arrow's offsets.
        value_set, key_set: uint8 (ceil(n / 8),) of zeros, Arrow's validity bits.
        offsets, timestamps: int64 (n,).

    Returns:
        how many values and how many keys are null.
    """
    null_values, null_keys = 0, 0
    value_at, key_at = values.ctypes.data, keys.ctypes.data
    value_end, key_end = 0, 0
    value_ends[0], key_ends[0] = 0, 0
    for i in range(n):
        message = messages[i]
        if _word(message, PAYLOAD) == 0:
            null_values += 1
        else:
            _copy(value_at + value_end, _word(message, PAYLOAD), _word(message, PAYLOAD_LENGTH))
            value_end += _word(message, PAYLOAD_LENGTH)
            value_set[i >> 3] |= np.uint8(1 << (i & 7))
        if _word(message, KEY) == 0:
            null_keys += 1
        else:
            _copy(key_at + key_end, _word(message, KEY), _word(message, KEY_LENGTH))
            key_end += _word(message, KEY_LENGTH)
            key_set[i >> 3] |= np.uint8(1 << (i & 7))
        value_ends[i + 1], key_ends[i + 1] = value_end, key_end
        offsets[i] = _word(message, OFFSET)
        timestamps[i] = _call_timestamp(timestamp, message)
        _call_destroy(destroy, message)
        messages[i] = 0
    return null_values, null_keys


@numba.njit(cache=True, nogil=True)
def give_back(messages, n, destroy):
    """Destroy those of n messages that are still there."""
    for i in range(n):
        if messages[i] != 0:
            _call_destroy(destroy, messages[i])
            messages[i] = 0


def compile_all() -> None:
    """Compile, or load from the cache on disk, before the first record waits for it."""
    words, numbers, bits = np.zeros(1, np.int64), np.zeros(1, np.int32), np.zeros(1, np.uint8)
    sort_out(words, 0, 0, words, numbers, words, numbers, words)
    gather(words, 0, 0, 0, bits, numbers, bits, bits, numbers, bits, words, words)
    give_back(words, 0, 0)
