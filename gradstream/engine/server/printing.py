"""PRINT: the records of a topic as text, formats guessed from the bytes."""

from __future__ import annotations

import datetime
import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from gradstream.engine.language.actions import PrintTopic
from gradstream.engine.server.runtime import Engine
from gradstream.errors import GradstreamError
from gradstream.wire import kafka
from gradstream.wire.reader import Reader, open_log_reader

if TYPE_CHECKING:
    from gradstream.wire.codec_avro import AvroDecoder


class TopicPrinter:
    """Lines of PRINT; ``next()`` and ``close()`` belong to one thread."""

    def __init__(self, engine: Engine, action: PrintTopic) -> None:
        self.engine = engine
        self.action = action
        self.ended = False
        self._reader: Reader | None = None
        self._left = action.limit
        self._formats: tuple[str, str] | None = None
        self._seen = 0

    @cached_property
    def _avro(self) -> AvroDecoder:
        from gradstream.wire.codec_avro import AvroDecoder  # brings the compiler

        return AvroDecoder(self.engine.registry)

    def next(self) -> list[str]:
        """More lines; none where nothing came within half a second."""
        if self._reader is None:
            services, topic = self.engine.services, self.action.topic
            ask = kafka.begin_offsets if self.action.from_beginning else kafka.end_offsets
            self._reader = open_log_reader(services, ask(services, topic))
        records = self._reader.fetch(1, 0.5)
        lines: list[str] = []
        while len(records) and not self.ended:
            for row in range(len(records)):
                self._seen += 1
                if (self._seen - 1) % (self.action.interval or 1):
                    continue
                lines += self._lines(
                    records.key[row].as_py(),
                    records.value[row].as_py(),
                    int(records.timestamp[row]),
                    int(records.partition[row]),
                )
                if self._left is not None:
                    self._left -= 1
                    if self._left <= 0:
                        self.ended = True
                        break
            else:
                records = self._reader.fetch(500, 0.01)
        return lines

    def close(self) -> None:
        if self._reader:
            self._reader.close()
            self._reader = None

    def _lines(
        self, key: bytes | None, value: bytes | None, timestamp: int, partition: int
    ) -> list[str]:
        key_text, key_format = self._shown(key)
        value_text, value_format = self._shown(value)
        lines = []
        if self._formats != (key_format, value_format):
            self._formats = (key_format, value_format)
            lines = [f"Key format: {key_format}", f"Value format: {value_format}"]
        at = datetime.datetime.fromtimestamp(timestamp / 1000, datetime.UTC)
        time = f"{at:%Y/%m/%d %H:%M:%S}.{at.microsecond // 1000:03} Z"
        row = f"rowtime: {time}, key: {key_text}, value: {value_text}, partition: {partition}"
        return [*lines, row]

    def _shown(self, raw: bytes | None) -> tuple[str, str]:
        """(text, format)."""
        if raw is None:
            return "<null>", "¯\\_(ツ)_/¯ - no data processed"
        if raw[:1] == b"\0" and len(raw) > 5 and (row := self._avro_row(raw)) is not None:
            return json.dumps(row, default=str), "AVRO"
        if raw[:1] in b"{[":
            try:
                orjson.loads(raw)
            except orjson.JSONDecodeError:
                pass
            else:
                return raw.decode(), "JSON"
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            return raw.hex(), "KAFKA_BYTES"
        if text.isprintable():
            return text, "KAFKA_STRING"
        return raw.hex(), "KAFKA_BYTES"

    def _avro_row(self, raw: bytes) -> dict[str, Any] | None:
        try:
            decoded = self._avro.columns(pa.array([raw], pa.binary()))
        except GradstreamError:
            return None
        rows: list[dict[str, Any]] = decoded.batch.to_pylist(maps_as_pydicts="strict")
        return rows[0] if rows else None
