"""The demo's steps, each the same call that the command of that name makes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, count

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from demo.story import Fraud as FraudStory
from demo.story import Regression as RegressionStory
from gradstream.config import Services
from gradstream.errors import UnavailableError
from gradstream.shell.client import KsqlClient
from gradstream.wire.codec_avro import AvroDecoder
from gradstream.wire.kafka import end_offsets, list_topics
from gradstream.wire.reader import open_log_reader
from gradstream.wire.registry import Registry
from producers import statements
from producers.fraud import Fraud, V
from producers.identifiers import stored
from producers.regression import GOLDEN_ROWS, Regression
from producers.send import Sent, produce
from producers.statements import Pipeline
from trainers import checkpoint
from trainers.chain import WeightsRecord
from trainers.job import FULL, Job
from trainers.loop import Status, train
from trainers.scoring import Scorer

GOLDEN = np.array([2.95985985, 2.03296496])
"""Intercept and slope after 10,000 full-batch epochs at rate 0.001 on the golden data, to 8 decimals."""
EPOCHS = 10_000
UNTARGETED = 500  # rows without Y that the SQL has to drop
FRAUD_ROWS = 40_000
FRAUD_EPOCHS = 4
PATIENCE = 45.0  # seconds that a query may take to catch up

OnCount = Callable[[int], None]
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Topics:
    """Names of this run: topics of the demo alone, so that its data mixes with nobody's; numbered when taken."""

    regression: Pipeline
    fraud: Pipeline
    run: str

    @classmethod
    def free(cls, services: Services) -> Topics:
        taken = set(list_topics(services))
        for number in count(1):
            mark = f"_{number}" if number > 1 else ""
            regression = statements.renamed(
                statements.regression(), f"demo{mark}_regression_source"
            )
            fraud = statements.renamed(statements.fraud(), f"demo{mark}_creditcardfraud_source")
            names = {p.source_topic for p in (regression, fraud)}
            names |= {p.training_topic for p in (regression, fraud)}
            if not names & taken:
                return cls(regression, fraud, f"demo{mark}")
        raise AssertionError("count() does not end")


def regression_rows() -> Iterator[pa.RecordBatch]:
    """The golden 10,000 rows, and after the first half some without Y that must not reach the trainer."""
    first, *rest = Regression().batches(GOLDEN_ROWS // 2)
    empty = Regression("gaussian", UNTARGETED, seed=7, empty_share=1.0, weights=(3.0, 2.0))
    return chain([first], empty.batches(), rest)


def produce_regression(services: Services, topic: str, on_count: OnCount) -> Sent:
    return produce(services, topic, regression_rows(), on_progress=on_count)


def produce_fraud(services: Services, topic: str, on_count: OnCount) -> Sent:
    return produce(services, topic, Fraud(rows=FRAUD_ROWS).batches(), on_progress=on_count)


def apply(services: Services, pipeline: Pipeline) -> None:
    with KsqlClient(services.ksql_url) as client:
        client.execute(statements.statements(pipeline))


def drop(services: Services, topics: Topics) -> None:
    """Ends the queries and forgets the streams, so that no later start runs them again; the topics stay."""
    with KsqlClient(services.ksql_url) as client:
        for pipeline in (topics.regression, topics.fraud):
            for topic in (pipeline.training_topic, pipeline.source_topic):
                client.execute(f"DROP STREAM IF EXISTS {stored(topic, topic)};")


def read_all(services: Services, topic: str, expected: int, on_count: OnCount) -> pa.Table:
    """The rows of a training topic, as soon as there are as many as expected.

    Raises:
        UnavailableError: CATCHING_UP when they do not come in time.
    """
    batches: list[pa.RecordBatch] = []
    found, deadline = 0, time.monotonic() + PATIENCE
    with (
        closing(Registry(services.schema_registry_url)) as registry,
        open_log_reader(services, dict.fromkeys(end_offsets(services, topic), 0)) as reader,
    ):
        decoder = AvroDecoder(registry, subject=f"{topic}-value")
        while found < expected:
            records = reader.fetch(8192, 0.5)
            if len(records):
                batches.append(decoder.columns(records.value).batch)
                found += len(records)
                on_count(found)
            elif time.monotonic() > deadline:
                raise UnavailableError(
                    "CATCHING_UP",
                    f"only {found:,} of {expected:,} rows reached {topic} in {PATIENCE:.0f} s; "
                    "see gradstream status and the engine's log",
                )
    return pa.Table.from_batches(batches)


def golden_job(topics: Topics) -> Job:
    return Job(
        source=topics.regression.training_topic,
        target="Y",
        run=f"{topics.run}-regression",
        batch_size=FULL,
        learning_rate=0.001,
        epochs=EPOCHS,
        publish_steps=100,
    )


def fraud_job(topics: Topics) -> Job:
    """An autoencoder that learns what normal payments look like; the class only says which rows those are."""
    return Job(
        source=topics.fraud.training_topic,
        target="CLASS",
        features=("TIME", *V, "AMOUNT"),
        run=f"{topics.run}-fraud",
        model="autoencoder",
        standardise=True,
        optimizer="adam",
        learning_rate=0.003,
        epochs=FRAUD_EPOCHS,
        publish_steps=25,
    )


def run_job(
    job: Job, services: Services, watch: Callable[[Status], None]
) -> tuple[list[WeightsRecord], WeightsRecord]:
    """Train; the records as they were published, and the newest as it is read back from the weights topic."""
    published: list[WeightsRecord] = []
    train(job, services, on_publish=published.append, watch=watch)
    with closing(Registry(services.schema_registry_url)) as registry:
        found = checkpoint.newest(services, registry, job.weights_topic, job.run_id)
    if found is None:
        raise UnavailableError("NO_WEIGHTS", f"{job.weights_topic} has no record of {job.run_id}")
    return published, found


def least_squares(features: Vector, target: Vector) -> Vector:
    """Intercept and weights, shape (d + 1,), of features (n, d) and target (n,)."""
    design = np.column_stack([np.ones(len(target)), features])
    return np.linalg.lstsq(design, target, rcond=None)[0].astype(np.float64)


def regression_story(
    rows: pa.Table, published: list[WeightsRecord], newest: WeightsRecord
) -> RegressionStory:
    x, y = (rows.column(name).to_numpy() for name in ("X1", "Y"))
    return RegressionStory(
        epochs=np.array([record.epoch for record in published], float),
        losses=np.array([record.loss for record in published], float),
        x=x,
        y=y,
        learned=newest.tensors["w"],
        exact=least_squares(x[:, None], y),
        true=Regression().true_weights(),
    )


def fraud_story(
    rows: pa.Table, published: list[WeightsRecord], newest: WeightsRecord
) -> FraudStory:
    scorer = Scorer(newest)
    features = np.column_stack([rows.column(name).to_numpy() for name in scorer.features])
    return FraudStory(
        scores=scorer.scores(features.astype(np.float64)),
        frauds=pc.equal(rows.column("CLASS"), "1").to_numpy(zero_copy_only=False),
        roc_auc=newest.metrics["prequential/roc_auc"],
        pr_auc=newest.metrics["prequential/pr_auc"],
        losses=np.array([record.loss for record in published], float),
        records=np.array([record.records_trained for record in published], float),
    )


def samples(topics: Topics, rows: pa.Table) -> tuple[list[list[str]], list[list[str]]]:
    """A few source rows as text, one of them without Y, and what became of them in the training topic."""
    first, dropped, *_ = regression_rows()
    before = pa.Table.from_batches([first.slice(0, 2), dropped.slice(0, 1), first.slice(2, 2)])
    found = {row["X1"]: row for row in rows.to_pylist()}
    after = [found[x] for x in before.column("X1").to_pylist() if x in found]
    return (
        as_text(before.schema.names, before.to_pylist()),
        as_text(list(topics.regression.keep), after),
    )


def as_text(names: list[str], rows: list[dict[str, object]]) -> list[list[str]]:
    def cell(value: object) -> str:
        if value is None:
            return ""
        return f"{value:.6f}" if isinstance(value, float) else str(value)

    return [names, *([cell(row[name]) for name in names] for row in rows)]
