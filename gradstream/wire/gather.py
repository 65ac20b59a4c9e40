"""librdkafka's messages to columns, compiled: each message is given back once, and its bytes are copied on demand only.

What is ours is counted in here alone, since Ctrl-C can come between any two steps of Python but not in the middle of
compiled code. Function pointers come in as integers and are called by intrinsics, so that the code can be cached on
disk.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from gradstream.wire.compiled import compiled, stamp

# rd_kafka_message_t in words of 8 bytes
ERR, TOPIC, PARTITION, PAYLOAD, PAYLOAD_LENGTH, KEY, KEY_LENGTH, OFFSET = range(8)

# State, int64 (6,): of the messages those in [LENT, FROM) are lent, those in [FROM, TO) are held for a later chunk; of the
# errors we have the first BAD; how many messages librdkafka has given us, and how many have been given back.
LENT, FROM, TO, BAD, GOT, GIVEN = range(6)

STAMP = stamp()  # made from this file alone
_I32, _I64 = ir.IntType(32), ir.IntType(64)


@intrinsic
def _word(typing, message, place):
    """One word of a message; an intrinsic, since an array over it would take seconds to compile."""

    def generate(context, builder, signature, arguments):
        words = builder.inttoptr(arguments[0], _I64.as_pointer())
        return builder.load(builder.gep(words, [arguments[1]]))

    return types.int64(types.int64, types.int64), generate


@intrinsic
def _call_consume(typing, function, queue, timeout, into, most):
    """``ssize_t f(queue, int timeout_ms, message **into, size_t most)``"""

    def generate(context, builder, signature, arguments):
        kind = ir.FunctionType(_I64, [_I64, _I32, _I64, _I64]).as_pointer()
        call, queue, timeout, into, most = arguments
        timeout = builder.trunc(timeout, _I32)
        return builder.call(builder.inttoptr(call, kind), [queue, timeout, into, most])

    return types.int64(*[types.int64] * 5), generate


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


@compiled(STAMP, nogil=True)
def pull(consume, queue, timeout, most, messages, state):
    """Take messages out of a queue: what is there, else the first to come and what came with it.

    Args:
        consume: address of rd_kafka_consume_batch_queue; rebalances are served in there.
        timeout: milliseconds.
        most: how many messages at most; there is room for them behind those that are ours.
    """
    if _pull_once(consume, queue, 0, most, messages, state) > 0 or timeout <= 0:
        return
    if _pull_once(consume, queue, timeout, 1, messages, state) > 0 and most > 1:
        _pull_once(consume, queue, 0, most - 1, messages, state)


@compiled(STAMP, nogil=True)
def _pull_once(consume, queue, timeout, most, messages, state):
    at = state[TO]
    got = max(0, _call_consume(consume, queue, timeout, messages.ctypes.data + 8 * at, most))
    to = state[TO]
    if to < at:  # a rebalance in there dropped some that were ours
        for i in range(got):
            messages[to + i] = messages[at + i]
    state[TO] = to + got
    state[GOT] += got
    return got


@compiled(STAMP, nogil=True)
def sort_out(
    messages, errors, state, most, limit, timestamp, slot, partition, begins, ends, offsets, timestamps,
    slot_topic, slot_partition, slot_last,
):  # fmt: skip
    """For when nothing is lent: part the next good messages from errors, find which partitions they belong to, and where their values lie.

    Args:
        messages: int64, addresses; the good ones are moved, in their order, to before the first that was not looked
            at, and the next that is held is the first of them.
        errors: int64, as long as messages; takes the addresses of those that are errors.
        most: how many messages to look at.
        limit: most bytes of values, and of keys, to take; and one message always.
        timestamp: address of rd_kafka_message_timestamp.
        slot, partition: int32 (most,), of each good message.
        begins, ends: int64 (most,), address of the first byte of each value, 0 for null, and that after its last.
        offsets, timestamps: int64 (most,).
        slot_topic, slot_partition, slot_last: (s,), take address of the topic, partition and last offset of each slot.

    Returns:
        how many messages are good; how many of their values and keys are null; bytes of values and of keys; slots used.
    """
    begin, bad = state[FROM], state[BAD]
    stop = min(state[TO], begin + most)
    look, n, used, here = stop, 0, 0, 0
    value_bytes, key_bytes, null_values, null_keys = 0, 0, 0, 0
    run_topic, run_partition, last = 0, np.int32(-1), 0  # records come in runs of a partition
    for place in range(begin, stop):
        message = messages[place]
        if _word(message, ERR) & 0xFFFFFFFF != 0:
            errors[bad] = message
            bad += 1
            continue
        size = _word(message, PAYLOAD_LENGTH)
        values, keys = value_bytes + size, key_bytes + _word(message, KEY_LENGTH)
        if n > 0 and max(values, keys) > limit:
            look = place
            break
        topic, number = _word(message, TOPIC), np.int32(_word(message, PARTITION) & 0xFFFFFFFF)
        if topic != run_topic or number != run_partition:
            if used > 0:
                slot_last[here] = last
            found = 0
            while found < used and (slot_topic[found] != topic or slot_partition[found] != number):
                found += 1
            if found == len(slot_topic):
                look = place
                break
            slot_topic[found], slot_partition[found] = topic, number
            used = max(used, found + 1)
            here, run_topic, run_partition = found, topic, number
        value, last = _word(message, PAYLOAD), _word(message, OFFSET)
        slot[n], partition[n] = here, number
        begins[n], ends[n] = value, value + size
        offsets[n], timestamps[n] = last, _call_timestamp(timestamp, message)
        messages[begin + n] = message
        n += 1
        value_bytes, key_bytes = values, keys
        null_values += value == 0
        null_keys += _word(message, KEY) == 0
    if used > 0:
        slot_last[here] = last
    if begin + n < look:
        for i in range(1, n + 1):
            messages[look - i] = messages[begin + n - i]
    state[LENT] = state[FROM] = look - n
    if n == 0:
        _none_lent(state)  # errors alone must not use up the room
    state[BAD] = bad
    return n, null_values, null_keys, value_bytes, key_bytes, used


@compiled(STAMP, nogil=True)
def key_spans(messages, state, n, begins, ends):
    """Where the keys of the next n messages lie, as sort_out() tells of values."""
    for i in range(n):
        message = messages[state[FROM] + i]
        begins[i] = _word(message, KEY)
        ends[i] = begins[i] + _word(message, KEY_LENGTH)


@compiled(STAMP, nogil=True)
def copy(begins, ends, data, places, valid):
    """Values, or keys, one after the other.

    Args:
        data: uint8, as many bytes as they have.
        places: int32 (n + 1,), Arrow's offsets.
        valid: uint8 (ceil(n / 8),) of zeros, Arrow's validity bits; empty where none is null.
    """
    at, end = data.ctypes.data, 0
    places[0] = 0
    for i in range(len(begins)):
        if begins[i] != 0:
            _copy(at + end, begins[i], ends[i] - begins[i])
            end += ends[i] - begins[i]
            if len(valid):
                valid[i >> 3] |= np.uint8(1 << (i & 7))
        places[i + 1] = end


@compiled(STAMP, nogil=True)
def lend(state, n):
    """The next n, which sort_out() has found, are lent from here on."""
    state[FROM] += n


@compiled(STAMP, nogil=True)
def settle(messages, state, destroy):
    """Give back those that are lent."""
    for i in range(state[LENT], state[FROM]):
        _call_destroy(destroy, messages[i])
    state[GIVEN] += state[FROM] - state[LENT]
    _none_lent(state)


@compiled(STAMP, nogil=True)
def drop(messages, state, keep, destroy):
    """Give those that are held back that are not to be kept; ``keep`` is bool, one for each."""
    to = state[FROM]
    for i in range(len(keep)):
        message = messages[state[FROM] + i]
        if keep[i]:
            messages[to] = message
            to += 1
        else:
            _call_destroy(destroy, message)
            state[GIVEN] += 1
    state[TO] = to
    if state[LENT] == state[FROM]:
        _none_lent(state)


@compiled(STAMP, nogil=True)
def drop_errors(errors, state, destroy):
    """Give the errors back."""
    for i in range(state[BAD]):
        _call_destroy(destroy, errors[i])
    state[GIVEN] += state[BAD]
    state[BAD] = 0


@compiled(STAMP, nogil=True)
def _none_lent(state):
    """Where none is held either, the room is free from its beginning."""
    state[LENT] = state[FROM]
    if state[FROM] == state[TO]:
        state[LENT] = state[FROM] = state[TO] = 0


def compile_all() -> None:
    """Compile, or load from the cache on disk, before the first record waits for it."""
    words, numbers, bits = np.zeros(6, np.int64), np.zeros(1, np.int32), np.zeros(0, np.uint8)
    none = words[:0]
    pull.compile((types.int64,) * 4 + (types.int64[::1],) * 2)  # there is nothing to call yet
    sort_out(
        words, words, words, 0, 0, 0, numbers, numbers, words, words, words, words, words, numbers, words
    )  # fmt: skip
    key_spans(words, words, 0, words, words)
    copy(none, none, bits, numbers, bits)
    lend(words, 0)
    settle(words, words, 0)
    drop(words, words, np.zeros(0, np.bool_), 0)
    drop_errors(words, words, 0)
