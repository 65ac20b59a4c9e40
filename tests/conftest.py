"""Fixtures shared by all tests: the real stack, started once for the whole run, and names."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Callable

import pytest

from gradstream.config import Services

pytest_plugins = ["tests.shows", "tests.workers", "tests.examples"]

# A shell that starts the tests in the background has them ignore Ctrl-C, and their children with them.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def services(gradstream_services: Services) -> Services:
    """Addresses of a real Kafka, registry and KSQL engine, as the plugin of pytest gives them to any project."""
    return gradstream_services


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Names for topics, groups and streams that no other test has."""
    return lambda prefix: f"{prefix}_{uuid.uuid4().hex[:10]}"
