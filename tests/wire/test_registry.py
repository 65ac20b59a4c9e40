"""The registry's client against the real registry, and against none at all."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pytest

from gradstream.config import Services
from gradstream.errors import ConfigError, DataError, UnavailableError
from gradstream.wire.codec_avro import AvroDecoder, encode, subject_columns
from gradstream.wire.faults import CODES
from gradstream.wire.registry import Registry, UnknownSchema
from tests.crowd import in_time

A = json.dumps({"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]})
A_AND_B = json.dumps(
    {
        "type": "record",
        "name": "R",
        "fields": [
            {"name": "a", "type": "int"},
            {"name": "b", "type": ["null", "string"], "default": None},
        ],
    }
)
ONLY_B = json.dumps({"type": "record", "name": "R", "fields": [{"name": "b", "type": "int"}]})
PROTOBUF = 'syntax = "proto3"; message Row { int32 a = 1; }'


@pytest.fixture
def registry(services: Services) -> Iterator[Registry]:
    found = Registry(services.schema_registry_url)
    yield found
    found.close()


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def answering(status: str, body: str) -> tuple[str, socket.socket]:
    """A server that answers every request the same."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                head = (
                    f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                )
                connection.sendall((head + body).encode())

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{server.getsockname()[1]}", server


@pytest.mark.integration
def test_a_schema_is_found_by_id_and_by_subject(
    registry: Registry, unique: Callable[[str], str]
) -> None:
    subject = unique("avro/registry") + "-value"  # the slash must not become a part of the path
    registry.check()
    first = registry.register(subject, A)
    second = registry.register(subject, A_AND_B)
    assert registry.register(subject, A) == first != second
    # A registry may answer with an equal text that it got first.
    assert json.loads(registry.schema(first).text) == json.loads(A)
    assert registry.schema(first).type == "AVRO"
    assert registry.latest(subject)[:2] == (second, 2)
    assert json.loads(registry.latest(subject)[2]) == json.loads(A_AND_B)
    assert subject in registry.subjects()
    assert registry.has(subject, first)
    assert not registry.has(subject + "x", first)
    assert subject_columns(registry, subject) == {"a": "int", "b": "string"}


@pytest.mark.integration
def test_an_incompatible_schema_is_refused_with_the_registrys_reason(
    registry: Registry, unique: Callable[[str], str]
) -> None:
    subject = unique("avro_incompatible")
    registry.register(subject, A)
    registry._ask("PUT", f"/config/{subject}", {"compatibility": "BACKWARD"})
    with pytest.raises(DataError, match=r"INCOMPATIBLE_SCHEMA: avro_incompatible.*\bb\b"):
        registry.register(subject, ONLY_B)
    with pytest.raises(DataError, match="INVALID_SCHEMA"):
        registry.register(subject, '{"type": "recod"}')


@pytest.mark.integration
def test_what_the_registry_does_not_have(
    registry: Registry, unique: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnknownSchema, match="UNKNOWN_SCHEMA_ID"):
        registry.schema(2_000_000_001)
    with pytest.raises(UnknownSchema, match="UNKNOWN_SUBJECT"):
        registry.latest(unique("avro_nowhere"))
    monkeypatch.delattr(Registry, "_ask")  # believed for some seconds, so not asked again
    with pytest.raises(UnknownSchema):
        registry.schema(2_000_000_001)


@pytest.mark.integration
def test_records_of_unknown_foreign_and_other_subjects_schemas(
    registry: Registry, unique: Callable[[str], str]
) -> None:
    subject = unique("avro_subject")
    mine = registry.register(subject, A)
    other = registry.register(unique("avro_other"), ONLY_B)
    answer = registry._ask(
        "POST",
        f"/subjects/{unique('avro_proto')}/versions",
        {"schemaType": "PROTOBUF", "schema": PROTOBUF},
    )
    assert isinstance(answer, dict)
    good = encode(pa.record_batch({"a": [7]}), A, mine)[0].as_py()
    raw = pa.array(
        [
            good,
            b"\0" + struct.pack(">I", 2_000_000_001) + b"\x02",
            b"\0" + struct.pack(">I", answer["id"]) + b"\x02",
            b"\0" + struct.pack(">I", other) + b"\x02",
            good,
        ],
        pa.binary(),
    )
    decoder = AvroDecoder(registry, subject=subject)
    decoded = decoder.columns(raw)
    expected = ["OK", "UNKNOWN_SCHEMA_ID", "WRONG_SCHEMA_TYPE", "SUBJECT_MISMATCH", "OK"]
    assert [CODES[code] for code in decoded.codes] == expected
    assert decoded.batch.to_pylist() == [{"a": 7}, {"a": 7}]
    assert "2000000001" in decoded.reason(1)
    assert "PROTOBUF" in decoded.reason(2)
    assert subject in decoded.reason(3)
    matrix, codes = decoder.matrix(raw, ["a"])
    assert [CODES[code] for code in codes] == expected
    assert np.array_equal(matrix[[0, 4]], [[7.0], [7.0]])


@pytest.mark.integration
def test_a_schema_that_refers_to_another(registry: Registry, unique: Callable[[str], str]) -> None:
    inner, outer = unique("avro_inner"), unique("avro_outer")
    name = unique("Point")
    point = {"type": "record", "name": name, "fields": [{"name": "x", "type": "double"}]}
    registry.register(inner, json.dumps(point))
    text = json.dumps({"type": "record", "name": "R", "fields": [{"name": "p", "type": name}]})
    references = [{"name": name, "subject": inner, "version": 1}]
    body = {"schema": text, "schemaType": "AVRO", "references": references}
    answer = registry._ask("POST", f"/subjects/{outer}/versions", body)
    assert isinstance(answer, dict)
    raw = pa.array([b"\0" + struct.pack(">Id", answer["id"], 0.0)[:4] + struct.pack("<d", 1.5)])
    decoder = AvroDecoder(registry)
    assert decoder.columns(raw).batch.to_pylist() == [{"p": {"x": 1.5}}]
    assert decoder.matrix(raw, ["p.x"])[0].tolist() == [[1.5]]
    assert subject_columns(registry, outer) == {"p.x": "double"}


def test_a_registry_that_is_down_is_said_soon_and_without_secrets(closed: str) -> None:
    url = closed.replace("http://", "http://user:hunter2@")
    registry = Registry(url)
    for ask in (registry.check, registry.subjects, lambda: registry.schema(1)):
        started = time.monotonic()
        with pytest.raises(UnavailableError) as error:
            ask()
        assert in_time(time.monotonic() - started, 10)
        assert error.value.code == "REGISTRY_UNREACHABLE"
        assert closed in str(error.value)
        assert "hunter2" not in str(error.value)
    assert "hunter2" not in repr(registry)


def test_a_registry_that_never_answers_is_given_up(silent: str) -> None:
    started = time.monotonic()
    with pytest.raises(UnavailableError, match="REGISTRY_UNREACHABLE"):
        Registry(silent).check(timeout=1.0)
    assert in_time(time.monotonic() - started, 2)


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        ("404 Not Found", "<html>", UnavailableError, "REGISTRY_ERROR"),
        ("404 Not Found", '{"detail": "no such page"}', UnavailableError, "REGISTRY_ERROR"),
        ("404 Not Found", '{"error_code": 40403}', UnknownSchema, "UNKNOWN_SCHEMA_ID"),
        ("200 OK", "<html>", UnavailableError, "REGISTRY_ERROR"),
        ("200 OK", "[]", UnavailableError, "REGISTRY_ERROR"),
        ("200 OK", '{"no": "schema"}', UnavailableError, "REGISTRY_ERROR"),
        ("500 Oh", '{"message": "sorry"}', UnavailableError, "REGISTRY_ERROR"),
        ("401 No", "{}", ConfigError, "REGISTRY_DENIED"),
        ("401 No", "", ConfigError, "REGISTRY_DENIED"),
    ],
)
def test_only_the_registrys_own_answer_makes_an_id_unknown(
    status: str, body: str, kind: type[Exception], code: str
) -> None:
    url, server = answering(status, body)
    with server, pytest.raises(kind, match=code):
        Registry(url).schema(1)


@pytest.mark.parametrize("body", ["{}", "null", '"welcome"', "[1]", '[{"version": 1}]'])
def test_json_that_is_no_answer_does_not_make_a_schema_foreign(body: str) -> None:
    url, server = answering("200 OK", body)
    with server, pytest.raises(UnavailableError, match=r"^REGISTRY_ERROR: .* answer is no "):
        Registry(url).has("rows-value", 1)


@pytest.mark.parametrize("url", ["", "localhost:8081", "ftp://x", "http://", "user:hunter2@host"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError, match="BAD_REGISTRY_URL") as error:
        Registry(url)
    assert "hunter2" not in str(error.value)
