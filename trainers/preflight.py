"""Everything that can be refused before the first record is read, and what was found out on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import gradstream.wire
from gradstream.command import loading
from gradstream.config import Services
from gradstream.errors import ConfigError, DataError
from gradstream.wire.avro_chunk import vector
from gradstream.wire.codec_avro import (
    compile_all,
    expanded,
    numeric_columns,
    subject_columns,
)
from gradstream.wire.kafka import (
    check_broker,
    cluster_id,
    ensure_topics,
    require_topics,
    topic_config,
    topic_ids,
)
from gradstream.wire.registry import Registry, Schema, UnknownSchema
from trainers import backends, models
from trainers.backends import Backend
from trainers.job import FULL, Job
from trainers.machine import made_by
from trainers.models import Model
from trainers.origin import Origin

SCHEMAS = Path(gradstream.wire.__file__).parent / "schemas"
LARGEST_RECORD = (
    8 * 2**20
)  # bytes of one weights record: beyond it, brokers and readers need settings of their own
NORMAL = (1.0, 0.0)  # class weights of a model that reconstructs: it is to know the normal rows
# Every link of the chain is kept for ever: neither time nor a newer record of the same key may remove it.
WEIGHTS_CONFIG = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "max.message.bytes": str(LARGEST_RECORD + 2**16),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """A job whose every part has been found.

    Attributes:
        columns: what is read from a record: the features, an array's as ``X[0:10]``, then the target where there is one.
        features: the names of the features, in the order of the weights.
        topic_id: of the source; a topic that is deleted and created again has another.
        cluster_id: of the Kafka cluster; other data at the same address has another.
        source_schema_id: newest schema of the source.
        weights_schema_id, dead_letters_schema_id: what our own records are written with.
        largest: bytes that a weights record may have.
        compile_us: microseconds that the codec took to be loaded, or, once on a machine, compiled.
        sql: statements that make the source, None where nobody knows.
        machine: what computes, as a weights record tells it.
    """

    job: Job
    services: Services
    registry: Registry
    columns: tuple[str, ...]
    features: tuple[str, ...]
    model: Model
    backend: Backend
    topic_id: str
    cluster_id: str
    source_schema_id: int
    weights_schema_id: int
    dead_letters_schema_id: int
    largest: int
    compile_us: int = 0
    sql: str | None = None
    machine: str = ""


@contextmanager
def prepared(job: Job, services: Services) -> Iterator[Plan]:
    """Checks a job against the services and creates the topics it writes to; the registry is open until the end.

    Raises:
        GradstreamError: in one line, what is wrong and what to do.
    """
    job.check()
    # An unknown name is told before any service is asked, and a service that is away before a framework is imported.
    if not job.exact:
        backends.check(job.runs_on)
    check_broker(services)
    with closing(Registry(services.schema_registry_url)) as registry:
        registry.check()
        source_sql = Origin(services, job.source)
        require_topics(services, [job.source])
        schema_id, asked = _columns(job, registry)
        features = tuple(expanded(asked))
        model = models.get(job.model, len(features), job.bias, job.layers)
        job = _settled(job, model)
        backend = backend_of(job, model)
        largest = _own_topics(job, services)
        yield Plan(
            job=job,
            services=services,
            registry=registry,
            columns=(*asked, *([job.target] if job.target else [])),
            features=features,
            model=model,
            backend=backend,
            topic_id=topic_ids(services, [job.source])[job.source],
            cluster_id=cluster_id(services),
            source_schema_id=schema_id,
            weights_schema_id=_registered(registry, job.weights_topic, "weights"),
            dead_letters_schema_id=_registered(registry, job.dead_letters_topic, "dead_letter"),
            largest=largest,
            compile_us=_compiled(),
            sql=source_sql.sql(),
            machine=json.dumps(made_by(job.runs_on)),
        )


def _compiled() -> int:
    """Microseconds that compiling the decoder took, or finding it compiled."""
    with loading():
        return int(compile_all() * 1e6)


def _settled(job: Job, model: Model) -> Job:
    """The job with what it leaves to the model, so that a record says what was in effect."""
    inner = tuple(layer.outputs for layer in model.layers[:-1])
    kind = job.class_weights or (NORMAL if model.reconstructs and job.target else None)
    return replace(job, layers=inner, class_weights=kind)


def backend_of(job: Job, model: Model) -> Backend:
    if job.exact:
        from trainers.backends.exact import (
            ExactBackend,
        )  # as the other backends, only when asked for

        return ExactBackend(model, job.descent, job.epochs if job.batch_size == FULL else 0)
    with loading():
        kind = backends.get(job.runs_on)
    return kind(model, job.descent, backends.place(kind, job.device, job.dtype), job.dtype)


def _columns(job: Job, registry: Registry) -> tuple[int, tuple[str, ...]]:
    """Id of the source's newest schema, and the feature columns as they are asked for."""
    subject = f"{job.source}-value"
    try:
        schema_id, _, schema = registry.latest(subject)
    except UnknownSchema:
        raise DataError(
            "NO_SCHEMA",
            f"topic {job.source!r} has no schema {subject!r} in the registry, so it holds no Avro; train on "
            "the Avro stream that a KSQL statement makes of it (CREATE STREAM … WITH (VALUE_FORMAT='AVRO'))",
        ) from None
    kinds = subject_columns(registry, subject)
    numeric = numeric_columns(schema)
    named = [("--features", name) for name in job.features]
    if job.target:
        named.insert(0, ("--target", job.target))
    for flag, name in named:
        _check_column(flag, name, kinds, numeric)
    features = job.features or tuple(name for name in numeric if name != job.target)
    if not features:
        raise DataError(
            "NO_FEATURES",
            f"topic {job.source!r} has no numeric column"
            + (f" besides the target {job.target!r}; it has: " if job.target else "; it has: ")
            + ", ".join(f"{name} ({kind})" for name, kind in kinds.items()),
        )
    return schema_id, features


def _check_column(flag: str, asked: str, kinds: dict[str, str], numeric: list[str]) -> None:
    name, items = vector(asked)
    if name not in kinds:
        folded = {known.lower(): known for known in kinds}
        near = get_close_matches(name.lower(), folded, n=1, cutoff=0.5)
        hint = f"did you mean {folded[near[0]]!r}?" if near else f"there are: {', '.join(kinds)}"
        raise DataError("UNKNOWN_COLUMN", f"{flag} {name}: the source has no such column; {hint}")
    if kinds[name] == "array" and items < 0 and flag == "--features":
        raise DataError(
            "NOT_NUMERIC",
            f"--features {name}: the column is an array; say how many numbers each has, as '{name}[0:10]'",
        )
    if items >= 0 and (kinds[name] != "array" or flag == "--target"):
        raise DataError(
            "NOT_NUMERIC",
            f"{flag} {asked}: the column is {kinds[name]}; only the features of an array are given as {name}[0:N]",
        )
    # Text is no feature by default, but a column that is named may hold numbers as text, as a class "0" or "1"; a
    # record where it does not is a dead letter.
    if items < 0 and name not in numeric and kinds[name] != "string":
        raise DataError(
            "NOT_NUMERIC",
            f"{flag} {name}: the column is {kinds[name]}, not a number; "
            f"convert it in the KSQL statement, as CAST({name} AS DOUBLE)",
        )


def _own_topics(job: Job, services: Services) -> int:
    """Creates the topics that are written to; the bytes that a weights record may have."""
    ensure_topics(services, {job.weights_topic: 1}, WEIGHTS_CONFIG)
    ensure_topics(services, {job.dead_letters_topic: 1}, {"retention.ms": "-1"})
    config = topic_config(services, job.weights_topic)
    if "compact" in config.get("cleanup.policy", ""):
        raise ConfigError(
            "WEIGHTS_COMPACTED",
            f"topic {job.weights_topic!r} is compacted, which breaks the chain of weights; "
            "give another --weights-topic, or set its cleanup.policy to delete",
        )
    for name in ("retention.ms", "retention.bytes"):
        if int(config.get(name, -1)) >= 0:
            raise ConfigError(
                "WEIGHTS_EXPIRE",
                f"topic {job.weights_topic!r} drops old records ({name}={config[name]}), which breaks the chain of "
                f"weights; give another --weights-topic, or set its {name} to -1",
            )
    return min(int(config.get("max.message.bytes", LARGEST_RECORD)), LARGEST_RECORD)


def _registered(registry: Registry, topic: str, name: str) -> int:
    text = (SCHEMAS / f"{name}.avsc").read_text()
    schema_id = registry.register(f"{topic}-value", text)
    # Whoever has to read our own records again, such as after an aborted transaction, needs no registry for that.
    registry.remember(Schema(schema_id, "AVRO", text))
    return schema_id
