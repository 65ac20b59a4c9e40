"""The conditions of pull queries over tables, where scans are off and where they are on."""

from __future__ import annotations

import pytest

from gradstream.engine.catalog import Catalog
from gradstream.engine.language import plan
from gradstream.engine.language.actions import StartQuery
from gradstream.errors import SqlError

TABLES = """
CREATE TABLE T (ID STRING PRIMARY KEY, V INT, S STRING) WITH (KAFKA_TOPIC='t', VALUE_FORMAT='JSON', PARTITIONS=1);
CREATE TABLE N (ID INT PRIMARY KEY, V INT) WITH (KAFKA_TOPIC='n', VALUE_FORMAT='JSON', PARTITIONS=1);
CREATE TABLE M (A INT PRIMARY KEY, B INT PRIMARY KEY, V INT)
  WITH (KAFKA_TOPIC='m', FORMAT='JSON', PARTITIONS=1);
CREATE TABLE W (ID STRING PRIMARY KEY, V INT)
  WITH (KAFKA_TOPIC='w', FORMAT='JSON', PARTITIONS=1, WINDOW_TYPE='TUMBLING', WINDOW_SIZE='1 SECOND');
"""
OFF = {"ksql.query.pull.table.scan.enabled": "false"}


@pytest.fixture(scope="module")
def tables() -> Catalog:
    catalog = Catalog()
    for statement in plan.parse(TABLES):
        plan.apply(plan.plan_statement(statement, catalog, {}), catalog)
    return catalog


def planned(catalog: Catalog, text: str, properties: dict[str, object]) -> StartQuery:
    (statement,) = plan.parse(f"SELECT * FROM {text};")
    action = plan.plan_statement(statement, catalog, properties)
    assert isinstance(action, StartQuery)
    return action


@pytest.mark.parametrize(
    "text",
    [
        "T WHERE ID = 'a'",
        "T WHERE 'a' = ID AND V > 3",
        "T WHERE ID IN ('a', 'b')",
        "T WHERE ID = 'a' OR (ID = 'b' AND S = 'x')",
        "T WHERE ID = 'a' OR ID = 'b'",
        "T WHERE ID >= 'a'",
        "T WHERE 'b' > ID",
        "M WHERE A = 1 AND B = 2",
        "M WHERE (A = 1 OR A = 2) AND B = 2",
        "W WHERE ID = 'a' AND WINDOWSTART >= 5",
        "T WHERE ID = UCASE('a')",
    ],
)
def test_keys_are_looked_up_without_a_scan(tables: Catalog, text: str) -> None:
    assert planned(tables, text, OFF).kind == "pull"


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("T WHERE ID = 'a'", (("a",),)),
        ("T WHERE 'a' = ID AND V > 3", (("a",),)),
        ("T WHERE ID IN ('a', 'b', 'a')", (("a",), ("b",))),
        ("T WHERE ID = 'a' OR (ID = 'b' AND S = 'x')", (("a",), ("b",))),
        ("T WHERE NOT (ID <> 'a')", None),
        ("T WHERE ID = 'a' OR V = 1", None),
        ("T WHERE ID >= 'a'", None),
        ("T WHERE ID = UCASE('a')", None),
        ("T WHERE ID = S", None),
        ("T", None),
        ("T WHERE ID NOT IN ('a')", None),
        ("N WHERE ID = -5", ((-5,),)),
        ("N WHERE ID = 3000000000", ((3_000_000_000,),)),
        ("N WHERE ID = 1.0", None),  # a scan finds the row of 1
        ("M WHERE (B = 1 OR B = 2) AND A = 3", ((3, 1), (3, 2))),
        ("M WHERE A = 1", None),
        ("W WHERE ID = 'a' AND WINDOWSTART >= 5", (("a",),)),
        ("W WHERE WINDOWSTART = 5", None),
    ],
)
def test_constants_that_are_keys_are_known_before_a_row_is_read(
    tables: Catalog, text: str, keys: tuple[tuple[object, ...], ...] | None
) -> None:
    assert planned(tables, text, {}).query.keys == keys


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("T", "Missing WHERE clause."),
        ("T WHERE V = 3", "WHERE clause missing key column for disjunct: (V = 3)"),
        ("T WHERE ID = 'a' OR V = 3", "WHERE clause missing key column for disjunct: (V = 3)"),
        ("T WHERE ID <> 'a'", "Bound on key columns '[`ID` STRING KEY]' must currently be '='. "),
        ("T WHERE ID > 'a' AND ID < 'c'", "A comparison condition on the key column cannot be combined"),
        ("T WHERE ID = 'a' AND ID = 'c'", "An equality condition on the key column cannot be combined"),
        ("T WHERE ID < 'a' OR ID > 'c'", "Query requires table scan to be enabled"),
        ("N WHERE ID >= 3", "Query requires table scan to be enabled"),
        ("W WHERE ID >= 'a'", "Query requires table scan to be enabled"),
        ("M WHERE A = 1", "Multi-column sources must specify every key in the WHERE clause. "
         "Specified: [`A` INTEGER KEY] Expected: [`A` INTEGER KEY, `B` INTEGER KEY]."),
        ("M WHERE A >= 1 AND B = 2", "Query requires table scan to be enabled"),
        ("N WHERE ID = V - 1", "A comparison must be between a key column and a resolvable expression."),
        ("T WHERE '12' LIKE '12'", "Like condition must be between strings"),
        ("T WHERE S LIKE 'a%'", "WHERE clause missing key column for disjunct"),
    ],
)  # fmt: skip
def test_what_would_scan_is_refused_where_scans_are_off(
    tables: Catalog, text: str, message: str
) -> None:
    with pytest.raises(SqlError) as caught:
        planned(tables, text, OFF)
    assert message in caught.value.bare_message
    assert planned(tables, text, {}).kind == "pull"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("N WHERE ID IN (1, '2')", "'2' can not be converted to the type of the key column: ID INTEGER KEY"),
        ("N WHERE ID IN (NULL)", "Primary key columns can not be NULL: (ID = null)"),
        ("T WHERE ID = 'a' AND ROWOFFSET < 3", "Pull queries don't support the following columns in WHERE clauses: `ROWOFFSET`"),
        ("T WHERE WINDOWEND = 10", "WHERE column 'WINDOWEND' cannot be resolved"),
    ],
)  # fmt: skip
def test_what_no_pull_query_may_ask(tables: Catalog, text: str, message: str) -> None:
    with pytest.raises(SqlError) as caught:
        planned(tables, text, {})
    assert message in caught.value.bare_message


def test_a_condition_that_grows_beyond_bounds_is_a_scan(tables: Catalog) -> None:
    grows = " AND ".join(f"(V = {n} OR S = '{n}')" for n in range(40))
    assert planned(tables, f"T WHERE {grows}", {}).kind == "pull"
    with pytest.raises(SqlError):
        planned(tables, f"T WHERE {grows}", OFF)


def test_windows_of_a_table_are_shown_between_key_and_values(tables: Catalog) -> None:
    output = planned(tables, "W", {}).query.output
    assert [(of.name, of.role) for of in output] == [
        ("ID", "key"),
        ("WINDOWSTART", "key"),
        ("WINDOWEND", "key"),
        ("V", "value"),
    ]
