"""Every visible position of the input, accounted for: what the records of a run say, against what the log holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from faults.judge import descent
from faults.judge.cutting import Batch, by_log, by_ranges
from faults.judge.descent import Descent
from faults.judge.links import Link, Span
from faults.judge.rows import Lane

BLOCK = 4096  # rows taken from a partition at a time where the whole log is one batch
NAMED = 3  # offsets that a fault names at most


class Ledger:
    """Walks a run's records in order and learns what they say they have learned.

    Args:
        lanes: the input by partition.
        begins: the first offset that is left of each partition.
        features: how many.
        recompute: whether to learn, which takes about a microsecond a row and feature.

    Attributes:
        reached: offset of each partition up to which everything is accounted for.
        faults: what is wrong, a line each.
        unjudged: what has not been looked at, and why.
        recomputed: steps that were taken here as well.
    """

    def __init__(
        self,
        links: Sequence[Link],
        lanes: Mapping[int, Lane],
        begins: Mapping[int, int],
        *,
        recompute: bool = True,
    ) -> None:
        self.lanes = lanes
        self.faults: list[str] = []
        self.unjudged: dict[str, None] = {}  # in order, each once
        self.recomputed = self.step = self.trained = self.turn = 0
        first = links[0]
        starts = {span.partition: span.start for span in reversed(first.spans)}
        self.reached = {p: min(starts.get(p, first.commits.get(p, 0)), begins[p]) for p in lanes}
        self.began = dict(self.reached)
        self.epochs: Epochs | None = None
        self.recompute = recompute
        self.learner = Descent(first.settings, len(first.features))
        for link in links:
            self._take(link)

    def _take(self, link: Link) -> None:
        self.name = f"step {link.step}"
        self.learner.follow(link.settings)
        batches = self._epochs(link) if link.in_epochs else self._online(link)
        self._learn(link, batches)
        self.step = link.step
        if link.records_trained != self.trained:
            self._fault("MISCOUNTED", f"{link.records_trained} records trained, not {self.trained}")
            self.trained = link.records_trained

    def _fault(self, word: str, what: str) -> None:
        self.faults.append(f"{word}: {self.name}: {what}")

    # Positions

    def _cover(self, spans: Sequence[Span], ends: Mapping[int, int]) -> None:
        """Ranges must begin where the last ones ended, leave out nothing, and end where the record stands."""
        for span in spans:
            lane, at = self.lanes[span.partition], self.reached[span.partition]
            self._compare(span.partition, at, span.start)
            good = lane.before(span.end) - lane.before(span.start)
            if good != span.records:
                self._fault(
                    "MISCOUNTED",
                    f"{span.records} records trained of partition {span.partition}, offsets {span.start} to "
                    f"{span.end}, where {good} are good",
                )
            self.reached[span.partition] = span.end
        for partition, end in ends.items():
            self._compare(partition, self.reached[partition], end)
            self.reached[partition] = end

    def _compare(self, partition: int, at: int, now: int) -> None:
        """Where the one range ends and where the next one begins."""
        word = "LOST" if at < now else "REPEATED"
        if missed := self.lanes[partition].visible(min(at, now), max(at, now)):
            self._fault(word, f"partition {partition}, {_some(missed)}")

    # Trained on as it is read

    def _online(self, link: Link) -> list[Batch] | None:
        self.epochs = None
        taken = {p: lane.before(self.reached[p]) for p, lane in self.lanes.items()}
        self._cover(link.spans, link.commits)
        self.trained += sum(span.records for span in link.spans)
        size = link.batch_size or BLOCK
        told, count = list(by_ranges(self.lanes, link.spans, size)), link.step - self.step
        if link.mode == "bounded":
            ruled = list(islice(by_log(self.lanes, taken, link.goal, self.turn, size), len(told)))
            if ruled != told:
                self._fault("WRONG_BATCHES", "they are not those that the log alone decides")
        if link.reason == "end of the log":
            for partition, end in link.goal.items():
                self._compare(partition, link.commits[partition], end)
        if len(told) != count:
            self._fault("MISCOUNTED", f"{count} steps, but its ranges make {len(told)} batches")
            return None
        if told:
            self.turn = (sorted(link.commits).index(told[-1].partition) + 1) % len(link.commits)
        if link.turn != self.turn:
            self._fault("WRONG_BATCHES", f"it is partition {self.turn}'s turn, not {link.turn}'s")
            self.turn = link.turn
        return told

    # Several times over a bounded log

    def _epochs(self, link: Link) -> list[Batch] | None:
        self.turn = 0
        if self.epochs is None or self.epochs.over:
            self._cover(link.spans, link.goal)
            self.epochs = Epochs(link, self.lanes)
        elif link.spans != self.epochs.spans:
            self._fault(
                "WRONG_BATCHES", "the log of its epochs is not the one that they began with"
            )
        steps, rows = self.epochs.go(link)
        self.trained += rows
        if steps != link.step - self.step:
            self._fault(
                "MISCOUNTED", f"{link.step - self.step} steps, where its epochs make {steps}"
            )
            return None
        ends = self.epochs.starts if link.open_epochs else link.goal
        for partition, position in link.commits.items():
            if self.lanes[partition].visible(*sorted((position, ends[partition]))):
                self._fault(
                    "TORN", f"partition {partition} commits {position}, not {ends[partition]}"
                )
        self.epochs.over = not link.open_epochs
        return []

    # Weights

    def _learn(self, link: Link, batches: list[Batch] | None) -> None:
        if why := descent.unfit(link.settings) if self.recompute else "not asked for":
            self.unjudged[f"weights: {why}"] = None
            return
        for name in link.tensors:
            if name.startswith("stopping/") or name == "metrics/histogram":
                self.unjudged[f"tensor {name}"] = None
        if batches is None:
            self.unjudged[f"weights of {self.name}: it is not known from which batches"] = None
            if self.epochs is not None:
                self.epochs.done = self.epochs.asked
        else:
            self._steps(batches)
            for wrong in (found := self.learner.wrong(link.tensors)):
                self._fault("WRONG_WEIGHTS", wrong)
            self.recomputed += link.step - self.step
            if not found:
                return
        self.learner.adopt(link.tensors)
        self.learner.step = link.step

    def _steps(self, batches: list[Batch]) -> None:
        if self.epochs is not None:
            self.epochs.learn(self.learner)
        for partition, first, last in batches:
            lane = self.lanes[partition]
            self.learner.batch(lane.xs[first:last], lane.ys[first:last], first=True)


class Epochs:
    """Descent over one bounded log, up to where the newest record stands.

    Attributes:
        over: whether a record says that these epochs have ended.
    """

    def __init__(self, link: Link, lanes: Mapping[int, Lane]) -> None:
        self.spans = link.spans
        self.size = link.batch_size
        self.seed, self.shuffle = link.seed, link.settings["shuffle"]
        self.starts = dict(link.goal)
        for span in reversed(link.spans):
            self.starts[span.partition] = span.start
        taken = {p: lanes[p].before(self.starts[p]) for p in lanes}
        self.xs: list[Any] = []
        self.ys: list[float] = []
        for partition, first, last in by_log(lanes, taken, link.goal, 0, self.size or BLOCK):
            self.xs += lanes[partition].xs[first:last]
            self.ys += lanes[partition].ys[first:last]
        self.rows = len(self.ys)
        self.a_pass = -(-self.rows // (self.size or self.rows)) if self.rows else 0
        self.done = self.asked = 0  # batches, by us and by the records
        self.over = self.scaled = False
        self.order_of = -1

    def go(self, link: Link) -> tuple[int, int]:
        """Steps and rows from the record before to this one."""
        before, self.asked = self.asked, link.epoch * self.a_pass + link.position
        rows = self._rows_before(self.asked) - self._rows_before(before)
        return self.asked - before, rows

    def _rows_before(self, batches: int) -> int:
        epoch, rest = divmod(batches, self.a_pass) if self.a_pass else (0, 0)
        return epoch * self.rows + min(rest * (self.size or self.rows), self.rows)

    def learn(self, learner: Descent) -> None:
        """Takes the steps that the newest record claims."""
        while self.done < self.asked:
            epoch, batch = divmod(self.done, self.a_pass)
            if epoch and not self.scaled:
                self.xs, self.scaled = learner.frozen(self.xs), True
            if epoch != self.order_of:
                self.order, self.order_of = self._order(epoch), epoch
            size = self.size or self.rows
            numbers = self.order[batch * size : (batch + 1) * size]
            learner.batch(
                [self.xs[i] for i in numbers], [self.ys[i] for i in numbers], first=epoch == 0
            )
            self.done += 1

    def _order(self, epoch: int) -> Sequence[int]:
        """A function of seed and epoch: NumPy's permutation by PCG64, seeded with both."""
        if not self.shuffle or not self.size:
            return range(self.rows)
        generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, epoch])))
        order: list[int] = generator.permutation(self.rows).tolist()
        return order


def _some(offsets: Sequence[int]) -> str:
    named = ", ".join(map(str, offsets[:NAMED]))
    return f"{len(offsets)} records at offsets {named}{', …' if len(offsets) > NAMED else ''}"


def check_letters(
    letters: Sequence[tuple[int, int]],
    lanes: Mapping[int, Lane],
    began: Mapping[int, int],
    reached: Mapping[int, int],
) -> list[str]:
    """Bad records up to where the run stands must be dead letters, each once, and nothing else may be one.

    Args:
        letters: (partition, offset) of each.
    """
    faults, counts = [], Counter(letters)
    for partition, lane in lanes.items():
        bad = {
            offset: why
            for offset, why in lane.bad.items()
            if began[partition] <= offset < reached[partition]
        }
        for offset, why in bad.items():
            if not counts[partition, offset]:
                faults.append(
                    f"LOST: partition {partition}, offset {offset}: bad ({why}) and in no dead letter"
                )
    for (partition, offset), count in sorted(counts.items()):
        place = f"dead letter of partition {partition}, offset {offset}"
        if count > 1:
            faults.append(f"REPEATED: {place}: {count} times")
        if partition not in lanes or not lanes[partition].visible(offset, offset + 1):
            faults.append(f"WRONG_LETTER: {place}: no such record")
        elif offset not in lanes[partition].bad:
            faults.append(f"WRONG_LETTER: {place}: that record is good")
        elif not began[partition] <= offset < reached[partition]:
            faults.append(f"TORN: {place}: the weights stand at {reached[partition]}")
    return faults
