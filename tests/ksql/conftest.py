"""An engine of these tests' own, found as a user's is, and a session that forgets its settings after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import gradstream.ksql
from gradstream.shell.client import KsqlClient
from tests.engine.conftest import EngineProcess, engine, eventually_fixture, start_engine

__all__ = ["engine", "eventually_fixture", "start_engine"]


@pytest.fixture
def here(engine: EngineProcess, monkeypatch: pytest.MonkeyPatch) -> KsqlClient:
    """The engine's client; Services.find() finds the engine."""
    monkeypatch.setenv("GRADSTREAM_KSQL_URL", engine.url)
    return engine.client


@pytest.fixture
def api(here: KsqlClient) -> Any:
    """A KSQLAPI of the package ksql."""
    from ksql import KSQLAPI

    return KSQLAPI(here.url)


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    gradstream.ksql.settings.properties.clear()
    gradstream.ksql.settings.variables.clear()


@pytest.fixture
def queries(here: KsqlClient) -> Callable[[str], list[str]]:
    """Ids of the push queries whose statement has a word in it."""

    def found(word: str) -> list[str]:
        listed = here.execute("SHOW QUERIES;")[0]["queries"]
        return [
            of["id"] for of in listed if of["queryType"] == "PUSH" and word in of["queryString"]
        ]

    return found


@pytest.fixture
def numbers(here: KsqlClient, unique: Callable[[str], str]) -> str:
    """A stream N BIGINT, V1 DOUBLE, `low er` STRING with the rows 1, 2 (whose others are null) and 3."""
    name = unique("numbers").upper()
    here.execute(
        f"CREATE STREAM {name} (N BIGINT, V1 DOUBLE, `low er` STRING) "
        f"WITH (KAFKA_TOPIC='{name}', VALUE_FORMAT='JSON', PARTITIONS=1);"
        f"INSERT INTO {name} (N, V1, `low er`) VALUES (1, 1.5, 'a,]');"
        f"INSERT INTO {name} (N) VALUES (2);"
        f"INSERT INTO {name} (N, V1, `low er`) VALUES (3, -2.5, 'ü');"
    )
    return name
