"""The SQL goldens of this folder, through parsing, planning and real bytes."""

from __future__ import annotations

import decimal
import json
from typing import Any

import pytest

from gradstream.engine import qtt
from tests.golden.goldens import GOLDENS, Golden

every_golden = pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.name)


def case(golden: Golden) -> dict[str, Any]:
    """A golden as a case of the engine's test runner; timestamps count 1, 2, 3 …"""
    made = {"id": golden.name, "kind": "outputs", "statements": [golden.statements]}
    made["inputs"] = [
        {"topic": topic, "value": exact(value), "timestamp": at}
        for at, (topic, value) in enumerate(golden.inputs, 1)
    ]
    made["outputs"] = [{"topic": topic, "value": exact(value)} for topic, value in golden.outputs]
    if golden.error:
        made |= {"kind": "exception", "expectedException": {"message": golden.error}}
    return made


def exact(value: str) -> Any:
    return json.loads(value, parse_float=decimal.Decimal)


@every_golden
def test_golden(golden: Golden) -> None:
    assert golden.outputs or golden.error
    assert qtt.judge(case(golden)) is None


@every_golden
def test_golden_can_fail(golden: Golden) -> None:
    wrong = case(golden)
    if golden.error:
        wrong |= {"expectedException": {"message": "no such message"}}
    else:
        wrong |= {"outputs": [*wrong["outputs"], wrong["outputs"][-1]]}
    assert qtt.judge(wrong) is not None
