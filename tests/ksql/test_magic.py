"""``%%ksql`` in a real kernel, as Jupyter runs it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from gradstream.shell.client import KsqlClient

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]
ROOT = Path(__file__).parents[2]
Queries = Callable[[str], list[str]]


@dataclass
class Outcome:
    """What a cell shows: texts in their last state, each beside its HTML; the error's lines."""

    texts: dict[str, str] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)
    error: list[str] = field(default_factory=list)
    updates: int = 0

    @property
    def text(self) -> str:
        return "\n".join(self.texts.values())

    def take(self, kind: str, content: dict[str, Any]) -> None:
        if kind == "stream":
            self.texts[content["name"]] = self.texts.get(content["name"], "") + content["text"]
        elif kind == "error":
            self.error = content["traceback"]
        elif kind in ("display_data", "update_display_data", "execute_result"):
            key = content.get("transient", {}).get("display_id") or str(len(self.texts))
            self.updates += kind == "update_display_data"
            self.texts[key] = content["data"]["text/plain"]
            self.pages[key] = content["data"].get("text/html", "")


class Kernel:
    """One kernel with the extension loaded."""

    def __init__(self, url: str) -> None:
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(
            cwd=str(ROOT), env={**os.environ, "GRADSTREAM_KSQL_URL": url, "PYTHONWARNINGS": ""}
        )
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        assert self.run("%load_ext gradstream.ksql").text == ""

    def run(self, cell: str, until: Callable[[Outcome], bool] | None = None) -> Outcome:
        """Runs a cell to its end; once ``until`` holds, the kernel is interrupted."""
        identifier = self.client.execute(cell)
        outcome = Outcome()
        while True:
            message = self.client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") != identifier:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                return outcome
            outcome.take(kind, content)
            if until and until(outcome):
                self.manager.interrupt_kernel()
                until = None

    def value(self, expression: str) -> str:
        return self.run(expression).text

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def started(engine: Any) -> Iterator[Kernel]:
    kernel = Kernel(engine.url)
    yield kernel
    kernel.close()


@pytest.fixture
def kernel(started: Kernel) -> Iterator[Kernel]:
    """The kernel; what SET left is forgotten after the test."""
    yield started
    started.run("import gradstream.ksql; gradstream.ksql.settings.properties.clear()")


def test_several_statements_in_a_cell(kernel: Kernel, unique: Callable[[str], str]) -> None:
    name = unique("cell").upper()
    found = kernel.run(f"""%%ksql
-- a comment; with a semicolon
CREATE STREAM {name} (A BIGINT, B STRING) WITH (KAFKA_TOPIC='{name}', VALUE_FORMAT='JSON', PARTITIONS=1);
INSERT INTO {name} (A, B) VALUES (1, '<b>&');
DESCRIBE {name};
SHOW STREAMS;
SELECT * FROM {name}
""")
    created, described, streams, rows = found.texts.values()
    assert created == "Stream created"
    assert re.search(r"A +BIGINT\nB +STRING", described)
    assert re.search(rf"{name} +{name} +KAFKA +JSON", streams)
    assert re.search(r"^1 row\nA +B\n1 +<b>&$", rows)
    assert "<td>1</td><td>&lt;b&gt;&amp;</td>" in list(found.pages.values())[-1]
    assert kernel.value("_ksql.to_dict('list')") == "{'A': [1], 'B': ['<b>&']}"


def test_set_is_sticky_everywhere(kernel: Kernel, numbers: str, here: KsqlClient) -> None:
    select = f"SELECT N FROM {numbers} EMIT CHANGES;"
    empty = kernel.run(f"%%ksql --timeout 0.5\n{select}").text
    assert "0 rows" in empty
    assert "SET 'auto.offset.reset'='earliest'" in empty
    told = kernel.run("%ksql SET 'auto.offset.reset'='earliest'").text
    assert told == "set: auto.offset.reset = earliest"
    assert "3 rows" in kernel.run(f"%%ksql --limit 3 --into kept\n{select}").text
    assert kernel.value("kept is _ksql, kept.N.tolist()") == "(True, [1, 2, 3])"
    kernel.run("from gradstream.ksql import query_frame, stream\nfrom ksql import KSQLAPI")
    assert kernel.value(f"len(query_frame('{select}', limit=3))") == "3"
    assert kernel.value(f"len(next(stream('{select}'))['N'])") == "3"
    rows = f"sum(1 for _ in KSQLAPI('{here.url}').query('{select}', idle_timeout=.5, return_objects=True))"  # fmt: skip
    assert kernel.value(rows) == "3"
    assert kernel.run("%ksql UNSET 'auto.offset.reset';").text == "set: nothing"
    assert kernel.value(rows) == "0"
    given = f"%%ksql --set auto.offset.reset=earliest --timeout 1\n{select}"
    assert "3 rows" in kernel.run(given).text
    assert kernel.value("gradstream.ksql.settings.properties") == "{}"


def test_variables(kernel: Kernel, numbers: str) -> None:
    kernel.run(f"%%ksql\nDEFINE source = '{numbers}';")
    assert "3 rows" in kernel.run("%%ksql\nSELECT N FROM ${source};").text
    assert kernel.value("len(query_frame('SELECT N FROM ${source};'))") == "3"
    assert kernel.run("%ksql UNDEFINE source;").text == "set: nothing"


def test_a_live_table_grows_and_keeps_what_came_when_interrupted(
    kernel: Kernel, numbers: str, here: KsqlClient, queries: Queries, eventually: Callable[..., bool]
) -> None:  # fmt: skip
    def more_came(outcome: Outcome) -> bool:
        if "3 rows" in outcome.text and "INSERTED" not in done:
            here.execute(f"INSERT INTO {numbers} (N) VALUES (4); INSERT INTO {numbers} (N) VALUES (5);")  # fmt: skip
            done.append("INSERTED")
        return "5 rows" in outcome.text

    done: list[str] = []
    found = kernel.run(
        "%%ksql --rows 2 --into grown --set auto.offset.reset=earliest\n"
        f"SELECT N FROM {numbers} EMIT CHANGES;\nSHOW STREAMS;",
        until=more_came,
    )
    assert found.error == []
    table, note = found.texts.values()
    assert table.splitlines() == ["5 rows, the newest 2 shown; interrupted", "N", "4", "5"]
    assert note == "interrupted; not run: the 1 statement(s) below it"
    assert found.updates >= 1
    assert kernel.value("grown.N.tolist(), grown.attrs") == "([1, 2, 3, 4, 5], {'ended': 'interrupted'})"  # fmt: skip
    assert eventually(lambda: queries(numbers) == [])


def test_kept_rows_are_bounded(kernel: Kernel, numbers: str) -> None:
    found = kernel.run(f"%%ksql --keep 2 --rows 1\nSELECT N FROM {numbers};")
    assert "3 rows, the first 1 shown; the newest 2 are kept (--keep)" in found.text
    assert kernel.value("_ksql.N.tolist()") == "[2, 3]"


def test_printed_records(kernel: Kernel, numbers: str) -> None:
    found = kernel.run(f"%%ksql --limit 4\nPRINT '{numbers}' FROM BEGINNING;")
    assert "V1" in found.text
    assert found.error == []


def test_an_error_is_a_line_and_a_caret_under_the_place(kernel: Kernel, numbers: str) -> None:
    found = kernel.run(f"%%ksql\nSHOW STREAMS;\n\nSELECT N,\n  NOPE FROM {numbers};\nSHOW TABLES;")
    assert len(found.texts) == 1  # the statements before it, none after it
    first, line, caret = found.error
    assert first.startswith("UNKNOWN_COLUMN: line 4:3: ")
    assert "NOPE" in first
    assert (line, caret) == (f"  NOPE FROM {numbers};", "  ^^^^")


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("%%ksql --url http://127.0.0.1:1\nSHOW STREAMS;", "KSQL_UNREACHABLE: .*'gradstream up' or 'docker compose up'"),
        ("from ksql import KSQLAPI; KSQLAPI('http://127.0.0.1:1')", "KSQL_UNREACHABLE: .*gradstream up"),
        ("query_frame('SELECT A FROM b', url='http://127.0.0.1:1')", "KSQL_UNREACHABLE: .*gradstream up"),
        ("%%ksql --limmit 3\nSHOW STREAMS;", r"USAGE: %%ksql: unknown flag --limmit; type %%ksql\?"),
        ("%%ksql --into 3x\nSHOW STREAMS;", "USAGE: .*'3x' is no name"),
        ("%%ksql --set a\nSHOW STREAMS;", "USAGE: .*--set takes NAME=VALUE"),
        ("%%ksql\nSET 'auto.offset.rset'='earliest';", "UNKNOWN_PROPERTY: .*auto.offset.rset"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_in_the_cell(kernel: Kernel, cell: str, told: str) -> None:
    kernel.run("from gradstream.ksql import query_frame")
    (line,) = kernel.run(cell).error
    assert re.match(told, line)
