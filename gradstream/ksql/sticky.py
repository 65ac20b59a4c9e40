"""What SET and DEFINE have left in this Python session: the same for cells, query_frame, stream and KSQLAPI.

ksqlDB forgets a SET at the end of the request that it came in, so the client has to send it along each time.
"""

from __future__ import annotations

from collections.abc import Mapping

from gradstream.errors import SqlError
from gradstream.shell import script
from gradstream.shell.settings import Settings

settings = Settings()


def with_properties(given: Mapping[str, object] | None) -> dict[str, object]:
    """The session's properties and, before them, those given for this one request."""
    return {**settings.properties, **(given or {})}


def remember(text: str) -> None:
    """Keeps what the SET, UNSET, DEFINE and UNDEFINE among accepted statements say."""
    try:
        pieces = script.split(text, finish=True)
    except SqlError:
        return
    for piece in pieces:
        settings.remember(piece)


def from_the_oldest(properties: Mapping[str, object]) -> bool:
    """Whether a push query sees the rows that are there already; ksqlDB's own default is that it does not."""
    return any(
        name.endswith("auto.offset.reset") and str(value).lower() == "earliest"
        for name, value in properties.items()
    )
