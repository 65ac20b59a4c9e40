"""The two KSQL statements that lead from any source topic to a training topic, written in one way for all schemas.

``ksql/regression.sql`` and ``ksql/fraud.sql`` are what this writes for their schemas (a test holds them together), and
``gradstream produce … --sql FILE`` writes the same for other widths, names and files.

Topics, streams, format and partitions are variables at the top of the file. Columns are not: ksqlDB puts a variable
only where one identifier or one literal may stand, never a list of columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pyarrow as pa

from producers.fraud import FRAUD_SCHEMA, KEPT
from producers.identifiers import literal, quoted, stored
from producers.regression import regression_schema
from producers.schemas import ksql_type

PARTITIONS = 2


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A source stream and the masked, filtered AVRO stream that is made from it.

    Attributes:
        title: first line of the file, a comment.
        schema: columns of the source, in the order of its records, with names as KSQL stores them.
        source_topic, training_topic: Kafka topics; the streams are named after them.
        source_stream: another name for the source stream.
        keep: columns of the training stream; empty for all.
        target: rows in which it is null are dropped; None keeps all rows.
        masks: column: expression in which ``{}`` is the column, such as ``MASK_LEFT({}, 2)``.
        format: of the source's values: DELIMITED, JSON or AVRO.
        partitions: of the source topic, needed where it does not exist yet; must agree where it does.
    """

    title: str
    schema: pa.Schema
    source_topic: str
    training_topic: str
    keep: tuple[str, ...] = ()
    target: str | None = None
    masks: Mapping[str, str] = field(default_factory=dict)
    format: str = "DELIMITED"
    partitions: int = PARTITIONS
    source_stream: str = ""


def regression(features: int = 1) -> Pipeline:
    """``regression_source`` → ``regression_training`` for a number of features."""
    schema = regression_schema(features)
    return Pipeline(
        title=f"Regression with {features} feature{'s' * (features > 1)}: "
        "names of sensors masked, rows without Y dropped, AVRO.",
        schema=schema,
        source_topic="regression_source",
        training_topic="regression_training",
        keep=tuple(name for name in schema.names if name != "ID"),
        target="Y",
        masks={"SENSOR": "MASK_LEFT({}, 2)"},
    )


def fraud() -> Pipeline:
    """``creditcardfraud_source`` → ``creditcardfraud_preprocessed_avro``."""
    return Pipeline(
        title="Card payments: only the columns that training needs, rows without Class dropped, AVRO.",
        schema=FRAUD_SCHEMA,
        source_topic="creditcardfraud_source",
        training_topic="creditcardfraud_preprocessed_avro",
        keep=KEPT,
        target="CLASS",
    )


def training_topic(source_topic: str) -> str:
    """The usual name of the training topic of a source topic: ``x`` or ``x_source`` → ``x_training``."""
    return source_topic.removesuffix("_source") + "_training"


def stream_name(text: str) -> str:
    """A stream's name for a topic's, as it is written in a statement."""
    name = quoted(stored(text, "STREAM"))
    return name if name.startswith("`") else name.lower()


def renamed(pipeline: Pipeline, source_topic: str) -> Pipeline:
    """The pipeline over another source topic, its training topic named after that."""
    if source_topic == pipeline.source_topic:
        return pipeline
    return replace(pipeline, source_topic=source_topic, training_topic=training_topic(source_topic))


def statements(pipeline: Pipeline) -> str:
    """The file: SET, DEFINE for each variable, CREATE STREAM, CREATE STREAM … AS SELECT."""
    names = pipeline.schema.names
    columns = [f"{quoted(column.name)} {ksql_type(column.type)}" for column in pipeline.schema]
    selected = [_selected(name, pipeline.masks) for name in pipeline.keep or names]
    where = f"\nWHERE {quoted(pipeline.target)} IS NOT NULL" if pipeline.target else ""
    variables = {
        "source_stream": pipeline.source_stream or stream_name(pipeline.source_topic),
        "source_topic": pipeline.source_topic,
        "source_format": pipeline.format,
        "partitions": str(pipeline.partitions),
        "training_stream": stream_name(pipeline.training_topic),
        "training_topic": pipeline.training_topic,
    }
    defined = "\n".join(f"DEFINE {name} = {literal(value)};" for name, value in variables.items())
    title = " ".join(pipeline.title.split())  # one line, or its rest would be SQL
    return f"""-- {title}
SET 'auto.offset.reset' = 'earliest';

{defined}

CREATE STREAM IF NOT EXISTS ${{source_stream}} (
{_listed(columns)}
) WITH (
  KAFKA_TOPIC = '${{source_topic}}',
  VALUE_FORMAT = '${{source_format}}',
  PARTITIONS = ${{partitions}}
);

CREATE STREAM IF NOT EXISTS ${{training_stream}} WITH (
  KAFKA_TOPIC = '${{training_topic}}',
  VALUE_FORMAT = 'AVRO'
) AS SELECT
{_listed(selected)}
FROM ${{source_stream}}{where}
EMIT CHANGES;
"""  # noqa: S608  every name in it went through quoted() or literal()


def _selected(name: str, masks: Mapping[str, str]) -> str:
    column = quoted(name)
    return f"{masks[name].format(column)} AS {column}" if name in masks else column


def _listed(items: list[str], width: int = 100) -> str:
    """Items with commas, a few to a line, indented."""
    lines, line = [], ""
    for number, item in enumerate(items):
        piece = item + ("," if number < len(items) - 1 else "")
        if line and len(line) + len(piece) + 3 > width:
            lines.append(line)
            line = ""
        line = f"{line} {piece}" if line else f"  {piece}"
    return "\n".join([*lines, line])
