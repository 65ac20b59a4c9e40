"""KSQL with known answers, on the engine; tests/containers asks the same of ksqlDB."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gradstream.config import Services
from gradstream.shell.client import KsqlClient
from tests.engine.goldens import GOLDENS, Golden, answer


@pytest.mark.integration
@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.name)
def test_the_engine_gives_the_known_answer(
    golden: Golden, services: Services, unique: Callable[[str], str]
) -> None:
    with KsqlClient(services.ksql_url) as client:
        assert answer(client, golden, unique("golden").upper()) == golden.rows


def test_every_golden_has_an_answer_and_a_name_of_its_own() -> None:
    assert len({golden.name for golden in GOLDENS}) == len(GOLDENS) > 15
    assert all(golden.rows for golden in GOLDENS)
