"""Who sits at the terminal, and the engine that answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from gradstream.config import Services
from tests.acceptance.command_line import User
from tests.engine.conftest import EngineProcess


@pytest.fixture(scope="session")
def nowhere(tmp_path_factory: pytest.TempPathFactory) -> User:
    """A user for whom nothing runs: mistakes in flags must be told without asking any service."""
    addresses = Services("127.0.0.1:9", "http://127.0.0.1:9", "http://127.0.0.1:9")
    return User(addresses, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def user(services: Services, tmp_path_factory: pytest.TempPathFactory) -> User:
    """A user of the real broker and registry."""
    return User(services, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def sql_user(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """A user with an engine whose streams nobody else sees."""
    engine = EngineProcess(services, tmp_path_factory.mktemp("engine"))
    engine.start()
    yield User(replace(services, ksql_url=engine.url), tmp_path_factory.mktemp("home"))
    engine.close()
