"""What of the package ksql is cured, as far as it shows without a server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import gradstream.ksql  # noqa: F401  first, since the package cannot be imported before
from gradstream.ksql import results

ROOT = Path(__file__).parents[2]


def run(program: str) -> str:
    """What a fresh Python, whose warnings are errors, writes."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_one_import_makes_the_package_importable_and_leaves_no_stand_ins() -> None:
    program = """
import sys, gradstream.ksql
from ksql import KSQLAPI, SQLBuilder, FileUpload, SimplifiedAPI
from ksql.utils import check_kafka_available
assert gradstream.ksql.KSQLAPI is KSQLAPI
print("hyper" in sys.modules, "telnetlib" in sys.modules, "pandas" in sys.modules)
"""
    assert run(program) == "False False False"


def test_a_failed_import_before_ours_does_no_harm() -> None:
    program = """
try:
    from ksql import KSQLAPI
except ImportError as error:
    print(type(error).__name__, error.name)
import gradstream.ksql
from ksql import KSQLAPI
print(KSQLAPI.query.__module__)
"""
    assert run(program).splitlines() == ["ModuleNotFoundError hyper", "gradstream.ksql.patches"]


def test_classes_that_were_imported_before_are_cured_too() -> None:
    program = """
import sys, types
for name in ("hyper", "telnetlib"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["hyper"].HTTPConnection = mine = type("HTTPConnection", (), {})
from ksql import KSQLAPI
from ksql.errors import KSQLError
from ksql import api
import gradstream.ksql
error = KSQLError("what", 40001)
print(KSQLAPI.query.__module__, api.HTTPConnection.__module__, str(error), error.message, error.code)
print(sys.modules["hyper"].HTTPConnection is mine)
"""
    assert run(program).splitlines() == [
        "gradstream.ksql.patches gradstream.ksql.http2 what what 40001",
        "True",
    ]


def test_another_version_is_left_alone() -> None:
    program = """
import warnings
from importlib import metadata
found = metadata.version
metadata.version = lambda name: "0.11.0" if name == "ksql" else found(name)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import gradstream.ksql
print(*[str(of.message) for of in caught])
import sys
print("ksql" in sys.modules)
"""
    told, loaded = run(program).splitlines()
    assert told == (
        "ksql 0.11.0 is installed; gradstream.ksql repairs 0.10.2 only and leaves it as it is"
    )
    assert loaded == "False"


def test_without_the_package_the_rest_is_there_and_one_line_says_what_to_type() -> None:
    program = """
from importlib import metadata
found = metadata.version
def version(name):
    if name == "ksql":
        raise metadata.PackageNotFoundError(name)
    return found(name)
metadata.version = version
from gradstream.ksql import query_frame, stream
try:
    from gradstream.ksql import KSQLAPI
except ImportError as error:
    print(error)
"""
    told = run(program)
    assert "\n" not in told
    assert told.startswith("NO_KSQL: KSQLAPI is of the package ksql, which is not installed")
    assert "pip install --no-build-isolation --no-deps ksql==0.10.2" in told


@pytest.mark.parametrize(
    ("missing", "ask", "told"),
    [
        ("six", "import gradstream.ksql", "ksql is installed without six.* pip install six"),
        ("requests", "import gradstream.ksql", "ksql is installed without requests.* pip install requests"),
        ("pandas", "from gradstream.ksql.columns import frame; frame([], [], [])", "NO_PANDAS.* pip install 'gradstream"),
    ],
)  # fmt: skip
def test_a_package_that_is_missing_is_named(missing: str, ask: str, told: str) -> None:
    program = f"""
import sys, warnings
sys.modules[{missing!r}] = None
warnings.simplefilter("always")
warnings.showwarning = lambda message, *more: print(message)
try:
    {ask}
except ImportError as error:
    print(error)
from gradstream.ksql import query_frame
"""
    assert re.match(told, run(program))


# Lines of answers ---------------------------------------------------------------------------------------

HEADER = '[{"header":{"queryId":"q","schema":"`V1` DOUBLE, `V28` DECIMAL(4, 2), `low er` STRING, `S` STRUCT<`A` INTEGER>"}},\n'
ROW = '{"row":{"columns":[1.5,2.5,"a, ]}",{"A":1}]}},\n'
OBJECT = {"V1": 1.5, "V28": 2.5, "low er": "a, ]}", "S": {"A": 1}}


@pytest.mark.parametrize(
    "end",
    [
        ['{"finalMessage":"Limit Reached"}]\n'],  # gradstream's engine
        ['{"finalMessage":"Query Completed"}]'],  # ksqlDB
        ['{"finalMessage":"Query Completed"},\n', "]"],
        ["]\n"],
        [],  # a query that somebody has ended
    ],
)
def test_objects_end_with_the_answer(end: list[str]) -> None:
    lines = iter([HEADER, ROW, *end])
    assert list(results.process_query_result(lines, True)) == [OBJECT]


def test_a_pull_query_on_a_table_has_keys_and_no_last_comma() -> None:
    lines = [
        '[{"header":{"queryId":"q","schema":"`K` STRING KEY, `V` BIGINT"}},\n',
        '{"row":{"columns":["a",1]}},\n',
        '{"row":{"columns":["b",2]}}]',
    ]
    wanted = [{"K": "a", "V": 1}, {"K": "b", "V": 2}]
    assert list(results.process_query_result(iter(lines), True)) == wanted


def test_objects_of_the_other_protocol() -> None:
    lines = [
        '{"queryId":"q","columnNames":["V1","x"],"columnTypes":["DECIMAL(4, 2)","ARRAY<STRING>"]}\n',
        '[1.25,["a"]]\n',
    ]
    assert results.parse_columns(lines[0]) == [
        {"name": "V1", "type": "DECIMAL"},
        {"name": "x", "type": "ARRAY"},
    ]
    wanted = [{"V1": 1.25, "x": ["a"]}]
    assert list(results.process_query_result(iter(lines), True)) == wanted


@pytest.mark.parametrize("objects", [None, False])
def test_without_objects_the_lines_are_as_they_come(objects: bool | None) -> None:
    lines = [HEADER, ROW, '{"finalMessage":"Limit Reached"}]\n']
    assert list(results.process_query_result(iter(lines), objects)) == lines


@pytest.mark.parametrize(
    "line",
    [
        '{"errorMessage":{"@type":"generic_error","error_code":50000,"message":"no more"}}]\n',
        '{"@type":"generic_error","error_code":50000,"message":"no more"}\n',
    ],
)
def test_a_failure_among_the_rows_is_raised(line: str) -> None:
    from ksql.errors import KSQLError

    found = results.process_query_result(iter([HEADER, ROW, line]), True)
    assert next(found) == OBJECT
    with pytest.raises(KSQLError, match="no more") as caught:
        next(found)
    assert caught.value.code == 50000


def test_rows_of_older_servers_name_no_error() -> None:
    assert results.process_row('{"row":{"columns":[1]},"errorMessage":null},\n', [{"name": "A"}]) == {"A": 1}  # fmt: skip


# Builders and files -------------------------------------------------------------------------------------


def test_a_key_is_a_mark_on_its_column() -> None:
    from ksql import SQLBuilder

    def built(kind: str, key: str | None, columns: list[str]) -> str:
        text: str = SQLBuilder.build(sql_type="create", table_type=kind, table_name="t", columns_type=columns, topic="x", value_format="JSON", key=key)  # fmt: skip
        return text

    end = "WITH (kafka_topic='x', value_format='JSON');"
    assert built("table", "id", ["v int", "ID varchar"]) == f"CREATE table t (v int, ID varchar PRIMARY KEY) {end}"  # fmt: skip
    assert built("table", "`id`", ["`id` int PRIMARY KEY"]) == f"CREATE table t (`id` int PRIMARY KEY) {end}"  # fmt: skip
    assert built("stream", "id", ["id int"]) == f"CREATE stream t (id int KEY) {end}"
    assert built("stream", None, ["id int"]) == f"CREATE stream t (id int) {end}"
    with pytest.raises(ValueError, match="key 'nope' is none of the columns ID, LOW"):
        built("table", "nope", ["id int", "low varchar"])


def test_every_error_shows_its_message() -> None:
    from ksql import SQLBuilder, errors

    with pytest.raises(errors.IllegalTableTypeError, match="This table type view is illegal"):
        SQLBuilder.build(sql_type="create", table_type="view", table_name="t", columns_type=[], topic="x")  # fmt: skip
    with pytest.raises(errors.IllegalValueFormatError, match="This value format xml is illegal"):
        SQLBuilder.build(sql_type="create", table_type="table", table_name="t", columns_type=[], topic="x", value_format="xml")  # fmt: skip


def test_an_uploaded_file_is_read_to_its_end(tmp_path: Path) -> None:
    from ksql.upload import FileUpload

    from ksql import errors

    class Client:
        def ksql(self, text: str) -> str:
            return text

    upload = FileUpload.__new__(FileUpload)
    upload.client = Client()
    path = tmp_path / "rules.ksql"
    path.write_text("-- first\nSHOW\n  STREAMS; SHOW TABLES;\nDEFINE a = ';';\n")
    assert upload.upload(str(path)) == ["SHOW\n  STREAMS;", "SHOW TABLES;", "DEFINE a = ';';"]
    path.write_text("SHOW STREAMS; SHOW TABLES")
    with pytest.raises(errors.InvalidQueryError, match="SHOW TABLES"):
        upload.upload(str(path))
