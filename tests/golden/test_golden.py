"""The SQL goldens of this folder, through parsing, planning and real bytes."""

from __future__ import annotations

import decimal
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gradstream.engine import qtt

HERE = Path(__file__).parent
_ROW = re.compile(r"-- (in|out) ([\w.-]+): (.+)")


def cases() -> Iterator[dict[str, Any]]:
    """Each golden as a case of the engine's test runner."""
    for path in sorted(HERE.glob("*.sql")):
        for text in re.split(r"^-- golden: ", path.read_text(), flags=re.MULTILINE)[1:]:
            title, _, body = text.partition("\n")
            yield case(f"{path.stem}/{title}", body)


def case(name: str, body: str) -> dict[str, Any]:
    rows: dict[str, list[dict[str, Any]]] = {"in": [], "out": []}
    for way, topic, value in _ROW.findall(body):
        record: dict[str, Any] = {
            "topic": topic,
            "value": json.loads(value, parse_float=decimal.Decimal),
        }
        if way == "in":
            record["timestamp"] = len(rows["in"]) + 1
        rows[way].append(record)
    made = {"id": name, "kind": "outputs", "statements": [body]}
    made |= {"inputs": rows["in"], "outputs": rows["out"]}
    if error := re.search(r"^-- error: (.+)", body, re.MULTILINE):
        made |= {"kind": "exception", "expectedException": {"message": error[1]}}
    return made


GOLDENS = list(cases())


@pytest.mark.parametrize("golden", GOLDENS, ids=[golden["id"] for golden in GOLDENS])
def test_golden(golden: dict[str, Any]) -> None:
    assert golden["outputs"] or "expectedException" in golden
    assert qtt.judge(golden) is None


@pytest.mark.parametrize("golden", GOLDENS, ids=[golden["id"] for golden in GOLDENS])
def test_golden_can_fail(golden: dict[str, Any]) -> None:
    if "expectedException" in golden:
        wrong = {**golden, "expectedException": {"message": "no such message"}}
    else:
        wrong = {**golden, "outputs": [*golden["outputs"], golden["outputs"][-1]]}
    assert qtt.judge(wrong) is not None
