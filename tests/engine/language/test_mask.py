"""MASK and its family, value by value and by whole columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from gradstream.engine.language.functions import find

Value = Callable[..., Any]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MASK_LEFT('Hans', 2)", "Xxns"),
        ("MASK_LEFT('Hans', 2, '*', '*', '*', '*')", "**ns"),
        ("MASK('Card 4711-X')", "Xxxx-nnnn-X"),
        ("MASK('Card 4711', NULL, 'y', NULL, ' ')", "Cyyy 4711"),
        ("MASK_RIGHT('Card 4711', 3)", "Card 4nnn"),
        ("MASK_KEEP_LEFT('Card 4711', 4)", "Card-nnnn"),
        ("MASK_KEEP_RIGHT('Card 4711', 2)", "Xxxx-nn11"),
        ("MASK_KEEP_RIGHT('Card', 99)", "Card"),
        ("MASK_RIGHT('Card', 99)", "Xxxx"),
        ("MASK_LEFT('Card', 0)", "Card"),
        ("MASK('Straße Œuvre Ωmega')", "Xxxxxx-Xxxxx-Xxxxx"),
        ("MASK('東京 ٤ Ⅳ')", "---n--"),
        ("MASK('z🙂Z')", "x--X"),
        ("MASK('')", ""),
        ("MASK(CAST(NULL AS STRING))", None),
    ],
)
def test_values(value: Value, expression: str, expected: str | None) -> None:
    assert value(expression) == expected


@pytest.mark.parametrize(
    "expression",
    ["MASK_LEFT('a', -1)", "MASK_RIGHT('a', CAST(NULL AS INT))", "MASK('a', '', 'x', 'n', '-')", "MASK('a', 'XX', 'x', 'n', '-')", "MASK_LEFT(CAST(NULL AS STRING), -1)"],
)  # fmt: skip
def test_bad_arguments_are_errors_of_the_row(value: Value, expression: str) -> None:
    with pytest.raises(ArithmeticError):
        value(expression)


@pytest.mark.parametrize(
    "name", ["MASK", "MASK_LEFT", "MASK_RIGHT", "MASK_KEEP_LEFT", "MASK_KEEP_RIGHT"]
)
@pytest.mark.parametrize("n", [0, 1, 3, 50])
def test_whole_columns_agree_with_single_values(name: str, n: int) -> None:
    family = find(name)
    assert family is not None
    overload = family.overloads[0]
    texts = ["Hans Meier", "", None, "ab 12-X", "x" * 40, "Q"]
    # A slice, so that offsets and validity bits do not start at zero.
    column = pa.array(["first", *texts, "last"], pa.string()).slice(1, len(texts))
    arguments = () if name == "MASK" else (n,)
    assert overload.column is not None
    masked = overload.column(column, *arguments)
    assert masked.to_pylist() == [overload.body(text, *arguments) for text in texts]
    masked.validate(full=True)


def test_columns_beyond_ascii_take_the_slow_way() -> None:
    family = find("MASK")
    assert family is not None
    assert family.overloads[0].column is not None
    assert family.overloads[0].column(pa.array(["Müller"])) is None
