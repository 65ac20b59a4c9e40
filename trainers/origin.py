"""Which SQL makes the topic that is trained on: asked of the KSQL server, where there is one that answers.

    asked = Origin(services, "regression_training")     # begins at once, in a thread of its own
    …                                                   # the rest of what must be found out
    asked.sql()                                         # the statements' text, None where nobody knows

The text goes into the first weights record that rests on it, since no server can be asked for it later: ksqlDB forgets
a statement once its query is terminated, and knows none by its hash.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

from gradstream.config import Services
from gradstream.errors import GradstreamError
from gradstream.shell.client import KsqlClient
from gradstream.wire.beside import Beside

SECONDS = 1.0  # since it was asked, after which nobody waits for a server any more


class Origin:
    """A question to the KSQL server that holds nobody up."""

    def __init__(self, services: Services, topic: str) -> None:
        self._services, self._topic = services, topic
        self._found: str | None = None
        self._deadline = time.monotonic() + SECONDS
        self._asking = Beside("origin", self._ask)

    def _ask(self) -> None:
        self._found = statements(self._services, self._topic)

    def sql(self) -> str | None:
        """The answer if it has come in time: SQL that nobody knows stops no training."""
        self._asking.join(max(0.0, self._deadline - time.monotonic()))
        return self._found


def statements(services: Services, topic: str) -> str | None:
    """The text of the statements whose queries write a topic now, in the order of the queries' ids; None where no
    server answers or no query writes it.
    """
    try:
        with KsqlClient(services.ksql_url, timeout=SECONDS) as client:
            entities = client.execute("SHOW QUERIES;")
        queries = [query for entity in entities for query in entity.get("queries") or []]
        texts = [_text(query) for query in sorted(queries, key=_id) if topic in _topics(query)]
    except (GradstreamError, AttributeError, TypeError):  # the last two: another kind of server
        return None
    return "\n".join(filter(None, texts)) or None


def sha256(sql: str | None) -> str | None:
    """The hash of statements, as weights records name them."""
    return None if sql is None else hashlib.sha256(sql.encode()).hexdigest()


def _text(query: dict[str, Any]) -> str:
    return str(query.get("queryString") or "").strip()


def _id(query: dict[str, Any]) -> str:
    return str(query.get("id"))


def _topics(query: dict[str, Any]) -> list[str]:
    return query.get("sinkKafkaTopics") or []
