"""``gradstream bench peers``: gradstream beside what a Python user would otherwise take, on one broker, in one run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.progress import Progress

from benchmarks import effort
from benchmarks.machine import describe
from benchmarks.peers import environments, feeds, page, plot, runs, tables
from benchmarks.peers.catalogue import NUMBA, OWN, PEERS, Peer
from benchmarks.peers.feeds import Feed
from benchmarks.peers.outcome import Outcome, figures
from gradstream import command
from gradstream.config import Services
from gradstream.console import notes, progress, results
from gradstream.errors import GradstreamError, UsageError

SECONDS = 2.0  # that the clock of a run lasts at most
PACKAGES = ("gradstream", "confluent-kafka", "numba", "numpy", "pyarrow")
ABOUT = """\
Topic to trained model: gradstream beside NumPy by hand, scikit-learn, River,
Quix Streams, Bytewax, Pathway, PyTorch and Keras, and beside clients that only
read. Same broker, same records, in turns, each run in a fresh process, each
peer at its best settings (benchmarks/peers/README.md tells which and why).

The first time, environments for the peers are made in the cache folder: about
500 MB to download. After that it takes about six minutes. Shows tables, writes peers.json
and peers.png. The exit code is 1 when a goal is missed or
a trained model is wrong.

  gradstream bench peers                    all
  gradstream bench peers quix river         gradstream and those with such a name
  gradstream bench peers --repeats 1        in a third of the time"""


def flags() -> command.Parser:
    parser = command.parser("bench peers", ABOUT)
    add = parser.add_argument
    add("names", nargs="*", metavar="WORD", help="peers with such a word in their name")
    add("--repeats", type=int, default=3, metavar="N", help="runs of each; default: %(default)s")
    add(
        "--quick",
        action="store_true",
        help="a twentieth of the records, one run of each: shows that everything works, and nothing else",
    )
    add("--out", type=Path, default=Path("out"), metavar="FOLDER", help="default: %(default)s")
    return parser


def chosen(words: Sequence[str]) -> list[Peer]:
    """Peers that a word is part of, gradstream always among them; all of them without words.

    Raises:
        UsageError: UNKNOWN_PEER.
    """
    for word in words:
        if not any(word.lower() in peer.name.lower() for peer in PEERS):
            raise UsageError(
                "UNKNOWN_PEER",
                f"no peer has {word!r} in its name; there are: {'; '.join(p.name for p in PEERS)}",
            )
    if not words:
        return list(PEERS)
    return [
        peer
        for peer in PEERS
        if peer.name == NUMBA or any(word.lower() in peer.name.lower() for word in words)
    ]


class Comparing:
    """One comparison.

    Attributes:
        outcomes: one for each peer, in the order in which they take turns.
    """

    def __init__(self, peers: Sequence[Peer], bar: Progress) -> None:
        self.outcomes = [Outcome(peer, skipped=peer.why) for peer in peers]
        self._bar = bar
        self._task = bar.add_task("", total=None)
        effort.NOW.say = self._say

    @property
    def there(self) -> list[Outcome]:
        return [each for each in self.outcomes if not each.skipped]

    def make_environments(self) -> None:
        """Those that are missing. Peers of one that cannot be made are left out."""
        wanted = {each.peer.environment for each in self.there} - {OWN}
        missing = [name for name in sorted(wanted) if not environments.ready(name)]
        for name in missing:
            size = environments.MEGABYTES[name]
            told = f"installing {name}, once: about {size} MB to download"
            self._say(told)
            notes.print(told, markup=False)
            try:
                environments.make(name)
            except GradstreamError as error:
                for each in self.there:
                    if each.peer.environment == name:
                        each.skipped = str(error)

    def measure(self, services: Services, repeats: int) -> None:
        """Fills the topics once; then the peers take turns, so that a busy moment of the machine meets all of them."""
        layouts = dict.fromkeys(each.peer.layout for each in self.there)
        filled: dict[str, Feed] = {}
        for layout in layouts:
            filled[layout] = feeds.fill(services, layout, effort.rows(feeds.ROWS[layout]))
        self._bar.update(self._task, total=repeats * len(self.there), completed=0)
        for turn in range(repeats):
            for each in self.there:
                if not each.problem:
                    self._say(f"{each.peer.name}, {turn + 1} of {repeats}")
                    each.add(runs.run(each.peer, filled[each.peer.layout], services, SECONDS))
                self._bar.advance(self._task)

    def _say(self, text: str) -> None:
        self._bar.update(self._task, description=text)


@contextmanager
def broker() -> Iterator[Services]:
    """As for all benchmarks. Imported here, since that module starts this one."""
    from benchmarks.__main__ import stack

    with stack() as services:
        yield services


def compare(words: Sequence[str], repeats: int) -> list[Outcome]:
    peers = chosen(words)
    with progress("runs") as bar:
        made = Comparing(peers, bar)
        made.make_environments()
        with broker() as services:
            made.measure(services, repeats)
    return made.outcomes


def main(argv: list[str]) -> int:
    given = flags().parse_args(argv)
    effort.NOW.quick = given.quick
    machine = describe(PACKAGES)
    outcomes = compare(given.names, effort.repeats(given.repeats))
    show(outcomes)
    given.out.mkdir(parents=True, exist_ok=True)
    page.write(given.out / "peers.json", machine, given.quick, outcomes)
    plot.draw(outcomes, machine, given.out / "peers.png", {})
    notes.print(f"written to {given.out}: peers.json, peers.png", markup=False)
    return code(outcomes, given.quick)


def show(outcomes: Sequence[Outcome]) -> None:
    """Everything measured, as tables; then what was left out and what is wrong."""
    results.print(tables.terminal(outcomes))
    results.print(tables.goals(figures(outcomes)))
    for each in outcomes:
        if each.problem:
            notes.print(f"{each.peer.name}: {each.problem}", markup=False, soft_wrap=True)
        elif each.skipped:
            notes.print(f"left out: {each.peer.name}: {each.skipped}", markup=False, soft_wrap=True)


def code(outcomes: Sequence[Outcome], quick: bool) -> int:
    """0 when every model is right and, unless the run was a quick one, every goal is reached."""
    if any(each.problem for each in outcomes):
        return 1
    return int(not quick and not all(each.reached for each in figures(outcomes)))
