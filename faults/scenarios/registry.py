"""The registry goes away, hangs or talks nonsense under a trainer that knows its schemas, and under one that does not."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

from faults.attempt import Attempt, Died, Ending, Plan
from faults.lab import Lab
from faults.run import Run
from faults.topic import Topic, data, schema_of
from gradstream.wire.codec_avro import encode
from gradstream.wire.registry import Registry
from gradstream.wire.writer import Writer

QUESTION = (
    "does a trainer wait for a registry that it needs, without taking good records for bad ones?"
)
SAMPLE, FULL = 3, 21
NEEDS_STACK = True
FLAGS = {"publish_every": 2, "batch_size": 128}
ROWS = 12_000  # of each of two schemas; more than a fetch gives, so that the second is met later
AWAY = 3.0  # seconds
ACCIDENTS = (
    *("killed", "SIGSTOP", "answers 500", "answers garbage"),
    *("answers 404", "answers other JSON", "never answers"),
)
SAMPLED = ("answers 500", "killed", "answers garbage")


def attempts(lab: Lab, plan: Plan) -> Iterator[Attempt | Ending]:
    topic = lab.topic(partitions=1)
    twice(topic)
    unkilled = lab.reference(topic, **FLAGS)
    kinds = SAMPLED if plan.sample else ACCIDENTS
    for number in range(plan.attempts):
        run = lab.run(topic, **FLAGS)
        what, warm = kinds[number % len(kinds)], number // len(kinds) % 3 == 2
        yield accident(lab, run, what, warm)
        yield run.ending(unkilled)


def twice(topic: Topic) -> None:
    """Rows of one schema, then rows of its successor, which has a column more."""
    X, y = data(2 * ROWS, topic.columns, 3)
    topic.send(X[:ROWS], y[:ROWS], poison={5: b"junk"})
    schema = json.loads(schema_of(topic.columns))
    schema["fields"].append({"name": "NOTE", "type": ["null", "string"], "default": None})
    text = json.dumps(schema)
    with closing(Registry(topic.services.schema_registry_url)) as registry:
        newer = registry.register(f"{topic.name}-value", text)
    names = [field["name"] for field in schema["fields"]]
    words = pa.array(["x"] * ROWS)
    columns = [words, *(pa.array(column) for column in X[ROWS:].T), pa.array(y[ROWS:]), words]
    values = encode(pa.RecordBatch.from_arrays(columns, names=names), text, newer)
    with Writer(topic.services) as writer:
        writer.send(topic.name, values, partitions=np.zeros(ROWS, np.int32))
        writer.flush()


def accident(lab: Lab, run: Run, what: str, warm: bool) -> Attempt:
    """Cold: the trainer has not met the older schema yet, since it starts by asking for the newest. Warm: it has met both."""
    phase = "warm: after_fetch" if warm else "cold: after_fetch"
    attempt = Attempt("registry", phase, what, run.name)
    point = "after_fetch:3=stop" if warm else "after_fetch=stop"
    with (
        attempt,
        Between(lab.services.schema_registry_url) as between,
        run.start(point, GRADSTREAM_SCHEMA_REGISTRY_URL=between.url) as trainer,
    ):
        trainer.await_stopped()
        attempt.at, before = run.place(), run.seen()
        with away(lab, between, what):
            trainer.thaw()
            time.sleep(AWAY)
            run.seen()
            if not trainer.alive and not (warm and trainer.code == 0):
                raise Died(trainer.state())
            if not warm and run.seen() > before:
                attempt.fail("it committed without having known the schema")
            if warm and run.seen() <= before:
                attempt.fail("it waited for a registry that it did not need")
            back = time.monotonic()
        if trainer.await_exit():
            raise Died(trainer.state())
        attempt.detail = f"ended {time.monotonic() - back:.1f} s after the registry was back"
        attempt.counted = True
    return attempt


@contextmanager
def away(lab: Lab, between: Between, what: str) -> Iterator[None]:
    if what == "killed":
        lab.registry.kill()
        yield
        lab.registry.start()
    elif what == "SIGSTOP":
        lab.registry.freeze()
        try:
            yield
        finally:
            lab.registry.thaw()
    else:
        between.mood = what
        yield
        between.mood = ""


class Between:
    """Stands between a trainer and the registry, and passes on what is asked, or does as its mood is."""

    def __init__(self, registry: str) -> None:
        self.mood = ""
        place = urlsplit(registry)
        self._target = f"{place.scheme}://{place.netloc}"
        self._ended = threading.Event()
        between = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                between.answer(self)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}{place.path}"

    def answer(self, asked: BaseHTTPRequestHandler) -> None:
        if self.mood == "never answers":
            self._ended.wait(30.0)
            return
        status, body = {
            "answers 500": (500, b'{"error_code": 50001, "message": "storage is away"}'),
            "answers garbage": (200, b"<html>welcome</html>"),
            "answers other JSON": (200, b'{"status": "UP"}'),
            "answers 404": (404, b"<html>not found</html>"),
        }.get(self.mood) or self._passed_on(asked)
        asked.send_response(status)
        asked.send_header("Content-Length", str(len(body)))
        asked.end_headers()
        asked.wfile.write(body)

    def _passed_on(self, asked: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        length = int(asked.headers.get("Content-Length") or 0)
        body = asked.rfile.read(length) if length else None
        kind = {"Content-Type": asked.headers.get("Content-Type") or "application/json"}
        wanted = urllib.request.Request(  # noqa: S310  the registry's own address
            self._target + asked.path, body, kind, method=asked.command
        )
        try:
            with urllib.request.urlopen(wanted, timeout=30) as answer:  # noqa: S310
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 502, b""

    def __enter__(self) -> Between:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
