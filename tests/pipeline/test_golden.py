"""The golden figure through every part: produced, filtered and masked by SQL, trained, read from the weights topic."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from demo import pipeline
from demo.pipeline import GOLDEN, Topics
from gradstream.config import Services
from producers import statements
from trainers.job import Job

pytestmark = pytest.mark.integration


@pytest.fixture
def topics(unique: Callable[[str], str]) -> Topics:
    return Topics(
        statements.renamed(statements.regression(), unique("golden") + "_source"),
        statements.renamed(statements.fraud(), unique("cards") + "_source"),
        unique("run"),
    )


def ignore(_: object) -> None:
    pass


def test_golden_figure_comes_out_of_the_weights_topic(services: Services, topics: Topics) -> None:
    sent = pipeline.produce_regression(services, topics.regression.source_topic, ignore)
    assert sent.records == 10_000 + pipeline.UNTARGETED
    pipeline.apply(services, topics.regression)
    rows = pipeline.read_all(services, topics.regression.training_topic, 10_000, ignore)

    assert len(rows) == 10_000  # those without Y are gone
    assert rows.column("Y").null_count == 0
    assert set("".join(rows.column("SENSOR").to_pylist())[:2]) <= set("Xx")
    published, newest = pipeline.run_job(pipeline.golden_job(topics), services, ignore)

    assert np.abs(newest.tensors["w"] - GOLDEN).max() < 1e-8
    assert newest.epoch == pipeline.EPOCHS
    assert newest.reason == f"{pipeline.EPOCHS} epochs"
    assert sum(r.records for r in newest.inputs) == 10_000
    # Each record is the child of the one before.
    for parent, child in itertools.pairwise(published):
        assert child.parent == parent.sha256
        assert child.loss <= parent.loss


def test_autoencoder_finds_frauds_that_it_was_never_shown(
    services: Services, topics: Topics
) -> None:
    pipeline.produce_fraud(services, topics.fraud.source_topic, ignore)
    pipeline.apply(services, topics.fraud)
    from demo.__main__ import kept_frauds

    kept = kept_frauds()
    assert kept < pipeline.FRAUD_ROWS
    rows = pipeline.read_all(services, topics.fraud.training_topic, kept, ignore)
    assert rows.schema.names == list(topics.fraud.keep)
    published, newest = pipeline.run_job(pipeline.fraud_job(topics), services, ignore)

    story = pipeline.fraud_story(rows, published, newest)
    assert story.roc_auc > 0.9
    assert np.median(story.scores[story.frauds]) > 5 * np.median(story.scores[~story.frauds])
    assert story.losses[-10:].mean() < 0.95 * story.losses[:5].mean()
    assert newest.records_trained == kept * pipeline.FRAUD_EPOCHS
    assert newest.records_rejected == 0


def test_job_description_is_what_the_demo_says(topics: Topics) -> None:
    job: Job = pipeline.golden_job(topics)
    assert (job.learning_rate, job.epochs, job.in_epochs) == (0.001, 10_000, True)
