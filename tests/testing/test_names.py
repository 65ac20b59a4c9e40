"""A test's own names: which words of a statement get the mark, and that everything else stays."""

from __future__ import annotations

import pytest

from gradstream.testing.names import Names

M = "_1F2E3D4C"


@pytest.fixture
def names() -> Names:
    found = Names()
    found.mark = M
    found.statement("CREATE STREAM a (x INT) WITH (KAFKA_TOPIC='a', VALUE_FORMAT='JSON');")
    found.statement("CREATE STREAM `b c` AS SELECT * FROM a;")
    return found


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("CREATE STREAM t (a INT) WITH (KAFKA_TOPIC='t', VALUE_FORMAT='JSON');",
         f"CREATE STREAM t{M} (a INT) WITH (KAFKA_TOPIC='t{M}', VALUE_FORMAT='JSON');"),
        ("create or replace table if not exists `T t` with (kafka_topic = 'x') as select a as t from A;",
         f"create or replace table if not exists `T t{M}` with (kafka_topic = 'x{M}') as select a as t from A{M};"),
        ("SELECT a.x, 'a', a FROM a EMIT CHANGES;", f"SELECT a.x, 'a', a FROM a{M} AS a EMIT CHANGES;"),
        ("SELECT a.x FROM a AS a;", f"SELECT a.x FROM a{M} AS a;"),
        ("SELECT z.x FROM a z;", f"SELECT z.x FROM a{M} z;"),
        ("SELECT * FROM a JOIN `b c` WITHIN 1 DAY ON a.x = `b c`.x;",
         f"SELECT * FROM a{M} AS a JOIN `b c{M}` AS `b c` WITHIN 1 DAY ON a.x = `b c`.x;"),
        ("SELECT x FROM elsewhere WHERE x IS DISTINCT FROM a;", "SELECT x FROM elsewhere WHERE x IS DISTINCT FROM a;"),
        ("INSERT INTO a (x) VALUES (1);", f"INSERT INTO a{M} (x) VALUES (1);"),
        ("DROP STREAM IF EXISTS a DELETE TOPIC; -- a", f"DROP STREAM IF EXISTS a{M} DELETE TOPIC; -- a"),
        ("DROP STREAM others;", "DROP STREAM others;"),
        ("DESCRIBE a EXTENDED;", f"DESCRIBE a{M} EXTENDED;"),
        ("SHOW STREAMS;", "SHOW STREAMS;"),
    ],
)  # fmt: skip
def test_statement(names: Names, before: str, after: str) -> None:
    assert names.statement(before) == after
    assert names.statement(after) == after  # a mark is given once


def test_a_name_is_the_same_in_upper_case_before_and_after(names: Names) -> None:
    assert names.own("regression").upper() == names.own("REGRESSION")
    assert names.mark == names.mark.upper()


def test_topics_without_a_name_are_numbered(names: Names) -> None:
    assert [names.own(), names.own()] == [f"topic1{M}", f"topic2{M}"]


def test_sources_are_found_as_they_are_written(names: Names) -> None:
    assert names.source("a") == names.source("A") == names.source(f"a{M}") == f"`A{M}`"
    assert names.source("b c") == f"`b c{M}`"
    assert names.source("nowhere") is None


def test_what_is_shared_keeps_its_name(names: Names) -> None:
    names.share("orders")
    text = "CREATE STREAM o (x INT) WITH (KAFKA_TOPIC='orders'); "
    assert names.statement(text) == text.replace("STREAM o", f"STREAM o{M}")
    assert names.own("orders") == "orders"
    assert names.source("Orders") == "`ORDERS`"


def test_two_tests_never_share_a_mark() -> None:
    assert Names().mark != Names().mark
