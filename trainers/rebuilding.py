"""A run's weights once more, from the log: the same batches, the same steps, and at each record on the way the same bits.

    rebuilt = rebuild(Services.find(), "mine", "2000")
    rebuilt.learner                          # as the trainer's stood at that record

Reads only: no group, no transaction. Batches are cut as the records say, so that it does not matter which processes
trained, where they were killed, how long a live one waited, or which settings changed on the way.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from gradstream.config import Services
from gradstream.errors import ConfigError, DataError, UnavailableError, UsageError
from gradstream.wire.kafka import begin_offsets, end_offsets, require_topics, topic_ids
from gradstream.wire.records import TopicPartition
from gradstream.wire.registry import Registry
from trainers import links, models
from trainers.backends import Backend
from trainers.batches import Range
from trainers.chain import WeightsRecord
from trainers.job import FULL, Job
from trainers.learner import Learner, Rows
from trainers.links import Chain, Letter, Link
from trainers.loop import BLOCK, ROWS_A_CALL
from trainers.machine import made_by
from trainers.models import Floats, Ints, Model
from trainers.options import BY_KEY
from trainers.preflight import Plan, backend_of
from trainers.replay import Replay
from trainers.spill import Spill, epoch_order
from trainers.stopping import Stopping

# How far another backend or device may end from the recorded weights, in units of the largest of a tensor.
TOLERANCE = {"float64": 1e-6, "float32": 1e-3}
# Not compared then: a score near the edge of a bin, or a loss near the best, may fall to the other side.
COARSE = ("metrics/histogram", "stopping/")
VALUES_A_CALL = 1 << 22  # rows of full batches in one call, however often each


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """Where a rebuilt run stands.

    Attributes:
        link: the record that was asked for.
        learner: in the state of that record.
        tensors: all that the record keeps, as rebuilt.
        compared: weights records on the way, this one included.
        exact: whether equal bits were asked for; else ``largest`` is how far any tensor was away at most, in units of
            its largest number.
        records, letters: of the log that were trained on (once for each epoch) and that could not be.
        remarks: where versions or processor differ from those that trained.
    """

    link: Link
    learner: Learner
    tensors: Mapping[str, Floats]
    compared: int
    exact: bool
    largest: float
    records: int
    letters: int
    seconds: float
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """How far a rebuild has come, for whoever watches."""

    step: int
    records: int
    total: int
    compared: int


Watch = Callable[[Status], None]


def rebuild(
    services: Services,
    run: str,
    step: str = "",
    *,
    start: str = "",
    backend: str = "",
    weights_topic: str = "gradstream_weights",
    dead_letters_topic: str = "gradstream_dead_letters",
    watch: Watch | None = None,
) -> Rebuilt:
    """Replays the log up to a weights record and compares on the way.

    Args:
        step: a step or the beginning of a hash; the newest record for nothing.
        start: the same, of a record whose tensors are taken instead of those from the beginning.
        backend: another one than the records', on the CPU: then tensors must agree within TOLERANCE, not to the bit.
        watch: called now and then.

    Raises:
        DataError: REBUILD_DIFFERS at the first record and tensor that is another; LOG_INCOMPLETE, LOG_CHANGED,
            TOPIC_RECREATED where the log is not what was trained on; CHAIN_BROKEN; DEAD_LETTERS_DIFFER.
        UnavailableError: BACKEND_MISSING, NO_DEVICE where what trained is not here.
    """
    with closing(Registry(services.schema_registry_url)) as registry:
        registry.check()
        chain = links.read(services, registry, weights_topic, run)
        target = chain.find(step)
        before, way = _way(chain, target, start)
        check_log(services, [link.record for link in way])
        with closing(Rebuilder(services, registry, before, way, backend, watch)) as rebuilder:
            for record in _with_tensors(services, registry, weights_topic, chain, before, way):
                rebuilder.take(record)
            letters = links.letters(services, registry, dead_letters_topic, run)
            check_letters(rebuilder, letters, dead_letters_topic)
            return rebuilder.result()


def _way(chain: Chain, target: Link, start: str) -> tuple[Link | None, list[Link]]:
    """The record to begin from, None for the beginning, and those to be rebuilt."""
    way = chain.to(target)
    if not start:
        if parent := way[0].record.parent:
            raise DataError(
                "CHAIN_BROKEN",
                f"run {chain.run!r}: the record of step {way[0].record.step} has the parent {parent[:12]}, which is "
                f"not in the topic, so there is no way from the beginning; give --from {way[0].record.step}",
            )
        return None, way
    begin = chain.find(start)
    if begin not in way[:-1]:
        raise UsageError(
            "BAD_VALUE",
            f"--from {start}: step {begin.record.step} does not lie before step {target.record.step} in the chain; "
            "leave it out, or give an earlier one",
        )
    place = way.index(begin) + 1
    return begin, way[place:]


def _with_tensors(
    services: Services,
    registry: Registry,
    topic: str,
    chain: Chain,
    before: Link | None,
    way: Sequence[Link],
) -> Iterator[WeightsRecord]:
    """The record to begin from, if any, and those on the way, in order, with their tensors."""
    wanted = [link.sha256 for link in ([before] if before else []) + list(way)]
    at = 0
    for record in links.records(services, registry, topic, chain.run):
        if record.sha256 == wanted[at]:
            yield record
            at += 1
            if at == len(wanted):
                return
    raise DataError("CHAIN_BROKEN", f"run {chain.run!r}: its records changed while they were read")


def check_log(services: Services, records: Sequence[WeightsRecord]) -> None:
    """Whether the log still holds what the records were learned from.

    Raises:
        DataError: TOPIC_RECREATED, LOG_INCOMPLETE naming the ranges.
    """
    ranges = [r for record in records for r in record.inputs]
    for topic in sorted({r.topic for r in ranges}):
        require_topics(services, [topic])
        now = topic_ids(services, [topic])[topic]
        for record in records:
            if record.topic_id and record.topic_id != now:
                raise DataError(
                    "TOPIC_RECREATED",
                    f"step {record.step} was trained on another topic {topic!r} (id {record.topic_id}, now {now}): its "
                    "records are gone",
                )
        lows, ends = begin_offsets(services, topic), end_offsets(services, topic)
        if lost := missing([r for r in ranges if r.topic == topic], lows, ends):
            shown = ", ".join(f"partition {p} offsets {a} to {b}" for p, a, b in lost)
            raise DataError(
                "LOG_INCOMPLETE",
                f"topic {topic!r} no longer has {shown}, which these weights were learned from; only what came after "
                "can be rebuilt, by --from with a record behind them",
            )


def missing(
    ranges: Sequence[Range],
    lows: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
) -> list[tuple[int, int, int]]:
    """Partition, start and end of what the log no longer has of some ranges, one for each partition and side."""
    found = []
    for at in sorted({(r.topic, r.partition) for r in ranges}):
        mine = [r for r in ranges if (r.topic, r.partition) == at]
        first, last = min(r.start for r in mine), max(r.end for r in mine)
        low, end = lows.get(at, last), ends.get(at, 0)
        if first < low:
            found.append((at[1], first, min(low, last)))
        if last > end:
            found.append((at[1], max(end, first), last))
    return found


def check_letters(rebuilder: Rebuilder, letters: set[Letter], topic: str) -> None:
    """Whether the same records could not be trained on, for the same reason.

    Raises:
        DataError: DEAD_LETTERS_DIFFER, naming one.
    """
    met = rebuilder.met()
    kept = {letter for letter in letters if rebuilder.replayed(letter)}
    if met == kept:
        return
    one = min(met ^ kept)
    where = f"{one.topic} partition {one.partition} offset {one.offset} ({one.code})"
    what = "was met again, but is not in" if one in met else "is not met again, but stands in"
    raise DataError(
        "DEAD_LETTERS_DIFFER",
        f"the weights agree, but of the dead letters {len(met ^ kept)} do not: {where} {what} topic {topic!r}; if "
        "that is not the run's, name it by --dead-letters-topic",
    )


class Rebuilder:
    """Goes from one weights record to the next."""

    def __init__(
        self,
        services: Services,
        registry: Registry,
        before: Link | None,
        way: Sequence[Link],
        backend: str,
        watch: Watch | None,
    ) -> None:
        self.services, self.registry, self.way = services, registry, way
        self.backend, self.watch = backend, watch
        self.began = time.perf_counter()
        self.start = before.sha256 if before else ""
        self.parent: WeightsRecord | None = None
        self.learner: Learner | None = None
        self.settings: tuple[str, ...] = ()
        self.spill: Spill | None = None
        self.order_of = -1  # epoch
        self.starts, self.ends = bounds([link.record for link in way])
        self.replay: Replay | None = None
        self.stopping = Stopping(None)
        self.step = self.epoch = self.position = 0
        self.records = self.trained_before = self.compared = 0
        self.largest, self.exact = 0.0, True
        self.machine = ""
        self.remarks: dict[str, None] = {}

    def close(self) -> None:
        for part in (self.spill, self.replay):
            if part is not None:
                part.close()

    def take(self, record: WeightsRecord) -> None:
        """Takes up the first record's tensors where it is to begin from, else goes on to it and compares.

        Raises:
            DataError: REBUILD_DIFFERS.
        """
        self.machine = record.machine or self.machine
        if record.sha256 == self.start:
            self.take_up(record)
        else:
            self.set_up(record)
            self.go_on(record)
            self.compare(record)
            self.tell()
        self.parent = record

    def take_up(self, record: WeightsRecord) -> None:
        self.set_up(record, record.tensors)
        self.step, self.trained_before = record.step, record.records_trained
        if record.unfinished:
            self.epoch, self.position = record.epoch, record.position
            self.stopping.load(record.tensors)

    def set_up(self, record: WeightsRecord, tensors: Mapping[str, Floats] | None = None) -> None:
        """The parts that the record's settings ask for, in the state of those before."""
        settings = (record.configuration, record.backend, record.device)
        fresh = self.fresh
        if settings == self.settings and not fresh:
            return
        if settings != self.settings:
            plan = plan_of(record, self.services, self.registry, self.backend)
            if self.learner is not None:
                tensors = self.learner.tensors()
            self.learner = Learner(plan)
            self.learner.begin(tensors)
            self.settings = settings
            self.note_machine(record, plan)
        job, before = self.job, self.stopping.export()
        self.stopping = Stopping(job.tolerance, job.patience, job.tolerance_on)
        if fresh:
            self.epoch = self.position = 0
            self.drop_spill()
        else:
            self.stopping.load(before)

    @property
    def fresh(self) -> bool:
        """Whether the next record begins something, rather than go on in the middle of it."""
        return self.parent is None or not self.parent.unfinished

    @property
    def job(self) -> Job:
        assert self.learner is not None
        return self.learner.plan.job

    def note_machine(self, record: WeightsRecord, plan: Plan) -> None:
        """Whether bits can be asked for, and what may change them."""
        if self.backend or record.device != "cpu":
            self.exact = False
        here = made_by(plan.job.runs_on)
        for name, then in json.loads(self.machine or "{}").items():
            if (now := here.get(name, then)) != then:
                self.remarks[f"{name} was {then}, and is {now} here"] = None

    # From one record to the next

    def go_on(self, record: WeightsRecord) -> None:
        if self.replay is None:
            assert self.learner is not None
            self.replay = Replay(self.learner.plan, self.starts, self.ends)
        if record.epochs:
            self.descend(record, self.replay)
        else:
            self.follow(record, self.replay)

    def follow(self, record: WeightsRecord, replay: Replay) -> None:
        if self.parent is not None and self.parent.epochs:
            replay.batches.turn = 0
        size = self.job.batch_size or BLOCK
        for portion in replay.portions(record.inputs, size, lambda: self.room(size)):
            self.learn(Rows(portion.X, portion.y, portion.batch_size))

    def descend(self, record: WeightsRecord, replay: Replay) -> None:
        if self.spill is None:
            self.spill = self.read_log(record, replay)
            if self.epoch:
                self.rescale(self.spill)
        rows = len(self.spill)
        size = self.job.batch_size or max(rows, 1)
        batches = -(-rows // size)
        self.stopping.window = batches
        while rows and (self.epoch, self.position) < (record.epoch, record.position):
            first = self.epoch == 0
            if self.job.batch_size == FULL:
                most = 1 if first else min(record.epoch - self.epoch, VALUES_A_CALL // rows + 1)
                passes = min(most, self.stopping.room() or most)
                self.learn(Rows(self.spill.X, self.spill.y, rows, passes, first))
                self.epoch += passes
            else:
                until = record.position if record.epoch == self.epoch else batches
                count = min(until - self.position, self.room(size))
                X, y = self.part(self.spill, self.position * size, count * size)
                self.learn(Rows(X, y, size, 1, first))
                self.position += count
                if self.position == batches:
                    self.epoch, self.position = self.epoch + 1, 0
            if first and self.epoch:
                self.rescale(self.spill)

    def read_log(self, record: WeightsRecord, replay: Replay) -> Spill:
        """The bounded log of these epochs, in the order of its batches."""
        replay.batches.turn = 0
        size = self.job.batch_size or BLOCK
        assert self.learner is not None
        spill = Spill(sum(r.records for r in record.inputs), self.learner.plan.model.inputs)
        for portion in replay.portions(record.inputs, size, lambda: ROWS_A_CALL // size + 1):
            spill.append(portion.X, portion.y)
        return spill

    def rescale(self, spill: Spill) -> None:
        assert self.learner is not None
        if self.learner.scaler is not None:
            spill.change(self.learner.scaler.frozen)

    def part(self, spill: Spill, first: int, count: int) -> tuple[Floats, Floats]:
        """Rows of the running epoch, in its order."""
        rows: slice | Ints = slice(first, first + count)
        if self.job.shuffle:
            if self.order_of != self.epoch:
                self.order = epoch_order(len(spill), self.job.seed, self.epoch)
                self.order_of = self.epoch
            rows = self.order[rows]
        return spill.X[rows], spill.y[rows]

    def drop_spill(self) -> None:
        if self.spill is not None:
            self.spill.close()
        self.spill, self.order_of = None, -1

    def room(self, size: int) -> int:
        most = max(1, ROWS_A_CALL // size)
        return min(most, self.stopping.room() or most)

    def learn(self, rows: Rows) -> None:
        assert self.learner is not None
        learned = self.learner.learn(rows, self.step)
        self.learner.adopt(learned)
        self.step += len(learned.made.losses)
        self.records += rows.passes * len(rows.y)
        self.stopping.watch(learned.made.losses, self.learner.parameters())
        self.tell()

    def tell(self) -> None:
        if self.watch is not None:
            total = self.way[-1].record.records_trained - self.trained_before
            self.watch(Status(self.step, self.records, total, self.compared))

    # Comparison

    def tensors(self) -> dict[str, Floats]:
        assert self.learner is not None
        return {**self.learner.tensors(), **self.stopping.export()}

    def compare(self, record: WeightsRecord) -> None:
        assert self.replay is not None
        self.compared += 1
        stands = (self.step, self.epoch, self.position, self.replay.batches.turn)
        said = (record.step, record.epoch, record.position, record.turn)
        for name, now, then in zip(
            ("step", "epoch", "position", "turn"), stands, said, strict=True
        ):
            if now != then:
                raise self.differs(record, f"it says {name} {then}, and its ranges give {now}")
        found = self.tensors()
        if found.keys() != record.tensors.keys():
            names = ", ".join(sorted(found.keys() ^ record.tensors.keys()))
            raise self.differs(record, f"tensors {names} are in one of the two only")
        for name in sorted(found):
            self.compare_tensor(record, name, found[name], record.tensors[name])
        if self.exact and replace(record, tensors=found).sha256 != record.sha256:
            raise self.differs(record, "its tensors agree, but its hash does not")

    def compare_tensor(self, record: WeightsRecord, name: str, now: Floats, then: Floats) -> None:
        if now.shape != then.shape:
            raise self.differs(record, f"tensor {name!r} has shape {then.shape}, not {now.shape}")
        if now.tobytes() == then.tobytes() or (not self.exact and name.startswith(COARSE)):
            return
        apart = np.abs(now - then)
        most = float(apart.max())
        share = most / max(float(np.abs(then).max()), 1e-9)
        self.largest = max(self.largest, share)
        if self.exact or share > TOLERANCE[self.job.dtype]:
            place = list(map(int, np.unravel_index(int(apart.argmax()), apart.shape)))
            raise self.differs(
                record,
                f"tensor {name!r} by up to {most:.3g}, at {place}: the record has {then[tuple(place)]:.17g}, the log "
                f"gives {now[tuple(place)]:.17g}",
            )

    def differs(self, record: WeightsRecord, what: str) -> DataError:
        why = "; ".join(self.remarks)
        advice = (
            f"that may be why: {why}"
            if why
            else "versions and processor are those that trained, so something has changed the record or the log"
        )
        if not self.exact:
            advice = "that is more than rounding"
        return DataError(
            "REBUILD_DIFFERS",
            f"the record of step {record.step} ({record.sha256[:12]}), number {self.compared} on the way, differs: "
            f"{what}; {advice}",
        )

    def met(self) -> set[Letter]:
        """The records in the replayed ranges that could not be trained on."""
        assert self.replay is not None
        found = self.replay.letters.before(self.ends)
        return {Letter(d.topic, d.partition, d.offset, d.code, d.sha256) for d in found}

    def replayed(self, letter: Letter) -> bool:
        at = (letter.topic, letter.partition)
        return at in self.starts and self.starts[at] <= letter.offset < self.ends[at]

    def result(self) -> Rebuilt:
        assert self.learner is not None
        return Rebuilt(
            link=self.way[-1],
            learner=self.learner,
            tensors=self.tensors(),
            compared=self.compared,
            exact=self.exact,
            largest=self.largest,
            records=self.records,
            letters=len(self.met()),
            seconds=time.perf_counter() - self.began,
            remarks=tuple(self.remarks),
        )


def bounds(
    records: Sequence[WeightsRecord],
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """Where the records' ranges start and end, by partition; all partitions of the topic."""
    starts, ends = dict(records[0].commits), dict(records[0].commits)
    seen = set()
    for record in records:
        for r in record.inputs:
            at = (r.topic, r.partition)
            if at not in seen:
                starts[at] = ends[at] = r.start
                seen.add(at)
            ends[at] = max(ends[at], r.end)
    return starts, ends


def plan_of(
    record: WeightsRecord, services: Services, registry: Registry, backend: str = ""
) -> Plan:
    """What the process that wrote a record had found, as far as the numbers depend on it.

    Raises:
        UnavailableError: BACKEND_MISSING, NO_DEVICE.
    """
    job = job_of(record, backend)
    job.check()
    model = models.get(job.model, len(record.features), job.bias, job.layers)
    return Plan(
        job=job,
        services=services,
        registry=registry,
        columns=(*job.features, *([job.target] if job.target else [])),
        features=record.features,
        model=model,
        backend=_backend(job, model, record, backend),
        topic_id=record.topic_id,
        cluster_id="",
        source_schema_id=record.schema_id or 0,
        weights_schema_id=0,  # nothing is written
        dead_letters_schema_id=0,
        largest=0,
    )


def _backend(job: Job, model: Model, record: WeightsRecord, asked_for: str) -> Backend:
    try:
        return backend_of(job, model)
    except UnavailableError as error:
        if asked_for:
            raise
        raise UnavailableError(
            error.code,
            f"step {record.step} of run {record.run!r} was trained by backend {record.backend!r} on {record.device}, "
            "which is not here; --backend numpy rebuilds it on the CPU, where the answer is the same within rounding",
        ) from None


def job_of(record: WeightsRecord, backend: str = "") -> Job:
    """The job that a record was made by, as far as it decides the numbers.

    Raises:
        ConfigError: NO_CONFIGURATION, of a record that does not tell its settings or tells unknown ones.
    """
    settings = json.loads(record.configuration or "{}")
    settings.pop("features", None)
    if not settings or (unknown := settings.keys() - BY_KEY.keys()):
        what = (
            f"has settings {', '.join(sorted(unknown))}"
            if settings
            else "does not tell its settings"
        )
        raise ConfigError(
            "NO_CONFIGURATION",
            f"the record of step {record.step} {what}, which this version does not know; use the one that trained",
        )
    filled: dict[str, object] = {}
    for key, value in settings.items():
        filled |= BY_KEY[key].filled(tuple(value) if isinstance(value, list) else value)
    if backend and filled.get("exact"):
        raise UsageError(
            "BAD_VALUE",
            f"--backend {backend}: run {record.run!r} is exact, which no backend computes; leave it out",
        )
    if not filled.get("exact"):
        filled |= {
            "backend": backend or record.backend,
            "device": "cpu" if backend else record.device,
        }
    return Job(**filled, features=asked(record.features), run=record.run)  # type: ignore[arg-type]


def asked(features: Sequence[str]) -> tuple[str, ...]:
    """Features as they are asked for: ``X[0]``, ``X[1]``, ``X[2]`` were ``X[0:3]``.

    >>> asked(["A", "X[0]", "X[1]", "B"])
    ('A', 'X[0:2]', 'B')
    """
    found: dict[str, int] = {}
    for feature in features:
        name, _, item = feature.partition("[")
        found[name] = found.get(name, 0) + bool(item)
    return tuple(f"{name}[0:{items}]" if items else name for name, items in found.items())
