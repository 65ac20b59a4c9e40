"""``gradstream sql --wait`` on a real engine: when it returns, the rows are there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gradstream.config import Services
from gradstream.wire.kafka import end_offsets
from producers.regression import Regression
from producers.send import produce
from producers.statements import regression, renamed, statements
from tests.acceptance.command_line import User

ROWS = 60_000


@pytest.mark.integration
def test_sql_waits_until_its_queries_have_read_what_was_there(
    services: Services, unique: Callable[[str], str], tmp_path: Path
) -> None:
    pipeline = renamed(regression(), unique("waited") + "_source")
    produce(services, pipeline.source_topic, Regression(data="gaussian", rows=ROWS).batches())
    file = tmp_path / "waited.sql"
    file.write_text(statements(pipeline))
    ended = User(services, tmp_path / "home").run("sql", str(file), "--wait")
    arrived = sum(end_offsets(services, pipeline.training_topic).values())
    assert ended.code == 0, ended
    assert arrived >= ROWS, ended
