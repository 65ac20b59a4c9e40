"""``gradstream ksql`` as its users run it: with --execute, with files, with a script on standard input, and typed."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gradstream.config import Services
from gradstream.shell.client import KsqlClient
from gradstream.shell.prompt import HISTORY
from tests.acceptance.command_line import DATA, GRADSTREAM, UNAVAILABLE, Ended, User, check
from tests.shell.typist import Typist, typist

pytestmark = pytest.mark.integration
Unique = Callable[[str], str]
EARLY = "SET 'auto.offset.reset'='earliest';"


@pytest.fixture
def user(services: Services, tmp_path: Path) -> User:
    return User(services, tmp_path / "home")


@pytest.fixture
def stream(services: Services, unique: Unique) -> Iterator[str]:
    """A stream with three rows."""
    name = unique("SHELL").upper()
    with KsqlClient(services.ksql_url) as client:
        client.execute(
            f"CREATE STREAM {name} (ID BIGINT KEY, NAME STRING, PRICE DECIMAL(20, 2)) "
            f"WITH (KAFKA_TOPIC='{name}', VALUE_FORMAT='JSON', PARTITIONS=1);"
        )
        for number, text in enumerate(("plain", "with, comma", "東京")):
            client.execute(f"INSERT INTO {name} VALUES ({number}, '{text}', {number}.50);")
        yield name
        client.execute(f"DROP STREAM {name} DELETE TOPIC;")


def piped(user: User, text: str, *flags: str) -> Ended:
    done = subprocess.run([GRADSTREAM, "ksql", *flags], env=user.environment, input=text, capture_output=True, text=True, timeout=60)  # fmt: skip
    return Ended(("ksql", *flags), done.returncode, done.stdout, done.stderr, 0.0)


def test_rows_of_a_statement_in_each_format(user: User, stream: str) -> None:
    statement = f"SELECT * FROM {stream} LIMIT 3;"
    table, commas, objects = (
        user.run("ksql", "--execute", statement, "--format", of) for of in ("table", "csv", "json")
    )
    names = ["ID", "NAME", "PRICE"]
    expected = [["0", "plain", "0.50"], ["1", "with, comma", "1.50"], ["2", "東京", "2.50"]]
    assert list(csv.reader(commas.out.splitlines())) == [names, *expected], commas
    found = [json.loads(line, parse_float=str, parse_int=str) for line in objects.out.splitlines()]
    assert found == [dict(zip(names, row, strict=True)) for row in expected], objects
    assert [line.split(maxsplit=1)[0] for line in table.out.splitlines()] == ["ID", "0", "1", "2"]
    assert [table.code, commas.code, objects.code] == [0, 0, 0]
    assert table.err == "3 rows\n"


def test_a_script_on_standard_input(user: User, stream: str) -> None:
    script = f"""-- settings hold for what follows
DEFINE source = '{stream}';
{EARLY}
SELECT NAME FROM ${{source}} EMIT CHANGES LIMIT 2;
OUTPUT json;
DESCRIBE ${{source}};
exit;
SHOW NONSENSE;
"""
    ended = piped(user, script, "--format", "csv", "--quiet")
    assert ended.code == 0, ended
    assert ended.err == "", ended
    *rows, described = ended.out.splitlines()
    assert rows == ["NAME", "plain", '"with, comma"']
    assert json.loads(described)["sourceDescription"]["name"] == stream


def test_a_file_that_runs_another(user: User, stream: str, unique: Unique, tmp_path: Path) -> None:
    made = unique("MADE").upper()
    (tmp_path / "inner.sql").write_text(f"{EARLY}\nCREATE STREAM {made} AS SELECT * FROM {stream};")
    (tmp_path / "outer.sql").write_text(
        f"RUN SCRIPT '{tmp_path}/inner.sql';\nSHOW VARIABLES;\nDROP STREAM {made} DELETE TOPIC;\n"
    )
    ended = user.run("ksql", "--define", "a=b c", "--file", str(tmp_path / "outer.sql"))
    assert ended.code == 0, ended
    assert ended.out == "variable  value\na         b c\n", ended
    created, dropped = ended.err.splitlines()
    assert created.startswith(f"query CSAS_{made}_"), ended
    assert dropped.startswith(f"Source `{made}`"), ended


@pytest.mark.parametrize("how", ["--execute", "stdin"])
def test_a_script_ends_with_the_first_refusal(user: User, stream: str, how: str) -> None:
    script = f"SHOW VARIABLES;\nSELECT NAEM\nFROM {stream};\nSHOW TYPES;"
    ended = user.run("ksql", how, script) if how != "stdin" else piped(user, script)
    assert ended.code == DATA, ended
    assert ended.out == "variable  value\n", ended
    line, *excerpt = ended.err.splitlines()
    assert line.startswith("UNKNOWN_COLUMN: line 2:8: "), ended
    assert excerpt == ["SELECT NAEM", "       ^^^^"], ended


def test_nobody_at_the_address(user: User) -> None:
    ended = user.run("ksql", "--ksql-url", "http://127.0.0.1:9", "-e", "SHOW STREAMS;")
    check(ended, UNAVAILABLE, "KSQL_UNREACHABLE", "http://127.0.0.1:9", "gradstream up", within=10)
    with typist(
        [GRADSTREAM, "ksql", "--ksql-url", "http://127.0.0.1:9"], user.environment
    ) as shell:
        shell.wait("KSQL_UNREACHABLE: no KSQL server at http://127.0.0.1:9")
        assert shell.end() == UNAVAILABLE


@pytest.mark.parametrize("statement", ["EXPLAIN SELECT NAME FROM {} WHERE ID > 1 EMIT CHANGES;"])
def test_explain_is_an_indented_tree(user: User, stream: str, statement: str) -> None:
    ended = user.run("ksql", "-e", statement.format(stream))
    lines = ended.out.splitlines()
    depths = [line.index(step) // 4 for step in ("PROJECT", "FILTER", "SOURCE") for line in lines if line.lstrip("─└ ").startswith(step)]  # fmt: skip
    assert depths == [0, 1, 2], ended


# Typed --------------------------------------------------------------------------------------------------


@pytest.fixture
def shell(user: User) -> Iterator[Typist]:
    with typist([GRADSTREAM, "ksql"], user.environment) as made:
        made.wait("ksql>")
        yield made


def test_a_session(stream: str, shell: Typist, user: User, services: Services) -> None:
    # Several lines up to the semicolon, and a name that Tab completes.
    shell.type("SHOW\rVARIABLES;\r")
    shell.wait(r"variable  value(?s:.*)ksql>")
    shell.type(f"{EARLY}\r")
    shell.wait(r"earliest';\s+ksql>\s*$")
    begin = stream[:-3].lower()
    shell.type(f"select id, name from {begin}")
    wait_until_offered(shell, stream.lower(), begin[-1])

    # Rows come as they are written, until Ctrl-C, which frees the query and leaves the shell.
    shell.type("\t emit changes;\r")
    assert "東京" in shell.wait(r"2\s+東京")
    with KsqlClient(services.ksql_url) as client:
        client.execute(f"INSERT INTO {stream} VALUES (3, 'later', 9.99);")
        shell.wait(r"3\s+later")
        assert pushed(client, stream) == 1
        shell.type("\x03")
        shell.wait(r"stopped\s+ksql>")
        wait_until_none_is_pushed(client, stream)

    # An error is a line and the place, and the shell goes on.
    shell.type(f"SELECT\r  WRONG FROM {stream};\r")
    seen = shell.wait(r"\^\^\^\^\^\s+ksql>")
    assert "UNKNOWN_COLUMN: line 2:3: " in seen

    # Ctrl-C drops what is typed.
    shell.type("SELECT nothing\x03")
    shell.wait(r"ksql>\s*$")
    shell.type("exit\r")
    assert shell.end() == 0
    kept = (Path(user.environment["GRADSTREAM_HOME"]) / HISTORY).read_text()
    assert "+SHOW\n+VARIABLES;\n" in kept
    assert "nothing" not in kept


def test_names_are_new_after_a_statement_that_makes_one(shell: Typist, unique: Unique) -> None:
    made = unique("fresh")
    shell.type(f"CREATE STREAM {made} (A INT) WITH (KAFKA_TOPIC='{made}', VALUE_FORMAT='JSON', PARTITIONS=1);\r")  # fmt: skip
    shell.wait(r"Stream created\s+ksql>")
    shell.type(f"drop stream {made[:-2]}")
    wait_until_offered(shell, made, made[-3])
    shell.type("\t DELETE TOPIC;\r")
    shell.wait(r"was dropped\.\s+ksql>")
    shell.type("\x04")
    assert shell.end() == 0


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_what_is_drawn_fits_the_terminal(user: User, stream: str, columns: int) -> None:
    words = [GRADSTREAM, "ksql", "-e", f"SHOW FUNCTIONS; DESCRIBE {stream} EXTENDED; EXPLAIN SELECT * FROM {stream} EMIT CHANGES;"]  # fmt: skip
    with typist(words, user.environment, (50, columns)) as shell:
        assert shell.end() == 0
        lines = shell.seen.splitlines()
        assert [line for line in lines if len(line) > columns] == []
        assert any(line.startswith("MASK_KEEP_LEFT") for line in lines)


def wait_until_offered(shell: Typist, name: str, newest: str) -> None:
    """Names come in the background, so the newest character is typed anew until they are there."""
    for _ in range(60):
        if shell.sees(name, 0.5):
            return
        shell.type("\x7f" + newest)
    raise AssertionError(shell.seen)


def pushed(client: KsqlClient, stream: str) -> int:
    """How many push queries read the stream."""
    (listed,) = client.execute("SHOW QUERIES;")
    return sum(of["queryType"] == "PUSH" and stream.lower() in of["queryString"].lower() for of in listed["queries"])  # fmt: skip


def wait_until_none_is_pushed(client: KsqlClient, stream: str) -> None:
    while pushed(client, stream):  # pytest's time-out ends it where that never happens
        pass
