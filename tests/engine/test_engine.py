"""The engine as a process on a real broker: statements, queries, restarts and what clients see."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import orjson
import pyarrow as pa
import pytest

from gradstream.config import Services
from gradstream.errors import DataError, GradstreamError, RetryError, UnavailableError, UsageError
from gradstream.shell import apply
from gradstream.shell.client import KsqlClient, RefusedStatementError
from gradstream.wire.kafka import begin_offsets, end_offsets, ensure_topics
from gradstream.wire.reader import open_log_reader
from gradstream.wire.writer import Writer
from tests.crowd import in_time
from tests.engine.listening import leave

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
EARLIEST = {"auto.offset.reset": "earliest"}
Eventually = Callable[..., bool]
Unique = Callable[[str], str]


@pytest.fixture
def client(engine: Any) -> KsqlClient:
    found: KsqlClient = engine.client
    return found


def rows(client: KsqlClient, text: str) -> list[list[Any]]:
    with client.query(text, EARLIEST, idle_timeout=30) as found:
        return list(found)


def values(services: Services, topic: str) -> list[bytes | None]:
    """All committed values of a topic."""
    ends = end_offsets(services, topic)
    found: list[bytes | None] = []
    with open_log_reader(services, begin_offsets(services, topic)) as reader:
        deadline = time.monotonic() + 20
        while any(reader.position().get(at, 0) < end for at, end in ends.items()):
            found += reader.fetch(50_000, 0.1).value.to_pylist()
            assert time.monotonic() < deadline
    return found


def put(
    services: Services, topic: str, lines: list[str | None], keys: list[str] | None = None
) -> None:
    with Writer(services) as writer:
        raw = pa.array([None if line is None else line.encode() for line in lines], pa.binary())
        of_keys = pa.array([key.encode() for key in keys], pa.binary()) if keys else None
        writer.send(topic, raw, of_keys, np.arange(1, len(lines) + 1, dtype=np.int64))


def source(client: KsqlClient, name: str, format_: str = "DELIMITED", partitions: int = 1) -> None:
    client.execute(
        f"CREATE STREAM {name} (ID BIGINT, NAME VARCHAR, X DOUBLE) WITH (KAFKA_TOPIC='{name}', "
        f"VALUE_FORMAT='{format_}', PARTITIONS={partitions});"
    )


@pytest.mark.parametrize("format_", ["DELIMITED", "JSON", "AVRO"])
def test_create_stream_as_select(
    client: KsqlClient, services: Services, unique: Unique, format_: str, eventually: Eventually
) -> None:
    raw, made, back = (unique(name).upper() for name in ("RAW", "MADE", "BACK"))
    source(client, raw)
    put(services, raw, ["1,Hans,1.5", "2,Ilse,", "3,Otto X1,-2.5", None, "x,bad,1"])
    client.execute(
        f"CREATE STREAM {made} WITH (VALUE_FORMAT='{format_}') AS "
        f"SELECT ID, MASK_LEFT(NAME, 2) AS NAME, X * 2 AS Y FROM {raw} WHERE X IS NOT NULL;"
        f"CREATE STREAM {back} WITH (VALUE_FORMAT='JSON') AS SELECT * FROM {made};",
        EARLIEST,
    )
    wanted = [[1, "Xxns", 3.0], [3, "Xxto X1", -5.0]]
    assert eventually(lambda: rows(client, f"SELECT * FROM {back};") == wanted)
    if format_ == "DELIMITED":
        assert values(services, made) == [b"1,Xxns,3.0", b"3,Xxto X1,-5.0"]


def test_bad_rows_go_to_the_processing_log_without_their_content(
    client: KsqlClient, engine: Any, services: Services, unique: Unique, eventually: Eventually
) -> None:
    raw, made = unique("RAW").upper(), unique("MADE").upper()
    source(client, raw)
    client.execute(f"CREATE STREAM {made} AS SELECT 10 / ID AS Q, NAME FROM {raw};", EARLIEST)
    put(services, raw, ["secret,a,1", "0,b,1", "5,c,1", "1,only two"])
    assert eventually(lambda: rows(client, f"SELECT * FROM {made};") == [[None, "b"], [2, "c"]])
    log = [
        orjson.loads(value or b"")
        for value in values(services, f"{engine.service_id}ksql_processing_log")
    ]
    mine = [of["message"] for of in log if made in of["logger"]]
    assert [of["type"] for of in mine] == [0, 0, 1] or [of["type"] for of in mine] == [0, 1, 0]
    unreadable = [of["deserializationError"] for of in mine if of["type"] == 0]
    assert [of["offset"] for of in unreadable] == [0, 3]
    assert all(of["topic"] == raw and of["recordB64"] is None for of in unreadable)
    assert "secret" not in json.dumps(log)


def test_keys_timestamps_and_partitions_are_kept(
    client: KsqlClient, services: Services, unique: Unique, eventually: Eventually
) -> None:
    raw, made = unique("RAW").upper(), unique("MADE").upper()
    client.execute(
        f"CREATE STREAM {raw} (K STRING KEY, V INT) WITH (KAFKA_TOPIC='{raw}', VALUE_FORMAT='JSON', PARTITIONS=3);"
        f"CREATE STREAM {made} AS SELECT K, V + 1 AS W FROM {raw};",
        EARLIEST,
    )
    put(services, raw, ['{"V": 1}', '{"V": 2}', '{"V": 3}'], ["a", "b", "c"])
    text = f"SELECT K, W, ROWTIME, ROWPARTITION FROM {made} EMIT CHANGES LIMIT 3;"
    found = sorted(rows(client, text))
    original = sorted(rows(client, f"SELECT K, ROWPARTITION FROM {raw} EMIT CHANGES LIMIT 3;"))
    assert [row[:2] for row in found] == [["a", 2], ["b", 3], ["c", 4]]
    assert [row[2] for row in found] == [1, 2, 3]
    # librdkafka and the JVM hash keys differently unless told; the engine must agree with itself and with Kafka's default.
    from_java = {"a": murmur2(b"a") % 3, "b": murmur2(b"b") % 3, "c": murmur2(b"c") % 3}
    assert {row[0]: row[3] for row in found} == from_java
    assert len(original) == 3


def murmur2(data: bytes) -> int:
    """Kafka's own hash of a key, positive, from its definition."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    if rest := data[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return (h ^ h >> 15) & 0x7FFFFFFF


def test_show_describe_terminate_and_drop(client: KsqlClient, unique: Unique) -> None:
    raw, made = unique("RAW").upper(), unique("MADE").upper()
    source(client, raw)
    (entity,) = client.execute(f"CREATE STREAM {made} AS SELECT ID, X FROM {raw};")
    assert entity["@type"] == "currentStatus"
    assert entity["commandId"] == f"stream/`{made}`/create"
    query_id = entity["commandStatus"]["queryId"]
    assert entity["commandStatus"]["message"] == f"Created query with ID {query_id}"
    (streams,) = client.execute("SHOW STREAMS;")
    assert {
        "name": made,
        "topic": made,
        "type": "STREAM",
        "keyFormat": "KAFKA",
        "valueFormat": "DELIMITED",
        "isWindowed": False,
    } in streams["streams"]
    (queries,) = client.execute("SHOW QUERIES;")
    (mine,) = [of for of in queries["queries"] if of["id"] == query_id]
    assert (mine["state"], mine["sinks"], mine["queryType"]) == ("RUNNING", [made], "PERSISTENT")
    (described,) = client.execute(f"DESCRIBE {made};")
    fields = described["sourceDescription"]["fields"]
    assert [(of["name"], of["schema"]["type"]) for of in fields] == [
        ("ID", "BIGINT"),
        ("X", "DOUBLE"),
    ]
    assert described["sourceDescription"]["writeQueries"][0]["id"] == query_id
    (explained,) = client.execute(f"EXPLAIN {query_id};")
    assert explained["queryDescription"]["state"] == "RUNNING"
    with pytest.raises(RefusedStatementError, match="read from this source"):
        client.execute(f"DROP STREAM {raw};")
    client.execute(f"TERMINATE {query_id};")
    (queries,) = client.execute("SHOW QUERIES;")
    assert query_id not in [of["id"] for of in queries["queries"]]
    (dropped, _) = client.execute(f"DROP STREAM {made}; DROP STREAM {raw} DELETE TOPIC;")
    assert dropped["commandStatus"]["message"] == f"Source `{made}` (topic: {made}) was dropped."
    (topics,) = client.execute("SHOW TOPICS;")
    assert raw not in [of["name"] for of in topics["topics"]]


def test_nothing_is_carried_out_when_a_later_statement_is_wrong(
    client: KsqlClient, unique: Unique
) -> None:
    raw = unique("RAW").upper()
    good = f"CREATE STREAM {raw} (A INT) WITH (KAFKA_TOPIC='{raw}', VALUE_FORMAT='JSON', PARTITIONS=1);"
    with pytest.raises(RefusedStatementError) as caught:
        client.execute(f"{good}\nSELEKT 1;")
    assert caught.value.line == 2
    with pytest.raises(RefusedStatementError, match="cannot be resolved") as caught:
        client.execute(f"{good}\nCREATE STREAM {raw}B AS SELECT\n  NIX FROM {raw};")
    assert (caught.value.line, caught.value.column) == (3, 3)
    assert caught.value.excerpt.endswith("\n  ^^^")
    (streams,) = client.execute("SHOW STREAMS;")
    assert raw not in [of["name"] for of in streams["streams"]]


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        (b"{", 400, 40000, "not JSON"),
        (b"[]", 400, 40000, "object"),
        (b"{}", 400, 40000, "'ksql'"),
        (b'{"ksql": 3}', 400, 40000, "'ksql'"),
        (b'{"ksql": "SHOW STREAMS"}', 400, 40001, ""),
        (b'{"ksql": "SELECT * FROM NOWHERE;"}', 400, 40001, "NOWHERE"),
        (b'{"ksql": "DESCRIBE NOWHERE;"}', 400, 40001, "NOWHERE"),
        (b'{"ksql": "TERMINATE NOBODY;"}', 400, 40001, "NOBODY"),
        (b"{\"ksql\": \"SET 'plugin.path'='x';\"}", 400, 40001, "plugin.path"),
        (b'{"ksql": "SHOW TOPICS;", "streamsProperties": {"ssl.x": 1}}', 400, 40000, "ssl.x"),
        (b'{"ksql": "' + b"x" * (1 << 20) + b'"}', 413, 41300, "larger"),
        (b'{"ksql":' + b"[" * 5000 + b"]" * 5000 + b"}", 400, 40000, ""),
    ],
)
def test_errors_of_the_ksql_endpoint(
    engine: Any, body: bytes, status: int, code: int, message: str
) -> None:
    answer = httpx2.post(f"{engine.url}/ksql", content=body, trust_env=False)
    assert answer.status_code == status
    entity = answer.json()
    assert entity["error_code"] == code
    assert message in entity["message"]
    assert entity["@type"] == ("statement_error" if code == 40001 else "generic_error")


def test_other_errors_of_endpoints(engine: Any) -> None:
    with httpx2.Client(base_url=engine.url, trust_env=False) as http:
        assert http.get("/nowhere").status_code == 404
        assert http.get("/clusterStatus").status_code == 404
        assert http.get("/ksql").status_code == 405
        assert http.get("/info", headers={"Accept": "image/png"}).status_code == 406
        multipart = {"Content-Type": "multipart/form-data; boundary=x"}
        assert http.post("/ksql", content=b"{}", headers=multipart).status_code == 415
        assert http.get("/info", headers={"Host": "evil.example"}).status_code == 403
        assert http.get("/", follow_redirects=False).headers["location"] == "/info"
        assert http.get("/is_valid_property/auto.offset.reset").text == "true"
        assert http.get("/is_valid_property/nonsense").json()["error_code"] == 40000
        assert http.get("/healthcheck").json()["serverState"] == "READY"
        unknown = http.post("/close-query", json={"queryId": "nobody"})
        assert (unknown.status_code, unknown.json()["error_code"]) == (400, 40000)
        only_h2 = http.post("/inserts-stream", content=b"{}")
        assert only_h2.json()["error_code"] == 40004


def test_rows_over_http_1_and_2_in_every_shape(
    client: KsqlClient, engine: Any, unique: Unique
) -> None:
    raw = unique("RAW").upper()
    source(client, raw, "JSON")
    client.execute("".join(f"INSERT INTO {raw} VALUES ({n}, 'n{n}', {n}.5);" for n in range(3)))
    text = f"SELECT ID, NAME FROM {raw} EMIT CHANGES LIMIT 2;"
    v1 = {"ksql": text, "streamsProperties": EARLIEST}
    curl = subprocess.run(
        [
            "curl",
            "-sN",
            "-H",
            "Accept: application/vnd.ksql.v1+json",
            "-d",
            json.dumps(v1),
            f"{engine.url}/query",
        ],
        capture_output=True,
        timeout=30,
        check=True,
    )
    lines = curl.stdout.decode().splitlines()
    assert curl.stdout.endswith(b"]\n")
    assert json.loads(curl.stdout)[0]["header"]["schema"] == "`ID` BIGINT, `NAME` STRING"
    assert lines[1:] == [
        '{"row":{"columns":[0,"n0"]}},',
        '{"row":{"columns":[1,"n1"]}},',
        '{"finalMessage":"Limit Reached"}]',
    ]
    v2 = {"sql": text, "properties": EARLIEST}
    with httpx2.Client(http1=False, http2=True, trust_env=False) as h2c:
        answer = h2c.post(f"{engine.url}/query-stream", json=v2)
        assert answer.http_version == "HTTP/2"
        head, *found = (json.loads(line) for line in answer.text.splitlines())
        assert head["columnTypes"] == ["BIGINT", "STRING"]
        assert found == [[0, "n0"], [1, "n1"]]
        array = h2c.post(
            f"{engine.url}/query-stream", json=v2, headers={"Accept": "application/json"}
        )
        assert array.json()[1:] == [[0, "n0"], [1, "n1"]]
        lines_in = b'{"target":"%s"}\n{"id": 9, "x": 1}\n{"nix": 1}\n' % raw.encode()
        acks = h2c.post(f"{engine.url}/inserts-stream", content=lines_in).text.splitlines()
        assert json.loads(acks[0]) == {"seq": 0, "status": "ok"}
        assert json.loads(acks[1])["status"] == "error"
    assert rows(client, f"SELECT ID, NAME, X FROM {raw};")[-1] == [9, None, 1.0]


def test_a_client_that_goes_frees_its_query(
    client: KsqlClient, unique: Unique, eventually: Eventually
) -> None:
    raw = unique("RAW").upper()
    source(client, raw)

    def open_queries() -> list[str]:
        (entity,) = client.execute("SHOW QUERIES;")
        return [of["id"] for of in entity["queries"] if raw in of["id"]]

    with client.query(f"SELECT * FROM {raw} EMIT CHANGES;") as found:
        assert open_queries() == [found.query_id]
    assert eventually(lambda: open_queries() == [], 5)
    with client.query(f"SELECT * FROM {raw} EMIT CHANGES;", idle_timeout=20) as found:
        client.close_query(found.query_id)
        assert list(found) == []


def test_variables_and_properties_of_a_request(client: KsqlClient, unique: Unique) -> None:
    raw = unique("RAW").upper()
    text = (
        "DEFINE format = 'JSON';\n"
        "CREATE STREAM ${name} (A INT) WITH (KAFKA_TOPIC='${name}', VALUE_FORMAT='${format}', PARTITIONS=1);\n"
        "SET 'auto.offset.reset' = 'earliest';"
    )
    (entity,) = client.execute(text, variables={"name": raw})
    assert entity["commandStatus"]["message"] == "Stream created"
    assert "${" not in entity["statementText"]


def test_a_restart_resumes_where_the_query_was(
    start_engine: Callable[..., Any], services: Services, unique: Unique, eventually: Eventually
) -> None:
    engine = start_engine()
    raw, made = unique("RAW").upper(), unique("MADE").upper()
    source(engine.client, raw, partitions=2)
    engine.client.execute(f"CREATE STREAM {made} AS SELECT ID, NAME FROM {raw};")  # from the latest
    put(services, raw, [f"{n},a,1" for n in range(50)])
    assert eventually(lambda: len(values(services, made)) == 50)
    assert engine.kill(signal.SIGTERM) == 0
    put(services, raw, [f"{n},b,1" for n in range(50, 80)])
    client = engine.start()
    (queries,) = client.execute("SHOW QUERIES;")
    assert [of["state"] for of in queries["queries"]] == ["RUNNING"]
    assert eventually(lambda: len(values(services, made)) == 80)
    found = sorted(int((value or b"").split(b",")[0]) for value in values(services, made))
    assert found == list(range(80))


def test_killed_in_mid_stream_each_row_is_in_the_sink_once(
    start_engine: Callable[..., Any], services: Services, unique: Unique, eventually: Eventually
) -> None:
    engine = start_engine()
    raw, made = unique("RAW").upper(), unique("MADE").upper()
    source(engine.client, raw, partitions=2)
    engine.client.execute(f"CREATE STREAM {made} AS SELECT ID, NAME FROM {raw};")
    sent = 0
    for _ in range(3):
        for _ in range(10):
            put(services, raw, [f"{n},a,1" for n in range(sent, sent + 2000)])
            sent += 2000
        before = len(values(services, made))
        assert before <= sent
        engine.kill(signal.SIGKILL)
        engine.start()
    assert eventually(lambda: len(values(services, made)) >= sent, 40), (
        len(values(services, made)),
        sent,
        engine.client.execute(f"SHOW QUERIES; DESCRIBE {made} EXTENDED;"),
    )
    found = sorted(int((value or b"").split(b",")[0]) for value in values(services, made))
    assert found == list(range(sent))


def test_a_second_engine_with_the_service_id_is_refused(engine: Any) -> None:
    done = started(engine.services, "--listen", "127.0.0.1:0", "--service-id", engine.service_id)
    assert done.returncode == 75
    assert done.stderr.startswith(
        f"ENGINE_RUNNING: an engine with service id '{engine.service_id}'"
    )


@pytest.mark.parametrize(
    ("listen", "code", "word"),
    [("0.0.0.0:0", 78, "NOT_LOOPBACK"), ("127.0.0.1:70000", 2, "USAGE"), ("8088x", 2, "USAGE")],
)
def test_addresses_that_are_refused(services: Services, listen: str, code: int, word: str) -> None:
    done = started(services, "--listen", listen)
    assert (done.returncode, done.stderr.split(":")[0]) == (code, word)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["http://ksql", "ksql:8088", "", "*", "a b", "abc:80"])
def test_names_that_are_none_are_refused(services: Services, name: str) -> None:
    done = started(services, "--allow-host", name)
    assert (done.returncode, done.stderr.split(":")[0]) == (2, "USAGE")
    assert done.stderr.count("\n") == 1


def test_a_named_host_opens_the_engine_beyond_loopback_for_that_name_only(
    start_engine: Callable[..., Any],
) -> None:
    engine = start_engine(
        *("--listen", "0.0.0.0:0", "--insecure-listen"),
        *("--allow-host", "KSQL", "--allow-host", "::1"),
    )
    assert engine.url.startswith("http://0.0.0.0:")
    url = engine.url.replace(
        "0.0.0.0", "127.0.0.2"
    )  # an address of this machine, but not 127.0.0.1

    def status(host: str) -> int:
        return httpx2.get(f"{url}/info", headers={"Host": host}, trust_env=False).status_code

    known = ("ksql", "ksql:8088", "localhost", "[::1]:1", "127.0.0.2")  # any number is
    assert {host: status(host) for host in known} == dict.fromkeys(known, 200)
    assert {status(host) for host in ("evil.example", "xksql", "ksql.evil.example")} == {403}


def test_a_used_port_is_told(engine: Any) -> None:
    done = started(engine.services, "--listen", engine.url.removeprefix("http://"))
    assert done.returncode == 78
    assert done.stderr.startswith("PORT_IN_USE: ")


def test_no_broker_is_told_within_ten_seconds(services: Services) -> None:
    nobody = Services("127.0.0.1:1", services.schema_registry_url, services.ksql_url)
    begin = time.monotonic()
    done = started(nobody, "--listen", "127.0.0.1:0")
    assert done.returncode == 69
    assert done.stderr.startswith("BROKER_UNREACHABLE: ")
    assert in_time(time.monotonic() - begin, 10)


def started(services: Services, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "gradstream.engine", *flags),
            *("--bootstrap-servers", services.bootstrap_servers),
            *("--schema-registry-url", services.schema_registry_url),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_sql_command_applies_a_file(
    engine: Any, unique: Unique, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = unique("RAW").upper()
    good = tmp_path / "good.sql"
    good.write_text(
        "-- a stream\nDEFINE name = 'ignored';\nDEFINE topic = '${stream}';\n"
        "CREATE STREAM ${stream} (A INT, B STRING)\n  WITH (KAFKA_TOPIC='${topic}', VALUE_FORMAT='JSON', PARTITIONS=1);\n"
        "INSERT INTO ${stream} VALUES (1, 'x');\nSET 'auto.offset.reset' = 'earliest';\n"
        "SELECT * FROM ${stream} EMIT CHANGES LIMIT 1;\n"
    )
    flags = ["--ksql-url", engine.url, "--define", f"stream={raw}"]
    assert apply.main([str(good), "--json", *flags]) == 0
    out, err = capsys.readouterr()
    assert out == '{"A":1,"B":"x"}\n'
    assert "Stream created" in err
    with pytest.raises(RefusedStatementError.__mro__[1], match="IF NOT EXISTS") as caught:
        apply.main([str(good), *flags])
    assert caught.value.code == "ALREADY_EXISTS"
    assert (caught.value.line, caught.value.column) == (4, 1)
    bad = tmp_path / "bad.sql"
    bad.write_text(f"SHOW STREAMS;\n\nCREATE STREAM X_{raw} AS\n  SELECT NIX FROM {raw};\n")
    with pytest.raises(RefusedStatementError.__mro__[1]) as caught:
        apply.main([str(bad), *flags])
    assert (caught.value.line, caught.value.column) == (4, 10)
    assert caught.value.excerpt == f"  SELECT NIX FROM {raw};\n         ^^^"
    assert caught.value.exit_code == 65
    assert apply.main(["-e", f"PRINT '{raw}' FROM BEGINNING LIMIT 1", *flags]) == 0
    assert 'value: {"A":1,"B":"x"}, partition: 0' in capsys.readouterr().out


def test_nobody_at_the_address_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"http://127\.0\.0\.1:1 .*gradstream up") as caught:
        apply.main(["-e", "SHOW STREAMS", "--ksql-url", "http://127.0.0.1:1"])
    assert caught.value.code == "KSQL_UNREACHABLE"


def test_sql_waits_for_a_server_that_starts_late(start_engine: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        address = f"127.0.0.1:{held.getsockname()[1]}"
    flags = ["--ksql-url", f"http://{address}", "--server-timeout", "60"]
    sql = subprocess.Popen(
        [*(sys.executable, "-m", "gradstream.cli", "sql", "-e", "SHOW STREAMS;", *flags)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert sql.stderr is not None
    first = sql.stderr.readline()  # it waits already, and there is no server yet
    start_engine("--listen", address)
    out, rest = sql.communicate(timeout=60)
    assert first == f"waiting for the KSQL server at http://{address} to answer ...\n"
    assert (sql.returncode, out.split()) == (0, ["name", "topic", "key", "value"]), rest


def listens(address: str) -> bool:
    host, port = address.split(":")
    with socket.socket() as asking:
        return asking.connect_ex((host, int(port))) == 0


def test_sql_waits_for_a_server_that_is_still_starting(
    services: Services, eventually: Eventually, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        address = f"127.0.0.1:{held.getsockname()[1]}"
    # A broker that takes the connection and says nothing, which the engine believes after ten seconds only.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stuck = subprocess.Popen(
            [
                *(sys.executable, "-m", "gradstream.engine", "--listen", address),
                *("--bootstrap-servers", f"127.0.0.1:{silent.getsockname()[1]}"),
                *("--schema-registry-url", services.schema_registry_url),
            ],
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert eventually(lambda: listens(address))
            flags = ["--ksql-url", f"http://{address}", "--server-timeout", "1"]
            with pytest.raises(RetryError, match="KSQL_STARTING"):
                apply.main(["-e", "SHOW STREAMS", *flags])
            assert "to be ready ..." in capsys.readouterr().err
        finally:
            stuck.kill()
            stuck.wait(10)


def test_sql_waits_no_longer_than_it_was_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = ["--ksql-url", "http://127.0.0.1:1", "--server-timeout"]
    with pytest.raises(UnavailableError, match="KSQL_UNREACHABLE"):
        apply.main(["-e", "SHOW STREAMS", *nobody, "1.2"])
    assert capsys.readouterr().err.count("waiting for the KSQL server") == 1
    with pytest.raises(DataError, match="NO_FILE"):  # told before any waiting
        apply.main([str(tmp_path / "nothing.sql"), *nobody, "300"])
    for bad in ("-1", "nan"):
        with pytest.raises(UsageError, match="BAD_TIMEOUT"):
            apply.main(["-e", "SHOW STREAMS", *nobody, bad])


def test_insert_into_select(
    client: KsqlClient, services: Services, unique: Unique, eventually: Eventually
) -> None:
    one, two, made = (unique(name).upper() for name in ("ONE", "TWO", "MADE"))
    source(client, one, "JSON")
    source(client, two, "JSON")
    client.execute(
        f"CREATE STREAM {made} AS SELECT ID, NAME FROM {one};"
        f"INSERT INTO {made} SELECT ID, NAME FROM {two};",
        EARLIEST,
    )
    client.execute(
        f"INSERT INTO {one} VALUES (1, 'a', 1.0); INSERT INTO {two} VALUES (2, 'b', 2.0);"
    )
    assert eventually(
        lambda: sorted(rows(client, f"SELECT * FROM {made};")) == [[1, "a"], [2, "b"]]
    )


def test_create_or_replace_goes_on_where_the_query_was(
    client: KsqlClient, services: Services, unique: Unique, eventually: Eventually
) -> None:
    raw, made = unique("RAW").upper(), unique("MADE").upper()
    source(client, raw, "JSON")
    (first,) = client.execute(f"CREATE STREAM {made} AS SELECT ID FROM {raw};", EARLIEST)
    client.execute(f"INSERT INTO {raw} VALUES (1, 'a', 1.0);")
    assert eventually(lambda: rows(client, f"SELECT * FROM {made};") == [[1]])
    (second,) = client.execute(f"CREATE OR REPLACE STREAM {made} AS SELECT ID, NAME FROM {raw};")
    assert second["commandStatus"]["queryId"] == first["commandStatus"]["queryId"]
    client.execute(f"INSERT INTO {raw} VALUES (2, 'b', 2.0);")
    assert eventually(lambda: rows(client, f"SELECT * FROM {made};") == [[1, None], [2, "b"]])


def test_create_or_replace_loses_nothing_that_the_query_had_not_read(
    client: KsqlClient, services: Services, unique: Unique, eventually: Eventually
) -> None:
    raw, made = unique("RAW").upper(), unique("MADE").upper()
    source(client, raw, "JSON")
    (entity,) = client.execute(f"CREATE STREAM {made} AS SELECT ID FROM {raw};")  # from the latest
    client.execute(f"PAUSE {entity['commandStatus']['queryId']};")
    time.sleep(1.5)  # the longest wait for a record is over, so none is read any more
    client.execute(f"INSERT INTO {raw} VALUES (1, 'a', 1.0);")
    client.execute(f"CREATE OR REPLACE STREAM {made} AS SELECT ID, NAME FROM {raw};")
    assert eventually(lambda: rows(client, f"SELECT * FROM {made};") == [[1, "a"]])


def test_a_statement_that_cannot_be_logged_stops_no_later_one(
    client: KsqlClient, unique: Unique
) -> None:
    raw, made = unique("RAW").upper(), unique("MADE").upper()
    source(client, raw, "JSON")
    long = "x" * 1_000_100  # fits into a request, not into a record
    with pytest.raises(GradstreamError, match="RECORD_TOO_LARGE"):
        client.execute(f"CREATE STREAM {made} AS SELECT '{long}' AS A FROM {raw};")
    source(client, unique("RAW").upper(), "JSON")


def test_a_paused_query_waits(client: KsqlClient, unique: Unique, eventually: Eventually) -> None:
    raw, made = unique("RAW").upper(), unique("MADE").upper()
    source(client, raw, "JSON")
    (entity,) = client.execute(f"CREATE STREAM {made} AS SELECT ID FROM {raw};", EARLIEST)
    query_id = entity["commandStatus"]["queryId"]
    client.execute(f"INSERT INTO {raw} VALUES (1, 'a', 1.0);")
    assert eventually(lambda: rows(client, f"SELECT * FROM {made};") == [[1]])
    client.execute(f"PAUSE {query_id};")
    (queries,) = client.execute("SHOW QUERIES;")
    assert [of["state"] for of in queries["queries"] if of["id"] == query_id] == ["PAUSED"]
    time.sleep(1.0)
    client.execute(f"INSERT INTO {raw} VALUES (2, 'b', 2.0);")
    time.sleep(1.0)
    assert rows(client, f"SELECT * FROM {made};") == [[1]]
    client.execute(f"RESUME {query_id};")
    assert eventually(lambda: rows(client, f"SELECT * FROM {made};") == [[1], [2]])


def fields(described: Mapping[str, Any]) -> list[str]:
    return [of["name"] for of in described["sourceDescription"]["fields"]]


def test_a_missing_topic_asks_for_partitions(
    client: KsqlClient, services: Services, unique: Unique
) -> None:
    name = unique("RAW").upper()
    statement = f"CREATE STREAM {name} (A INT) WITH (KAFKA_TOPIC='{name}', VALUE_FORMAT='JSON');"
    with pytest.raises(RefusedStatementError, match="PARTITIONS"):
        client.execute(statement)
    ensure_topics(services, {name: 1})
    client.execute(statement)
    (described,) = client.execute(f"DESCRIBE {name};")
    assert fields(described) == ["A"]


def test_a_topic_that_is_there_has_the_partitions_that_it_has(
    client: KsqlClient, services: Services, unique: Unique
) -> None:
    raw, made, new = (unique(name).upper() for name in ("RAW", "MADE", "NEW"))
    ensure_topics(services, {raw: 2, made: 3})

    def stream(name: str, topic: str, settings: str) -> str:
        return f"CREATE STREAM {name} (A INT) WITH (KAFKA_TOPIC='{topic}', VALUE_FORMAT='JSON'{settings});"

    def refused(text: str, topic: str, wanted: str) -> None:
        with pytest.raises(RefusedStatementError) as caught:
            client.execute(text)
        assert caught.value.entity["message"] == (
            f"A Kafka topic with the name '{topic}' already exists, with different partition/replica configuration than "
            f"required. KSQL expects {wanted}."
        )

    only = "1 replication factor (topic has 1)"
    refused(stream(raw, raw, ", PARTITIONS=1"), raw, f"1 partitions (topic has 2), and {only}")
    copies = "2 partitions (topic has 2), and 3 replication factor (topic has 1)"
    refused(stream(raw, raw, ", REPLICAS=3"), raw, copies)
    both = stream(new, new, ", PARTITIONS=4") + stream(f"{new}2", new, ", PARTITIONS=5")
    refused(both, new, f"5 partitions (topic has 4), and {only}")
    client.execute(stream(raw, raw, ", PARTITIONS=2, REPLICAS=1"))
    query = f"CREATE STREAM {made} %s AS SELECT * FROM {raw};"
    refused(query % "", made, f"2 partitions (topic has 3), and {only}")
    client.execute(query % "WITH (PARTITIONS=3)")
    client.execute(
        f"INSERT INTO {made} SELECT * FROM {raw};"
    )  # makes no topic, so it asks for none


@pytest.mark.parametrize("head", ["Content-Length: 20", "Transfer-Encoding: chunked"])
def test_a_client_that_goes_before_its_body_has_come_is_no_error(engine: Any, head: str) -> None:
    before = engine.said()
    address = httpx2.URL(engine.url)
    raw = f"POST /ksql HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n".encode()
    asyncio.run(leave(address.port or 0, raw, reset=True))
    assert httpx2.get(f"{engine.url}/info", trust_env=False).status_code == 200
    assert engine.said() == before
