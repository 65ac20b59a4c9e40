"""Fixtures shared by all tests: the real local stack, started once for the whole run."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict

import pytest

from gradstream.config import Services

# A shell that starts the tests in the background has them ignore Ctrl-C, and their children with them.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Addresses of a real Kafka, registry and KSQL engine.

    Those named by GRADSTREAM_BOOTSTRAP_SERVERS and its sisters where set, else a local stack with data of its own.
    """
    if "GRADSTREAM_BOOTSTRAP_SERVERS" in os.environ:
        yield Services.find()
        return
    from gradstream.stack import LocalStack

    with (
        LocalStack(home=tmp_path_factory.mktemp("stack")) as stack,
        pytest.MonkeyPatch.context() as patch,
    ):
        # Commands that a test runs find the services as a user's would.
        for name, value in asdict(stack.services).items():
            patch.setenv(f"GRADSTREAM_{name.upper()}", value)
        yield stack.services


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Names for topics, groups and streams that no other test has."""
    return lambda prefix: f"{prefix}_{uuid.uuid4().hex[:10]}"
