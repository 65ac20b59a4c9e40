"""The page says what the records say, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import page, tables
from benchmarks.figure import Figure
from benchmarks.page import Kept
from benchmarks.record import Record
from gradstream.errors import UsageError

MACHINE = {
    "time": "2026-11-21T10:00:00+00:00",
    "processor": "abacus",
    "cores": 2,
    "load": 0.5,
    "memory_gib": 4.0,
    "system": "Linux 6",
    "python": "3.11.7",
    "versions": {"numpy": "2.4.6"},
}
FAST = Figure("topic → trained", (2e6, 2.4e6), "bare consume(256)", (1.2e6, 1e6), 3.0)
KCAT = Figure("topic → trained", (2e6, 2.4e6), "kcat", (3e6, 3.2e6), 0.65)
SLOW = Figure("gradstream --help", (180.0, 160.0), unit="ms", limit=150, smaller=True)
POINTS = [
    Figure("", (rate,), "bare consume(256)", (1e6,), series=series, at=at)
    for series in ("features", "batch size", "partitions")
    for at, rate in ((10, 2e6), (100, 1e6), (1000, 1e5))
] + [
    Figure("", (size,), unit="MiB", smaller=True, series="records", at=at)
    for at, size in ((1e5, 200.0), (1e6, 220.0), (1e7, 221.0))
]


PICTURES = {
    "scaling.png": page.FIGURES,
    "latency.png": page.FIGURES,
    "backends.png": page.BACKENDS,
    "peers.png": page.PEERS,
}


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    record = Record(MACHINE, quick=False)
    record.questions = {"train": "?", "startup": "?", "scaling": "?"}
    record.seconds = {"train": 61.0, "startup": 59.0}
    record.figures = {"train": [FAST, KCAT], "startup": [SLOW], "scaling": POINTS}
    record.failed = {"engine": "UnavailableError: gone"}
    record.write(tmp_path / page.FIGURES)
    backends = page.RESULTS / page.BACKENDS
    (tmp_path / page.BACKENDS).write_bytes(backends.read_bytes())
    return Kept(tmp_path)


def between(text: str) -> list[str]:
    """The lines that were made."""
    return [line for line in text.splitlines()[1:-1] if line]


def part(kept: Kept, words: str) -> list[str]:
    return between(page.rendered(f"<!-- page: {words} -->\nold\n<!-- page: end -->", kept))


def test_the_page_and_its_pictures_are_made_from_the_records_kept() -> None:
    kept = Kept(page.RESULTS)
    assert page.rendered(page.PAGE.read_text(), kept) == page.PAGE.read_text()
    for name, record in PICTURES.items():
        if (kept.folder / record).exists():
            with Image.open(page.PICTURES / name) as picture:
                assert picture.info[page.SOURCE] == kept.mark(record)[page.SOURCE], name


def test_a_figure_has_a_row_and_one_below_for_each_reference(kept: Kept) -> None:
    assert part(kept, "figures train startup")[2:] == [
        "| **train: topic → trained** | 2.4 M/s | 17% |  |  |",
        "| against bare consume(256) | 1.2 M/s | 17% | 2.00× | *≥ 3×: missed* |",
        "| against kcat | 3.2 M/s | 6% | 0.75× | ≥ 0.65× |",
        "| **startup: gradstream --help** | 160 ms | 11% |  | *≤ 150 ms: missed* |",
    ]


def test_what_was_missed_and_what_was_not_measured_is_said(kept: Kept) -> None:
    assert part(kept, "missed") == [
        "- train: topic → trained: 2.00× of bare consume(256), goal ≥ 3×",
        "- startup: gradstream --help: 160 ms, goal ≤ 150 ms",
    ]
    assert part(kept, "figures engine")[-1] == (
        "`engine` was not measured in this run: UnavailableError: gone"
    )
    (machine,) = part(kept, "machine")
    assert machine.startswith("2026-11-21, abacus, 2 cores, 4.0 GiB, Linux 6, load 0.5 before")
    assert "The files took 2 minutes" in machine


def test_backends_are_told_as_multiples_of_numpy(kept: Kept) -> None:
    told = json.loads((kept.folder / page.BACKENDS).read_text())
    _, heading, _, golden, *_ = part(kept, "backends")
    assert heading.startswith("| case | NumPy | pure Python | Numba |")
    numba = next(o for o in told["cases"][0]["outcomes"] if o["backend"] == "numba")
    assert f"| {numba['ratio']:.1f}× |" in golden


def test_what_is_not_of_the_page_stays(kept: Kept) -> None:
    text = "a\n<!-- page: missed -->\n<!-- page: end -->\nb\n<!-- page: machine -->\n<!-- page: end -->\nc"
    made = page.rendered(text, kept)
    assert made.startswith("a\n<!-- page: missed -->\n\n- train: topic")
    assert "\nb\n<!-- page: machine -->" in made
    assert made.endswith("<!-- page: end -->\nc")
    assert page.rendered(made, kept) == made


def test_a_part_that_there_is_not_is_refused(kept: Kept) -> None:
    with pytest.raises(UsageError, match=r"^BAD_PAGE: the page wants 'weather'; there are: "):
        part(kept, "weather")


def test_pictures_tell_which_record_they_are_from(kept: Kept, tmp_path: Path) -> None:
    page.draw(kept, tmp_path)
    for name, record in (("scaling.png", page.FIGURES), ("backends.png", page.BACKENDS)):
        with Image.open(tmp_path / name) as picture:
            assert picture.size == (1600, 1050)
            assert picture.info[page.SOURCE] == kept.mark(record)[page.SOURCE]


def test_a_record_is_read_as_it_was_written(kept: Kept) -> None:
    record = kept.figures
    assert record.figures["train"] == [FAST, KCAT]
    assert record.figures["startup"] == [SLOW]
    assert not record.reached
    assert [point.at for point in tables.lines(record.figures["scaling"])["records"]] == [
        1e5,
        1e6,
        1e7,
    ]


def test_another_file_is_no_record(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^BAD_RECORD: .*/nothing.json is none of benchmarks"):
        page.main([str(tmp_path / "nothing.json")])
