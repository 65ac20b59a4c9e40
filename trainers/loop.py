"""The trainer's loop, in the order in which it happens: restore, fetch, decode, cut batches, step, publish.

    result = train(Job(source="regression_training", target="Y"), Services.find())

Offsets are committed with the weights only, so whatever stops the loop, the newest weights and the group's offsets
agree, and the next start goes on from there. Over several epochs the offsets stay at the start of the bounded log
until the last record: a trainer that is killed in between reads the log again, which the record names, and goes on
at the epoch and batch where the newest weights stand.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from gradstream import failpoints
from gradstream.config import Services
from gradstream.errors import DataError, RetryError, UnavailableError
from gradstream.wire.kafka import check_broker, end_offsets, require_topics
from gradstream.wire.reader import Reader, open_reader
from gradstream.wire.records import Records, TopicPartition
from gradstream.wire.writer import Fenced, Refused, TransactionAborted, Writer
from trainers import checkpoint, origin
from trainers.batches import Batches, Range, lane_rows
from trainers.chain import STAGES, WeightsRecord
from trainers.clock import Clock
from trainers.dead_letters import DeadLetter, DeadLetters
from trainers.guards import (
    LOST,
    check_alone,
    check_finite,
    check_kept,
    check_not_replaced,
    check_ours,
    check_retention,
    check_same_log,
    fenced,
    lost,
)
from trainers.intake import Decoded, Intake
from trainers.interrupts import Broken, Interrupts
from trainers.job import FULL, Job
from trainers.learner import Learner, Rows
from trainers.models import Floats
from trainers.preflight import LARGEST_RECORD, Plan, prepared
from trainers.publisher import Publisher
from trainers.scaler import Scaler
from trainers.spill import Spill, epoch_order
from trainers.stopping import Stopping
from trainers.tally import Tally
from trainers.waiting import Waiting

CHUNK = 8192  # records a fetch: enough to hide the call, small enough for the caches
CHUNK_NUMBERS = 1 << 20  # and numbers in them: wide records leave the caches sooner
ROWS_A_CALL = (
    65_536  # rows trained in one call at most, so that publishing and Ctrl-C wait no longer
)
BLOCK = 4096  # rows taken from a partition at a time when the whole log is one batch
AHEAD = 262_144  # rows that one partition may wait for the others before it is paused
JOIN_SECONDS = 60.0  # for the group to give us all partitions
LOOK_SECONDS = 3.0  # after which we look who else is in it
SUCCESSOR_SECONDS = (
    10.0  # between the two marks of a trainer that takes over: its writer's and its reader's
)
AWAY_SECONDS = 600.0  # for a broker that went away to come back
WAIT = 0.05  # seconds that a fetch waits for a record at most
GLANCE = (
    0.002  # the same where a transaction must end before what has been learned can be published
)
RANGES_ROOM = 16_384  # bytes by which a record's list of ranges may grow after the first
LETTERS = 10_000  # dead letters that wait for their transaction at most
ABORTS = 10  # transactions in a row that may fail before the trainer gives up
LIMIT = "limit: "  # how a reason begins that stops this process, but not what it is doing
CALL_SECONDS = 0.05  # aim for one call when whole epochs are put together


@dataclass(frozen=True, slots=True)
class Status:
    """Where a run stands, for whoever watches.

    Attributes:
        total: records that will have been trained at the end, None where nobody knows.
        rate: records a second of this process.
        trouble: why no records come: what the client reports about its connection, or what hides the next ones.
    """

    step: int
    epoch: int
    records: int
    rejected: int
    loss: float | None
    total: int | None
    rate: float
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended.

    Attributes:
        weights: of a model without layers, in the units of the features as they are in the topic: the intercept, where
            there is one, as ``intercept``, then each feature's weight by its name.
        reason: why it ended; ``interrupted`` by Ctrl-C; ``nothing new`` where the log had no further record.
        record: the newest weights record, None if none was published.
        trained: records trained by this process.
        unpublished: of them, those that no weights record has learned from, so that the next start trains on them again.
        seconds: from the first fetch to the end.
        constants: features that had one value in all records of this process, and that value: nothing can be learned
            from them.
    """

    run: str
    weights: dict[str, float]
    reason: str
    record: WeightsRecord | None
    trained: int
    unpublished: int
    seconds: float
    constants: dict[str, float]

    @property
    def limited(self) -> bool:
        """Whether a limit on records, steps or seconds has ended it."""
        return self.reason.startswith(LIMIT)


class Rewind(Exception):  # noqa: N818  the name is what to do
    """What has been trained since the last commit does not count: start again from there."""


def train(
    job: Job,
    services: Services,
    on_publish: Callable[[WeightsRecord], None] | None = None,
    watch: Callable[[Status], None] | None = None,
) -> Result:
    """Trains until the job's end and returns what was learned.

    Args:
        on_publish: called with each record after its transaction has been committed.
        watch: called a few times a second.

    Raises:
        GradstreamError: in one line, what is wrong and what to do. Nothing uncommitted counts.
    """
    # The writer first: it fences an older trainer of this run and ends its open transaction. Static membership lets
    # a successor take the partitions at once instead of waiting until the group misses its predecessor.
    with (
        prepared(job, services) as plan,
        Interrupts() as interrupts,
        Writer(
            services,
            transactional_id=job.transactional_id,
            transaction_timeout_ms=20_000,
            message_timeout_ms=15_000,  # before the broker ends the transaction, which looks like a successor
            message_max_bytes=LARGEST_RECORD + 2**16,
        ) as writer,
        ExitStack() as readers,
        Publisher(plan, writer, on_publish) as publisher,
    ):

        def reader() -> Reader:
            made = open_reader(
                services,
                [job.source],
                job.group,
                group_instance_id=job.group,
                session_timeout_ms=30_000,
            )
            return readers.enter_context(made)

        return Trainer(plan, reader, publisher, interrupts, watch).run()


class Trainer:
    """One run, from the newest weights to the next ones. See ``train``.

    Args:
        open_reader: a member of the group; the next takes the place of the one before, which is closed by us or by the
            caller.
    """

    def __init__(
        self,
        plan: Plan,
        open_reader: Callable[[], Reader],
        publisher: Publisher,
        interrupts: Interrupts,
        watch: Callable[[Status], None] | None = None,
    ) -> None:
        self.plan, self.job = plan, plan.job
        self.open_reader, self.reader = open_reader, open_reader()
        self.publisher, self.interrupts = publisher, interrupts
        self.watch = watch
        self.intake = Intake(plan, interrupts)
        self.began = time.perf_counter()
        self.trained_here = 0
        self.watched = self.called = 0.0
        self.last: WeightsRecord | None = None
        self.origin: WeightsRecord | None = None  # from which we went on
        self.log: list[Range] = []
        self.order_of = (-1, -1)
        self.waiting = Waiting(plan.services, self.job.source)
        self.restored = self.fenced = self.lost_group = False
        self.member = ""

    def run(self) -> Result:
        while True:
            try:
                if self.lost_group:
                    self.renew_reader()
                self.know_member()
                if self.fenced:
                    self.reclaim()
                self.publisher.settle()
                self.join()
                self.restore()
                if reason := self.over():
                    return self.result(reason)
                return self.finish(self.descend() if self.job.in_epochs else self.follow())
            except Rewind:
                pass
            except Refused as error:
                raise UnavailableError(error.code, error.message) from error
            except TransactionAborted:
                if self.publisher.aborted > ABORTS:
                    raise
            except DataError as error:
                raise lost(self.plan, error) if error.code in LOST else error from error
            except UnavailableError as error:
                if error.code not in ("BROKER_UNREACHABLE", "OFFSETS_UNKNOWN"):
                    raise
                self.await_broker()
                self.lost_group = error.code == "OFFSETS_UNKNOWN"
            except Fenced:
                self.fenced = True
            except RetryError as error:
                raise fenced(self.job) if error.code == "FENCED" else error from error
            if self.interrupts.noted and not self.restored:
                raise KeyboardInterrupt
            if self.interrupts.noted:
                return self.result("interrupted")

    def renew_reader(self) -> None:
        """After a broker was frozen, librdkafka's consumer was seen to look for the group's coordinator without end,
        while the broker answered everybody else.
        """
        old, self.reader = self.reader, self.open_reader()
        old.close()
        self.lost_group = False

    def reclaim(self) -> None:
        """After the writer was fenced: by a successor, or by the broker alone, which fences whom it could not hear for
        the time of a transaction. A successor comes into the group next; where none does, the run is still ours.

        Raises:
            RetryError: FENCED.
        """
        deadline = time.monotonic() + SUCCESSOR_SECONDS
        while time.monotonic() < deadline and not self.interrupts.noted:
            self.check_not_replaced()
            self.reader.fetch(CHUNK, 0.1)  # of no use: restore() seeks
            self.know_member()
        self.publisher.renew()
        self.fenced = False

    def await_broker(self) -> None:
        """Returns once the broker answers again, or after Ctrl-C.

        Raises:
            UnavailableError: when it stays away.
        """
        deadline = time.monotonic() + AWAY_SECONDS
        while not self.interrupts.noted:
            try:
                check_broker(self.plan.services)
            except UnavailableError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                return

    # Restore

    def join(self) -> None:
        """Waits until the group has given us every partition: one trainer a run, so that there is one chain."""
        wanted = frozenset(end_offsets(self.plan.services, self.job.source))
        began = time.monotonic()
        deadline, look = began + JOIN_SECONDS, began + LOOK_SECONDS
        while self.reader.assignment() != wanted:
            self.reader.fetch(CHUNK, 0.1)  # of no use: restore() seeks
            if self.interrupts.noted:
                raise KeyboardInterrupt
            if time.monotonic() > look:
                check_alone(self.job, self.plan.services)
                if self.reader.assignment():
                    self.stir()
                look = time.monotonic() + 2 * LOOK_SECONDS
            if time.monotonic() > deadline:
                raise RetryError(
                    "GROUP_SHARED",
                    f"group {self.job.group!r} did not give this trainer all {len(wanted)} partitions of "
                    f"{self.job.source!r} in {JOIN_SECONDS:.0f} s; stop its other members or give another --run",
                )
        self.rebalances = self.reader.rebalances
        self.know_member()
        self.publisher.watch_out(self.check_not_replaced)

    def know_member(self) -> None:
        """The group gives us another id where it has missed us for so long that we have to join again, and none until
        then; who comes meanwhile is told by our last.
        """
        self.member = self.reader.member_id() or self.member

    def check_not_replaced(self) -> None:
        """Raises:
        RetryError: FENCED.
        """
        job, services = self.job, self.plan.services
        check_not_replaced(job, services, self.member, self.reader.member_id)

    def stir(self) -> None:
        """Has the group share out its partitions anew, by a member that joins and leaves: one with a fixed name, as we
        are, that comes back in time is given what it had, and nobody is given partitions that the topic got meanwhile.
        """
        with open_reader(self.plan.services, [self.job.source], self.job.group) as other:
            deadline = time.monotonic() + JOIN_SECONDS
            while not other.rebalances and not self.interrupts.noted:
                other.fetch(CHUNK, 0.1)
                self.reader.fetch(CHUNK, 0.0)
                if time.monotonic() > deadline:
                    return

    def restore(self) -> None:
        """Takes up the newest committed weights, checked against the group's offsets, and seeks to where they stand."""
        plan, job = self.plan, self.job
        if self.restored:
            require_topics(plan.services, [job.weights_topic, job.dead_letters_topic])
        ours = (self.origin, self.publisher.committed, self.last)
        found = checkpoint.newest(plan.services, plan.registry, job.weights_topic, job.run_id)
        if self.restored:
            check_ours(found, ours, job)
        self.last = self.origin = found
        if self.last:
            checkpoint.check_settings(self.last, plan)
        check_kept(self.last, self.publisher.committed)
        checkpoint.check_offsets(self.last, self.reader.committed(), plan)
        self.fresh = self.last is None or not self.last.unfinished
        starts = dict(self.last.commits) if self.last else {}
        lows = {at: self.reader.watermarks(at)[0] for at in self.reader.assignment()}
        check_retention(starts, lows, job.accept_partitions)
        starts = lows | starts
        self.batches = Batches(
            starts,
            inputs=plan.model.inputs,
            bias=plan.model.bias,
            batch_size=job.batch_size or BLOCK,
            turn=0 if job.in_epochs or not self.last or self.last.epochs else self.last.turn,
            max_wait=job.max_wait if job.mode == "live" else None,
        )
        self.starts = self.batches.positions()
        self.goal = self.bound()
        self.letters = DeadLetters(f"trainer:{job.run_id}", job.keep_values)
        self.paused: set[TopicPartition] = set()
        self.take_up_state()
        self.reader.resume(self.reader.assignment())  # an aborted transaction leaves some paused
        self.reader.seek(self.starts)
        self.clock = Clock()
        if not self.trained_here:
            self.clock.add("compile", plan.compile_us)
            with self.clock.stage("compile"):
                ends = self.goal or end_offsets(plan.services, job.source)
                self.intake.prepare(sum(ends[at] - start for at, start in self.starts.items()))
                self.learner.warm()
        size = len(checkpoint.weights_value(plan, self.record(""))[0].as_py())
        checkpoint.check_size(plan, size + RANGES_ROOM)
        self.interval = job.publish_interval(size)
        self.restored = True

    def bound(self) -> dict[TopicPartition, int]:
        """Where a bounded log ends: as it was when this part of the run began, whoever resumes it."""
        if self.job.mode == "live":
            return {}
        unfinished = self.last is not None and not self.fresh and self.last.goal
        # A partition that came later is for the next part.
        goal = self.starts | dict(unfinished or end_offsets(self.plan.services, self.job.source))
        self.batches.stop_at(goal)
        return goal

    def take_up_state(self) -> None:
        last, job = self.last, self.job
        self.stopping = Stopping(job.tolerance, job.patience, job.tolerance_on)
        self.step = last.step if last else 0
        self.trained = last.records_trained if last else 0
        self.rejected = last.records_rejected if last else 0
        self.epoch = 0 if self.fresh or not last else last.epoch
        self.position = 0 if self.fresh or not last else last.position
        self.learner = Learner(self.plan)
        self.learner.begin(last.tensors if last else None)
        if last and not self.fresh:
            self.stopping.load(last.tensors)
        self.loss = last.loss if last else None
        self.tally = Tally()
        self.before = 0  # records trained before these epochs
        self.changed = False
        self.introduced = False  # whether a record says what computes here
        self.stop_reason = ""

    # Online: train on the log as it is read

    def follow(self) -> str:
        """Fetch, decode, cut, step, publish, until the log or the job ends."""
        while not (reason := self.over() or self.log_over()):
            self.take_in(self.fetch())
            self.tell()
            while (portion := self.batches.next(self.room())) is not None:
                if not self.learn(Rows(portion.X, portion.y, portion.batch_size)):
                    return "interrupted"
                self.batches.done(portion)
                self.publish_if_due()
                if reason := self.over():
                    return reason
            self.publish_if_due()
        return reason

    def publish_if_due(self) -> None:
        """Not at the end of the log: the last record says why it is the last."""
        if self.due() and not self.log_over():
            self.publish()

    def log_over(self) -> str:
        return "end of the log" if self.goal and self.batches.ended else ""

    # In epochs: read the bounded log once, then descend over it

    def descend(self) -> str:
        if self.goal == self.starts:
            return "end of the log"
        spill = Spill(
            sum(self.goal[at] - self.starts[at] for at in self.goal), self.plan.model.inputs
        )
        try:
            if not self.read_log(spill):
                return "interrupted"
            return self.descend_over(spill) if len(spill) else "end of the log"
        finally:
            spill.close()

    def read_log(self, spill: Spill) -> bool:
        """Fills the spill in the order of batches; False when interrupted."""
        while not self.batches.ended:
            if self.interrupts.noted:
                return False
            self.take_in(self.fetch())
            while (
                portion := self.batches.next(ROWS_A_CALL // self.batches.batch_size + 1)
            ) is not None:
                spill.append(portion.X, portion.y)
                self.batches.done(portion)
            self.tell()
        self.pause(self.reader.assignment())
        self.log = self.batches.ranges()
        if self.last and not self.fresh:
            self.letters.forget()  # they went with the first record of these epochs
            check_same_log(self.last, self.log)
        return True

    def descend_over(self, spill: Spill) -> str:
        rows = len(spill)
        size = self.job.batch_size or rows
        batches = -(-rows // size)
        self.stopping.window = batches
        self.tally.most = batches
        self.before = self.trained - self.epoch * rows - min(self.position * size, rows)
        passes = 1
        if self.epoch:
            self.rescale(spill)
        while self.epoch < self.job.epochs:
            if reason := self.over():
                return reason
            room = self.room(rows)
            before, first = self.epoch, self.epoch == 0
            if size == rows:
                asked = 1 if first else min(passes, self.job.epochs - self.epoch, room)
                if not (spent := self.learn(Rows(spill.X, spill.y, rows, asked, first))):
                    return "interrupted"
                passes = max(1, min(2 * asked, int(asked * CALL_SECONDS / spent)))
                self.epoch += asked
            else:
                asked = min(batches - self.position, room)
                X, y = self.part(spill, self.position * size, asked * size)
                if not self.learn(Rows(X, y, size, 1, first)):
                    return "interrupted"
                self.position += asked
                if self.position == batches:
                    self.epoch, self.position = self.epoch + 1, 0
            if first and self.epoch > before:
                self.rescale(spill)
            self.stay_in_group()
            if self.due():
                self.publish()
        return f"{self.job.epochs} epochs"

    def rescale(self, spill: Spill) -> None:
        """After the first epoch the scaler has learned from every record once, and all later epochs see the same."""
        if (scaler := self.learner.scaler) is not None:
            spill.change(scaler.frozen)

    def part(self, spill: Spill, first: int, count: int) -> tuple[Floats, Floats]:
        """Rows of the running epoch, in its order."""
        rows: slice | npt.NDArray[np.int64] = slice(first, first + count)
        if self.job.shuffle:
            if self.order_of != (self.epoch, len(spill)):
                self.order = epoch_order(len(spill), self.job.seed, self.epoch)
                self.order_of = (self.epoch, len(spill))
            rows = self.order[rows]
        return spill.X[rows], spill.y[rows]

    def stay_in_group(self) -> None:
        """The group expects a call now and then, though everything has been read."""
        if time.monotonic() - self.called > 1.0:
            self.reader.fetch(1, 0.0)
            self.called = time.monotonic()
            self.check_group()

    # Steps of the loop

    def fetch(self) -> Records:
        with self.clock.stage("fetch"):
            most = min(CHUNK, max(1, CHUNK_NUMBERS // self.plan.model.inputs))
            records = self.reader.fetch(most, self.patience())
        if failpoints.ARMED and len(records):
            failpoints.reach("after_fetch")
        self.waiting.note(len(records), self.reader.position())
        self.check_group()
        return records

    def patience(self) -> float:
        """Seconds that a fetch may wait: until a short batch or a publication falls due."""
        waits = [WAIT, self.batches.patience()]
        if self.changed and self.job.publish_steps is None:
            left = self.interval - self.clock.seconds
            waits.append(max(left, GLANCE if self.publisher.busy else 0.0))
        return max(0.0, min(wait for wait in waits if wait is not None))

    def check_group(self) -> None:
        if self.reader.rebalances != self.rebalances:
            raise Rewind

    def take_in(self, records: Records) -> None:
        """Decodes a chunk in one call and sorts it into the lanes; bad records become dead letters."""
        with self.clock.stage("decode"):
            if len(records):
                if (decoded := self.intake.decode(records)) is None:
                    return
                if failpoints.ARMED:
                    failpoints.reach("after_decode")
                self.sort_in(records, decoded)
            for at, position in self.reader.position().items():  # markers are no records
                self.batches.passed(at, position)
        self.balance()

    def sort_in(self, records: Records, decoded: Decoded) -> None:
        features, target, codes = decoded
        for lane in self.batches.lanes:
            mine = lane_rows(records, lane.at, lane.end)
            if mine is None:
                continue
            rows, last = mine
            good = codes[rows] == 0
            if not good.all():
                rows = np.arange(len(codes))[rows][good]
            self.batches.add(lane.at, features[rows], target[rows], records.offset[rows], last + 1)
        if codes.any():
            inside = codes.copy()
            for lane in self.batches.lanes:
                if lane.end is not None:
                    inside[(records.partition == lane.at[1]) & (records.offset >= lane.end)] = 0
            self.letters.add(
                records, inside, lambda row, code: self.intake.reason(records, row, code)
            )

    def balance(self) -> None:
        """Pauses partitions that have been read to their end, or too far ahead of the others."""
        if len(self.batches.lanes) == 1:
            return
        full = {at.at for at in self.batches.lanes if at.ended or len(at) > AHEAD}
        if self.paused - full:
            self.reader.resume(self.paused - full)
        self.pause(full)

    def pause(self, partitions: set[TopicPartition] | frozenset[TopicPartition]) -> None:
        if new := partitions - self.paused:
            self.reader.pause(new)
        self.paused = set(partitions)

    def room(self, batch: int = 0) -> int:
        """Batches until something must be looked at: the stopping rule, a limit, or publishing by steps."""
        job = self.job
        size = job.batch_size or batch or BLOCK
        most = 2**31 if batch and job.batch_size == FULL else max(1, ROWS_A_CALL // size)
        if (check := self.stopping.room()) is not None:
            most = min(most, check)
        if job.max_steps is not None:
            most = min(most, job.max_steps - self.step)
        if job.max_records is not None:
            most = min(most, -(-(job.max_records - self.trained) // size))
        if job.publish_steps is not None:
            most = min(most, job.publish_steps - self.step % job.publish_steps)
        return max(1, most)

    def learn(self, rows: Rows) -> float:
        """Steps over some batches; the seconds that it took, 0 where Ctrl-C has broken it off and nothing has changed."""
        started = time.perf_counter_ns()
        try:
            with self.interrupts.breakable():
                learned = self.learner.learn(rows, self.step)
        except Broken:
            return 0.0
        self.learner.adopt(learned)
        if failpoints.ARMED:
            failpoints.reach("after_step")
        losses = learned.made.losses
        self.step += len(losses)
        self.trained += rows.passes * len(rows.y)
        self.trained_here += rows.passes * len(rows.y)
        self.changed = True
        self.tally.add(losses, rows.passes * len(rows.y))
        self.loss = self.tally.mean
        if self.stopping.tolerance is not None and self.stopping.watch(
            losses, self.learner.parameters()
        ):
            self.stop_reason = self.stopping.reason()
        self.clock.add_call((time.perf_counter_ns() - started) // 1000, self.plan.backend.spent)
        self.tell()
        return (time.perf_counter_ns() - started) / 1e9

    def over(self) -> str:
        """Why training ends here, or nothing."""
        job = self.job
        if self.interrupts.noted:
            return "interrupted"
        if self.stop_reason:
            return self.stop_reason
        if job.max_steps is not None and self.step >= job.max_steps:
            return f"{LIMIT}{job.max_steps} steps"
        if job.max_records is not None and self.trained >= job.max_records:
            return f"{LIMIT}{job.max_records} records"
        if job.max_seconds is not None and time.perf_counter() - self.began >= job.max_seconds:
            return f"{LIMIT}{job.max_seconds:g} seconds"
        return ""

    def due(self) -> bool:
        """Whether it is time to publish: something has changed, and the interval is over."""
        self.publisher.poll()
        letters = len(self.ready_letters())
        if not self.changed and not letters:
            return False
        if letters >= LETTERS:
            return True
        if self.job.publish_steps is not None:
            return self.changed and self.step % self.job.publish_steps == 0
        # While one transaction is under way, what is learned gathers for the next.
        return not self.publisher.busy and self.clock.seconds >= self.interval

    def ready_letters(self) -> list[DeadLetter]:
        """Dead letters that the next transaction takes; others wait behind a good record that waits for its batch."""
        if not len(self.letters):
            return []
        return self.letters.before(self.goal if self.job.in_epochs else self.batches.positions())

    # Publish

    def publish(self, reason: str = "") -> None:
        """Begins one transaction: weights, dead letters, offsets. The one before it must have been committed."""
        with self.clock.stage("publish"):
            self.publisher.wait()
        letters = self.ready_letters()
        record = replace(self.record(reason), records_rejected=self.rejected + len(letters))
        self.clock.restart()
        with self.clock.stage("publish"):
            self.publisher.start(record, letters, self.reader.group_metadata())
        self.last, self.changed, self.introduced = record, False, True
        self.rejected = record.records_rejected
        self.letters.written(letters)
        if not self.job.in_epochs:
            self.batches.published()
        self.tally.restart()

    def record(self, reason: str) -> WeightsRecord:
        job, plan = self.job, self.plan
        # Epochs end with their last one, or where nothing improves; a limit leaves the others for a later process.
        open_epochs = job.in_epochs and (not reason or reason.startswith(LIMIT))
        commits = self.starts if open_epochs else self.batches.positions()
        inputs: list[Range] = self.log if job.in_epochs else self.batches.ranges()
        tensors = self.learner.tensors()
        check_finite(tensors, self.step, job.learning_rate)
        sql = origin.sha256(plan.sql)
        return WeightsRecord(
            run=job.run_id,
            step=self.step,
            epoch=self.epoch,
            position=self.position,
            epochs=job.epochs if job.in_epochs else 0,
            mode=job.mode,
            model=job.model,
            backend=plan.backend.name,
            device=plan.backend.device,
            dtype=plan.backend.dtype,
            bias=plan.model.bias,
            target=job.target,
            features=plan.features,
            batch_size=job.batch_size,
            learning_rate=job.learning_rate,
            seed=job.seed,
            tensors={**tensors, **self.stopping.export()},
            loss=self.loss,
            metrics=self.learner.metrics.values(),
            records_trained=self.trained,
            records_rejected=self.rejected,
            elapsed_us=self.clock.elapsed_us,
            records_since=self.tally.records,
            timings_us=dict.fromkeys(STAGES, 0) | self.clock.read(),
            inputs=tuple(inputs),
            topic_id=plan.topic_id,
            turn=self.batches.turn,
            commits=commits,
            goal=self.goal,
            configuration=job.configuration(plan.features),
            parent=self.last.sha256 if self.last else "",
            created=datetime.now(UTC),
            reason=reason,
            schema_id=plan.source_schema_id,
            sql_sha256=sql,
            sql=None if self.last and self.last.sql_sha256 == sql else plan.sql,
            machine=None if self.introduced else plan.machine,
            cluster_id=plan.cluster_id,
        )

    def finish(self, reason: str) -> Result:
        """The last record of the run, or of this part of it."""
        if reason == "interrupted":
            # In epochs there is nothing to publish before the log has been read. And who asks to stop while the
            # broker is away does not want to wait for it: what is not committed is trained again.
            news = self.changed or (self.ready_letters() and not self.job.in_epochs)
            if news and self.reader.trouble is None:
                self.publish()
        elif self.changed or self.ready_letters() or self.owes(reason):
            self.publish(reason)
        elif reason == "end of the log" and not self.trained_here:
            reason = "nothing new"
        self.publisher.wait()
        self.tell(at_once=True)
        return self.result(reason)

    def owes(self, reason: str) -> bool:
        """Whether the chain does not say yet that what it was in the middle of has ended."""
        limited = self.job.in_epochs and reason.startswith(LIMIT)
        return self.last is not None and self.last.unfinished and not limited

    def result(self, reason: str) -> Result:
        weights: dict[str, float] = {}
        record = self.last
        features, model = self.plan.features, self.plan.model
        if record is not None and not model.layers:
            names = (*(["intercept"] if model.bias else []), *features)
            w = record.tensors["w"]
            if self.job.standardise:
                w = Scaler.of(model.inputs, model.bias, record.tensors).unscaled(w)
            weights = dict(zip(names, w.tolist(), strict=True))
        return Result(
            run=self.job.run_id,
            weights=weights,
            reason=reason,
            record=record,
            trained=self.trained_here,
            unpublished=self.trained - (record.records_trained if record else 0),
            seconds=time.perf_counter() - self.began,
            constants={features[i]: value for i, value in self.learner.constants.found().items()},
        )

    # Watch

    def total(self) -> int | None:
        if not self.goal:
            return None
        if self.job.in_epochs:
            rows = sum(r.records for r in self.log)
            return self.before + self.job.epochs * rows if rows else None
        return self.trained + sum(
            max(0, end - self.batches.by_partition[at].position) for at, end in self.goal.items()
        )

    def tell(self, *, at_once: bool = False) -> None:
        now = time.perf_counter()
        if self.watch is None or (now - self.watched < 0.1 and not at_once):
            return
        self.watched = now
        rate = self.trained_here / max(now - self.began, 1e-9)
        self.watch(
            Status(
                self.step,
                self.epoch,
                self.trained,
                self.rejected,
                self.loss,
                self.total(),
                rate,
                self.reader.trouble or self.waiting.behind,
            )
        )
