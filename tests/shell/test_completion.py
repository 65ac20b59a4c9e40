"""What the shell offers at each place of a statement, from names that are given."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradstream.engine.language.parser import RESERVED
from gradstream.shell import words
from gradstream.shell.completion import Choice, complete
from gradstream.shell.names import Names, Source, names_in

NAMES = Names(
    sources={
        "PAYMENTS": Source("stream", {"ID": "BIGINT", "AMOUNT": "DOUBLE", "Class": "STRING"}),
        "USERS": Source("table", {"ID": "BIGINT", "NAME": "STRING"}),
        "odd name": Source("stream", {"X": "INTEGER"}),
    },
    functions={"MASK_LEFT": "scalar", "MAX": "aggregate", "UCASE": "scalar"},
    topics=("payments", "card-payments"),
    queries={"CSAS_P_1": "RUNNING"},
    properties={"auto.offset.reset": "latest"},
    types=("ADDRESS",),
)


def at(marked: str, names: Names = NAMES) -> Choice:
    """The choice where the text has a ``|``."""
    before, _, after = marked.partition("|")
    return complete(before + after, len(before), names)


def offered(marked: str) -> list[str]:
    return [of.text for of in at(marked).candidates]


@pytest.mark.parametrize(
    ("marked", "all_of_them"),
    [
        ("sel|", ["select"]),
        ("SHOW STREAMS; DESC|", ["DESCRIBE"]),
        ("SHOW T|", ["TABLES", "TOPICS", "TYPES"]),
        ("select * from p|", ["payments"]),
        ("SELECT * FROM |", ["PAYMENTS", "USERS", "`odd name`"]),
        ("SELECT * FROM o|", ["`odd name`"]),
        ("DROP TABLE |", ["USERS", "IF EXISTS"]),
        ("DROP STREAM IF EXISTS |", ["PAYMENTS", "`odd name`"]),
        ("TERMINATE |", ["CSAS_P_1", "ALL"]),
        ("EXPLAIN CS|", ["CSAS_P_1"]),
        ("PRINT |", ["payments", "'card-payments'"]),
        ("PRINT c|", ["'card-payments'"]),
        ("DESCRIBE FUNCTION m|", ["mask_left", "max"]),
        ("SELECT * FROM payments EMIT |", ["CHANGES", "FINAL"]),
        ("SELECT p.| FROM payments p JOIN users u", ["ID", "AMOUNT", "`Class`"]),
        ("SELECT p.id, u.n| FROM payments AS p JOIN users AS u ON p.id = u.id", ["name"]),
        ("CREATE STREAM a (x |", [*words.TYPES, "ADDRESS", *words.COLUMN_MARKS]),
        ("CREATE STREAM a (x INT) WITH (KAFKA|", ["KAFKA_TOPIC"]),
        ("CREATE STREAM a (x INT) WITH (KAFKA_TOPIC='|", ["payments", "card-payments"]),
        ("CREATE STREAM a (x INT) WITH (VALUE_FORMAT='J|", ["JSON"]),
        ("SET 'auto|", ["auto.offset.reset"]),
        ("SET 'auto.offset.reset'='|", ["earliest", "latest"]),
        ("SELECT `Cl|", ["`Class`"]),
        ("DROP STREAM `o|", ["`odd name`"]),
        ("OUTPUT |", ["table", "csv", "json"]),
        ("SELECT 'from |", []),
        ("SELECT 1 -- from p|", []),
        ("SELECT 1 /* from p|", []),
    ],
)  # fmt: skip
def test_only_what_fits_is_offered(marked: str, all_of_them: list[str]) -> None:
    assert offered(marked) == all_of_them


@pytest.mark.parametrize(
    ("marked", "some", "none"),
    [
        # The columns of what the statement reads come first, and those of others not at all.
        ("SELECT | FROM payments", ["ID", "AMOUNT", "MASK_LEFT", "WHERE"], ["NAME"]),
        ("SELECT n|", ["name"], ["id"]),
        ("SELECT * FROM users WHERE |", ["NAME", "UCASE", "GROUP"], ["AMOUNT"]),
        ("SELECT m|", ["mask_left", "max"], ["ucase"]),
    ],
)
def test_expressions_get_columns_functions_and_clauses(
    marked: str, some: list[str], none: list[str]
) -> None:
    found = offered(marked)
    assert [of for of in found if of in some] == some
    assert not set(none) & set(found)


def test_a_candidate_takes_the_place_of_what_is_typed() -> None:
    text = "SELECT `Cl"
    assert at(text + "|").start == text.index("`")
    assert at("SELECT * FROM pay|").start == len("SELECT * FROM ")
    assert at("SET 'auto|").start == len("SET '")


def test_what_is_whole_needs_no_offer() -> None:
    assert offered("SELECT * FROM payments|") == []


def test_nothing_pops_up_where_anything_may_follow() -> None:
    assert not at("SELECT |").expected
    assert not at("|").expected
    assert at("SELECT * FROM |").expected
    assert at("SELECT p.| FROM payments p").expected


def test_candidates_tell_what_they_are() -> None:
    about = {of.text: of.about for of in at("SELECT | FROM payments").candidates}
    assert about["AMOUNT"] == "DOUBLE"
    assert about["MAX"] == "aggregate"


def test_scripts_and_folders_are_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql" / "start.sql").touch()
    (tmp_path / "other.txt").touch()
    assert offered("RUN SCRIPT '|") == ["sql/"]
    assert offered("run script 'sql/s|") == ["sql/start.sql"]
    assert offered("RUN SCRIPT 'nowhere/|") == []


def test_names_are_those_that_a_server_tells() -> None:
    field = {"name": "ID", "schema": {"type": "MAP", "memberSchema": {"type": "INTEGER"}}}
    entities = [
        {"@type": "source_descriptions", "sourceDescriptions": [{"name": "A", "type": "STREAM", "fields": [field]}]},
        {"@type": "source_descriptions", "sourceDescriptions": []},
        {"@type": "function_names", "functions": [{"name": "MAX", "type": "AGGREGATE"}]},
        {"@type": "kafka_topics", "topics": [{"name": "t"}]},
        {"@type": "queries", "queries": [{"id": "q", "state": None}]},
        {"@type": "properties", "properties": [{"name": "a", "value": None, "editable": True}, {"name": "b", "editable": False}]},
        {"@type": "type_list", "types": {"T": {"type": "INTEGER"}}},
    ]  # fmt: skip
    assert names_in(entities) == Names(
        {"A": Source("stream", {"ID": "MAP<STRING, INTEGER>"})}, {"MAX": "aggregate"}, ("t",), {"q": "query"}, {"a": ""}, ("T",)
    )  # fmt: skip


def test_the_reserved_words_are_the_engines() -> None:
    assert words.RESERVED == RESERVED
