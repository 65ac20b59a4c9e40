"""Waiting for a KSQL server that is still starting, or not there yet, as in a start-up script."""

from __future__ import annotations

import time
from collections.abc import Callable

from gradstream.errors import GradstreamError
from gradstream.shell.client import KsqlClient

LOOK_SECONDS = 0.5
# Not there yet, loading, too busy to answer, or gone again; anything else will not pass by itself.
PASSING = frozenset({"KSQL_UNREACHABLE", "KSQL_STARTING", "KSQL_TIMEOUT", "KSQL_LOST"})


def wait_until_ready(
    client: KsqlClient, timeout: float, on_wait: Callable[[GradstreamError], None]
) -> None:
    """Returns once the server carries out statements; one that changes nothing is asked for.

    Args:
        timeout: seconds; the last question is asked before they are over.
        on_wait: called with the reason each time that it is another than before.

    Raises:
        GradstreamError: the last reason, when the time is over; at once, what waiting does not change.
    """
    deadline = time.monotonic() + timeout
    told = ""
    while True:
        try:
            client.execute("SHOW STREAMS;")
            return
        except GradstreamError as error:
            if error.code not in PASSING or time.monotonic() + LOOK_SECONDS > deadline:
                raise
            if error.code != told:
                told = error.code
                on_wait(error)
        time.sleep(LOOK_SECONDS)
