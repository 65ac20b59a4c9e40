"""The consumer half of librdkafka's C API: the library inside the confluent-kafka wheel, called by ctypes.

Only what librdkafka_reader needs. Calls release the GIL; callbacks come on the thread that reads the queue.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import confluent_kafka

from gradstream.errors import ConfigError, UnavailableError
from gradstream.wire.kafka import Setting
from gradstream.wire.records import TopicPartition

OFFSET_UNKNOWN = -1001
ASSIGN_PARTITIONS = -175
DESTROY_WITHOUT_CLOSE = 0x8

RebalanceCallback = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p
)
ErrorCallback = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p
)


class PartitionEntry(ctypes.Structure):
    """rd_kafka_topic_partition_t"""

    _fields_ = (
        ("topic", ctypes.c_char_p),
        ("partition", ctypes.c_int32),
        ("offset", ctypes.c_int64),
        ("metadata", ctypes.c_void_p),
        ("metadata_size", ctypes.c_size_t),
        ("opaque", ctypes.c_void_p),
        ("err", ctypes.c_int),
        ("private", ctypes.c_void_p),
    )


class PartitionEntries(ctypes.Structure):
    """rd_kafka_topic_partition_list_t"""

    _fields_ = (
        ("count", ctypes.c_int),
        ("size", ctypes.c_int),
        ("elements", ctypes.POINTER(PartitionEntry)),
    )


class Message(ctypes.Structure):
    """rd_kafka_message_t; gather.py reads the same words without ctypes."""

    _fields_ = (
        ("err", ctypes.c_int),
        ("rkt", ctypes.c_void_p),
        ("partition", ctypes.c_int32),
        ("payload", ctypes.c_void_p),
        ("len", ctypes.c_size_t),
        ("key", ctypes.c_void_p),
        ("key_len", ctypes.c_size_t),
        ("offset", ctypes.c_int64),
        ("private", ctypes.c_void_p),
    )


_P, _I, _S, _L = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int64
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "version": (_I, []),
    "conf_new": (_P, []),
    "conf_set": (_I, [_P, _S, _S, _S, ctypes.c_size_t]),
    "conf_destroy": (None, [_P]),
    "conf_set_log_cb": (None, [_P, _P]),
    "conf_set_error_cb": (None, [_P, ErrorCallback]),
    "conf_set_rebalance_cb": (None, [_P, RebalanceCallback]),
    "new": (_P, [_I, _P, _S, ctypes.c_size_t]),
    "destroy_flags": (None, [_P, _I]),
    "poll_set_consumer": (_I, [_P]),
    "subscribe": (_I, [_P, _P]),
    "assign": (_I, [_P, _P]),
    "assignment_lost": (_I, [_P]),
    "committed": (_I, [_P, _P, _I]),
    "seek_partitions": (_P, [_P, _P, _I]),
    "pause_partitions": (_I, [_P, _P]),
    "resume_partitions": (_I, [_P, _P]),
    "query_watermark_offsets": (
        _I,
        [_P, _S, ctypes.c_int32, ctypes.POINTER(_L), ctypes.POINTER(_L), _I],
    ),
    "get_watermark_offsets": (
        _I,
        [_P, _S, ctypes.c_int32, ctypes.POINTER(_L), ctypes.POINTER(_L)],
    ),
    "queue_get_consumer": (_P, [_P]),
    "queue_destroy": (None, [_P]),
    "consume_batch_queue": (ctypes.c_ssize_t, [_P, _I, _P, ctypes.c_size_t]),
    "consumer_close_queue": (_P, [_P, _P]),
    "consumer_closed": (_I, [_P]),
    "message_destroy": (None, [_P]),
    "message_timestamp": (_L, [_P, ctypes.POINTER(_I)]),
    "message_headers": (_I, [_P, ctypes.POINTER(_P)]),
    "header_get_all": (
        _I,
        [
            _P,
            ctypes.c_size_t,
            ctypes.POINTER(_S),
            ctypes.POINTER(_P),
            ctypes.POINTER(ctypes.c_size_t),
        ],
    ),
    "topic_name": (_S, [_P]),
    "topic_partition_list_new": (ctypes.POINTER(PartitionEntries), [_I]),
    "topic_partition_list_add": (_P, [_P, _S, ctypes.c_int32]),
    "topic_partition_list_destroy": (None, [_P]),
    "consumer_group_metadata": (_P, [_P]),
    "consumer_group_metadata_write": (
        _P,
        [_P, ctypes.POINTER(_P), ctypes.POINTER(ctypes.c_size_t)],
    ),
    "consumer_group_metadata_destroy": (None, [_P]),
    "mem_free": (None, [_P, _P]),
    "err2str": (_S, [_I]),
    "error_code": (_I, [_P]),
    "error_string": (_S, [_P]),
    "error_destroy": (None, [_P]),
    "fatal_error": (_I, [_P, _S, ctypes.c_size_t]),
}


def _candidates() -> Iterator[str]:
    package = Path(confluent_kafka.__file__).parent
    for folder, pattern in (
        (package.parent / "confluent_kafka.libs", "librdkafka*.so*"),
        (package.parent / "confluent_kafka.libs", "*rdkafka*.dll"),
        (package / ".dylibs", "librdkafka*.dylib"),
    ):
        yield from (str(path) for path in sorted(folder.glob(pattern)) if "++" not in path.name)
    if found := ctypes.util.find_library("rdkafka"):
        yield found


@cache
def load() -> Any:
    """The library, its functions without their ``rd_kafka_`` and with their types declared.

    Raises:
        UnavailableError: ``LIBRDKAFKA_MISSING``: not found, too old or not 64 bit.
    """
    tried = []
    for name in _candidates() if ctypes.sizeof(ctypes.c_void_p) == 8 else ():
        try:
            return _Library(ctypes.CDLL(name))
        except (OSError, AttributeError) as error:
            tried.append(str(error))
    raise UnavailableError(
        "LIBRDKAFKA_MISSING",
        f"librdkafka cannot be used ({'; '.join(tried) or 'not found'}); "
        "use GRADSTREAM_CLIENT=confluent",
    )


class _Library:
    def __init__(self, loaded: ctypes.CDLL) -> None:
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(loaded, f"rd_kafka_{name}")
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)


def address(function: Any) -> int:
    """Where a function of the library lies, for compiled code."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def new_consumer(settings: Mapping[str, Setting], on_rebalance: Any, on_error: Any) -> int:
    """A consumer handle whose queue is the only place where its events come out.

    Raises:
        ConfigError: ``BAD_SETTING``, in librdkafka's words.
    """
    lib = load()
    why = ctypes.create_string_buffer(512)
    conf = lib.conf_new()
    for name, value in settings.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if lib.conf_set(conf, name.encode(), text.encode(), why, len(why)) != 0:
            lib.conf_destroy(conf)
            raise ConfigError("BAD_SETTING", f"Kafka refuses a setting: {_text(why.value)}")
    lib.conf_set_log_cb(conf, None)
    lib.conf_set_error_cb(conf, on_error)
    lib.conf_set_rebalance_cb(conf, on_rebalance)
    handle = lib.new(1, conf, why, len(why))  # owns conf from here on, unless it fails
    if not handle:
        lib.conf_destroy(conf)
        raise ConfigError("BAD_SETTING", f"Kafka refuses the settings: {_text(why.value)}")
    lib.poll_set_consumer(handle)
    return int(handle)


class PartitionList:
    """A topic partition list of C for the length of a ``with`` block."""

    def __init__(self, offsets: Mapping[TopicPartition, int] | Iterable[TopicPartition]) -> None:
        self._lib = load()
        wanted = dict(offsets) if isinstance(offsets, Mapping) else dict.fromkeys(offsets)
        self.pointer = self._lib.topic_partition_list_new(max(1, len(wanted)))
        for place, ((topic, partition), offset) in enumerate(wanted.items()):
            self._lib.topic_partition_list_add(self.pointer, topic.encode(), partition)
            if offset is not None:
                self.pointer.contents.elements[place].offset = offset

    def __enter__(self) -> PartitionList:
        return self

    def __exit__(self, *error: object) -> None:
        self._lib.topic_partition_list_destroy(self.pointer)

    def entries(self) -> dict[TopicPartition, tuple[int, int]]:
        """Offset and error code by partition."""
        return read_entries(self.pointer)


def read_entries(pointer: Any) -> dict[TopicPartition, tuple[int, int]]:
    """Offset and error code by partition, from a list that C owns."""
    found = ctypes.cast(pointer, ctypes.POINTER(PartitionEntries)).contents
    elements = (found.elements[place] for place in range(found.count))
    return {(e.topic.decode(), e.partition): (e.offset, e.err) for e in elements}


def take_error(error: int | None) -> tuple[int, str]:
    """Code and text of an rd_kafka_error_t, which is freed; (0, "") for none."""
    if not error:
        return 0, ""
    lib = load()
    code, text = lib.error_code(error), _text(lib.error_string(error))
    lib.error_destroy(error)
    return code, text


def error_text(code: int) -> str:
    """librdkafka's words for a code."""
    return _text(load().err2str(code))


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode(errors="replace")
