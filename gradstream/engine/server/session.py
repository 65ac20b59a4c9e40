"""A request's statements, one after the other: variables, properties, the sandbox, then the engine, then the reply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gradstream.engine.catalog import Catalog, Source
from gradstream.engine.language import functions as function_room
from gradstream.engine.language import plan, tree
from gradstream.engine.language.actions import StartQuery
from gradstream.engine.server import entities, replies
from gradstream.engine.server.limits import Limits
from gradstream.engine.server.queries import PersistentQuery
from gradstream.engine.server.replies import Entity
from gradstream.engine.server.requests import RequestError, refuse
from gradstream.engine.server.runtime import EDITABLE, Done, Engine, check_property
from gradstream.engine.server.transient import TransientQuery
from gradstream.errors import GradstreamError, RetryError, SqlError, UnavailableError


@dataclass(slots=True)
class Planned:
    """A statement that can be carried out, with what held for it."""

    action: plan.Action
    properties: dict[str, object]
    variables: dict[str, str]
    schema_ids: dict[str, int]


@dataclass(slots=True)
class Session:
    """One request.

    Attributes:
        properties: of the request; SET changes them for the statements that follow.
        variables: likewise by DEFINE.
    """

    engine: Engine
    properties: dict[str, object]
    variables: dict[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)

    def execute(self, text: str) -> list[Entity]:
        """Carries out the statements of /ksql.

        Raises:
            RequestError: with ksqlDB's entity; nothing was carried out unless ``entities`` has some.
        """
        with self.engine.lock:
            planned = self._plan(text)
            made: list[Entity] = []
            for one in planned:
                try:
                    done = self.engine.carry_out(one.action, one.properties, one.schema_ids)
                    made += self._entities(done, one)
                except GradstreamError as error:
                    raise refusal(error, one.action.text, made) from error
        return made

    def query(self, text: str) -> TransientQuery | plan.PrintTopic:
        """Opens the one SELECT, or names the one PRINT, of /query and /query-stream."""
        with self.engine.lock:
            statements = list(self._statements(text))
            if len(statements) != 1:
                message = f"Expected exactly one KSQL statement; found {len(statements)} instead"
                raise refusal(SqlError("ONE_STATEMENT", message), text)
            (statement,) = statements
            merged = {**self.engine.defaults, **self.properties}
            try:
                chosen = plan.plan_statement(
                    statement,
                    self.engine.catalog.copy(),
                    merged,
                    partitions=self.engine.partition_count,
                )
                if isinstance(chosen, plan.PrintTopic):
                    return chosen
                if not isinstance(chosen, StartQuery) or chosen.sink is not None:
                    raise refuse(40000, _NO_QUERY)
                return self.engine.open_query(chosen, self.properties)
            except GradstreamError as error:
                raise query_refusal(error, statement) from error

    def _plan(self, text: str) -> list[Planned]:
        """All statements, tried on a copy of the catalog."""
        engine = self.engine
        sandbox = engine.catalog.copy()
        number = engine.plan_number()
        ending: set[str] = set()
        new_topics: dict[str, int] = {}  # partitions of those that the request makes

        def partitions(topic: str) -> int | None:
            return engine.partition_count(topic) or new_topics.get(topic)

        planned: list[Planned] = []
        started = 0
        for statement in self._statements(text):
            used: dict[str, int] = {}
            try:
                action = plan.plan_statement(
                    statement,
                    sandbox,
                    {**engine.defaults, **self.properties},
                    infer=engine.infer(used),
                    partitions=partitions,
                    number=number,
                )
                if isinstance(action, plan.PrintTopic) or (
                    isinstance(action, StartQuery) and action.sink is None
                ):
                    raise refuse_query(statement.text)
                engine.check(action, sandbox, ending, new_topics)
                started += isinstance(action, StartQuery) and not action.replace
                engine.check_capacity(statement.text, ending, started)
                plan.apply(action, sandbox)
            except GradstreamError as error:
                raise refusal(error, statement.text) from error
            planned.append(Planned(action, dict(self.properties), dict(self.variables), used))
            number += _is_logged(action)
            self._remember(action)
        return planned

    def _statements(self, text: str) -> Iterator[tree.Statement]:
        """The statements with their variables put in, each placed so that line and column are the request's."""
        try:
            for number, statement in enumerate(self._parsed(text)):
                self._check_size(statement, number)
                yield statement
        except GradstreamError as error:
            raise refusal(error, text) from error

    def _parsed(self, text: str) -> Iterator[tree.Statement]:
        if "${" not in text:
            yield from plan.parse(text, self.limits.depth)
            return
        for piece in plan.split(text):
            yield from plan.parse(plan.substitute(piece, self.variables), self.limits.depth)

    def _check_size(self, statement: tree.Statement, number: int) -> None:
        """Whether a request may have a statement, the ``number``-th of it from 0.

        Raises:
            SqlError: STATEMENT_TOO_LARGE, TOO_MANY_STATEMENTS.
        """
        if (size := len(statement.text.encode())) > self.limits.statement:
            raise SqlError(
                "STATEMENT_TOO_LARGE",
                f"The statement has {size} bytes, and may have {self.limits.statement}; split it, or start the engine "
                "with a greater --limit statement=BYTES",
            )
        if number >= self.limits.statements:
            raise SqlError(
                "TOO_MANY_STATEMENTS",
                f"The request has more than {self.limits.statements} statements; send the rest in another, or start the "
                "engine with a greater --limit statements=NUMBER",
            )

    def _remember(self, action: plan.Action) -> None:
        match action:
            case plan.SetProperty(name=name, value=None):
                self.properties.pop(name, None)
            case plan.SetProperty(name=name, value=value):
                self.properties[name] = value
            case plan.DefineVariable(name=name, value=None):
                self.variables.pop(name, None)
            case plan.DefineVariable(name=name, value=str() as value):
                self.variables[name] = value

    # Replies

    def _entities(self, done: Done, one: Planned) -> list[Entity]:
        """The entity of a statement, none for those that have none."""
        action = done.action
        text = action.text
        match action:
            case plan.SetProperty() | plan.DefineVariable() | plan.InsertValues():
                return []
            case plan.CreateSource(source=source):
                return [_status(done, f"{source.kind}/`{source.name}`/create")]
            case StartQuery(sink=Source() as sink):
                return [_status(done, f"{sink.kind}/`{sink.name}`/create")]
            case plan.DropSource(source=Source() as source):
                return [_status(done, f"{source.kind}/{source.name}/drop")]
            case plan.AlterSource(source=source):
                return [_status(done, f"{source.kind}/{source.name}/alter")]
            case plan.ControlQuery():
                if done.sequence < 0:
                    return [entities.terminated_push_query(text, done.query_id or "", True)]
                return [_status(done, f"{action.verb.lower()}/{done.query_id or 'ALL'}/execute")]
            case plan.CreateType(name=name):
                return [_status(done, f"type/{name}/create")]
            case plan.DropType(name=name):
                return [_status(done, f"type/{name}/drop")]
            case plan.Nothing(warning=True):
                return [entities.warning(text, action.message)]
            case plan.DropSource(kind=kind, name=name):
                message = f"Source `{name}` does not exist."
                return [entities.current_status(text, f"{kind}/{name}/drop", message, -1)]
            case plan.Nothing():
                return [entities.current_status(text, "nothing/execute", action.message, -1)]
            case plan.Show():
                return [self._show(action, one)]
            case plan.Describe():
                return [self._describe(action)]
            case plan.DescribeFunction():
                return [_function(action)]
            case plan.Explain():
                return [self._explain(action)]
        return []

    def _show(self, action: plan.Show, one: Planned) -> Entity:
        engine, text = self.engine, action.text
        sources = engine.catalog.sources.values()
        match action.what:
            case "STREAMS" | "TABLES":
                kind = action.what.lower()
                chosen = [source for source in sources if source.kind == kind[:-1]]
                if action.extended:
                    described = (self._described(source, True) for source in chosen)
                    return entities.source_descriptions(text, described)
                return entities.source_list(text, kind, chosen)
            case "TOPICS" | "ALL TOPICS":
                found = engine.topics()
                hidden = action.what == "TOPICS"
                shown = {
                    name: of for name, of in found.items() if not (hidden and _is_internal(name))
                }
                return entities.topic_list(text, shown)
            case "QUERIES":
                queries = engine.queries.values()
                if action.extended:
                    described = (_query_description(text, of) for of in queries)
                    return entities.query_descriptions(text, described)
                listed = [_listed_query(of) for of in queries]
                listed += [
                    entities.query(of.action.text, of.id, [], [], "PUSH", "RUNNING")
                    for of in list(engine.transient.values())
                ]
                return entities.query_list(text, listed)
            case "PROPERTIES":
                return entities.property_list(
                    text, engine.defaults, one.properties, EDITABLE.__contains__
                )
            case "VARIABLES":
                return entities.variable_list(text, one.variables)
            case "TYPES":
                return entities.type_list(text, engine.catalog.types)
            case "FUNCTIONS":
                return entities.function_list(text, functions())
        raise SqlError("UNSUPPORTED", f"SHOW {action.what} is not supported by this server")

    def _describe(self, action: plan.Describe) -> Entity:
        described = [self._described(source, action.extended) for source in action.sources]
        if action.several:
            return entities.source_descriptions(action.text, described)
        return entities.source_description_entity(action.text, described[0])

    def _described(self, source: Source, extended: bool) -> Entity:
        engine = self.engine
        reads = list(engine.reads(source))
        writes = list(engine.writes(source))
        replicas = engine.topics().get(source.topic, []) if extended else []
        counts = [query.counts for query in writes]
        statistics = f"messages: {sum(of.written for of in counts)}" if extended else ""
        errors = f"errors: {sum(of.errors for of in counts)}" if extended else ""
        return entities.source_description(
            source,
            list(map(_listed_query, reads)),
            list(map(_listed_query, writes)),
            extended,
            len(replicas),
            replicas[0] if replicas else 0,
            statistics,
            errors,
            [_offsets(query) for query in writes] if extended else (),
        )

    def _explain(self, action: plan.Explain) -> Entity:
        if action.query_id is not None:
            engine = self.engine
            known = next(
                of for of in engine.queries.values() if of.id.upper() == action.query_id.upper()
            )
            return entities.query_description_entity(
                action.text, _query_description(action.text, known)
            )
        assert action.action is not None
        query = action.action.query
        description = entities.query_description(
            action.text,
            query.query_id,
            action.action.text,
            query.output,
            [source.name for source in query.sources],
            [action.action.sink.name] if action.action.sink else [],
            action.plan or str(query),
            self.properties,
            "",
            action.action.kind.upper(),
            "",
        )
        return entities.query_description_entity(action.text, description)


_UNPREPARED = "Failed to prepare statement"
LONGEST_SHOWN = 1 << 16  # characters of a statement in the reply that refuses it
_NO_QUERY = "Statement type not supported for this resource: it takes SELECT and PRINT; send others to /ksql"


def refuse_query(text: str) -> RequestError:
    message = (
        "The following statement types should be issued to the websocket endpoint '/query': "
        "SELECT, PRINT"
    )
    return RequestError(400, replies.statement_error(message, text, code=40002))


def refusal(error: GradstreamError, text: str, made: list[Entity] | None = None) -> RequestError:
    """The reply for an error: the statement's, or the server's own."""
    if isinstance(error, UnavailableError):
        return RequestError(500, replies.generic_error(50000, str(error)))
    if isinstance(error, RetryError):
        if error.code == "TOO_MANY_QUERIES":
            return RequestError(400, replies.generic_error(40003, error.message), error.code)
        if error.code == "TOO_MANY_PULL_QUERIES":
            return RequestError(429, replies.generic_error(42900, error.message), error.code)
        return RequestError(503, replies.generic_error(50301, str(error)))
    message = error.message
    if isinstance(error, SqlError) and error.excerpt:
        message = f"{message}\n{error.excerpt}"
    text = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
    return RequestError(400, replies.statement_error(message, text, made or []), error.code)


def query_refusal(error: GradstreamError, statement: tree.Statement) -> RequestError:
    """The reply for an error of /query and /query-stream.

    ksqlDB tells what is wrong with a push query as a bad request once the names in it are known, and all else as
    a bad statement.
    """
    refused = refusal(error, statement.text)
    pushes = isinstance(statement.body, tree.Query) and statement.body.emit is not None
    if pushes and isinstance(error, SqlError) and not error.bare_message.startswith(_UNPREPARED):
        refused.entity = replies.generic_error(40000, str(refused.entity["message"]))
    return refused


def functions() -> list[Mapping[str, str]]:
    """All functions with type and category."""
    return [
        {"name": of.name, "type": of.kind, "category": of.category}
        for of in function_room.families()
    ]


def _is_logged(action: plan.Action) -> bool:
    return isinstance(
        action,
        plan.CreateSource
        | plan.StartQuery
        | plan.DropSource
        | plan.ControlQuery
        | plan.AlterSource
        | plan.CreateType
        | plan.DropType,
    )


def _is_internal(topic: str) -> bool:
    return topic.startswith(("_", "connect-")) or topic.endswith("ksql_processing_log")


def _status(done: Done, command_id: str) -> Entity:
    return entities.current_status(
        done.action.text, command_id, done.message, done.sequence, done.query_id
    )


def _offsets(query: PersistentQuery) -> Entity:
    return entities.query_offsets(query.around.group(query.id), query.offsets())


def _listed_query(query: PersistentQuery) -> Entity:
    return entities.query(
        query.action.text,
        query.id,
        [query.sink.name],
        [query.sink.topic],
        "PERSISTENT",
        query.state,
    )


def _query_description(text: str, query: PersistentQuery) -> Entity:
    errors = []
    if why := query.failure or query.trouble:
        errors.append({"timestamp": 0, "errorMessage": why, "type": "SYSTEM"})
    return entities.query_description(
        text,
        query.id,
        query.action.text,
        query.plan.output,
        [source.name for source in query.plan.sources],
        [query.sink.name],
        str(query.plan),
        query.properties,
        query.state,
        "PERSISTENT",
        query.around.group(query.id),
        errors,
    )


def _function(action: plan.DescribeFunction) -> Entity:
    return {
        "@type": "describe_function",
        "statementText": action.text,
        "warnings": [],
        "name": action.name,
        "description": action.description,
        "author": "Confluent" if action.kind else "",
        "version": "",
        "path": "internal",
        "functions": [
            {
                "arguments": [
                    {"name": "", "type": type_, "description": "", "isVariadic": False}
                    for type_ in arguments
                ],
                "returnType": returns,
                "description": action.description,
            }
            for arguments, returns, _ in action.signatures
        ],
        "type": action.kind,
    }


__all__ = ["Catalog", "Session", "check_property", "functions", "refusal"]
