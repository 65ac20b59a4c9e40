"""FROM with JOIN, resolved: a query over several sources as one over their joined rows.

A column C of a source with the alias A is called A_C in a joined row, and the query is rewritten to those names, so that
all that follows sees one source.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from gradstream.engine.catalog import Column, Format, Source
from gradstream.engine.language import tree
from gradstream.engine.language.analyze import PSEUDO, WINDOW_BOUNDS, Analyzer, Typed, nearest
from gradstream.engine.language.formatting import format_expression
from gradstream.engine.language.lexer import error_at, place
from gradstream.engine.language.projection import readable
from gradstream.engine.language.schema_rules import check_no_maps
from gradstream.engine.types import SqlType
from gradstream.errors import SqlError

Kind = Literal["stream", "table"]
SYNTHETIC = "ROWKEY"
_NO_REPARTITIONING = (
    "Implicit repartitioning of windowed sources is not supported. See "
    "https://github.com/confluentinc/ksql/issues/4385."
)


@dataclass(frozen=True, slots=True)
class Joint:
    """One join: what came before with one more source, by equal keys.

    Attributes:
        moved: in which format the rows of each side get another key before they are joined; None where they have it.
    """

    node: tree.Join
    kinds: tuple[Kind, Kind]
    keys: tuple[Typed, Typed]
    foreign: bool = False
    moved: tuple[Format | None, Format | None] = (None, None)


@dataclass(frozen=True, slots=True)
class Joined:
    """Several sources as one.

    Attributes:
        sources: left-most first, with their aliases.
        joints: one less.
        source: what the joined rows are like, under the names of the joined row; no such topic exists.
        query: the query over it.
        viable: names of columns that hold the key; the one that SELECT shows is it.
        computed: a key that is no column, by its name.
        shown: how messages call each of ``viable``.
        foreign: whether the last join is one by foreign key, so that all of ``viable`` are the key.
        key_format: of the joined rows, before they go to the sink.
    """

    sources: tuple[tuple[Source, str], ...]
    joints: tuple[Joint, ...]
    source: Source
    query: tree.Query
    viable: tuple[str, ...]
    computed: dict[str, Typed]
    shown: dict[str, str]
    foreign: bool
    key_format: Format


def join(
    query: tree.Query,
    find: Callable[[tree.From], Source],
    types: Mapping[str, SqlType],
    text: str,
) -> Joined:
    """
    Raises:
        SqlError: what ksqlDB refuses, in its words.
    """
    return _Joining(query, find, types, text).resolve()


class _Joining:
    def __init__(
        self,
        query: tree.Query,
        find: Callable[[tree.From], Source],
        types: Mapping[str, SqlType],
        text: str,
    ) -> None:
        self.query, self.find, self.user_types, self.text = query, find, types, text
        self.sources: list[tuple[Source, str]] = []
        self.columns: dict[str, dict[str, SqlType]] = {}  # of each alias
        self.types: dict[str, SqlType] = {}  # by the names of the joined row
        self.joints: list[Joint] = []
        self.clause = "SELECT"
        # Columns that are equal to the key of what has been joined so far; empty where it is computed.
        self.viable: list[str] = []
        self.computed: Typed | None = None
        self.single = True  # whether that has a key of one column
        self.primary: list[str] = []  # of what has been joined so far, where it is a table
        self.kind: Kind = "stream"
        self.key_format = Format("NONE")  # of what has been joined so far

    def error(self, message: str, at: tree.At) -> SqlError:
        return error_at("BAD_JOIN", message, self.text, at)

    def resolve(self) -> Joined:
        relation, nodes = tree.unjoined(self.query.source)
        self.enter(relation)
        first = self.sources[0][0]
        self.kind = first.kind
        self.key_format = first.key_format
        self.primary = [f"{relation.alias}_{c.name}" for c in first.key_columns]
        self.single = len(self.primary) == 1
        self.viable = list(self.primary)
        for node in nodes:
            self.one(node)
        self.check_formats()
        source = self.virtual()
        return Joined(
            tuple(self.sources),
            tuple(self.joints),
            source,
            self.rewritten_query(),
            tuple(self.viable) or (self.synthetic,),
            {} if self.computed is None else {self.synthetic: self.computed},
            {name: self.called(name) for name in self.viable},
            self.joints[-1].foreign,
            self.key_format,
        )

    @property
    def synthetic(self) -> str:
        """A name for a key that is computed: ROWKEY, or ROWKEY_n where a source has that."""
        taken = {name for columns in self.columns.values() for name in columns}
        names = (SYNTHETIC, *(f"{SYNTHETIC}_{n}" for n in range(1, len(taken) + 2)))
        return next(name for name in names if name not in taken)

    def enter(self, node: tree.From) -> Source:
        source = self.find(node)
        for known, _ in self.sources:
            if known.name == source.name:
                if self.joints:
                    raise self.error(
                        "N-way joins do not support multiple occurrences of the same source. "
                        f"Source: '{source.name}'",
                        node.at,
                    )
                raise self.error(
                    f"Can not join '{source.name}' to '{source.name}': self joins are not yet supported.",
                    node.at,
                )
        self.sources.append((source, node.alias))
        self.columns[node.alias] = readable(source)
        self.types.update(
            (f"{node.alias}_{name}", type_) for name, type_ in readable(source).items()
        )
        return source

    # Joins

    def check_formats(self) -> None:
        plain = [source.name for source, _ in self.sources if source.value_format.name == "KAFKA"]
        if plain:
            raise self.error(
                f"Source(s) {', '.join(plain)} are using the 'KAFKA' value format. This format does not yet support "
                "JOIN.",
                self.query.at,
            )

    def one(self, node: tree.Join) -> None:
        self.clause = "JOIN ON"
        before = {alias for _, alias in self.sources}
        right = self.enter(node.right)
        self.check_windows(node, right)
        if isinstance(node.on, tree.Logical):
            raise self.error(
                "Invalid join condition: joins on multiple conditions are not yet supported. "
                f"Got {format_expression(self.qualified(node.on))}.",
                node.at,
            )
        if not isinstance(node.on, tree.Comparison) or node.on.operator != "=":
            raise self.error(
                "Unsupported join expression: " + format_expression(self.qualified(node.on)),
                node.at,
            )
        sides = self.sides(node, node.on, before)
        kinds: tuple[Kind, Kind] = (self.kind, right.kind)
        self.check_kinds(node, kinds)
        foreign = self.check_keys(node, kinds, sides, right)
        keys = (self.typed(sides[0]), self.typed(sides[1]))
        if keys[0].type != keys[1].type:
            got = [
                f"{format_expression(self.qualified(side))}{{{key.type}}}"
                for side, key in zip(sides, keys, strict=True)
            ]
            raise self.error(
                f"Invalid join condition: types don't match. Got {got[0]} = {got[1]}.", node.at
            )
        moved = (None, None) if foreign else self.moved(kinds, keys, right)
        if right.window is not None and any(moved):
            raise self.error(_NO_REPARTITIONING, node.at)
        self.joints.append(Joint(node, kinds, keys, foreign, moved))
        if not foreign:
            self.rekey(node, keys)
        self.kind = kinds[0]

    def sides(
        self, node: tree.Join, on: tree.Comparison, before: set[str]
    ) -> tuple[tree.Expression, tree.Expression]:
        """The two sides of the condition, that of the new source last."""
        left, right = on.left, on.right
        of_left, of_right = self.aliases(left), self.aliases(right)
        new = {node.right.alias}
        if of_left == new and of_right and of_right <= before:
            left, right, of_left, of_right = right, left, of_right, of_left
        for side, of in ((on.left, of_left), (on.right, of_right)):
            if len({*of}) != 1 and not (self.joints and len({*of}) > 1):
                raise self.error(
                    f"Invalid comparison expression '{format_expression(side)}' in join "
                    f"'{format_expression(on)}'. Each side of the join comparision must contain references from "
                    "exactly one source.",
                    node.at,
                )
        if not (new & (of_left | of_right)):
            raise self.error(
                f"A join criteria is expected to reference the source (`{node.right.alias}`) in the FROM clause, "
                f"instead the right source references `{', '.join(sorted(of_right))}` and the left source references "
                f"`{', '.join(sorted(of_left))}`",
                node.at,
            )
        if not (of_left and of_left <= before and of_right == new):
            raise self.error(
                "Invalid join condition: each side of the join must reference exactly one source and not the same "
                f"source. Left side references {sorted(of_left)} and right references {sorted(of_right)}",
                node.at,
            )
        return left, right

    def aliases(self, node: tree.Expression) -> set[str]:
        found: set[str] = set()

        def note(name: tree.Name) -> tree.Name:
            found.add(self.place(name)[0])
            return name

        rewritten(node, note)
        return found

    def check_windows(self, node: tree.Join, right: Source) -> None:
        left = self.sources[0][0]
        if left.window is None and right.window is None:
            return
        kinds = [of.window.kind if of.window else "not windowed" for of in (left, right)]
        if ("SESSION" in kinds) and kinds[0] != kinds[1]:
            raise self.error(
                f"Incompatible windowed sources.\nLeft source: {kinds[0]}\nRight source: {kinds[1]}\n"
                "Session windowed sources can only be joined to other session windowed sources, and may still not "
                "result in expected behaviour as session bounds must be an exact match for the join to work\n"
                "Hopping and tumbling windowed sources can only be joined to other hopping and tumbling windowed "
                "sources",
                node.at,
            )
        if left.window != right.window:
            raise self.error(_NO_REPARTITIONING, node.at)

    def check_kinds(self, node: tree.Join, kinds: tuple[Kind, Kind]) -> None:
        names = [self.sources[0][0].name, self.sources[-1][0].name]
        words = {
            "INNER": "[INNER] JOIN",
            "LEFT": "LEFT [OUTER] JOIN",
            "RIGHT": "RIGHT [OUTER] JOIN",
            "OUTER": "[FULL] OUTER JOIN",
        }[node.kind]
        got = f"Got {names[0]} {words} {names[1]}."
        if kinds == ("table", "stream"):
            raise self.error(
                f"Invalid join order: table-stream joins are not supported; only stream-table joins. {got}",
                node.at,
            )
        if kinds == ("stream", "table") and node.kind in ("OUTER", "RIGHT"):
            name = {"OUTER": "full-outer", "RIGHT": "right-outer"}[node.kind]
            raise self.error(
                f"Invalid join type: {name} join not supported for stream-table join. {got}",
                node.at,
            )
        within = node.before is not None
        if kinds == ("stream", "stream") and not within:
            raise self.error(
                "Stream-Stream joins must have a WITHIN clause specified. None was provided. To learn about how to "
                "specify a WITHIN clause with a stream-stream join, please visit: https://docs.confluent.io/current/"
                "ksql/docs/syntax-reference.html#create-stream-as-select",
                node.at,
            )
        if kinds != ("stream", "stream") and within:
            raise self.error(
                "A window definition was provided for a Table-Table join. These joins are not windowed. Please drop "
                "the window definition (i.e. the WITHIN clause) and try to execute your Table-Table join again."
                if kinds[0] == "table"
                else "A window definition was provided for a Stream-Table join. These joins are not windowed. "
                "Please drop the window definition (ie. the WITHIN clause) and try to execute your join again.",
                node.at,
            )

    def check_keys(
        self,
        node: tree.Join,
        kinds: tuple[Kind, Kind],
        sides: tuple[tree.Expression, tree.Expression],
        right: Source,
    ) -> bool:
        """Whether it is a join by foreign key; tables take part by their primary keys."""
        if kinds == ("stream", "stream"):
            return False
        got = f"Got {format_expression(self.qualified(node.on))[1:-1]}."
        key = [f"{node.right.alias}_{column.name}" for column in right.key_columns]
        by = self.plain(sides[1])
        if [by] != key:
            how = (
                "stream-table joins require to join on the table's primary key."
                if kinds[0] == "stream"
                else "table-table joins require to join on the primary key of the right input table."
            )
            raise self.error(f"Invalid join condition: {how} {got}", node.at)
        if kinds[0] == "stream":
            return False
        mine = self.plain(sides[0])
        if self.single and mine in self.viable:
            return False
        if self.joints:
            raise self.error(
                "Invalid join condition: foreign-key table-table joins are not supported as part of n-way "
                f"joins. {got}",
                node.at,
            )
        if node.kind == "RIGHT":
            raise self.error("RIGHT OUTER JOIN on a foreign key is not supported", node.at)
        if node.kind == "OUTER":
            raise self.error(
                "Invalid join type: full-outer join not supported for foreign-key table-table join. Got "
                f"{self.sources[-2][0].name} [FULL] OUTER JOIN {right.name}.",
                node.at,
            )
        return True

    def moved(
        self, kinds: tuple[Kind, Kind], keys: tuple[Typed, Typed], right: Source
    ) -> tuple[Format | None, Format | None]:
        """Which sides Kafka Streams would send through a topic: those that have another key, or one in another format than
        the other side, which may be a table or be where it belongs.
        """
        own = [f"{self.sources[-1][1]}_{column.name}" for column in right.key_columns]
        stays = (self.single and _column(keys[0]) in self.viable, [_column(keys[1])] == own)
        formats = self.key_format, right.key_format
        by_right = kinds[1] == "table" or (stays[1] and not stays[0])
        self.key_format = made = formats[1 if by_right else 0]
        left, right_ = (
            None if stay and format_ == made else made
            for stay, format_ in zip(stays, formats, strict=True)
        )
        return left, right_

    def plain(self, node: tree.Expression) -> str | None:
        """The joined row's name of an expression that is a column."""
        if not isinstance(node, tree.Name):
            return None
        alias, name = self.place(node)
        return f"{alias}_{name}"

    def typed(self, node: tree.Expression) -> Typed:
        analyzer = Analyzer(self.text, self.types, (), self.user_types)
        return analyzer.partition(rewritten(node, self.renamed))

    def rekey(self, node: tree.Join, keys: tuple[Typed, Typed]) -> None:
        """What the joined rows are keyed by."""
        columns = [key.detail for key in keys if key.kind == "column"]
        for name in columns:
            at = node.at
            try:
                type_ = self.types[name]
                check_no_maps([Column(name, type_)])
            except SqlError as error:
                raise error_at(error.code, error.bare_message, self.text, at) from None
        if node.kind == "OUTER" or not columns:
            analyzer = Analyzer(self.text, self.types, (), self.user_types)
            self.viable = []
            self.computed = keys[0]
            if node.kind == "OUTER":
                both = tuple(key.node for key in keys if key.node is not None)
                self.computed = analyzer.partition(tree.Call("COALESCE", both))
            return
        same_key = any(name in self.viable for name in columns)
        self.computed = None
        self.viable = list(dict.fromkeys([*self.viable, *columns])) if same_key else columns

    # Names

    def place(self, node: tree.Name) -> tuple[str, str]:
        """(alias, column) of a name."""
        if node.source is not None:
            if node.source not in self.columns:
                raise error_at(
                    "UNKNOWN_STREAM",
                    f"Failed to prepare statement: '{node.source}' is not a valid stream/table name or alias."
                    + nearest(node.source, self.columns),
                    self.text,
                    node.at,
                )
            if node.name not in self.columns[node.source]:
                raise self.unknown(f"{node.source}.{node.name}", node)
            return node.source, node.name
        found = [alias for alias, columns in self.columns.items() if node.name in columns]
        if not found:
            raise self.unknown(node.name, node)
        if len(found) > 1:
            could = " or ".join(f"{alias}.{node.name}" for alias in found)
            raise error_at(
                "AMBIGUOUS_COLUMN",
                f"Exception while preparing statement: {self.at(node)}Column '{node.name}' is ambiguous. Could be {could}.",
                self.text,
                node.at,
            )
        return found[0], node.name

    def unknown(self, shown: str, node: tree.Name) -> SqlError:
        where = self.at(node) if self.clause == "JOIN ON" else ""
        return error_at(
            "UNKNOWN_COLUMN",
            f"{where}{self.clause} column '{shown}' cannot be resolved.",
            self.text,
            node.at,
        )

    def at(self, node: tree.Name) -> str:
        line, column = place(self.text, node.at[0])
        return f"Line: {line}, Col: {column}: "

    def renamed(self, node: tree.Name) -> tree.Name:
        if node.source is None and self.computed is not None and node.name == self.synthetic:
            return node
        alias, name = self.place(node)
        return tree.Name(f"{alias}_{name}", at=node.at)

    def qualified(self, node: tree.Expression) -> tree.Expression:
        """With every column's source named, as messages show conditions."""

        def qualify(name: tree.Name) -> tree.Name:
            alias, column = self.place(name)
            return tree.Name(column, alias, at=name.at)

        made: tree.Expression = rewritten(node, qualify)
        return made

    def called(self, name: str) -> str:
        for alias, columns in self.columns.items():
            for column in columns:
                if f"{alias}_{column}" == name:
                    return f"{alias}.{column}"
        return name

    # The query over the joined rows

    def virtual(self) -> Source:
        first = self.sources[0][0]
        columns = []
        if self.computed is not None:
            assert self.computed.type is not None
            columns.append(Column(self.synthetic, self.computed.type, "key"))
        for source, alias in self.sources:
            for column in (*source.key_columns, *(c for c in source.columns if c.role != "key")):
                columns.append(Column(f"{alias}_{column.name}", column.type, "value"))  # noqa: PERF401
        own = {column.name for column in columns}
        columns += [Column(name, of, "value") for name, of in self.types.items() if name not in own]
        return Source(
            first.name,
            self.kind,
            tuple(columns),
            first.topic,
            first.key_format,
            first.value_format,
            window=first.window,
        )

    def rewritten_query(self) -> tree.Query:
        query = self.query

        def each(node: Any, clause: str) -> Any:
            self.clause = clause
            return None if node is None else rewritten(node, self.renamed)

        return replace(
            query,
            items=tuple(of for item in query.items for of in self.items(item)),
            where=each(query.where, "WHERE"),
            group_by=tuple(each(node, "GROUP BY") for node in query.group_by),
            partition_by=tuple(each(node, "PARTITION BY") for node in query.partition_by),
            having=each(query.having, "HAVING"),
        )

    def items(self, item: tree.Item) -> Iterable[tree.Item]:
        self.clause = "SELECT"
        if item.expression is None:
            yield from self.star(item)
            return
        node = item.expression
        made = rewritten(node, self.renamed)
        alias = item.alias
        if alias in WINDOW_BOUNDS:
            raise error_at(
                "RESERVED_NAME",
                f"Reserved column name in select: `{alias}`. Please remove or alias the column.",
                self.text,
                item.at,
            )
        if alias is None and isinstance(node, tree.Name) and isinstance(made, tree.Name):
            alias = node.name
            clashes = sum(node.name in columns for columns in self.columns.values())
            if clashes > 1 and made.name != node.name:
                alias = made.name
        yield replace(item, expression=made, alias=alias)

    def star(self, item: tree.Item) -> Iterable[tree.Item]:
        if item.source is not None and item.source not in self.columns:
            raise error_at(
                "UNKNOWN_STREAM",
                f"'{item.source}' is not a valid stream/table name or alias.",
                self.text,
                item.at,
            )
        if item.source is None and self.computed is not None:
            yield tree.Item(tree.Name(self.synthetic), self.synthetic, at=item.at)
        for source, alias in self.sources:
            if item.source not in (None, alias):
                continue
            keys = [column.name for column in source.key_columns]
            others = [column.name for column in source.columns if column.name not in keys]
            # With PARTITION BY, as ksqlDB has it, the key comes last, after columns that * else leaves out.
            keys += WINDOW_BOUNDS if source.window is not None else ()
            own = [*others, *PSEUDO, *keys] if self.query.partition_by else [*keys, *others]
            for name in own:
                yield tree.Item(tree.Name(f"{alias}_{name}"), f"{alias}_{name}", at=item.at)


def _column(key: Typed) -> str | None:
    return key.detail if key.kind == "column" else None


def rewritten(
    node: tree.Expression,
    change: Callable[[tree.Name], tree.Name],
    bound: frozenset[str] = frozenset(),
) -> Any:
    """An expression with every column's name changed; the parameters of lambdas are none."""
    if isinstance(node, tree.Name):
        return node if node.source is None and node.name in bound else change(node)
    if isinstance(node, tree.Lambda):
        bound = bound | frozenset(node.parameters)
    changes = {}
    for part in dataclasses.fields(node):
        value = getattr(node, part.name)
        made = _rewritten_part(value, change, bound)
        if made is not value:
            changes[part.name] = made
    return replace(node, **changes) if changes else node


def _rewritten_part(
    value: Any, change: Callable[[tree.Name], tree.Name], bound: frozenset[str]
) -> Any:
    if isinstance(value, tree.Expression):
        return rewritten(value, change, bound)
    if isinstance(value, tuple) and value:
        made = tuple(_rewritten_part(of, change, bound) for of in value)
        return made if any(a is not b for a, b in zip(made, value, strict=True)) else value
    return value
