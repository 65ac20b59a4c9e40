"""The package ksql on a real server, as its users write it."""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

import gradstream.ksql
from gradstream.config import Services
from gradstream.errors import UnavailableError
from gradstream.shell.client import KsqlClient
from gradstream.wire.kafka import ensure_topics

pytestmark = pytest.mark.integration
EARLIEST = {"auto.offset.reset": "earliest"}
Eventually = Callable[..., bool]
Unique = Callable[[str], str]
Queries = Callable[[str], list[str]]

both = pytest.mark.parametrize("use_http2", [None, True], ids=["http1", "http2"])


def test_what_the_server_is(api: Any, here: KsqlClient) -> None:
    assert api.get_url() == here.url
    assert api.get_ksql_version() == here.info()["version"]
    assert {"name", "value"} <= set(api.get_properties()[0])
    assert api.timeout == 15


def test_streams_and_tables_are_created_and_dropped(
    api: Any, services: Services, unique: Unique
) -> None:
    from ksql import utils

    name = unique("made").upper()
    ensure_topics(services, {name: 1, f"{name}_T": 1})
    columns = ["viewtime bigint", "userid varchar", "pageid varchar"]
    assert api.create_stream(table_name=name, columns_type=columns, topic=name) is True
    assert (
        api.create_stream_as(
            table_name=f"{name}_AS",
            select_columns=["viewtime", "userid"],
            src_table=name,
            value_format="AVRO",
            conditions='userid = "x" and viewtime > 1',
            partition_by="userid",
        )
        is True
    )
    assert (
        api.create_table(
            table_name=f"{name}_T",
            columns_type=columns,
            topic=f"{name}_T",
            value_format="JSON",
            key="userid",
        )
        is True
    )
    described = api.ksql(f"DESCRIBE {name}_T;")[0]["sourceDescription"]
    assert {of["name"]: of.get("type") for of in described["fields"]}["USERID"] == "KEY"
    assert utils.get_all_streams(api, prefix=name.lower()) == [name, f"{name}_AS"]
    assert utils.get_stream_info(api, name)["topic"] == name
    assert utils.get_stream_info(api, f"{name}_NONE") is None
    reads, writes = utils.get_dependent_queries(api, name)
    assert reads == utils.get_dependent_queries(api, f"{name}_AS")[1]
    assert len(reads) == 1
    assert writes == []
    utils.drop_stream(api, name)  # with the query that reads from it
    assert utils.get_all_streams(api, prefix=name) == [f"{name}_AS"]
    utils.drop_all_streams(api, prefix=name)
    assert utils.get_all_streams(api, prefix=name) == []


def test_kafka_is_looked_for(services: Services) -> None:
    from ksql.utils import check_kafka_available

    assert check_kafka_available(services.bootstrap_servers)
    assert not check_kafka_available("127.0.0.1:1")


def test_answers_without_anything_in_them(api: Any, numbers: str) -> None:
    assert api.ksql("SET 'auto.offset.reset'='latest';") == []
    assert api.ksql(f"INSERT INTO {numbers} (N) VALUES (4);\n  ") == []


@both
def test_rows_as_text(api: Any, numbers: str, use_http2: bool | None) -> None:
    text = f"select * from {numbers} emit changes limit 3"
    lines = list(api.query(text, stream_properties=EARLIEST, use_http2=use_http2))
    assert all(line.endswith("\n") for line in lines)
    if use_http2:
        head, *rows = map(json.loads, lines)
        assert head["columnNames"] == ["N", "V1", "low er"]
        assert rows == [[1, 1.5, "a,]"], [2, None, None], [3, -2.5, "ü"]]
    else:
        head, *rows, last = json.loads("".join(lines))
        assert head["header"]["schema"] == "`N` BIGINT, `V1` DOUBLE, `low er` STRING"
        assert rows[0] == {"row": {"columns": [1, 1.5, "a,]"]}}
        assert len(rows) == 3
        assert last == {"finalMessage": "Limit Reached"}


@both
@pytest.mark.parametrize("end", ["", " emit changes limit 2"], ids=["pull", "push"])
def test_rows_as_objects(api: Any, numbers: str, use_http2: bool | None, end: str) -> None:
    found = api.query(
        f"select * from {numbers}{end};\n",
        stream_properties=EARLIEST,
        use_http2=use_http2,
        return_objects=True,
    )
    wanted = [
        {"N": 1, "V1": 1.5, "low er": "a,]"},
        {"N": 2, "V1": None, "low er": None},
        {"N": 3, "V1": -2.5, "low er": "ü"},
    ]
    assert list(found) == (wanted[:2] if end else wanted)


@both
def test_an_idle_query_ends_in_silence(
    api: Any, numbers: str, use_http2: bool | None, queries: Queries, eventually: Eventually,
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.WARNING)
    found = api.query(
        f"select N from {numbers} emit changes",
        stream_properties=EARLIEST,
        idle_timeout=0.5,
        use_http2=use_http2,
        return_objects=True,
    )
    assert [row["N"] for row in found] == [1, 2, 3]
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert eventually(lambda: queries(numbers) == [])


def test_time_that_the_reader_takes_is_not_idle(api: Any, numbers: str) -> None:
    found = api.query(
        f"select N from {numbers} emit changes limit 3",
        stream_properties=EARLIEST,
        idle_timeout=0.3,
        return_objects=True,
    )
    seen = []
    for row in found:
        seen.append(row["N"])
        time.sleep(0.4)  # what a slow reader does with the row
    assert seen == [1, 2, 3]


def test_a_row_may_take_longer_than_an_answer(here: KsqlClient, numbers: str) -> None:
    from ksql import KSQLAPI

    api = KSQLAPI(here.url, timeout=1)
    insert = f"INSERT INTO {numbers} (N) VALUES (9);"
    later = threading.Timer(1.6, lambda: here.execute(insert))
    found = api.query(f"select N from {numbers} emit changes limit 1", return_objects=True)
    later.start()
    assert list(found) == [{"N": 9}]
    later.join()


@both
def test_a_generator_that_is_closed_ends_its_query(
    api: Any, numbers: str, use_http2: bool | None, queries: Queries, eventually: Eventually
) -> None:
    found = api.query(
        f"select * from {numbers} emit changes", stream_properties=EARLIEST, use_http2=use_http2
    )
    next(found)
    assert len(queries(numbers)) == 1
    found.close()
    assert eventually(lambda: queries(numbers) == [])


@both
def test_close_query(api: Any, numbers: str, use_http2: bool | None) -> None:
    found = api.query(
        f"select * from {numbers} emit changes", stream_properties=EARLIEST, use_http2=use_http2
    )
    head = json.loads(next(found).strip("[,\n"))
    query_id = head["queryId"] if use_http2 else head["header"]["queryId"]
    assert api.close_query(query_id) is True
    assert len(list(found)) >= 3
    assert api.close_query(query_id) is False


def test_rows_are_inserted_over_http2(api: Any, numbers: str) -> None:
    rows = [{"N": 10, "V1": 0.5}, {"N": 11, "`low er`": "x"}]
    assert api.inserts_stream(numbers, rows) == [
        {"seq": 0, "status": "ok"},
        {"seq": 1, "status": "ok"},
    ]
    found = list(api.query(f"select * from {numbers};", return_objects=True))
    assert found[3:] == [
        {"N": 10, "V1": 0.5, "low er": None},
        {"N": 11, "V1": None, "low er": "x"},
    ]
    (refused,) = api.inserts_stream(numbers, [{"N": "text"}])
    assert (refused["status"], refused["error_code"]) == ("error", 40000)


def test_what_the_server_says_is_in_the_error(api: Any) -> None:
    from ksql.errors import KSQLError

    for ask in (
        lambda: api.ksql("SHOW STREEMS;"),
        lambda: list(api.query("SELECT * FROM nowhere_at_all EMIT CHANGES;")),
        lambda: list(api.query("SELECT * FROM nowhere_at_all EMIT CHANGES;", use_http2=True)),
    ):
        with pytest.raises(KSQLError) as caught:
            ask()
        assert caught.value.code == caught.value.error_code == 40001
        assert str(caught.value) == caught.value.message == caught.value.msg
        assert "STREEMS" in str(caught.value) or "NOWHERE_AT_ALL" in str(caught.value)


def test_set_holds_until_unset(api: Any, numbers: str) -> None:
    def rows(**given: Any) -> int:
        text = f"select * from {numbers} emit changes"
        return len(list(api.query(text, idle_timeout=0.4, return_objects=True, **given)))

    assert rows() == 0
    assert api.ksql("SET 'auto.offset.reset'='earliest'; SHOW STREAMS;")[0]["@type"] == "streams"
    assert rows() == 3
    assert rows(use_http2=True) == 3
    assert rows(stream_properties={"auto.offset.reset": "latest"}) == 0
    assert len(gradstream.ksql.query_frame(f"SELECT N FROM {numbers} EMIT CHANGES LIMIT 3")) == 3
    assert api.ksql("UNSET 'auto.offset.reset';") == []
    assert rows() == 0


def test_a_refused_set_is_not_kept(api: Any) -> None:
    from ksql.errors import KSQLError

    with pytest.raises(KSQLError):
        api.ksql("SET 'no.such.property'='x';")
    assert gradstream.ksql.settings.properties == {}


def test_a_file_of_statements(
    here: KsqlClient, tmp_path: Any, unique: Unique, services: Services
) -> None:
    from ksql import FileUpload

    name = unique("uploaded")
    ensure_topics(services, {name: 1})
    path = tmp_path / "rules.ksql"
    path.write_text(
        f"CREATE STREAM {name} (A INT)\n  WITH (KAFKA_TOPIC='{name}', VALUE_FORMAT='JSON');\n"
        f"INSERT INTO {name} (A) VALUES (1);\n"
    )
    created, inserted = FileUpload(here.url).upload(str(path))
    assert created[0]["commandStatus"]["status"] == "SUCCESS"
    assert inserted == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_ends_is_named(
    start_engine: Callable[..., Any], number: int, unique: Unique
) -> None:
    from ksql import KSQLAPI

    engine = start_engine()
    name = unique("lost").upper()
    engine.client.execute(
        f"CREATE STREAM {name} (N BIGINT) WITH (KAFKA_TOPIC='{name}', VALUE_FORMAT='JSON', PARTITIONS=1);"
        f"INSERT INTO {name} (N) VALUES (1);"
    )
    api = KSQLAPI(engine.url)
    text = f"select * from {name} emit changes"
    given: dict[str, Any] = {"stream_properties": EARLIEST, "return_objects": True}
    ours = gradstream.ksql.stream(text, properties=EARLIEST, url=engine.url)
    found = [api.query(text, **given), api.query(text, use_http2=True, **given), ours]
    for each in found:
        next(each)
    engine.kill(number)
    for each in found:
        with pytest.raises(UnavailableError, match="KSQL_LOST") as caught:
            next(each)
        assert engine.url in str(caught.value)
        assert "\n" not in str(caught.value)
        assert next(each, None) is None  # the generator has ended
    for ask in (
        lambda: KSQLAPI(engine.url),
        lambda: api.ksql("SHOW STREAMS;"),
        lambda: list(api.query(text)),
        lambda: api.inserts_stream(name, [{"N": 1}]),
    ):
        with pytest.raises(requests.exceptions.ConnectionError, match="KSQL_UNREACHABLE") as gone:
            ask()
        assert "gradstream up" in str(gone.value)
        assert engine.url.removeprefix("http://") in str(gone.value)
