"""What an engine as a process grants its clients: access, limits, and queries over what others keep."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gradstream.config import Services
from gradstream.engine.server.access import user_line
from gradstream.errors import GradstreamError
from gradstream.shell.client import KsqlClient

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
EARLIEST = {"auto.offset.reset": "earliest"}
V1 = {"Accept": "application/vnd.ksql.v1+json"}
Eventually = Callable[..., bool]
Unique = Callable[[str], str]


def test_beyond_loopback_only_users_are_answered_and_a_second_engine_is_still_found(
    start_engine: Callable[..., Any],
    services: Services,
    certificate: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    users = tmp_path / "users"
    users.write_text(user_line("ann", "pw") + "\n")
    guard = ["--tls-cert", str(certificate[0]), "--tls-key", str(certificate[1])]
    engine = start_engine("--listen", "0.0.0.0:0", *guard, "--users", str(users))
    assert engine.url.startswith("https://0.0.0.0:")
    url = engine.url.replace("0.0.0.0", "127.0.0.1")
    trusted = ssl.create_default_context(cafile=certificate[0])
    with httpx2.Client(base_url=url, http2=True, verify=trusted, trust_env=False) as http:
        stranger = http.get("/info")
        assert (stranger.status_code, stranger.json()["error_code"]) == (401, 40100)
        friend = http.post("/ksql", json={"ksql": "SHOW STREAMS;"}, auth=("ann", "pw"))
        assert (friend.status_code, friend.http_version) == (200, "HTTP/2")
    second = subprocess.run(
        [
            *(sys.executable, "-m", "gradstream.engine", "--listen", "127.0.0.1:0"),
            *("--service-id", engine.service_id),
            *("--bootstrap-servers", services.bootstrap_servers),
            *("--schema-registry-url", services.schema_registry_url),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 75
    assert second.stderr.startswith("ENGINE_RUNNING: ")
    assert engine.url in second.stderr


@pytest.fixture(scope="module")
def strict(start_engine: Callable[..., Any]) -> Any:
    """An engine that grants little."""
    return start_engine(
        *("--limit", "statement=300", "--limit", "statements=3", "--limit", "depth=5"),
        *("--limit", "body=1000"),
        *("--property", "ksql.max.push.queries=1"),
        *("--property", "ksql.query.persistent.active.limit=1"),
    )


def posted(engine: Any, text: str) -> httpx2.Response:
    return httpx2.post(f"{engine.url}/ksql", json={"ksql": text}, trust_env=False)


@pytest.mark.parametrize(
    ("text", "status", "code", "word"),
    [
        (f"SHOW STREAMS; DEFINE a = '{'x' * 400}';", 400, 40001, "STATEMENT_TOO_LARGE"),
        ("SHOW STREAMS;" * 4, 400, 40001, "TOO_MANY_STATEMENTS"),
        (f"EXPLAIN SELECT {'(' * 9}1{')' * 9} FROM S EMIT CHANGES;", 400, 40001, "TOO_COMPLEX"),
        ("SHOW STREAMS;" * 100, 413, 41300, None),
    ],
)
def test_limits_of_statements(
    strict: Any, text: str, status: int, code: int, word: str | None
) -> None:
    answer = posted(strict, text)
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    assert answer.headers.get("X-Gradstream-Error") == word
    assert posted(strict, "SHOW STREAMS;" * 3).status_code == 200


def test_limits_of_queries(strict: Any, unique: Unique, eventually: Eventually) -> None:
    raw, one, two = (unique(name).upper() for name in ("RAW", "ONE", "TWO"))
    made = f"CREATE STREAM {raw} (A INT) WITH (KAFKA_TOPIC='{raw}', VALUE_FORMAT='JSON', PARTITIONS=1);"
    assert posted(strict, made).status_code == 200
    both = "".join(f"CREATE STREAM {name} AS SELECT A FROM {raw};" for name in (one, two))
    refused = posted(strict, both)
    assert refused.headers["X-Gradstream-Error"] == "TOO_MANY_QUERIES"
    assert "Current persistent query count: 0. Configured limit: 1." in refused.json()["message"]
    assert posted(strict, "SHOW QUERIES;").json()[0]["queries"] == []  # nothing was carried out
    assert posted(strict, f"CREATE STREAM {one} AS SELECT A FROM {raw};").status_code == 200
    text = {"sql": f"SELECT * FROM {raw} EMIT CHANGES;"}
    with httpx2.Client(base_url=strict.url, trust_env=False) as http:
        with http.stream("POST", "/query-stream", json=text) as first:
            assert first.status_code == 200
            second = http.post("/query-stream", json=text)
            assert (second.status_code, second.json()["error_code"]) == (400, 40003)

        def is_free() -> bool:
            with http.stream("POST", "/query-stream", json=text) as again:
                return again.status_code == 200

        assert eventually(is_free)


@pytest.fixture(scope="module")
def totals(engine: Any) -> Iterator[str]:
    """A table of sums by key that a query keeps: a is 3, b is gone again."""
    client: KsqlClient = engine.client
    client.execute(
        "CREATE STREAM SALES (K STRING KEY, V INT) WITH (KAFKA_TOPIC='SALES', VALUE_FORMAT='JSON', PARTITIONS=2);"
        "CREATE TABLE TOTALS AS SELECT K, SUM(V) AS V FROM SALES GROUP BY K HAVING SUM(V) > 0;",
        EARLIEST,
    )
    client.execute(
        "INSERT INTO SALES VALUES ('a', 1); INSERT INTO SALES VALUES ('b', 5);"
        "INSERT INTO SALES VALUES ('b', -5); INSERT INTO SALES VALUES ('a', 2);"
    )
    yield "TOTALS"
    client.execute("DROP TABLE TOTALS DELETE TOPIC; DROP STREAM SALES DELETE TOPIC;")


def rows(client: KsqlClient, text: str, properties: dict[str, str] = EARLIEST) -> list[list[Any]]:
    with client.query(text, properties, idle_timeout=30) as found:
        return list(found)


def test_pull_queries_look_up_in_a_table(engine: Any, totals: str, eventually: Eventually) -> None:
    client = engine.client
    assert eventually(lambda: rows(client, f"SELECT * FROM {totals};") == [["a", 3]])
    assert rows(client, f"SELECT V * 2 AS W FROM {totals} WHERE K = 'a';") == [[6]]
    assert rows(client, f"SELECT * FROM {totals} WHERE K = 'b';") == []
    text = {"ksql": f"SELECT * FROM {totals};", "streamsProperties": {}}
    answer = httpx2.post(f"{engine.url}/query", json=text, headers=V1, trust_env=False)
    header, row = json.loads(answer.text)  # no last word, no comma before the end
    assert header["header"]["schema"] == "`K` STRING KEY, `V` INTEGER"
    assert row == {"row": {"columns": ["a", 3]}}
    off = {"ksql.query.pull.table.scan.enabled": "false"}
    with pytest.raises(GradstreamError, match="missing key column"):
        rows(client, f"SELECT * FROM {totals} WHERE V = 3;", off)
    assert rows(client, f"SELECT V FROM {totals} WHERE K = 'a';", off) == [[3]]


def test_tables_and_streams_that_cannot_be_pulled_say_so(
    engine: Any, totals: str, unique: Unique
) -> None:
    name = unique("PLAIN").upper()
    engine.client.execute(
        f"CREATE TABLE {name} (K STRING PRIMARY KEY, V INT) "
        f"WITH (KAFKA_TOPIC='{name}', VALUE_FORMAT='JSON', PARTITIONS=1);"
    )
    with pytest.raises(GradstreamError, match=f"The `{name}` table isn't queryable"):
        rows(engine.client, f"SELECT * FROM {name};")
    with pytest.raises(GradstreamError, match="Pull queries on streams are disabled"):
        rows(engine.client, "SELECT * FROM SALES;", {"ksql.query.pull.stream.enabled": "false"})


def test_a_push_query_over_a_table_tells_what_is_gone(engine: Any, totals: str) -> None:
    text = f"SELECT * FROM {totals} WHERE K = 'b' EMIT CHANGES LIMIT 2;"
    body = {"ksql": text, "streamsProperties": EARLIEST}
    answer = httpx2.post(f"{engine.url}/query", json=body, headers=V1, timeout=30, trust_env=False)
    assert [of for of in json.loads(answer.text) if "header" not in of] == [
        {"row": {"columns": ["b", 5]}},
        {"row": {"columns": ["b", None], "tombstone": True}},
        {"finalMessage": "Limit Reached"},
    ]


def test_a_push_query_counts_for_itself(engine: Any, totals: str) -> None:
    text = "SELECT K, COUNT(*) AS N FROM SALES GROUP BY K EMIT CHANGES LIMIT 4;"
    assert sorted(rows(engine.client, text)) == [["a", 1], ["a", 2], ["b", 1], ["b", 2]]
    whole = rows(engine.client, "SELECT SUM(V) AS S FROM SALES EMIT CHANGES LIMIT 4;")
    assert whole[-1] == [3]


def test_a_push_query_joins_topics_of_as_many_partitions_only(engine: Any, unique: Unique) -> None:
    first, second = unique("A").upper(), unique("B").upper()
    for kind, key, name, count in (
        ("STREAM", "KEY", first, 2),
        ("TABLE", "PRIMARY KEY", second, 3),
    ):
        engine.client.execute(
            f"CREATE {kind} {name} (K STRING {key}, V INT) WITH (KAFKA_TOPIC='{name}', FORMAT='JSON', PARTITIONS={count});"
        )
    select = f"SELECT A.K, B.V FROM {first} A JOIN {second} B ON A.K = B.K"
    why = f"`{first}` partitions = 2; `{second}` partitions = 3. Please repartition"
    with pytest.raises(GradstreamError, match=re.escape(why)):
        rows(engine.client, f"{select} EMIT CHANGES;")
    with pytest.raises(GradstreamError, match=re.escape(why)):
        engine.client.execute(f"CREATE STREAM {first}_C AS {select};")
    with pytest.raises(GradstreamError, match=f"`{first}_3` partitions = 3; `{first}_4` part"):
        engine.client.execute(  # none of the topics is there yet
            f"CREATE STREAM {first}_3 WITH (PARTITIONS=3) AS SELECT * FROM {first};"
            f"CREATE STREAM {first}_4 (K STRING KEY, V INT) WITH (KAFKA_TOPIC='{first}_4', FORMAT='JSON', PARTITIONS=4);"
            f"CREATE STREAM {first}_J AS SELECT {first}_3.K, {first}_4.V FROM {first}_3 "
            f"JOIN {first}_4 WITHIN 1 SECOND ON {first}_3.K = {first}_4.K;"
        )


def test_a_command_that_was_never_given_is_not_waited_for(engine: Any) -> None:
    body = {"ksql": "SHOW STREAMS;", "commandSequenceNumber": 1 << 40}
    answer = httpx2.post(f"{engine.url}/ksql", json=body, trust_env=False)
    assert (answer.status_code, answer.json()["error_code"]) == (503, 50301)


def test_inserts_take_a_client_that_offers_http2_as_an_upgrade(engine: Any, unique: Unique) -> None:
    raw = unique("RAW").upper()
    engine.client.execute(
        f"CREATE STREAM {raw} (A INT) WITH (KAFKA_TOPIC='{raw}', VALUE_FORMAT='JSON', PARTITIONS=1);"
    )
    lines = b'{"target":"%s"}\n{"a": 1}\n{"a": 2}\n' % raw.encode()
    answer = httpx2.post(
        f"{engine.url}/inserts-stream",
        content=lines,
        headers={"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c"},
        trust_env=False,
    )
    assert [json.loads(line) for line in answer.text.splitlines()] == [
        {"seq": 0, "status": "ok"},
        {"seq": 1, "status": "ok"},
    ]
    assert rows(engine.client, f"SELECT * FROM {raw};") == [[1], [2]]


KSQLDB = """
import asyncio, json, sys
from ksqldb import KSQLdbClient
url, raw = sys.argv[1:]
client = KSQLdbClient(url)
text = f"CREATE STREAM {raw} (A INT, B STRING) WITH (KAFKA_TOPIC='{raw}', VALUE_FORMAT='JSON', PARTITIONS=1);"
(made,) = client.ksql(text)
acknowledged = client.inserts_stream(raw, [{"A": 1, "B": "x"}, {"A": 2, "B": "y"}])
async def asked():
    text = f"select * from {raw} emit changes limit 2;"
    return [row async for row in client.query_async(text, {"auto.offset.reset": "earliest"})]
print(json.dumps([made["commandStatus"]["status"], acknowledged, asyncio.run(asked())]))
"""


@pytest.mark.skipif(find_spec("ksqldb") is None, reason="the client ksqldb is not installed")
def test_the_client_ksqldb_works(engine: Any, unique: Unique) -> None:
    """In a process of its own, since it never closes its connections."""
    done = subprocess.run(
        [sys.executable, "-c", KSQLDB, engine.url, unique("RAW").upper()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    status, acknowledged, (head, *found) = json.loads(done.stdout)
    assert status == "SUCCESS"
    assert acknowledged == [{"seq": 0, "status": "ok"}, {"seq": 1, "status": "ok"}]
    assert head["columnNames"] == ["A", "B"]
    assert found == [[1, "x"], [2, "y"]]
