"""Statements made from the grammar, whole and with changes, as far as a plan: see tests/fuzz, which does it for longer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradstream.engine.language import plan
from gradstream.engine.language.statement_format import format_statement
from gradstream.errors import SqlError
from tests.fuzz import grammar
from tests.fuzz.sql_targets import catalog_of, take

CATALOG = catalog_of(grammar.SOURCES)
CHOICES = st.binary(max_size=160)


@settings(max_examples=150, deadline=None)
@given(CHOICES)
def test_a_grammatical_statement_is_planned_or_refused_with_its_place(data: bytes) -> None:
    text = grammar.statement(data)
    assert len(plan.parse(text)) == 1
    take(text, CATALOG)


@settings(max_examples=150, deadline=None)
@given(CHOICES)
def test_a_broken_statement_is_planned_or_refused_with_its_place(data: bytes) -> None:
    take(grammar.broken(data), CATALOG)


@settings(max_examples=100, deadline=None)
@given(CHOICES)
def test_what_is_printed_of_a_statement_can_be_parsed_and_is_printed_the_same(data: bytes) -> None:
    printed = grammar.statement(data)
    for _ in range(3):
        before = printed
        (statement,) = plan.parse(printed)
        printed = format_statement(statement, CATALOG)
    assert printed == before


def test_two_signs_are_no_comment() -> None:
    (statement,) = plan.parse("SELECT - (- i), - -1, -(+i) FROM s;")
    assert (
        "SELECT\n  - -S.I KSQL_COL_0,\n  - -1 KSQL_COL_1,\n  -+S.I KSQL_COL_2\n"
        in format_statement(statement, CATALOG)
    )


@pytest.mark.parametrize("length", [50, 5000])
def test_a_long_expression_is_refused_in_one_way(length: int) -> None:
    take("CREATE STREAM o AS SELECT nope + " + "1 + " * length + "1 FROM s;", CATALOG)
    with pytest.raises(SqlError):
        plan.parse("SELECT " + "(" * length * 20 + "1 FROM s;")
