"""``gradstream bench page``: the tables and pictures of a page, made from what runs have written.

Where the page says ``<!-- page: figures train fetch -->``, the text up to ``<!-- page: end -->`` is replaced: by

    machine         what the figures are from, and how long they took
    figures NAME …  those of files, as one table
    missed          all goals that were missed
    backends        the comparison of backends
    peers           the comparison with other libraries

Records are kept in ``results/``, so that page, pictures and records can be held together by a test.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import latency_picture, picture, tables
from benchmarks.backends import plot
from benchmarks.backends import tables as backend_tables
from benchmarks.backends.outcome import Comparison
from benchmarks.peers import page as of_peers
from benchmarks.record import Record
from gradstream import command
from gradstream.console import notes
from gradstream.errors import UsageError

HERE = Path(__file__).parent
PAGE = HERE / "README.md"
RESULTS = HERE / "results"
PICTURES = HERE.parent / "docs"
RECORDS = FIGURES, BACKENDS, PEERS = "benchmarks.json", "backends.json", "peers.json"
SOURCE = "Source"  # the entry of a picture that tells which record it was drawn from
PART = re.compile(r"(<!-- page: (?!end)([^>]*?) -->\n).*?(<!-- page: end -->)", re.DOTALL)
QUICK = "**A quick run: these figures show that everything works, and nothing else.**"
ABOUT = """\
Put the figures of runs on the page: its tables and pictures are made from their
records, so that they can say nothing else. Without records: from those kept."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The records of a folder."""

    folder: Path

    @property
    def figures(self) -> Record:
        return Record.read(self.folder / FIGURES)

    @property
    def backends(self) -> tuple[dict[str, Any], list[Comparison]]:
        """The machine, and all cases."""
        told = json.loads((self.folder / BACKENDS).read_text())
        return told["machine"], [Comparison.of_record(c, told["quick"]) for c in told["cases"]]

    @property
    def peers(self) -> dict[str, Any]:
        """As their comparison writes it; empty where there is none yet."""
        path = self.folder / PEERS
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def mark(self, name: str) -> dict[str, str]:
        """What tells in a picture which record it is from."""
        return {SOURCE: hashlib.sha256((self.folder / name).read_bytes()).hexdigest()}


def machine_line(machine: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return (
        f"{machine['time'][:10]}, {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}, load {machine.get('load', 0):g} before; Python {machine['python']}, {versions}"
    )


def machine(kept: Kept) -> Iterable[str]:
    record = kept.figures
    yield f"{machine_line(record.machine)}. The files took {sum(record.seconds.values()) / 60:.0f} minutes. Every repeat: [results/{FIGURES}](results/{FIGURES})."
    if record.quick:
        yield ""
        yield QUICK


def figures(kept: Kept, *names: str) -> Iterable[str]:
    record = kept.figures
    yield from tables.markdown({name: record.figures.get(name, []) for name in names})
    for name in names:
        if name not in record.figures:
            why = record.failed.get(name, "it was left out")
            yield f"\n`{name}` was not measured in this run: {why}"


def missed(kept: Kept) -> Iterable[str]:
    files = kept.figures.figures.items()
    lines = [
        f"- {file}: {line}"
        for file, found in files
        for each in found
        for line in tables.missed(each)
    ]
    yield from lines
    if not lines:
        yield "All goals were reached in this run."


def backends(kept: Kept) -> Iterable[str]:
    told, comparisons = kept.backends
    yield f"{machine_line(told)}. Every repeat: [results/{BACKENDS}](results/{BACKENDS}). As multiples of NumPy's speed, best of the repeats, one thread; what misses its goal in *italics*:\n"
    yield from backend_tables.markdown(comparisons)


def peers(kept: Kept) -> Iterable[str]:
    if not (told := kept.peers):
        yield "Not measured yet."
        return
    yield f"{machine_line(told['machine'])}. Every repeat: [results/{PEERS}](results/{PEERS}).\n"
    if told["quick"]:
        yield f"{QUICK}\n"
    yield from of_peers.markdown(told)


PARTS: dict[str, Callable[..., Iterable[str]]] = {
    "machine": machine,
    "figures": figures,
    "missed": missed,
    "backends": backends,
    "peers": peers,
}


def rendered(page: str, kept: Kept) -> str:
    """The page with all its parts made anew.

    Raises:
        UsageError: BAD_PAGE for a part that there is not.
    """

    def part(found: re.Match[str]) -> str:
        kind, *names = found[2].split()
        if kind not in PARTS:
            raise UsageError("BAD_PAGE", f"the page wants {kind!r}; there are: {', '.join(PARTS)}")
        lines = PARTS[kind](kept, *names)
        return f"{found[1]}\n" + "\n".join(lines) + f"\n\n{found[3]}"

    return PART.sub(part, page)


def draw(kept: Kept, folder: Path) -> None:
    """All pictures."""
    told, comparisons = kept.backends
    plot.draw(comparisons, told, folder / "backends.png", kept.mark(BACKENDS))
    record = kept.figures
    points = [each for figures in record.figures.values() for each in figures]
    caption = f"best of the repeats · {machine_line(record.machine)}".replace("; ", "\n")
    lines, mark = tables.lines(points), kept.mark(FIGURES)
    picture.draw(lines, caption, folder / "scaling.png", mark)
    latency_picture.draw(lines, caption, folder / "latency.png", mark)
    if told := kept.peers:
        of_peers.draw(told, folder / "peers.png", kept.mark(PEERS))


def main(argv: list[str]) -> int:
    parser = command.parser("bench page", ABOUT)
    parser.add_argument(
        "records", nargs="*", type=Path, metavar="RECORD", help=f"of {', '.join(RECORDS)}"
    )
    given = parser.parse_args(argv)
    if not RESULTS.is_dir():
        raise UsageError("NO_PAGE", f"{RESULTS} is not there; run this in a checkout of gradstream")
    for record in given.records:
        if record.name not in RECORDS or not record.is_file():
            raise UsageError(
                "BAD_RECORD", f"{record} is none of {', '.join(RECORDS)} that a run has written"
            )
        if record.resolve().parent != RESULTS:
            shutil.copyfile(record, RESULTS / record.name)
    kept = Kept(RESULTS)
    PAGE.write_text(rendered(PAGE.read_text(), kept))
    draw(kept, PICTURES)
    notes.print(f"{PAGE}, {PICTURES}: made from {RESULTS}", markup=False, soft_wrap=True)
    return 0
