"""``gradstream qtt``: ksqlDB's query translation tests on the engine, in process and without a broker.

Each line of a file is one run: statements, records in, records out or the error to expect. Planning and serdes are the
real ones; topics are lists, and the registry is a dictionary that answers as wire.registry.Registry does. Test values
become bytes, and bytes test values, by code of the runner's own (qtt_values).
"""

from __future__ import annotations

import argparse
import decimal
import json
import re
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
from rich.table import Table

from gradstream import command, console
from gradstream.engine import qtt_values, types
from gradstream.engine.catalog import Catalog, Column, Format, Source
from gradstream.engine.language import plan
from gradstream.engine.language.actions import CreateSource, DropSource, InsertValues, StartQuery
from gradstream.engine.rows import serdes
from gradstream.engine.rows.pipeline import Pipeline, insert, unwindowed, windowed
from gradstream.engine.rows.processing_log import Logger
from gradstream.errors import DataError, GradstreamError, SqlError
from gradstream.wire.records import Headers, Records
from gradstream.wire.registry import Registry, Schema, UnknownSchema

DESCRIPTION = """Run query translation tests on the engine.

Statements and records need no broker; tests of the REST API talk to an engine of their own on the broker."""
PROPERTIES = {
    "auto.offset.reset": "earliest",
    "ksql.service.id": "some.ksql.service.id",
    "ksql.headers.columns.enabled": "true",
}
USUAL = 4  # partitions of a topic of which nothing is said


class Mismatch(Exception):  # noqa: N818  named for what happened
    """A run that did not go as the test expects; the text tells how."""


class DictRegistry:
    """Schemas in memory, answering as a registry does; schema ids count from 1 unless given."""

    def __init__(self) -> None:
        self.by_id: dict[int, str] = {}
        self.by_subject: dict[str, list[int]] = {}

    def check(self, timeout: float = 8.0) -> None: ...

    def register(self, subject: str, text: str, schema_id: int | None = None) -> int:
        known = next((of for of, found in self.by_id.items() if found == text), None)
        number = schema_id or known or max(self.by_id, default=0) + 1
        self.by_id[number] = text
        versions = self.by_subject.setdefault(subject, [])
        if number not in versions:
            versions.append(number)
        return number

    def schema(self, schema_id: int) -> Schema:
        return Schema(schema_id, "AVRO", self.text(schema_id))

    def text(self, schema_id: int) -> str:
        if schema_id not in self.by_id:
            raise UnknownSchema("UNKNOWN_SCHEMA_ID", f"no schema has the id {schema_id}")
        return self.by_id[schema_id]

    def latest(self, subject: str) -> tuple[int, int, str]:
        versions = self.by_subject.get(subject)
        if not versions:
            raise UnknownSchema("UNKNOWN_SUBJECT", f"there is no subject {subject!r}")
        return versions[-1], len(versions), self.by_id[versions[-1]]

    def subjects(self) -> list[str]:
        return sorted(self.by_subject)

    def has(self, subject: str, schema_id: int) -> bool:
        return schema_id in self.by_subject.get(subject, ())


@dataclass(frozen=True, slots=True)
class Record:
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers


@dataclass(slots=True)
class Run:
    """One test on a fresh engine.

    Attributes:
        topics: the records of each topic, all in partition 0.
        partitions: how many each topic has, by itself or as declared.
        over: a source over each topic, for its formats and types; kept when the source is dropped.
        queries: persistent queries by sink, several only by INSERT INTO.
        log: texts of the processing log.
    """

    case: Mapping[str, Any]
    registry: DictRegistry = field(default_factory=DictRegistry)
    catalog: Catalog = field(default_factory=Catalog)
    topics: dict[str, list[Record]] = field(default_factory=dict)
    partitions: dict[str, int] = field(default_factory=dict)
    over: dict[str, Source] = field(default_factory=dict)
    queries: list[StartQuery] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    @property
    def as_registry(self) -> Registry:
        return cast(Registry, self.registry)

    def go(self) -> None:
        """Runs the test.

        Raises:
            Mismatch: it does not do what ksqlDB does.
        """
        expected = self.case.get("expectedException")
        try:
            last_statement = self._statements()
            if last_statement is None:
                self._records()
                if expected is None:
                    self._compare()
                    self._post()
        except GradstreamError as error:
            last_statement = error
        if expected is None:
            if last_statement is not None:
                raise Mismatch(f"unexpected {last_statement}") from last_statement
            return
        said = self.log if last_statement is None else _texts(last_statement)
        wanted = expected.get("message", "")
        if last_statement is None and not self.log:
            raise Mismatch(f"no error; expected: {wanted}")
        if not any(wanted in text for text in said):
            raise Mismatch(f"another error: {said[0]!r}; expected: {wanted!r}")

    # Statements

    def _statements(self) -> GradstreamError | None:
        """Runs all; returns the last one's error, raises an earlier one's."""
        self._prepare()
        variables: dict[str, str] = {}
        properties = {**PROPERTIES, **self.case.get("properties", {})}
        pieces = plan.split("\n".join(self.case["statements"]))
        for number, piece in enumerate(pieces):
            try:
                for statement in plan.parse(plan.substitute(piece, variables)):
                    action = plan.plan_statement(
                        statement,
                        self.catalog,
                        properties,
                        infer=self._infer,
                        partitions=self.partitions.get,
                        number=number,
                    )
                    self._carry_out(action, properties, variables)
            except GradstreamError as error:
                if number == len(pieces) - 1:
                    return error
                raise
        return None

    def _prepare(self) -> None:
        """Topics and schemas that exist beforehand; of a topic that is declared too, the declaration counts."""
        declared = {of["name"]: of for of in self.case.get("topics", ())}
        for action in self._creations():
            source = action.source
            if source.topic not in declared:
                self.partitions.setdefault(source.topic, action.topic.partitions or USUAL)
                serdes.register(source, self.as_registry)
        for name, topic in declared.items():
            self.topics[name] = []
            self.partitions[name] = topic.get("partitions", 1)
            self._register_declared(name, topic)
        for record in (*self.case.get("inputs", ()), *self.case.get("outputs", ())):
            self.partitions.setdefault(record["topic"], USUAL)

    def _creations(self) -> Iterator[CreateSource]:
        """The statements that make sources with columns, as far as they can be planned by themselves."""
        catalog = Catalog()
        for piece in plan.split("\n".join(self.case["statements"])):
            try:
                for statement in plan.parse(piece):
                    action = plan.plan_statement(statement, catalog, PROPERTIES)
                    plan.apply(action, catalog)
                    if isinstance(action, CreateSource):
                        yield action
            except GradstreamError:
                continue

    def _register_declared(self, name: str, topic: Mapping[str, Any]) -> None:
        for part in ("key", "value"):
            schema = topic.get(f"{part}Schema")
            if schema is not None and topic.get(f"{part}Format", "AVRO") == "AVRO":
                text = json.dumps(schema, default=float)
                self.registry.register(f"{name}-{part}", text, topic.get(f"{part}SchemaId"))

    def _infer(self, topic: str, is_key: bool, format_: Format) -> tuple[Column, ...]:
        return serdes.columns_from_registry(self.as_registry, topic, is_key, format_)

    def _carry_out(
        self, action: plan.Action, properties: dict[str, Any], variables: dict[str, str]
    ) -> None:
        match action:
            case CreateSource(source=source):
                self.topics.setdefault(source.topic, [])
                self._register_new(source)
                self.over[source.topic] = source
            case StartQuery(sink=Source() as sink):
                serdes.register(sink, self.as_registry)
                self.topics.setdefault(sink.topic, [])
                self._new_topic(action)
                self.over[sink.topic] = sink
                if action.replace:
                    self.queries = [of for of in self.queries if of.sink != sink]
                    self.queries = [
                        of for of in self.queries if of.sink is None or of.sink.name != sink.name
                    ]
                self.queries.append(action)
            case InsertValues(source=source):
                key, value = insert(action, self.as_registry)
                self.topics[source.topic].append(Record(key, value, action.timestamp or 0, []))
            case DropSource(source=Source() as source):
                self.queries = [
                    of for of in self.queries if of.sink is None or of.sink.name != source.name
                ]
                if action.delete_topic:
                    self.topics.pop(source.topic, None)
            case plan.SetProperty(name=name, value=value):
                properties[name] = value
            case plan.DefineVariable(name=name, value=of):
                variables[name] = of or ""
        plan.apply(action, self.catalog)

    def _new_topic(self, action: StartQuery) -> None:
        """A sink's topic has as many partitions as the left-most source's, where nothing else is said."""
        assert action.topic is not None
        usual = self.partitions.get(action.query.source.topic, USUAL)
        self.partitions.setdefault(action.topic.name, action.topic.partitions or usual)

    def _register_new(self, source: Source) -> None:
        """CREATE with columns registers its schemas where the subject has none yet."""
        before = {name: list(ids) for name, ids in self.registry.by_subject.items()}
        serdes.register(source, self.as_registry)
        for name, ids in before.items():
            self.registry.by_subject[name] = ids

    # Records

    def _records(self) -> None:
        inputs: dict[str, list[Record]] = {}
        for given in self.case.get("inputs", ()):
            record = self._encoded(given)
            inputs.setdefault(given["topic"], []).append(record)
        for topic, records in inputs.items():
            self.topics[topic] = records + self.topics.get(topic, [])
        for query in self.queries:
            self._run_query(query, inputs)

    def _encoded(self, given: Mapping[str, Any]) -> Record:
        topic = given["topic"]
        source = self.over[topic]
        key, value = (
            qtt_values.encode(
                given.get(part),
                format_.name,
                self.registry,
                f"{topic}-{part}",
                columns[0].type if columns else None,
            )
            for part, format_, columns in _parts(source)
        )
        if source.window is not None and key is not None:
            of = given.get("window", {"start": 0, "end": 0})
            window = [(int(of["start"]), int(of["end"]))]
            key = windowed(pa.array([key], pa.binary()), window, source.window)[0].as_py()
        headers = [
            (of["KEY"], None if of["VALUE"] is None else _base64(of["VALUE"]))
            for of in given.get("headers", ())
        ]
        return Record(key, value, int(given.get("timestamp", 0)), headers)

    def _run_query(self, query: StartQuery, inputs: Mapping[str, list[Record]]) -> None:
        assert query.sink is not None
        logger = Logger(query.query.query_id, include_rows=True)
        pipeline = Pipeline(query.query, query.sink, self.as_registry, logger)
        for topic, read, offset in self._read(query, inputs):
            self._written(query.sink, pipeline, as_records(topic, read, offset), read)

    def _read(
        self, query: StartQuery, inputs: Mapping[str, list[Record]]
    ) -> Iterator[tuple[str, list[Record], int]]:
        """What a query reads, in the order in which the test lists it: (topic, records, offset of the first)."""
        topics = list(dict.fromkeys(source.topic for source in query.query.sources))
        if len(topics) == 1:
            yield topics[0], inputs.get(topics[0], self.topics[topics[0]]), 0
            return
        for topic in topics:  # what earlier queries wrote
            if topic not in inputs:
                yield topic, self.topics[topic], 0
        order = [of["topic"] for of in self.case.get("inputs", ()) if of["topic"] in topics]
        read = dict.fromkeys(topics, 0)
        for topic in order:
            yield topic, inputs[topic][: read[topic] + 1][-1:], read[topic]
            read[topic] += 1

    def _written(
        self, sink: Source, pipeline: Pipeline, records: Records, read: list[Record]
    ) -> None:
        output = pipeline.run(records)
        for entry in output.log:
            message = json.loads(entry)["message"]
            body = next(of for name, of in message.items() if isinstance(of, dict))
            self.log += [body["errorMessage"], *body.get("cause", ())]
        written = zip(
            output.keys.to_pylist(),
            output.values.to_pylist(),
            output.timestamps.tolist(),
            output.rows.tolist(),
            strict=True,
        )
        self.topics[sink.topic] += [
            Record(key, value, timestamp, read[row].headers)
            for key, value, timestamp, row in written
        ]

    # Comparison

    def _compare(self) -> None:
        expected: dict[str, list[Mapping[str, Any]]] = {}
        for of in self.case.get("outputs", ()):
            expected.setdefault(of["topic"], []).append(of)
        for topic, wanted in expected.items():
            if topic not in self.topics:
                raise Mismatch(f"topic {topic} is missing; there are {sorted(self.topics)}")
            found = self.topics[topic]
            for number, (want, got) in enumerate(zip(wanted, found, strict=False)):
                self._compare_record(f"{topic}[{number}]", self.over[topic], want, got)
            if len(wanted) != len(found):
                raise Mismatch(
                    f"{topic}: {len(found)} records, expected {len(wanted)}{self._why()}"
                )

    def _why(self) -> str:
        return f"; log: {self.log[:3]}" if self.log else ""

    def _compare_record(
        self, where: str, source: Source, want: Mapping[str, Any], got: Record
    ) -> None:
        key = got.key
        if source.window is not None and key is not None:
            plain, windows = unwindowed(pa.array([key], pa.binary()), source.window)
            key = plain[0].as_py()
            of = want.get("window")
            if of is None or windows[0] != (of["start"], of["end"]):
                raise Mismatch(f"{where}: window {windows[0]}, expected {of}{self._why()}")
        elif want.get("window") is not None:
            raise Mismatch(f"{where}: no window, expected {want['window']}")
        for (part, format_, columns), raw in zip(_parts(source), (key, got.value), strict=True):
            first = columns[0].type if columns else None
            value = qtt_values.decode(raw, format_.name, self.registry, first)
            wanted = want.get(part)
            whole = isinstance(wanted, dict) and not (
                len(columns) == 1 and isinstance(first, (types.Struct, types.Map)) and part == "key"
            )
            row = types.Struct(tuple((of.name, of.type) for of in columns))
            kind: types.SqlType | None = row if whole else first
            if format_.name == "DELIMITED" and wanted is not None:
                wanted, kind = str(wanted), None  # the text as on the wire
            if not qtt_values.same(wanted, value, kind):
                raise Mismatch(
                    f"{where}.{part}: {_show(value)}, expected {_show(wanted)}{self._why()}"
                )
        at = want.get("timestamp")
        if at is not None and at != got.timestamp and (at or self.case.get("inputs")):
            raise Mismatch(f"{where}.timestamp: {got.timestamp}, expected {at}")
        headers = [
            (of["KEY"], None if of["VALUE"] is None else _base64(of["VALUE"]))
            for of in want.get("headers", ())
        ]
        if headers != got.headers:
            raise Mismatch(f"{where}.headers: {got.headers}, expected {headers}")

    def _post(self) -> None:
        post = self.case.get("post", {})
        for of in post.get("sources", ()):
            self._post_source(of)
        topics = post.get("topics", {})
        for of in topics.get("topics", ()):
            self._post_topic(of)
        if blacklist := topics.get("blacklist"):
            for name in self.topics:
                if re.search(blacklist, name):
                    raise Mismatch(f"topic {name} must not exist")

    def _post_source(self, wanted: Mapping[str, Any]) -> None:
        name = wanted["name"]
        source = self.catalog.sources.get(name)
        if source is None or source.kind != wanted["type"].lower():
            raise Mismatch(f"{wanted['type']} {name} is missing; there is {source}")
        if schema := wanted.get("schema"):
            expected = [(of.name, str(of.type), of.role) for of in _columns(schema)]
            _same(name, [(of.name, str(of.type), of.role) for of in source.columns], expected)
        for part, format_, columns in _parts(source):
            given = wanted.get(f"{part}Format")
            given = given if isinstance(given, dict) else {"format": given or format_.name}
            _same(f"{name}: {part} format", format_.name, given["format"])
            if f"{part}Features" in wanted:
                features = set(wanted[f"{part}Features"])
                _same(f"{name}: {part} features", _features(part, format_, columns), features)
            if "windowType" in given:
                _same(
                    f"{name}: window",
                    _window(source),
                    (given["windowType"], given.get("windowSize")),
                )
        if "isSource" in wanted:
            _same(f"{name}: isSource", source.is_source, wanted["isSource"])

    def _post_topic(self, wanted: Mapping[str, Any]) -> None:
        name = wanted["name"]
        if name not in self.topics:
            raise Mismatch(f"topic {name} is missing; there are {sorted(self.topics)}")
        if "partitions" in wanted:
            _same(f"topic {name}: partitions", self.partitions.get(name), wanted["partitions"])
        source = self.over[name]
        window = wanted["keyFormat"].get("windowInfo") or {}
        _same(f"topic {name}: window", _window(source), (window.get("type"), window.get("size")))
        for part, format_, columns in _parts(source):
            given = wanted[f"{part}Format"]
            where = f"topic {name}: {part}"
            _same(f"{where} format", format_.name, given["format"])
            features = set(given.get("features", ()))
            _same(f"{where} features", _features(part, format_, columns), features)
            _same(f"{where} schema id", format_.schema_id, wanted.get(f"{part}SchemaId"))
            if schema := wanted.get(f"{part}Schema"):
                text = json.loads(self.registry.latest(f"{name}-{part}")[2])
                _same(f"{where} schema", text, _plain(schema))


def _same(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise Mismatch(f"{what} {found}, expected {wanted}")


def _window(source: Source) -> tuple[str | None, int | None]:
    return (source.window.kind, source.window.size) if source.window else (None, None)


def _features(part: str, format_: Format, columns: tuple[Column, ...]) -> set[str]:
    """How a single column is written, where the format leaves a choice: keys bare, values as asked for."""
    if format_.name not in ("AVRO", "JSON") or len(columns) != 1:
        return set()
    wrapped = False if part == "key" else format_.wrap_single
    return set() if wrapped is None else {"WRAP_SINGLES" if wrapped else "UNWRAP_SINGLES"}


def as_records(topic: str, read: list[Record], offset: int = 0) -> Records:
    count = len(read)
    return Records(
        topics=(topic,),
        topic=np.zeros(count, np.int32),
        partition=np.zeros(count, np.int32),
        offset=np.arange(offset, offset + count, dtype=np.int64),
        timestamp=np.array([of.timestamp for of in read], np.int64),
        key=pa.array([of.key for of in read], pa.binary()),
        value=pa.array([of.value for of in read], pa.binary()),
        headers=lambda row: read[row].headers,
    )


def _parts(source: Source) -> tuple[tuple[str, Format, tuple[Column, ...]], ...]:
    return (
        ("key", source.key_format, source.key_columns),
        ("value", source.value_format, source.value_columns),
    )


def _columns(schema: str) -> tuple[Column, ...]:
    """The columns that a test's schema text means."""
    kind = "TABLE" if "PRIMARY KEY" in schema.upper() else "STREAM"
    text = f"CREATE {kind} X ({schema}) WITH (KAFKA_TOPIC='x', FORMAT='JSON', PARTITIONS=1);"
    action = plan.plan_statement(plan.parse(text)[0], Catalog(), PROPERTIES)
    assert isinstance(action, CreateSource)
    return action.source.columns


def _plain(value: Any) -> Any:
    """JSON numbers as Python has them without decimals."""
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, dict):
        return {key: _plain(of) for key, of in value.items()}
    return [_plain(of) for of in value] if isinstance(value, list) else value


def _base64(text: str) -> bytes:
    import base64

    return base64.b64decode(text)


def _show(value: Any) -> str:
    text = qtt_values.json_text(value)
    return text if len(text) < 200 else text[:199] + "…"


def _texts(error: GradstreamError) -> list[str]:
    """What the error says, as ksqlDB's exception does: with the statement below it, where that could be parsed."""
    texts = [getattr(error, "bare_message", error.message), error.message, str(error)]
    if isinstance(error, SqlError) and error.statement:
        texts.append(f"{error.bare_message}\nStatement: {error.statement}")
    return texts


# Command ------------------------------------------------------------------------------------------------


def cases(path: Path) -> Iterator[dict[str, Any]]:
    """The runs of one file.

    Raises:
        DataError: a line that is not JSON.
    """
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield json.loads(line, parse_float=decimal.Decimal)
            except ValueError as error:
                message = f"{path}:{number} is not JSON: {error}"
                raise DataError("BAD_JSON", message) from None


def judge(case: Mapping[str, Any], debug: bool = False) -> str | None:
    """None if the run goes as expected, else why not."""
    return verdict(Run(case), debug)


def verdict(run: Run, debug: bool = False) -> str | None:
    """None if a run goes well, else why not."""
    try:
        run.go()
    except Mismatch as found:
        return str(found)
    except Exception as error:  # noqa: BLE001  a bug of the engine fails its case, not the run
        if debug:
            traceback.print_exc()
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return f"BUG {type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno})"
    return None


def _judge(case: Mapping[str, Any], options: argparse.Namespace) -> str | None:
    """The judgement by the runner that a case is for: those that talk to a server have kinds of their own."""
    if case["kind"] not in ("responses", "error"):
        return judge(case, options.debug)
    from gradstream.engine import qtt_rest

    return qtt_rest.judge(case, command.services(options), options.debug)


def main(argv: list[str]) -> int:
    parser = command.parser("qtt", DESCRIPTION)
    parser.add_argument("files", nargs="+", metavar="FILE.jsonl")
    parser.add_argument("--only", metavar="TEXT", help="runs whose id contains this")
    parser.add_argument("--slice", action="store_true", help="runs of the first slice")
    parser.add_argument("--failures", action="store_true", help="list failed runs with the reason")
    parser.add_argument("--json", action="store_true", help="one JSON object for each run")
    command.add_services(parser)
    options = parser.parse_args(argv)
    passed: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for name in options.files:
        for case in _chosen(name, options):
            reason = _judge(case, options)
            (failed if reason else passed)[case["id"].split("/")[0]] += 1
            if options.json:
                line = {"id": case["id"], "passed": reason is None, "reason": reason}
                console.results.out(json.dumps(line), highlight=False)
            elif reason and options.failures:
                console.results.print(f"{case['id']}: {reason}", markup=False, soft_wrap=True)
    if not options.json:
        console.results.print(_table(passed, failed))
        console.results.print(f"{passed.total()} passed, {failed.total()} failed")
    return 65 if failed else 0


def _chosen(name: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    path = Path(name)
    if not path.is_file():
        raise DataError("NO_FILE", f"there is no file {name}; give a .jsonl of test runs")
    for case in cases(path):
        if (not options.slice or case.get("slice")) and (options.only or "") in case["id"]:
            yield case


def _table(passed: Mapping[str, int], failed: Mapping[str, int]) -> Table:
    table = Table("file", "passed", "failed", box=None, header_style="bold")
    names: Iterable[str] = sorted({*passed, *failed})
    for name in names:
        table.add_row(name, str(passed[name]), str(failed[name]) if failed[name] else "")
    return table


if __name__ == "__main__":
    command.run(main)
