"""Tables, aggregates, windows, joins and table functions: rows in, rows out, through real bytes and no broker."""

from __future__ import annotations

import decimal
import json
import math
from typing import Any

import pytest

from gradstream.engine import qtt
from gradstream.engine.language.joins import Events, StreamStream
from gradstream.engine.language.stateful import NEW, Grown, Sessions, Windows
from tests.engine.restarted import Restarted

VIEWS = "CREATE STREAM VIEWS (USER STRING KEY, PAGE STRING, MS INT) WITH (KAFKA_TOPIC='views', FORMAT='JSON');"
USERS = "CREATE TABLE USERS (USER STRING PRIMARY KEY, CITY STRING, AGE INT) WITH (KAFKA_TOPIC='users', FORMAT='JSON');"
CITIES = "CREATE TABLE CITIES (CITY STRING PRIMARY KEY, LAND STRING) WITH (KAFKA_TOPIC='cities', FORMAT='JSON');"
CLICKS = "CREATE STREAM CLICKS (USER STRING KEY, BUTTON STRING) WITH (KAFKA_TOPIC='clicks', FORMAT='JSON');"


def view(user: str | None, page: str | None, ms: int | None, at: int = 0) -> dict[str, Any]:
    return record("views", user, {"PAGE": page, "MS": ms}, at)


def record(topic: str, key: Any, value: Any, at: int = 0, window: Any = None) -> dict[str, Any]:
    made = {"topic": topic, "key": key, "value": value, "timestamp": at}
    if window is not None:
        kind = "session" if len(window) == 3 else "time"
        made["window"] = {"start": window[0], "end": window[1], "type": kind}
    return made


def check(statements: list[str], inputs: list[Any], outputs: list[Any]) -> None:
    """The rows come out, also where the query dies after each one, and an additional one would be noticed."""
    case = {"id": "own", "kind": "outputs", "statements": statements}
    case |= {"inputs": inputs, "outputs": outputs}
    case = json.loads(json.dumps(case), parse_float=decimal.Decimal)
    assert qtt.judge(case) is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qtt, "Pipeline", Restarted)
        assert qtt.judge(case) is None
    assert qtt.judge({**case, "outputs": [*case["outputs"], case["outputs"][-1]]}) is not None


def refused(statements: list[str], message: str) -> None:
    case = {"id": "own", "kind": "exception", "statements": statements}
    assert qtt.judge({**case, "expectedException": {"message": message}}) is None


def out(key: Any, value: Any, at: int = 0, window: Any = None) -> dict[str, Any]:
    return record("OUT", key, value, at, window)


# Aggregates

AGGREGATES: list[tuple[str, list[int | None], list[Any]]] = [
    ("COUNT(*)", [1, None], [1, 2]),
    ("COUNT(MS)", [1, None], [1, 1]),
    ("SUM(MS)", [2_147_483_647, 1], [2_147_483_647, -2_147_483_648]),
    ("AVG(MS)", [1, None, 2], [1.0, 1.0, 1.5]),
    ("MIN(MS)", [3, None, 1], [3, 3, 1]),
    ("MAX(MS)", [3, None, 4], [3, 3, 4]),
    ("COLLECT_LIST(MS)", [3, None, 3], [[3], [3, None], [3, None, 3]]),
    ("COLLECT_SET(MS)", [3, 4, 3], [[3], [3, 4], [3, 4]]),
    ("COUNT_DISTINCT(MS)", [3, None, 4, 3], [1, 1, 2, 2]),
    ("TOPK(MS, 2)", [3, None, 5, 4], [[3], [3], [5, 3], [5, 4]]),
    ("TOPKDISTINCT(MS, 2)", [3, 3, 5], [[3], [3], [5, 3]]),
    ("LATEST_BY_OFFSET(MS)", [3, None, 4], [3, 3, 4]),
    ("LATEST_BY_OFFSET(MS, false)", [3, None], [3, None]),
    ("LATEST_BY_OFFSET(MS, 2)", [3, 4, 5], [[3], [3, 4], [4, 5]]),
    ("EARLIEST_BY_OFFSET(MS)", [None, 4, 5], [None, 4, 4]),
    ("EARLIEST_BY_OFFSET(MS, 2)", [3, 4, 5], [[3], [3, 4], [3, 4]]),
    ("ATTR(MS)", [3, 3, 4], [3, 3, None]),
    ("STDDEV_SAMP(MS)", [1, 3, 5], [0.0, 2.0, 4.0]),
    ("STDDEV_SAMPLE(MS)", [1, 3, 5], [0.0, math.sqrt(2), 2.0]),
    ("HISTOGRAM(CAST(MS AS STRING))", [3, 3, 4], [{"3": 1}, {"3": 2}, {"3": 2, "4": 1}]),
    ("SUM_LIST(ARRAY[MS, 1])", [3, None], [4, 5]),
    ("CORRELATION(MS, 2 * MS)", [1, 2, 3], ["NaN", 1.0, 1.0]),
    ("SUM(MS) / COUNT(*)", [3, 4], [3, 3]),
    ("TOPK(MS, PAGE, 1)", [3, 4], [[{"sort_col": 3, "col0": "p"}], [{"sort_col": 4, "col0": "p"}]]),
]


@pytest.mark.parametrize(("what", "given", "expected"), AGGREGATES, ids=[a[0] for a in AGGREGATES])
def test_aggregate(what: str, given: list[int | None], expected: list[Any]) -> None:
    check(
        [VIEWS, f"CREATE TABLE OUT AS SELECT USER, {what} AS A FROM VIEWS GROUP BY USER;"],
        [view("u", "p", ms) for ms in given],
        [out("u", {"A": value}) for value in expected],
    )


def test_rows_without_a_group_do_not_count_and_the_newest_time_stays() -> None:
    check(
        [
            VIEWS,
            "CREATE TABLE OUT AS SELECT PAGE, COUNT(*) AS N FROM VIEWS WHERE MS > 0 GROUP BY PAGE;",
        ],
        [view("a", "x", 1, 5), view("b", None, 1, 6), view("c", "x", 0, 7), view("d", "x", 1, 3)],
        [out("x", {"N": 1}, 5), out("x", {"N": 2}, 5)],
    )


def test_having_takes_back_what_it_has_shown() -> None:
    check(
        [
            USERS,
            "CREATE TABLE OUT AS SELECT CITY, COUNT(*) AS N FROM USERS GROUP BY CITY HAVING COUNT(*) > 1;",
        ],
        [
            record("users", "a", {"CITY": "k", "AGE": 1}),
            record("users", "b", {"CITY": "k", "AGE": 1}),
            record("users", "b", None),
            record("users", "a", None),
        ],
        [out("k", {"N": 2}), out("k", None)],
    )


def test_a_table_moves_its_rows_between_groups() -> None:
    check(
        [USERS, "CREATE TABLE OUT AS SELECT CITY, SUM(AGE) AS S FROM USERS GROUP BY CITY;"],
        [
            record("users", "a", {"CITY": "k", "AGE": 3}),
            record("users", "a", {"CITY": "l", "AGE": 4}),
            record("users", "c", None),
        ],
        [out("k", {"S": 3}), out("k", {"S": 0}), out("l", {"S": 4})],
    )


def test_a_failing_group_or_argument_is_logged_and_the_query_goes_on() -> None:
    check(
        [
            VIEWS,
            "CREATE TABLE OUT AS SELECT 6 / MS AS Q, COUNT(*) AS N FROM VIEWS GROUP BY 6 / MS;",
        ],
        [view("a", "x", 0), view("a", "x", 2)],
        [out(3, {"N": 1})],
    )


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT PAGE, COUNT(*) FROM VIEWS GROUP BY USER", "Non-aggregate SELECT expression(s) not part of GROUP BY: PAGE"),
        ("SELECT COUNT(*) FROM VIEWS GROUP BY USER", "must include the grouping expression USER in its projection"),
        ("SELECT USER FROM VIEWS GROUP BY USER", "GROUP BY requires aggregate functions"),
        ("SELECT USER, SUM(PAGE) FROM VIEWS GROUP BY USER", "Function 'SUM' does not accept parameters (STRING)"),
        ("SELECT USER, COUNT(SUM(MS)) FROM VIEWS GROUP BY USER", "Aggregate functions can not be nested"),
        ("SELECT USER, COUNT(*) FROM VIEWS WHERE COUNT(*) > 1 GROUP BY USER", "WHERE does not support aggregate functions"),
        ("SELECT COUNT(*) FROM VIEWS", "does not support aggregate function [COUNT(ROWTIME)] without a GROUP BY"),
        ("SELECT USER, PAGE FROM VIEWS HAVING MS > 1", "HAVING clause requires a GROUP BY"),
        ("SELECT USER, TOPK(MS, MS) FROM VIEWS GROUP BY USER", "Parameter 2 passed to function TOPK must be a literal constant"),
        ("SELECT USER, COUNT(*) FROM VIEWS GROUP BY USER EMIT FINAL", "EMIT FINAL is only supported for windowed aggregations"),
    ],
)  # fmt: skip
def test_what_cannot_be_grouped(query: str, message: str) -> None:
    refused([VIEWS, f"CREATE TABLE OUT AS {query};"], message)


def test_a_stream_is_no_table() -> None:
    refused(
        [VIEWS, "CREATE TABLE OUT AS SELECT * FROM VIEWS;"], "Your SELECT query produces a STREAM"
    )
    refused(
        [USERS, "CREATE STREAM OUT AS SELECT * FROM USERS;"], "Your SELECT query produces a TABLE"
    )


# Windows


def test_tumbling_and_hopping_windows_and_late_rows() -> None:
    counted = "SELECT USER, COUNT(*) AS N FROM VIEWS WINDOW {} GROUP BY USER"
    rows = [view("u", "p", 1, at) for at in (1, 12, 3, 25, 4)]
    check(
        [
            VIEWS,
            f"CREATE TABLE OUT AS {counted.format('TUMBLING (SIZE 10 MILLISECONDS, GRACE PERIOD 10 MILLISECONDS)')};",
        ],
        rows,
        [
            out("u", {"N": 1}, 1, (0, 10)),
            out("u", {"N": 1}, 12, (10, 20)),
            out("u", {"N": 2}, 3, (0, 10)),
            out("u", {"N": 1}, 25, (20, 30)),
        ],
    )
    check(
        [
            VIEWS,
            f"CREATE TABLE OUT AS {counted.format('HOPPING (SIZE 10 MILLISECONDS, ADVANCE BY 5 MILLISECONDS)')};",
        ],
        [view("u", "p", 1, 7)],
        [out("u", {"N": 1}, 7, (0, 10)), out("u", {"N": 1}, 7, (5, 15))],
    )


def test_sessions_join_and_take_back_what_they_were() -> None:
    query = "SELECT USER, COUNT(*) AS N, WINDOWSTART AS S FROM VIEWS WINDOW SESSION (10 MILLISECONDS) GROUP BY USER"
    check(
        [VIEWS, f"CREATE TABLE OUT AS {query};"],
        [view("u", "p", 1, 0), view("u", "p", 1, 15), view("u", "p", 1, 8)],
        [
            out("u", {"N": 1, "S": 0}, 0, (0, 0, "s")),
            out("u", {"N": 1, "S": 15}, 15, (15, 15, "s")),
            out("u", None, 0, (0, 0, "s")),
            out("u", None, 15, (15, 15, "s")),
            out("u", {"N": 3, "S": 0}, 15, (0, 15, "s")),
        ],
    )


def test_emit_final_shows_a_window_once() -> None:
    query = "SELECT USER, COUNT(*) AS N FROM VIEWS WINDOW TUMBLING (SIZE 10 MILLISECONDS) GROUP BY USER EMIT FINAL"
    check(
        [VIEWS, f"CREATE TABLE OUT AS {query};"],
        [view("u", "p", 1, at) for at in (1, 2, 10)],
        [out("u", {"N": 2}, 2, (0, 10))],
    )


def test_a_windowed_topic_is_read_with_its_windows() -> None:
    windowed = "CREATE STREAM W (USER STRING KEY, N INT) WITH (KAFKA_TOPIC='w', FORMAT='JSON', WINDOW_TYPE='TUMBLING', WINDOW_SIZE='5 SECONDS');"  # fmt: skip
    check(
        [
            windowed,
            "CREATE STREAM OUT AS SELECT USER, N, WINDOWEND AS E FROM W WHERE WINDOWSTART > 0;",
        ],
        [record("w", "a", {"N": 1}, 1, (0, 5000)), record("w", "a", {"N": 2}, 2, (5000, 10000))],
        [out("a", {"N": 2, "E": 10000}, 2, (5000, 10000))],
    )


# Tables


def test_a_table_filtered_and_projected() -> None:
    check(
        [USERS, "CREATE TABLE OUT AS SELECT USER, UCASE(CITY) AS C FROM USERS WHERE AGE > 1;"],
        [
            record("users", "a", {"CITY": "k", "AGE": 1}, 1),
            record("users", "a", {"CITY": "k", "AGE": 2}, 2),
            record("users", "a", {"CITY": "k", "AGE": 1}, 3),
            record("users", "a", {"CITY": "k", "AGE": 5}, 4),
            record("users", "a", None, 5),
        ],
        [out("a", {"C": "K"}, 2), out("a", None, 3), out("a", {"C": "K"}, 4), out("a", None, 5)],
    )


# Joins


def test_a_stream_looks_up_a_table() -> None:
    query = "SELECT V.USER, PAGE, CITY FROM VIEWS V {} JOIN USERS U ON V.USER = U.USER"
    rows = [
        view("a", "x", 1, 1),
        record("users", "a", {"CITY": "k", "AGE": 1}, 2),
        view("a", "y", 1, 3),
        record("users", "a", None, 4),
        view("a", "z", 1, 5),
    ]
    found = out("a", {"PAGE": "y", "CITY": "k"}, 3)
    check([VIEWS, USERS, f"CREATE STREAM OUT AS {query.format('INNER')};"], rows, [found])
    alone = [out("a", {"PAGE": page, "CITY": None}, at) for page, at in (("x", 1), ("z", 5))]
    check(
        [VIEWS, USERS, f"CREATE STREAM OUT AS {query.format('LEFT')};"],
        rows,
        [alone[0], found, alone[1]],
    )


def test_streams_join_within_a_time() -> None:
    query = "SELECT V.USER, PAGE, BUTTON FROM VIEWS V {} JOIN CLICKS C WITHIN 10 MILLISECONDS {} ON V.USER = C.USER"
    rows = [
        view("a", "x", 1, 1),
        record("clicks", "a", {"BUTTON": "b"}, 11),
        record("clicks", "a", {"BUTTON": "c"}, 12),
        view("z", "y", 1, 100),
    ]
    pair = out("a", {"PAGE": "x", "BUTTON": "b"}, 11)
    alone = out("a", {"PAGE": None, "BUTTON": "c"}, 12)
    check([VIEWS, CLICKS, f"CREATE STREAM OUT AS {query.format('', '')};"], rows, [pair])
    check(
        [VIEWS, CLICKS, f"CREATE STREAM OUT AS {query.format('RIGHT', '')};"], rows, [pair, alone]
    )
    closed = query.format("RIGHT", "GRACE PERIOD 5 MILLISECONDS")
    check([VIEWS, CLICKS, f"CREATE STREAM OUT AS {closed};"], rows, [pair, alone])


@pytest.mark.parametrize(
    ("key", "how", "on", "expected"),
    [
        ("C.USER", "LEFT", "LCASE(V.USER) = C.USER", [("a", "x", None), ("a", "x", "b"), ("c", "y", None)]),
        ("V.USER", "RIGHT", "V.USER = UCASE(C.USER)", [("A", "x", "b"), ("D", None, "e")]),
        ("ROWKEY", "LEFT", "LCASE(V.USER) = LCASE(C.USER)", [("a", "x", None), ("a", "x", "b"), ("c", "y", None)]),
        ("ROWKEY", "RIGHT", "LCASE(V.USER) = LCASE(C.USER)", [("a", "x", "b"), ("d", None, "e")]),
        ("ROWKEY", "OUTER", "IFNULL(V.PAGE, 'z') = C.BUTTON", [("x", "x", None), ("b", None, "b"), ("y", "y", None), ("e", None, "e")]),
        ("ROWKEY", "RIGHT", "STRUCT(A := ARRAY[V.PAGE]) = STRUCT(A := ARRAY[C.BUTTON])", [({"A": ["b"]}, None, "b"), ({"A": ["e"]}, None, "e")]),
    ],
)  # fmt: skip
def test_a_join_on_an_expression_shows_its_key_also_without_a_partner(
    key: str, how: str, on: str, expected: list[tuple[Any, str | None, str | None]]
) -> None:
    query = f"SELECT {key}, PAGE, BUTTON FROM VIEWS V {how} JOIN CLICKS C WITHIN 10 MILLISECONDS ON {on}"
    rows = [
        view("A", "x", 1),
        record("clicks", "a", {"BUTTON": "b"}),
        view("C", "y", 1),
        record("clicks", "d", {"BUTTON": "e"}),
    ]
    made = [out(of, {"PAGE": page, "BUTTON": button}) for of, page, button in expected]
    check([VIEWS, CLICKS, f"CREATE STREAM OUT AS {query};"], rows, made)


def windowed(name: str, kind: str = "TUMBLING', WINDOW_SIZE='5 SECONDS") -> str:
    return f"CREATE STREAM {name} (K STRING KEY, V INT) WITH (KAFKA_TOPIC='{name}', FORMAT='JSON', WINDOW_TYPE='{kind}');"


@pytest.mark.parametrize("kind", ["TUMBLING", "SESSION"])
def test_rows_with_windows_join_those_of_the_same_window(kind: str) -> None:
    session = ("s",) if kind == "SESSION" else ()
    first, second = (0, 5000, *session), (5000, 10000, *session)
    sources = [windowed(name, *session and ["SESSION"]) for name in "LR"]
    query = "SELECT * FROM L {} JOIN R WITHIN 1 MINUTE GRACE PERIOD 0 SECONDS ON L.K = R.K"
    rows = [
        record("L", "a", {"V": 1}, 1, first),
        record("L", "a", {"V": 2}, 5001, second),
        record("R", "a", {"V": 3}, 5002, second),
        record("L", "b", {"V": 4}, 99_000, (95_000, 100_000, *session)),
    ]

    def bounds(side: str, window: Any) -> dict[str, Any]:
        start, end = window[:2] if window else (None, None)
        return {f"{side}_WINDOWSTART": start, f"{side}_WINDOWEND": end}

    pair = {"L_V": 2, "R_K": "a", "R_V": 3, **bounds("L", second), **bounds("R", second)}
    alone = {"L_V": 1, "R_K": None, "R_V": None, **bounds("L", first), **bounds("R", None)}
    made = [out("a", pair, 5002, second)]
    check([*sources, f"CREATE STREAM OUT AS {query.format('')};"], rows, made)
    made.append(out("a", alone, 1, first))
    check([*sources, f"CREATE STREAM OUT AS {query.format('LEFT')};"], rows, made)


def test_rows_with_windows_are_joined_by_their_key_only() -> None:
    refused(
        [windowed("L"), windowed("R"), "CREATE STREAM OUT AS SELECT * FROM L JOIN R WITHIN 1 MINUTE ON L.V = R.V;"],
        "Implicit repartitioning of windowed sources is not supported. See https://github.com/confluentinc/ksql/issues/4385.",
    )  # fmt: skip


def test_two_streams_over_one_topic_each_see_all_of_its_rows_in_turn() -> None:
    both = "CREATE STREAM {} (USER STRING KEY, PAGE STRING, MS INT) WITH (KAFKA_TOPIC='views', FORMAT='JSON');"
    query = "SELECT A.USER, A.MS AS A, B.MS AS B FROM A {} JOIN B WITHIN 10 MILLISECONDS ON A.USER = B.USER"
    rows = [view("a", "x", 1, 1), view("a", "y", 2, 5), view("b", "z", 3, 6)]
    pairs = [("a", 1, 1, 1), ("a", 2, 1, 5), ("a", 1, 2, 5), ("a", 2, 2, 5), ("b", 3, 3, 6)]
    check(
        [both.format("A"), both.format("B"), f"CREATE STREAM OUT AS {query.format('')};"],
        rows,
        [out(user, {"A": a, "B": b}, at) for user, a, b, at in pairs],
    )


@pytest.mark.parametrize("first", ["STREAM", "TABLE"])
def test_a_table_shares_its_topic_with_no_other_source(first: str) -> None:
    keys = {"STREAM": "KEY", "TABLE": "PRIMARY KEY"}
    sources = [
        f"CREATE {kind} {name} (K STRING {keys[kind]}, V INT) WITH (KAFKA_TOPIC='t', FORMAT='JSON');"
        for kind, name in ((first, "A"), ("TABLE", "B"))
    ]
    refused(
        [*sources, f"CREATE {first} OUT AS SELECT A.K, B.V FROM A JOIN B ON A.K = B.K;"],
        "Invalid topology: Topic t has already been registered by another source.",
    )


def test_tables_join_by_key_and_by_foreign_key() -> None:
    rows = [
        record("users", "a", {"CITY": "k", "AGE": 1}, 1),
        record("cities", "k", {"LAND": "L"}, 2),
        record("cities", "k", {"LAND": "M"}, 3),
        record("users", "a", None, 4),
    ]
    by_city = "SELECT USER, U.CITY, LAND FROM USERS U JOIN CITIES C ON U.CITY = C.CITY"
    shown = [out("a", {"U_CITY": "k", "LAND": land}, at) for land, at in (("L", 2), ("M", 3))]
    check([USERS, CITIES, f"CREATE TABLE OUT AS {by_city};"], rows, [*shown, out("a", None, 4)])
    other = "CREATE TABLE NAMES (USER STRING PRIMARY KEY, NAME STRING) WITH (KAFKA_TOPIC='names', FORMAT='JSON');"
    full = "SELECT ROWKEY, U.USER, NAME FROM USERS U FULL OUTER JOIN NAMES N ON U.USER = N.USER"
    check(
        [USERS, other, f"CREATE TABLE OUT AS {full};"],
        [
            record("users", "a", {"CITY": "k", "AGE": 1}, 1),
            record("names", "a", {"NAME": "Ann"}, 2),
            record("users", "a", None, 3),
            record("names", "a", None, 4),
        ],
        [
            out("a", {"U_USER": "a", "NAME": None}, 1),
            out("a", {"U_USER": "a", "NAME": "Ann"}, 2),
            out("a", {"U_USER": None, "NAME": "Ann"}, 3),
            out("a", None, 4),
        ],
    )


def test_a_join_can_be_grouped() -> None:
    query = "SELECT CITY, SUM(MS) AS S FROM VIEWS V JOIN USERS U ON V.USER = U.USER GROUP BY CITY"
    check(
        [VIEWS, USERS, f"CREATE TABLE OUT AS {query};"],
        [
            record("users", "a", {"CITY": "k", "AGE": 1}),
            record("users", "b", {"CITY": "k", "AGE": 1}),
            view("a", "x", 3),
            view("b", "x", 4),
        ],
        [out("k", {"S": 3}), out("k", {"S": 7})],
    )


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT * FROM VIEWS V JOIN CLICKS C ON V.USER = C.USER", "Stream-Stream joins must have a WITHIN clause"),
        ("SELECT * FROM USERS U JOIN VIEWS V ON U.USER = V.USER", "only stream-table joins"),
        ("SELECT * FROM VIEWS V JOIN USERS U ON V.USER = U.CITY", "require to join on the table's primary key"),
        ("SELECT * FROM VIEWS V JOIN USERS U ON V.MS = U.USER", "types don't match. Got V.MS{INTEGER} = U.USER{STRING}"),
        ("SELECT USER FROM VIEWS V JOIN USERS U ON V.USER = U.USER", "Column 'USER' is ambiguous. Could be V.USER or U.USER."),
        ("SELECT PAGE FROM VIEWS V JOIN USERS U ON V.USER = U.USER", "must include the join expressions V.USER or U.USER"),
        ("SELECT * FROM VIEWS V JOIN VIEWS W WITHIN 1 DAY ON V.USER = W.USER", "self joins are not yet supported"),
        ("SELECT * FROM VIEWS V JOIN USERS U ON V.USER = U.USER AND V.MS = U.AGE", "joins on multiple conditions"),
    ],
)  # fmt: skip
def test_what_cannot_be_joined(query: str, message: str) -> None:
    refused([VIEWS, USERS, CLICKS, f"CREATE STREAM OUT AS {query};"], message)


# Table functions


def test_one_row_becomes_many() -> None:
    source = "CREATE STREAM S (K STRING KEY, A ARRAY<INT>, B ARRAY<STRING>) WITH (KAFKA_TOPIC='s', FORMAT='JSON');"
    check(
        [
            source,
            "CREATE STREAM OUT AS SELECT K, EXPLODE(A) * 2 AS N, EXPLODE(B) AS T FROM S WHERE K <> 'no';",
        ],
        [
            record("s", "a", {"A": [1, 2], "B": ["x"]}),
            record("s", "no", {"A": [3], "B": []}),
            record("s", "b", {"A": [], "B": None}),
        ],
        [
            out("a", {"N": 2, "T": "x"}),
            out("a", {"N": None, "T": None}) | {"value": {"N": 4, "T": None}},
        ],
    )
    refused(
        [source, "CREATE STREAM OUT AS SELECT K, EXPLODE(EXPLODE(A)) FROM S;"],
        "Table functions cannot be nested",
    )
    refused(
        [source, "CREATE STREAM OUT AS SELECT K FROM S WHERE EXPLODE(A) = 1;"],
        "only be used in SELECT",
    )


def test_a_column_may_be_called_as_the_engine_would_call_a_table_function() -> None:
    check(
        [
            "CREATE STREAM S (K STRING KEY, TABLE_0 INT, A ARRAY<INT>) WITH (KAFKA_TOPIC='s', FORMAT='JSON');",
            "CREATE STREAM OUT AS SELECT K, EXPLODE(A) AS N, TABLE_0 FROM S;",
        ],
        [record("s", "a", {"TABLE_0": 7, "A": [1, 2]})],
        [out("a", {"N": 1, "TABLE_0": 7}), out("a", {"N": 2, "TABLE_0": 7})],
    )


# Memory


def test_what_no_row_can_reach_any_more_is_forgotten() -> None:
    tumbling, sessions = Windows([], 10, 10, 0), Sessions([], 5, 0, final=True)
    join = StreamStream("OUTER", (1, 1), (), before=5, after=5, grace=0)  # type: ignore[arg-type]
    lines, pairs = Grown([], [], [], [], [], []), Events()
    for n in range(5000):
        tumbling.take((n,), (), 10 * n, NEW, 0, lines)
        sessions.take((n,), (), 10 * n, NEW, 0, lines)
        join.one(n % 2, n, (n,), 10 * n, 0, NEW, pairs)
    for keeper in (tumbling, sessions, join):
        assert sum(len(store) for store in keeper.stores()) < 1100
    assert len(sessions.of_group) == len(sessions.kept)
    assert len(join.waiting) + len(join.order[0]) + len(join.order[1]) < 1100
    assert len(pairs) == 4999
    shown = [
        n for (n,), (start, end) in zip(lines.groups, lines.windows, strict=True) if end == start
    ]
    assert shown == list(range(4999))


def test_rows_whose_group_is_not_a_number_are_one_group() -> None:
    check(
        [
            "CREATE STREAM S (K STRING KEY, X DOUBLE) WITH (KAFKA_TOPIC='s', FORMAT='JSON');",
            "CREATE TABLE OUT AS SELECT X / X AS Q, COUNT(*) AS N FROM S GROUP BY X / X;",
        ],
        [record("s", "a", {"X": 0.0}), record("s", "b", {"X": 0.0})],
        [out("NaN", {"N": 1}), out("NaN", {"N": 2})],
    )
