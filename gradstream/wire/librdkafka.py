"""librdkafka's C API: the library inside the confluent-kafka wheel, called by ctypes.

Only what librdkafka_reader and librdkafka_producer need. Calls release the GIL; callbacks come on the thread that reads
the queue.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
_PRODUCER, _CONSUMER = 0, 1

RebalanceCallback = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p
)
ErrorCallback = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p
)
StatisticsCallback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p
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
    "conf_set_stats_cb": (None, [_P, StatisticsCallback]),
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
    "queue_new": (_P, [_P]),
    "queue_poll": (_P, [_P, _I]),
    "queue_destroy": (None, [_P]),
    "event_destroy": (None, [_P]),
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
    "memberid": (_P, [_P]),
    "consumer_group_metadata": (_P, [_P]),
    "consumer_group_metadata_write": (
        _P,
        [_P, ctypes.POINTER(_P), ctypes.POINTER(ctypes.c_size_t)],
    ),
    "consumer_group_metadata_destroy": (None, [_P]),
    "mem_free": (None, [_P, _P]),
    "DescribeTopics": (None, [_P, _P, _P, _P]),
    "TopicCollection_of_topic_names": (_P, [ctypes.POINTER(_S), ctypes.c_size_t]),
    "TopicCollection_destroy": (None, [_P]),
    "event_DescribeTopics_result": (_P, [_P]),
    "DescribeTopics_result_topics": (ctypes.POINTER(_P), [_P, ctypes.POINTER(ctypes.c_size_t)]),
    "TopicDescription_name": (_S, [_P]),
    "TopicDescription_error": (_P, [_P]),
    "TopicDescription_topic_id": (_P, [_P]),
    "Uuid_base64str": (_S, [_P]),
    "err2str": (_S, [_I]),
    "error_code": (_I, [_P]),
    "error_string": (_S, [_P]),
    "error_destroy": (None, [_P]),
    "fatal_error": (_I, [_P, _S, ctypes.c_size_t]),
    "error_is_fatal": (_I, [_P]),
    "error_is_retriable": (_I, [_P]),
    "error_txn_requires_abort": (_I, [_P]),
    "conf_set_events": (None, [_P, _I]),
    "queue_get_main": (_P, [_P]),
    "event_type": (_I, [_P]),
    "event_error": (_I, [_P]),
    "event_error_string": (_S, [_P]),
    "event_error_is_fatal": (_I, [_P]),
    "event_message_next": (_P, [_P]),
    "topic_new": (_P, [_P, _S, _P]),
    "topic_destroy": (None, [_P]),
    "produceva": (_P, [_P, _P, ctypes.c_size_t]),
    "outq_len": (_I, [_P]),
    "flush": (_I, [_P, _I]),
    "purge": (_I, [_P, _I]),
    "metadata": (_I, [_P, _I, _P, ctypes.POINTER(_P), _I]),
    "metadata_destroy": (None, [_P]),
    "init_transactions": (_P, [_P, _I]),
    "begin_transaction": (_P, [_P]),
    "consumer_group_metadata_read": (_P, [ctypes.POINTER(_P), _S, ctypes.c_size_t]),
    "send_offsets_to_transaction": (_P, [_P, _P, _P, _I]),
    "commit_transaction": (_P, [_P, _I]),
    "abort_transaction": (_P, [_P, _I]),
}


# Under these names a library that confluent-kafka was built against is loaded already, whatever folder it came from.
_SYSTEM_NAMES = {
    "linux": ("librdkafka.so.1",),
    "darwin": ("librdkafka.1.dylib", "librdkafka.dylib"),
    "win32": ("librdkafka.dll", "rdkafka.dll"),
}


def _candidates() -> Iterator[str]:
    """First the library inside the wheel of confluent-kafka, then the system's, Conda's among them."""
    package = Path(confluent_kafka.__file__).parent
    yield from map(str, _in_wheel(package))
    names = _SYSTEM_NAMES.get(sys.platform, _SYSTEM_NAMES["linux"])
    for folder in (Path(sys.prefix, "lib"), Path(sys.prefix, "Library", "bin")):
        yield from (str(folder / name) for name in names if (folder / name).exists())
    yield from names
    if found := ctypes.util.find_library("rdkafka"):
        yield found


def _in_wheel(package: Path) -> list[Path]:
    """Where auditwheel (Linux), delocate (macOS) and delvewheel (Windows) put it."""
    beside = package.parent / "confluent_kafka.libs"
    found = [
        *sorted(beside.glob("librdkafka*.so*")),
        *sorted((package / ".dylibs").glob("librdkafka*.dylib")),
        *sorted(beside.glob("*rdkafka*.dll")),
    ]
    return [path for path in found if "++" not in path.name]


@cache
def load() -> Any:
    """The library, its functions without their ``rd_kafka_`` and with their types declared.

    Raises:
        UnavailableError: ``LIBRDKAFKA_MISSING``: not found, another version than confluent-kafka's, or not 64 bit.
    """
    if ctypes.sizeof(ctypes.c_void_p) != 8:
        raise _missing("this Python is not one of 64 bits")
    tried = []
    for name in _candidates():
        try:
            return _Library(name)
        except (OSError, AttributeError) as error:
            tried.append(str(error))
    raise _missing("; ".join(dict.fromkeys(tried)))


def _missing(why: str) -> UnavailableError:
    return UnavailableError(
        "LIBRDKAFKA_MISSING",
        f"librdkafka cannot be called directly ({why}); use GRADSTREAM_CLIENT=confluent, "
        "which reads several times slower",
    )


class _Library:
    """Raises OSError or AttributeError where the library is not the one that confluent-kafka runs on: messages and
    groups' metadata go from the one to the other.
    """

    def __init__(self, path: str) -> None:
        loaded = ctypes.CDLL(path)
        version, (words, number) = loaded.rd_kafka_version(), confluent_kafka.libversion()
        if version != number:
            raise OSError(f"{path} is version {version:#x}, confluent-kafka's is {words}")
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(loaded, f"rd_kafka_{name}")
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)


def address(function: Any) -> int:
    """Where a function of the library lies, for compiled code."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def new_consumer(
    settings: Mapping[str, Setting], on_rebalance: Any, on_error: Any, on_statistics: Any
) -> int:
    """A consumer handle whose queue is the only place where its events come out.

    Raises:
        ConfigError: ``BAD_SETTING``, in librdkafka's words.
    """
    lib, conf = load(), _configured(settings)
    lib.conf_set_error_cb(conf, on_error)
    lib.conf_set_rebalance_cb(conf, on_rebalance)
    lib.conf_set_stats_cb(conf, on_statistics)
    handle = _made(_CONSUMER, conf)
    lib.poll_set_consumer(handle)
    return handle


def new_producer(settings: Mapping[str, Setting], events: int) -> int:
    """A producer handle; news of the kinds ``events``, a sum of RD_KAFKA_EVENT_…, come out of its main queue.

    Raises:
        ConfigError: ``BAD_SETTING``, in librdkafka's words.
    """
    conf = _configured(settings)
    load().conf_set_events(conf, events)
    return _made(_PRODUCER, conf)


def _configured(settings: Mapping[str, Setting]) -> int:
    """A configuration, which _made() takes."""
    lib = load()
    why = ctypes.create_string_buffer(512)
    conf = lib.conf_new()
    for name, value in settings.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if lib.conf_set(conf, name.encode(), text.encode(), why, len(why)) != 0:
            lib.conf_destroy(conf)
            raise ConfigError("BAD_SETTING", f"Kafka refuses a setting: {_text(why.value)}")
    lib.conf_set_log_cb(conf, None)
    return int(conf)


def _made(kind: int, conf: int) -> int:
    lib = load()
    why = ctypes.create_string_buffer(512)
    handle = lib.new(kind, conf, why, len(why))  # owns conf from here on, unless it fails
    if not handle:
        lib.conf_destroy(conf)
        raise ConfigError("BAD_SETTING", f"Kafka refuses the settings: {_text(why.value)}")
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


def ask_topic_ids(handle: int, topics: Sequence[str], answers: int) -> None:
    """Ask the cluster; the answer comes into the queue ``answers``, for take_topic_ids()."""
    lib = load()
    names = (ctypes.c_char_p * len(topics))(*[topic.encode() for topic in topics])
    wanted = lib.TopicCollection_of_topic_names(names, len(topics))
    lib.DescribeTopics(handle, wanted, None, answers)
    lib.TopicCollection_destroy(wanted)


def take_topic_ids(answers: int) -> dict[str, tuple[str, int]] | None:
    """Id and error code by topic, as far as the cluster has told them; None while no answer has come."""
    lib = load()
    event = lib.queue_poll(answers, 0)
    if not event:
        return None
    try:
        count = ctypes.c_size_t()
        result = lib.event_DescribeTopics_result(event)
        found = lib.DescribeTopics_result_topics(result, ctypes.byref(count)) if result else ()
        return {
            lib.TopicDescription_name(one).decode(): _topic_id(one) for one in found[: count.value]
        }
    finally:
        lib.event_destroy(event)


def _topic_id(topic: int) -> tuple[str, int]:
    lib = load()
    if (error := lib.TopicDescription_error(topic)) and (code := lib.error_code(error)):
        return "", code
    return lib.Uuid_base64str(lib.TopicDescription_topic_id(topic)).decode(), 0


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
