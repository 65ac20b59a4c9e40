"""What ksqlDB does and gradstream's engine does not: statements that are carried out after they were answered."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gradstream.errors import RetryError, UnavailableError
from gradstream.shell import client
from gradstream.shell.client import KsqlClient, RefusedStatementError

COMMAND = "stream/`A B`/create"


@contextmanager
def server(statuses: list[str], asked: list[str]) -> Iterator[str]:
    """The address of one that tells these statuses of its one command, one after the other, the last for ever."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(
                [{"@type": "currentStatus", "commandId": COMMAND, "commandStatus": next_()}]
            )

        def do_GET(self) -> None:
            asked.append(" ".join(filter(None, (self.path, self.headers["Authorization"]))))
            self.answer(next_())

        def answer(self, content: object) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    def next_() -> dict[str, str]:
        status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
        return {"status": status, "message": f"it is {status}"}

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_a_statement_in_the_queue_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LOOK_SECONDS", 0.0)
    asked: list[str] = []
    with server(["QUEUED", "EXECUTING", "SUCCESS"], asked) as url, KsqlClient(url) as ksql:
        (entity,) = ksql.execute("CREATE STREAM …;")
    assert entity["commandStatus"] == {"status": "SUCCESS", "message": "it is SUCCESS"}
    assert asked == ["/status/stream/%60A%20B%60/create"] * 2


@pytest.mark.parametrize("statuses", [["ERROR"], ["QUEUED", "ERROR"]])
def test_a_statement_that_fails_when_it_is_carried_out_is_refused(statuses: list[str]) -> None:
    with (
        server(statuses, []) as url,
        KsqlClient(url) as ksql,
        pytest.raises(RefusedStatementError, match="it is ERROR"),
    ):
        ksql.execute("CREATE STREAM …;")


def test_a_statement_that_stays_in_the_queue_is_told() -> None:
    with (
        server(["QUEUED"], []) as url,
        KsqlClient(url, timeout=0.5) as ksql,
        pytest.raises(RetryError, match=r"KSQL_TIMEOUT: .* in its queue"),
    ):
        ksql.execute("CREATE STREAM …;")


def test_a_password_in_the_address_is_sent_and_never_shown() -> None:
    with (
        KsqlClient("http://me:secret@127.0.0.1:9") as ksql,
        pytest.raises(UnavailableError) as caught,
    ):
        ksql.execute("SHOW STREAMS;")
    assert "secret" not in str(caught.value)
    assert "http://127.0.0.1:9" in str(caught.value)
    asked: list[str] = []
    with server(["SUCCESS"], asked) as url, KsqlClient(url.replace("//", "//me:secret@")) as ksql:
        ksql.execute("CREATE STREAM …;")
        ksql.health()
    assert asked == ["/healthcheck Basic bWU6c2VjcmV0"]
