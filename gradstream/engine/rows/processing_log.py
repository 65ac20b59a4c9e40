"""Rows that could not be read, evaluated or written: one JSON record each, as ksqlDB's processing log has them.

Every entry names the record by topic, partition and offset. The payload itself goes in only where
``ksql.logging.processing.rows.include`` asks for it, since the log must not become the way around a mask.
"""

from __future__ import annotations

import base64
import re
import time
from dataclasses import dataclass
from typing import Any

from gradstream.engine.rows.json_text import to_json
from gradstream.wire.records import Records

DESERIALIZATION, RECORD_PROCESSING, PRODUCTION, SERIALIZATION = range(4)
_BODIES = (
    "deserializationError",
    "recordProcessingError",
    "productionError",
    "serializationError",
    "kafkaStreamsThreadError",
)


def topic_name(service_id: str) -> str:
    return f"{service_id}ksql_processing_log"


@dataclass(frozen=True, slots=True)
class Logger:
    """Makes the entries of one query.

    Attributes:
        include_rows: whether an entry holds the record's bytes.
    """

    query_id: str
    include_rows: bool = False

    def unreadable(
        self, records: Records, row: int, part: str, code: str, reason: str, kind: str = "Source"
    ) -> bytes:
        """A key or value (``part``) that could not be decoded."""
        raw = (records.key if part == "key" else records.value)[row].as_py()
        payload = base64.b64encode(raw).decode() if self.include_rows and raw is not None else None
        topic = records.topics[records.topic[row]]
        body = {
            "target": part,
            "errorMessage": f"Error deserializing message from topic: {topic}: {code}",
            "recordB64": payload,
            "cause": [reason],
            "topic": topic,
            **_position(records, row),
        }
        return self._entry(f"{kind}.deserializer", DESERIALIZATION, body)

    def failed(self, records: Records, row: int, step: str, message: str) -> bytes:
        """An expression, condition or time stamp that failed on a row."""
        text = _payload(records, row) if self.include_rows else None
        body = {
            "errorMessage": message if self.include_rows else without_values(message),
            "record": text,
            "cause": [],
            **_position(records, row),
            "topic": records.topics[records.topic[row]],
        }
        return self._entry(step, RECORD_PROCESSING, body)

    def unwritable(self, records: Records, row: int, part: str, topic: str, reason: str) -> bytes:
        """An output row whose key or value (``part``) could not be encoded."""
        body = {
            "target": part,
            "errorMessage": f"Error serializing message to topic: {topic}",
            "record": _payload(records, row) if self.include_rows else None,
            "cause": [reason],
            "topic": topic,
            **_position(records, row),
        }
        return self._entry("Project.serializer", SERIALIZATION, body)

    def _entry(self, step: str, kind: int, body: dict[str, Any]) -> bytes:
        message: dict[str, Any] = {"type": kind, **dict.fromkeys(_BODIES)}
        message[_BODIES[kind]] = body
        return to_json(
            {
                "level": "ERROR",
                "logger": f"processing.{self.query_id}.{step}",
                "time": time.time_ns() // 1_000_000,
                "message": message,
            }
        )


def without_values(message: str) -> str:
    """The words of a message before anything that may be a value of the row: ``Text 'x' is no date`` → ``Text …``."""
    words = re.split(r"['\"`0-9:(\[{<]", message, maxsplit=1)[0].rstrip()
    return message if words == message else f"{words} …"


def _position(records: Records, row: int) -> dict[str, int]:
    return {"partition": int(records.partition[row]), "offset": int(records.offset[row])}


def _payload(records: Records, row: int) -> str | None:
    raw = records.value[row].as_py()
    return None if raw is None else base64.b64encode(raw).decode()
