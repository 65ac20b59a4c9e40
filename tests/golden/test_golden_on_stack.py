"""The SQL goldens through REST, queries and topics of whichever stack answers.

With GRADSTREAM_KSQL_URL and its sisters set that is a ksqlDB of one's own: it has to give the same rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from gradstream.config import Services
from gradstream.errors import SqlError
from gradstream.testing import Pipeline, reading
from tests.golden.goldens import GOLDENS, Golden

pytestmark = pytest.mark.integration

ROWS = [golden for golden in GOLDENS if not golden.error]
ERRORS = [golden for golden in GOLDENS if golden.error]


@pytest.fixture(scope="module")
def running(services: Services) -> Iterator[dict[str, Pipeline]]:
    """All goldens at once, by name: their queries read while others are still being made."""
    with ExitStack() as opened:
        found = {}
        for golden in ROWS:
            found[golden.name] = pipeline = opened.enter_context(Pipeline(services))
            pipeline.sql(golden.statements, wait=False)
            for topic in dict.fromkeys(topic for topic, _ in golden.inputs):
                pipeline.produce(topic, [wire(value) for of, value in golden.inputs if of == topic])
        yield found


def wire(value: str) -> str:
    """A golden's value as it travels: JSON as it is written, or the text in a JSON string."""
    return str(json.loads(value)) if value.startswith('"') else value


@pytest.mark.parametrize("golden", ROWS, ids=lambda golden: golden.name)
def test_rows(golden: Golden, running: dict[str, Pipeline]) -> None:
    pipeline = running[golden.name]
    pipeline.wait()
    for topic, expected in golden.expected().items():
        if isinstance(expected[0], str):
            found = [(value or b"").decode() for value in pipeline.values(topic)]
        else:  # the topic's own bytes, not what a SELECT makes of them
            found = reading.rows(pipeline.services, topic + pipeline.mark)
        assert found == expected


@pytest.mark.parametrize("golden", ERRORS, ids=lambda golden: golden.name)
def test_error(golden: Golden, services: Services) -> None:
    assert golden.error is not None
    with Pipeline(services) as pipeline, pytest.raises(SqlError, match=re.escape(golden.error)):
        pipeline.sql(golden.statements)
