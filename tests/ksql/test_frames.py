"""SELECT as a pandas frame and as batches of NumPy columns."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import islice

import numpy as np
import pytest

from gradstream.errors import DataError, UnavailableError, UsageError
from gradstream.ksql import query_frame, settings, stream
from gradstream.shell.client import KsqlClient, RefusedStatementError

EARLIEST = {"auto.offset.reset": "earliest"}
Eventually = Callable[..., bool]
Queries = Callable[[str], list[str]]


@pytest.mark.integration
@pytest.mark.parametrize("end", ["", " EMIT CHANGES LIMIT 3;"])
def test_a_frame(numbers: str, end: str) -> None:
    found = query_frame(f"SELECT * FROM {numbers}{end}", properties=EARLIEST)
    assert list(found.columns) == ["N", "V1", "low er"]
    assert found["N"].tolist() == [1, 2, 3]
    assert found["V1"].isna().tolist() == [False, True, False]
    assert found["low er"].tolist()[::2] == ["a,]", "ü"]
    assert found.attrs == {"ended": "end"}


@pytest.mark.integration
def test_a_frame_of_a_query_that_goes_on(
    numbers: str, queries: Queries, eventually: Eventually
) -> None:
    text = f"SELECT N FROM {numbers} EMIT CHANGES"
    by_limit = query_frame(text, properties=EARLIEST, limit=2)
    assert (by_limit["N"].tolist(), by_limit.attrs) == ([1, 2], {"ended": "limit"})
    for seconds in (0.5, 5.0, 30.0):  # a busy machine takes its time to begin
        by_time = query_frame(text, properties=EARLIEST, timeout=seconds)
        if len(by_time):
            break
    assert (by_time["N"].tolist(), by_time.attrs) == ([1, 2, 3], {"ended": "timeout"})
    assert eventually(lambda: queries(numbers) == [])
    with pytest.raises(UsageError, match=r"ENDLESS_QUERY.*LIMIT"):
        query_frame(text)


@pytest.mark.integration
def test_a_frame_that_is_empty_says_why(numbers: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = f"SELECT N FROM {numbers} EMIT CHANGES"
    assert len(query_frame(text, timeout=0.3)) == 0
    assert "SET 'auto.offset.reset'='earliest'" in capsys.readouterr().err
    query_frame(f"SELECT N FROM {numbers} WHERE N > 5;")
    query_frame(text + " LIMIT 3", properties=EARLIEST)
    assert capsys.readouterr().err == ""


@pytest.mark.integration
def test_what_is_wrong_is_underlined(here: KsqlClient, numbers: str) -> None:
    text = f"SELECT N,\n  NOPE\nFROM {numbers}"
    with pytest.raises(RefusedStatementError, match="line 2:3") as caught:
        query_frame(text)
    assert caught.value.excerpt == "  NOPE\n  ^^^^"
    with pytest.raises(RefusedStatementError, match="line 2:3"):
        list(stream(text))
    shown = caught.value._render_traceback_()
    assert shown == [str(caught.value), "  NOPE", "  ^^^^"]


def test_one_select_is_wanted() -> None:
    for text in ("SHOW STREAMS;", "SELECT 1 FROM a; SELECT 2 FROM b;", " "):
        for ask in (query_frame, stream):
            with pytest.raises((UsageError, DataError), match="NOT_A_SELECT"):
                ask(text)


def test_words_in_names_and_comments_do_not_make_a_query_endless() -> None:
    nowhere = "http://127.0.0.1:1"
    for text in (
        "SELECT 'EMIT', `EMIT` FROM a -- EMIT CHANGES",
        "SELECT A FROM a EMIT CHANGES /* */ LIMIT 3",
    ):
        with pytest.raises(UnavailableError, match=r"KSQL_UNREACHABLE.*gradstream up.*docker compose up"):  # fmt: skip
            query_frame(text, url=nowhere)
    for text in ("SELECT A FROM a EMIT CHANGES -- LIMIT 3", "SELECT `LIMIT` FROM a EMIT CHANGES"):
        with pytest.raises(UsageError, match="ENDLESS_QUERY"):
            query_frame(text, url=nowhere)


def test_without_a_stack_one_line_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADSTREAM_KSQL_URL", "http://127.0.0.1:1")
    with pytest.raises(UnavailableError) as caught:
        query_frame("SELECT A FROM a")
    (shown,) = caught.value._render_traceback_()
    assert "gradstream up" in shown
    assert "\n" not in shown


@pytest.fixture
def many(here: KsqlClient, numbers: str) -> str:
    """The stream with rows 1 to 250, V1 missing in every tenth from the fourth on."""
    rows = "".join(
        f"INSERT INTO {numbers} (N, V1) VALUES ({n}, {'NULL' if n % 10 == 0 else f'{n}e0'});"
        for n in range(4, 251)
    )
    here.execute(rows)
    return numbers


@pytest.mark.integration
def test_batches_are_columns(many: str) -> None:
    batches = list(stream(f"SELECT N, V1 FROM {many};", batch_rows=100))
    assert all(len(of["N"]) == len(of["V1"]) <= 100 for of in batches)
    n = np.concatenate([of["N"] for of in batches])
    v = np.concatenate([of["V1"] for of in batches])
    assert (n.dtype, v.dtype) == (np.int64, np.float64)
    np.testing.assert_array_equal(n, np.arange(1, 251))
    empty = (n % 10 == 0) | (n == 2)
    np.testing.assert_array_equal(np.isnan(v), empty)
    np.testing.assert_array_equal(v[3:][~empty[3:]], n[3:][~empty[3:]])


@pytest.mark.integration
def test_limit_and_time_out_end_batches(many: str) -> None:
    text = f"SELECT N FROM {many} EMIT CHANGES"
    limited = stream(text, properties=EARLIEST, batch_rows=64, limit=130)
    assert sum(len(of["N"]) for of in limited) == 130
    timed = stream(text, properties=EARLIEST, timeout=1.0)
    assert sum(len(of["N"]) for of in timed) == 250


@pytest.mark.integration
def test_leaving_the_loop_ends_the_query(
    many: str, queries: Queries, eventually: Eventually
) -> None:
    for batch in stream(f"SELECT N FROM {many} EMIT CHANGES;", properties=EARLIEST, batch_rows=10):
        assert batch["N"].tolist() == list(range(1, 11))
        assert len(queries(many)) == 1
        break
    assert eventually(lambda: queries(many) == [])


@pytest.mark.integration
def test_an_error_in_the_loop_ends_the_query(
    many: str, queries: Queries, eventually: Eventually
) -> None:
    def learn() -> None:
        for batch in stream(f"SELECT N FROM {many} EMIT CHANGES;", properties=EARLIEST):
            raise ZeroDivisionError(len(batch["N"]))

    with pytest.raises(ZeroDivisionError):
        learn()
    assert eventually(lambda: queries(many) == [])


@pytest.mark.integration
def test_a_few_rows_are_not_waited_on_for_a_whole_batch(here: KsqlClient, numbers: str) -> None:
    settings.properties.update(EARLIEST)
    batches = stream(f"SELECT N FROM {numbers} EMIT CHANGES;", batch_rows=1000)
    assert next(batches)["N"].tolist() == [1, 2, 3]
    threading.Timer(0.3, lambda: here.execute(f"INSERT INTO {numbers} (N) VALUES (4);")).start()
    assert [of["N"].tolist() for of in islice(batches, 1)] == [[4]]


def test_a_batch_has_a_row_at_least() -> None:
    with pytest.raises(UsageError, match="batch_rows=0"):
        stream("SELECT A FROM a;", batch_rows=0)
