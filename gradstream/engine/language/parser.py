"""Tokens to trees, by recursive descent over ksqlDB's whole grammar.

One method per rule, in the order of the grammar: statements, queries, expressions, types. What later stages cannot
carry out yet is parsed all the same, so that they can refuse it by name and place.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable
from typing import Literal as OneOf
from typing import NoReturn, TypeVar
from typing import cast as typed

from gradstream.engine.language import tree
from gradstream.engine.language.lexer import Token, error_at, place, tokens
from gradstream.engine.types import PRIMITIVES, Array, Decimal, Map, SqlType, Struct
from gradstream.errors import SqlError

DEEPEST = 100
T = TypeVar("T")

RESERVED = frozenset(
    [
        "AND",
        "AS",
        "BETWEEN",
        "BY",
        "CASE",
        "CAST",
        "CREATE",
        "DELETE",
        "DESCRIBE",
        "DISTINCT",
        "DROP",
        "ELSE",
        "END",
        "EXISTS",
        "FALSE",
        "FROM",
        "FULL",
        "GROUP",
        "HAVING",
        "IN",
        "INNER",
        "INSERT",
        "INTO",
        "IS",
        "JOIN",
        "LEFT",
        "LIKE",
        "LIMIT",
        "NOT",
        "NULL",
        "ON",
        "OR",
        "OUTER",
        "RIGHT",
        "SELECT",
        "THEN",
        "TRUE",
        "VALUES",
        "WHEN",
        "WHERE",
        "WITH",
        "WITHIN",
    ]
)
UNITS = {
    "MILLISECOND": 1,
    "SECOND": 1000,
    "MINUTE": 60_000,
    "HOUR": 3_600_000,
    "DAY": 86_400_000,
    "WEEK": 604_800_000,
    "MONTH": 2_592_000_000,
    "YEAR": 31_536_000_000,
}
_PLURAL = {f"{unit}S": unit for unit in UNITS}
_COMPARISONS = frozenset(("=", "<>", "<", "<=", ">", ">="))
_PREDICATES = frozenset(("NOT", "BETWEEN", "IN", "LIKE", "IS"))
_BINARY = {"||": 0, "+": 1, "-": 1, "*": 2, "/": 2, "%": 2}
_SIGNS = frozenset("+-")
_NUMBERS = frozenset(("integer", "decimal", "double"))


def parse_text(text: str, deepest: int = DEEPEST) -> list[tree.Statement]:
    """All statements of a text; each must end with a semicolon.

    Raises:
        SqlError: SYNTAX_ERROR, BAD_CHARACTER, OPEN_QUOTE, TOO_COMPLEX, with line, column and excerpt.
    """
    try:
        return _Parser(text, deepest).statements()
    except RecursionError:
        raise SqlError("TOO_COMPLEX", "the statement nests too deeply; split it") from None


def parse_expression(text: str) -> tree.Expression:
    """A single expression, for tests and tools."""
    parser = _Parser(text)
    found = parser.expression()
    if parser.kind != "end":
        parser.fail()
    return found


def statement_texts(text: str) -> list[tuple[int, int]]:
    """Where each statement starts and ends, cut at semicolons outside quotes and comments; nothing is parsed."""
    found = []
    start = -1
    for kind, value, first, last in tokens(text):
        if kind == "end":
            break
        start = first if start < 0 else start
        if kind == "symbol" and value == ";":
            found.append((start, last))
            start = -1
    if start >= 0:
        found.append((start, len(text.rstrip())))
    return found


class _Parser:
    """The tokens of one text and the place in them; ``kind`` and ``value`` are those of the current token."""

    def __init__(self, text: str, deepest: int = DEEPEST) -> None:
        self.text = text
        self.deepest = deepest
        self.tokens: list[Token] = tokens(text)
        self.tokens += self.tokens[-1:] * 3
        self.index = 0
        self.depth = 0
        self.in_group = False
        self.statement_start = 0
        self.kind, self.value, self.start, self.end = self.tokens[0]

    # Moving

    def step(self) -> str:
        value = self.value
        self.index += 1
        self.kind, self.value, self.start, self.end = self.tokens[self.index]
        return value

    def peek(self, ahead: int = 1) -> Token:
        # The end is there more than once, so that looking ahead needs no check.
        return self.tokens[self.index + ahead]

    def since(self, start: int) -> tree.At:
        return start, self.tokens[self.index - 1][3]

    def is_word(self, *words: str) -> bool:
        """Do the next tokens spell these words?"""
        for ahead, word in enumerate(words):
            token = self.tokens[self.index + ahead]
            if token[0] != "word" or token[1] != word:
                return False
        return True

    def take(self, *words: str) -> bool:
        """Step over these words if they are next."""
        if not self.is_word(*words):
            return False
        for _ in words:
            self.step()
        return True

    def need(self, *words: str) -> None:
        for word in words:
            if self.kind != "word" or self.value != word:
                self.fail(f"Expecting '{word}'")
            self.step()

    def is_symbol(self, symbol: str) -> bool:
        return self.kind == "symbol" and self.value == symbol

    def take_symbol(self, symbol: str) -> bool:
        if self.kind == "symbol" and self.value == symbol:
            self.step()
            return True
        return False

    def need_symbol(self, symbol: str, detail: str | None = None) -> None:
        if not self.take_symbol(symbol):
            self.fail(detail or f"Expecting '{symbol}'")

    def fail(self, detail: str = "", token: Token | None = None) -> NoReturn:
        """A syntax error at a token, the current one unless told otherwise, in ksqlDB's wording."""
        kind, _, start, end = token or self.tokens[self.index]
        line, column = place(self.text, start)
        if kind == "end" and not detail:
            detail = "the text ends here, though more is needed"
        shown = self.text[self.statement_start : self.statement_end()]
        message = f"line {line}:{column}: Syntax Error\n{detail}\nStatement: {shown}"
        raise error_at("SYNTAX_ERROR", message, self.text, (start, end))

    def statement_end(self) -> int:
        for kind, value, _, end in self.tokens[self.index :]:
            if kind == "symbol" and value == ";":
                return end
        return len(self.text)

    def prepare_error(self, message: str, at: tree.At) -> SqlError:
        return error_at("SYNTAX_ERROR", f"Failed to prepare statement: {message}", self.text, at)

    def list_of(self, rule: Callable[[], T]) -> tuple[T, ...]:
        found = [rule()]
        while self.take_symbol(","):
            found.append(rule())
        return tuple(found)

    def nested(self, rule: Callable[[], T]) -> T:
        """Run a rule one level deeper."""
        self.deeper()
        found = rule()
        self.depth -= 1
        return found

    def deeper(self) -> None:
        """One level down; the limit keeps every later stage within Python's own."""
        self.depth += 1
        if self.depth > self.deepest:
            raise error_at(
                "TOO_COMPLEX",
                f"expressions nest deeper than {self.deepest} levels here; split the statement",
                self.text,
                (self.start, self.end),
            )

    # Statements

    def statements(self) -> list[tree.Statement]:
        found = []
        while self.kind != "end":
            found.append(self.statement())
        return found

    def statement(self) -> tree.Statement:
        start = self.statement_start = self.start
        body = self.body()
        if not self.is_symbol(";"):
            self.fail("Expecting ';'" if self.kind == "end" else "")
        self.step()
        line, column = place(self.text, start)
        end = self.tokens[self.index - 1][3]
        return tree.Statement(self.text[start:end], body, self.text, line, column)

    def body(self) -> tree.Body:
        rule = _STATEMENTS.get(self.value) if self.kind == "word" else None
        if rule is None:
            shown = self.text[self.start : self.end]
            self.fail(f"Unknown statement '{shown}'" if self.kind != "end" else "")
        return rule(self)

    def select(self) -> tree.Query:
        return self.query()

    def create(self) -> tree.Body:
        start = self.start
        self.step()
        replace = self.take("OR", "REPLACE")
        if self.take("TYPE"):
            return self.create_type(start)
        if self.is_word("SINK", "CONNECTOR") or self.is_word("SOURCE", "CONNECTOR"):
            return self.unsupported("CREATE CONNECTOR", start)
        is_source = self.take("SOURCE")
        kind = self.stream_or_table()
        if_not_exists = self.take("IF", "NOT", "EXISTS")
        name = self.source_name()
        elements = self.elements() if self.is_symbol("(") else ()
        settings = self.settings()
        if not elements and not is_source and self.take("AS"):
            query = self.query()
            return tree.CreateAsSelect(
                kind, name, query, settings, replace, if_not_exists, self.since(start)
            )
        return tree.CreateSource(
            kind, name, elements, settings, replace, if_not_exists, is_source, self.since(start)
        )

    def stream_or_table(self) -> tree.Kind:
        if self.take("STREAM"):
            return "stream"
        if not self.take("TABLE"):
            self.fail("Expecting {'STREAM', 'TABLE'}")
        return "table"

    def create_type(self, start: int) -> tree.Body:
        if_not_exists = self.take("IF", "NOT", "EXISTS")
        name = self.identifier()
        self.need("AS")
        return tree.CreateType(name, self.type(), if_not_exists, self.since(start))

    def elements(self) -> tuple[tree.Element, ...]:
        self.need_symbol("(")
        found = self.list_of(self.element)
        self.need_symbol(")", "Expecting {',', ')'}")
        return found

    def element(self) -> tree.Element:
        start = self.start
        name = self.identifier()
        type_ = self.type()
        role, header = "VALUE", None
        if self.take("PRIMARY"):
            self.need("KEY")
            role = "PRIMARY KEY"
        elif self.take("KEY"):
            role = "KEY"
        elif self.take("HEADERS"):
            role = "HEADERS"
        elif self.take("HEADER"):
            self.need_symbol("(")
            role, header = "HEADER", self.string()
            self.need_symbol(")")
        return tree.Element(name, type_, role, header, self.since(start))

    def settings(self) -> dict[str, tree.Setting]:
        """WITH (NAME = literal, …); names in upper case."""
        if not self.take("WITH"):
            return {}
        self.need_symbol("(")
        found: dict[str, tree.Setting] = {}
        while True:
            name = self.step() if self.kind == "string" else self.identifier()
            self.need_symbol("=")
            found[name.upper()] = self.literal()
            if not self.take_symbol(","):
                break
        self.need_symbol(")", "Expecting {',', ')'}")
        return found

    def insert(self) -> tree.Body:
        start = self.start
        self.step()
        self.need("INTO")
        name = self.source_name()
        settings = self.settings()
        if self.is_word("SELECT"):
            return tree.InsertSelect(name, self.query(), settings, self.since(start))
        columns: tuple[str, ...] = ()
        if self.take_symbol("("):
            columns = self.list_of(self.identifier)
            self.need_symbol(")", "Expecting {',', ')'}")
        self.need("VALUES")
        self.need_symbol("(")
        values = () if self.is_symbol(")") else self.list_of(self.value_expression)
        self.need_symbol(")", "Expecting {',', ')'}")
        at = self.since(start)
        if columns and len(columns) != len(values):
            raise self.prepare_error(
                f"Expected number columns and values to match: {len(columns)}, {len(values)}",
                at,
            )
        return tree.InsertRow(name, columns, values, at)

    def drop(self) -> tree.Body:
        start = self.start
        self.step()
        if self.is_word("CONNECTOR"):
            return self.unsupported("DROP CONNECTOR", start)
        if self.take("TYPE"):
            if_exists = self.take("IF", "EXISTS")
            return tree.DropType(self.identifier(), if_exists, self.since(start))
        kind = self.stream_or_table()
        if_exists = self.take("IF", "EXISTS")
        name = self.source_name()
        delete_topic = self.take("DELETE", "TOPIC")
        return tree.DropSource(kind, name, if_exists, delete_topic, self.since(start))

    def alter(self) -> tree.Body:
        start = self.start
        self.step()
        if self.take("SYSTEM"):
            name = self.string()
            self.need_symbol("=")
            return tree.AlterSystem(name, self.string(), self.since(start))
        kind = self.stream_or_table()
        name = self.source_name()

        def option() -> tree.Element:
            self.need("ADD")
            self.take("COLUMN")
            first = self.start
            return tree.Element(self.identifier(), self.type(), at=self.since(first))

        return tree.AlterSource(kind, name, self.list_of(option), self.since(start))

    def control(self) -> tree.Body:
        start = self.start
        verb = typed(OneOf["TERMINATE", "PAUSE", "RESUME"], self.step())
        if self.take("ALL"):
            return tree.ControlQuery(verb, None, self.since(start))
        return tree.ControlQuery(verb, self.query_id(), self.since(start))

    def query_id(self) -> str:
        """An id as an identifier; the lower-case part of a transient id is kept as written."""
        if self.kind == "word":
            shown = self.text[self.start : self.end]
            self.step()
            return shown
        return self.identifier()

    def show(self) -> tree.Body:
        start = self.start
        self.step()
        if self.is_word("CONNECTORS") or self.is_word("CONNECTOR", "PLUGINS"):
            return self.unsupported("SHOW CONNECTORS", start)
        if self.is_word("SOURCE", "CONNECTORS") or self.is_word("SINK", "CONNECTORS"):
            return self.unsupported("SHOW CONNECTORS", start)
        what = "ALL TOPICS" if self.is_word("ALL", "TOPICS") and self.step() else self.value
        if self.kind != "word" or what not in (
            "STREAMS", "TABLES", "TOPICS", "ALL TOPICS", "QUERIES", "PROPERTIES", "FUNCTIONS", "TYPES", "VARIABLES",
        ):  # fmt: skip
            self.fail()
        self.step()
        may_extend = what in ("STREAMS", "TABLES", "TOPICS", "ALL TOPICS", "QUERIES")
        extended = may_extend and self.take("EXTENDED")
        return tree.List(what, extended, self.since(start))

    def describe(self) -> tree.Body:
        start = self.start
        self.step()
        if self.take("FUNCTION"):
            return tree.DescribeFunction(self.identifier(), self.since(start))
        if self.is_word("CONNECTOR") and self.peek()[1] != ";":
            return self.unsupported("DESCRIBE CONNECTOR", start)
        if self.is_word("STREAMS") or self.is_word("TABLES"):
            kind: tree.Kind = "stream" if self.step() == "STREAMS" else "table"
            return tree.DescribeAll(kind, self.take("EXTENDED"), self.since(start))
        name = self.source_name()
        return tree.DescribeSource(name, self.take("EXTENDED"), self.since(start))

    def explain(self) -> tree.Body:
        start = self.start
        self.step()
        if self.kind == "word" and self.value in _STATEMENTS and self.peek()[1] != ";":
            return tree.ExplainQuery(None, self.body(), self.since(start))
        return tree.ExplainQuery(self.query_id(), None, self.since(start))

    def set_property(self) -> tree.Body:
        start = self.start
        self.step()
        name = self.string()
        self.need_symbol("=")
        return tree.SetProperty(name, self.string(), self.since(start))

    def unset_property(self) -> tree.Body:
        start = self.start
        self.step()
        return tree.UnsetProperty(self.string(), self.since(start))

    def define(self) -> tree.Body:
        start = self.start
        self.step()
        name = self.identifier()
        self.need_symbol("=")
        return tree.DefineVariable(name, self.string(), self.since(start))

    def undefine(self) -> tree.Body:
        start = self.start
        self.step()
        return tree.UndefineVariable(self.identifier(), self.since(start))

    def print_topic(self) -> tree.Body:
        start = self.start
        self.step()
        # A topic's name keeps its case, quoted or not.
        if self.kind not in ("word", "quoted", "string"):
            self.fail()
        topic = self.text[self.start : self.end] if self.kind == "word" else self.value
        self.step()
        from_beginning = self.take("FROM", "BEGINNING")
        interval = self.count() if self.take("INTERVAL") or self.take("SAMPLE") else None
        limit = self.count() if self.take("LIMIT") else None
        return tree.PrintTopic(topic, from_beginning, interval, limit, self.since(start))

    def assertion(self) -> tree.Body:
        start = self.start
        self.step()
        exists = not self.take("NOT", "EXISTS")
        if self.take("TOPIC"):
            if self.kind not in ("word", "quoted", "string"):
                self.fail()
            topic = self.text[self.start : self.end] if self.kind == "word" else self.value
            self.step()
            settings = self.settings()
            return tree.AssertTopic(topic, settings, exists, self.timeout(), self.since(start))
        if self.take("SCHEMA"):
            subject, schema_id = None, None
            if self.take("SUBJECT"):
                subject = self.text[self.start : self.end] if self.kind == "word" else self.value
                self.step()
            if self.take("ID"):
                schema_id = self.count()
            timeout = self.timeout()
            return tree.AssertSchema(subject, schema_id, exists, timeout, self.since(start))
        return self.unsupported("ASSERT", start)

    def timeout(self) -> tree.Duration | None:
        return self.duration() if self.take("TIMEOUT") else None

    def run_script(self) -> NoReturn:
        self.fail("Unknown statement 'RUN'")

    def unsupported(self, what: str, start: int) -> tree.Body:
        """Step over the rest of a statement that is refused by name later."""
        while self.kind != "end" and not self.is_symbol(";"):
            self.step()
        return tree.Unsupported(what, self.since(start))

    # Queries

    def query(self) -> tree.Query:
        start = self.start
        self.need("SELECT")
        items = self.list_of(self.item)
        self.need("FROM")
        source = self.relation()
        window = self.window() if self.take("WINDOW") else None
        where = self.expression() if self.take("WHERE") else None
        group_by = self.groups() if self.take("GROUP", "BY") else ()
        partition_by = self.groups() if self.take("PARTITION", "BY") else ()
        having = self.expression() if self.take("HAVING") else None
        emit: OneOf["CHANGES", "FINAL"] | None = None
        if self.take("EMIT"):
            emit = "CHANGES" if self.take("CHANGES") else None
            if emit is None:
                self.need("FINAL")
                emit = "FINAL"
        limit = self.limit() if self.take("LIMIT") else None
        return tree.Query(
            items, source, window, where, group_by, partition_by, having, emit, limit, self.since(start)
        )  # fmt: skip

    def limit(self) -> int:
        if self.kind in ("decimal", "double"):
            raise self.prepare_error(
                "Value must be integer for command: LIMIT", (self.start, self.end)
            )
        return self.count()

    def count(self) -> int:
        if self.kind != "integer":
            self.fail("Expecting INTEGER_VALUE")
        return int(self.step())

    def item(self) -> tree.Item:
        start = self.start
        if self.take_symbol("*"):
            return tree.Item(None, at=self.since(start))
        if (
            self.kind in ("word", "quoted")
            and self.peek()[1] == "."
            and self.peek(2)[0] == "symbol"
            and self.peek(2)[1] == "*"
        ):
            source = self.identifier()
            self.step()
            self.step()
            return tree.Item(None, source=source, at=self.since(start))
        expression = self.expression()
        if isinstance(expression, tree.Field) and expression.name == "*":
            return tree.Item(expression, at=self.since(start))
        return tree.Item(expression, self.alias(), at=self.since(start))

    def alias(self) -> str | None:
        if self.take("AS"):
            return self.identifier()
        if self.kind == "quoted" or (self.kind == "word" and self.value not in RESERVED):
            return self.identifier()
        return None

    def relation(self) -> tree.Relation:
        start = self.start
        left: tree.Relation = self.aliased_source()
        while (kind := self.join_kind()) is not None:
            right = self.aliased_source()
            before = after = grace = None
            if self.take("WITHIN"):
                before, after, grace = self.within()
            self.need("ON")
            on = self.expression()
            left = tree.Join(kind, left, right, on, before, after, grace, self.since(start))
        return left

    def join_kind(self) -> OneOf["INNER", "LEFT", "RIGHT", "OUTER"] | None:
        if self.take("JOIN") or self.take("INNER", "JOIN"):
            return "INNER"
        if self.take("LEFT"):
            self.take("OUTER")
            self.need("JOIN")
            return "LEFT"
        if self.take("RIGHT"):
            self.take("OUTER")
            self.need("JOIN")
            return "RIGHT"
        if self.take("FULL"):
            self.take("OUTER")
            self.need("JOIN")
            return "OUTER"
        if self.take("OUTER", "JOIN"):
            return "OUTER"
        return None

    def within(self) -> tuple[tree.Duration, tree.Duration, tree.Duration | None]:
        if self.take_symbol("("):
            before = self.duration()
            self.need_symbol(",")
            after = self.duration()
            self.need_symbol(")")
        else:
            before = after = self.duration()
        grace = self.duration() if self.take("GRACE", "PERIOD") else None
        return before, after, grace

    def aliased_source(self) -> tree.From:
        start = self.start
        name = self.source_name()
        alias = name
        if self.take("AS") or self.is_alias():
            alias = self.source_name()
        return tree.From(name, alias, self.since(start))

    def is_alias(self) -> bool:
        """Could this word be an alias, and not the start of the query's next clause?"""
        if self.kind == "quoted":
            return True
        if self.kind != "word" or self.value in RESERVED:
            return False
        following = self.peek()[1]
        windows = ("TUMBLING", "HOPPING", "SESSION")
        return not (
            (self.value == "EMIT" and following in ("CHANGES", "FINAL"))
            or (self.value == "PARTITION" and following == "BY")
            or (self.value == "WINDOW" and (following in windows or self.peek(2)[1] in windows))
        )

    def groups(self) -> tuple[tree.Expression, ...]:
        """What follows GROUP BY and PARTITION BY: values, perhaps all of them in one pair of parentheses."""
        if self.is_symbol("(") and self.closes_before_clause():
            self.step()
            if self.take_symbol(")"):
                return ()
            self.in_group = False
            found = self.list_of(self.grouped)
            self.need_symbol(")")
            return found
        return self.list_of(self.group)

    def grouped(self) -> tree.Expression:
        return self.nested(self.expression)

    def group(self) -> tree.Expression:
        self.in_group = True
        found = self.value_expression()
        self.in_group = False
        return found

    def closes_before_clause(self) -> bool:
        """Does the parenthesis that opens here close where the list of groups ends?"""
        depth = 0
        for at in range(self.index, len(self.tokens)):
            kind, value, _, _ = self.tokens[at]
            if kind != "symbol":
                continue
            depth += (value == "(") - (value == ")")
            if depth == 0:
                following = self.tokens[at + 1]
                if following[0] == "symbol":
                    return following[1] in (";", ")")
                return following[0] in ("word", "end")
        return False

    def window(self) -> tree.Window:
        start = self.start
        if self.kind == "word" and self.value not in ("TUMBLING", "HOPPING", "SESSION"):
            self.identifier()
        kind = typed(OneOf["TUMBLING", "HOPPING", "SESSION"], self.value)
        if self.kind != "word" or kind not in ("TUMBLING", "HOPPING", "SESSION"):
            self.fail("Expecting {'TUMBLING', 'HOPPING', 'SESSION'}")
        self.step()
        self.need_symbol("(")
        advance = retention = grace = None
        if kind != "SESSION":
            self.need("SIZE")
        size = self.duration()
        if kind == "HOPPING":
            self.need_symbol(",")
            self.need("ADVANCE", "BY")
            advance = self.duration()
        while self.take_symbol(","):
            if self.take("RETENTION"):
                retention = self.duration()
            else:
                self.need("GRACE", "PERIOD")
                grace = self.duration()
        self.need_symbol(")", "Expecting {',', ')'}")
        return tree.Window(kind, size, advance, retention, grace, self.since(start))

    def duration(self) -> tree.Duration:
        start = self.start
        number = self.count()
        unit = _PLURAL.get(self.value, self.value)
        if self.kind != "word" or unit not in UNITS:
            self.fail()
        self.step()
        first, last = self.since(start)
        return tree.Duration(number * UNITS[unit], self.text[first:last])

    # Expressions, the loosest binding first

    def expression(self) -> tree.Expression:
        return self.boolean(0)

    def boolean(self, level: int) -> tree.Expression:
        """OR (0), AND (1), then NOT and values with at most one predicate after them."""
        start = self.start
        if self.kind == "word" and self.value == "NOT":
            self.step()
            self.deeper()
            left: tree.Expression = tree.Not(self.boolean(2), self.since(start))
            self.depth -= 1
        else:
            left = self.binary(0)
            if self.kind == "symbol":
                if self.value in _COMPARISONS:
                    operator = self.step()
                    left = tree.Comparison(operator, left, self.binary(0), self.since(start))
            elif self.kind == "word" and self.value in _PREDICATES:
                left = self.predicate(left, start)
        while self.kind == "word":
            if self.value == "AND" and level <= 1:
                self.step()
                left = tree.Logical("AND", left, self.boolean(2), self.since(start))
            elif self.value == "OR" and level == 0:
                self.step()
                left = tree.Logical("OR", left, self.boolean(1), self.since(start))
            else:
                break
        return left

    def predicate(self, left: tree.Expression, start: int) -> tree.Expression:
        """BETWEEN, IN, LIKE, IS, each perhaps negated."""
        if self.value == "IS":
            return self.is_predicate(left, start)
        negated = self.is_word("NOT")
        if negated and self.peek()[1] not in ("BETWEEN", "IN", "LIKE"):
            return left
        if negated:
            self.step()
        found = self.word_predicate(left, start)
        return tree.Not(found, self.since(start)) if negated else found

    def word_predicate(self, left: tree.Expression, start: int) -> tree.Expression:
        word = self.step()
        if word == "BETWEEN":
            low = self.value_expression()
            self.need("AND")
            return tree.Between(left, low, self.value_expression(), self.since(start))
        if word == "LIKE":
            pattern = self.value_expression()
            escape = self.string() if self.take("ESCAPE") else None
            at = self.since(start)
            if escape is not None and len(escape) != 1:
                raise self.prepare_error(
                    f"Expected exactly one character but got {len(escape)} in ESCAPE", at
                )
            return tree.Like(left, pattern, escape, at)
        self.need_symbol("(")
        items = self.nested(lambda: self.list_of(self.expression))
        self.need_symbol(")", "Expecting {',', ')'}")
        return tree.In(left, items, self.since(start))

    def is_predicate(self, left: tree.Expression, start: int) -> tree.Expression:
        self.step()
        negated = self.take("NOT")
        if self.take("NULL"):
            return tree.IsNull(left, negated, self.since(start))
        self.need("DISTINCT", "FROM")
        operator = "IS NOT DISTINCT FROM" if negated else "IS DISTINCT FROM"
        return tree.Comparison(operator, left, self.value_expression(), self.since(start))

    def value_expression(self) -> tree.Expression:
        return self.binary(0)

    def binary(self, level: int) -> tree.Expression:
        """``a || b`` binds loosest (0), then ``+ -`` (1), then ``* / %`` (2), then signs."""
        start = self.start
        left = self.unary()
        while self.kind == "symbol":
            strength = _BINARY.get(self.value, -1)
            if strength < level:
                break
            operator = self.step()
            right = self.binary(strength + 1)
            at = self.since(start)
            if operator == "||":
                left = tree.Call("CONCAT", (left, right), at)
            else:
                left = tree.Arithmetic(operator, left, right, at)
        return left

    def unary(self) -> tree.Expression:
        """A sign, or a primary with any number of ``[index]`` and ``->field`` after it."""
        start = self.start
        if self.kind == "symbol":
            if self.value == "(":
                found = self.parenthesis()
            elif self.value in _SIGNS and self.peek()[0] not in _NUMBERS:
                operator = self.step()
                self.deeper()
                found = tree.Sign(operator, self.unary(), self.since(start))
                self.depth -= 1
                return found
            else:
                found = self.literal()
        else:
            found = self.primary()
        while self.kind == "symbol" and (self.value == "[" or self.value == "->"):
            if self.step() == "[":
                self.deeper()
                index = self.binary(0)
                self.depth -= 1
                self.need_symbol("]", "Expecting ']'")
                found = tree.Subscript(found, index, self.since(start))
            else:
                name = "*" if self.take_symbol("*") else self.identifier()
                found = tree.Field(found, name, self.since(start))
        return found

    def primary(self) -> tree.Expression:
        if self.kind == "word":
            rule = _PRIMARIES.get(self.value)
            if rule is not None:
                found = rule(self)
                if found is not None:
                    return found
            if self.value in RESERVED:
                self.fail()
            return self.name_or_call()
        if self.kind == "quoted":
            return self.name_or_call()
        return self.literal()

    def parenthesis(self) -> tree.Expression:
        in_group, self.in_group = self.in_group, False
        self.step()
        self.deeper()
        found = self.boolean(0)
        self.depth -= 1
        if in_group and self.is_symbol(","):
            self.fail("missing ')' at ','")
        self.need_symbol(")", "Expecting ')'")
        self.in_group = in_group
        return found

    def literal(self) -> tree.Constant:
        start = self.start
        kind = self.kind
        if kind == "string":
            return tree.Constant("STRING", self.step(), self.since(start))
        if kind == "word" and self.value in ("NULL", "TRUE", "FALSE"):
            return self.word_literal()
        minus = self.take_symbol("-")
        text = ("-" if minus else "") + self.value
        if self.kind == "integer":
            self.step()
            return self.integer(text, self.since(start))
        if self.kind == "decimal":
            self.step()
            return tree.Constant("DECIMAL", decimal.Decimal(text), self.since(start))
        if self.kind == "variable":
            self.fail(f"the variable ${{{self.value}}} is not defined; DEFINE it first")
        if self.kind != "double":
            self.fail()
        self.step()
        return tree.Constant("DOUBLE", float(text), self.since(start))

    def word_literal(self) -> tree.Constant:
        start = self.start
        word = self.step()
        if word == "NULL":
            return tree.Constant("NULL", None, self.since(start))
        return tree.Constant("BOOLEAN", word == "TRUE", self.since(start))

    def integer(self, text: str, at: tree.At) -> tree.Constant:
        number = int(text) if len(text) < 40 else 1 << 200
        if -(1 << 31) <= number < 1 << 31:
            return tree.Constant("INTEGER", number, at)
        if -(1 << 63) <= number < 1 << 63:
            return tree.Constant("BIGINT", number, at)
        line, column = place(self.text, at[0])
        # ksqlDB counts this column from zero twice.
        raise self.prepare_error(f"line {line}:{column + 1}: Invalid numeric literal: {text}", at)

    def name_or_call(self) -> tree.Expression:
        start = self.start
        quoted = self.kind == "quoted"
        following = self.peek()
        if following[0] == "symbol":
            if following[1] == "(":
                name = self.value
                self.step()
                return self.call(name, start)
            if following[1] == "=>":
                return self.lambda_of((self.identifier(),), start)
            if following[1] == ".":
                source = self.identifier()
                self.step()
                return tree.Name(self.identifier(), source, self.since(start))
        elif (
            following[0] == "string" and not quoted and self.value in ("DATE", "TIME", "TIMESTAMP")
        ):
            # DATE '2020-01-01' is a cast of the text.
            type_ = PRIMITIVES[self.step()]
            return tree.Cast(self.literal(), type_, self.since(start))
        return tree.Name(self.identifier(), None, self.since(start))

    def call(self, name: str, start: int) -> tree.Expression:
        self.step()
        if self.is_symbol("*") and self.peek()[1] == ")":
            self.step()
            self.step()
            return tree.Call(name, (), self.since(start))
        arguments: tuple[tree.Expression, ...] = ()
        if not self.is_symbol(")"):
            self.deeper()
            found = [self.argument()]
            while self.take_symbol(","):
                found.append(self.argument())
            arguments = tuple(found)
            self.depth -= 1
        self.need_symbol(")", "Expecting {',', ')'}")
        return tree.Call(name, arguments, self.since(start))

    def argument(self) -> tree.Expression:
        start = self.start
        following = self.peek()[1] if self.peek()[0] == "symbol" else ""
        if self.kind == "word" and following in (",", ")"):
            unit = _PLURAL.get(self.value, self.value)
            if unit in UNITS:
                self.step()
                return tree.Unit(unit + "S", self.since(start))
        if self.is_symbol("(") and (parameters := self.lambda_parameters()) is not None:
            return self.lambda_of(parameters, start)
        return self.expression()

    def lambda_parameters(self) -> tuple[str, ...] | None:
        """``(x, y) =>``, or None without moving."""
        ahead, names = 1, []
        while True:
            kind, value, _, _ = self.tokens[min(self.index + ahead, len(self.tokens) - 2)]
            if kind not in ("word", "quoted"):
                return None
            names.append(value)
            separator = self.peek(ahead + 1)[1]
            ahead += 2
            if separator == ")":
                break
            if separator != ",":
                return None
        if self.peek(ahead)[1] != "=>":
            return None
        for _ in range(ahead):
            self.step()
        return tuple(names)

    def lambda_of(self, parameters: tuple[str, ...], start: int) -> tree.Expression:
        self.need_symbol("=>")
        return tree.Lambda(parameters, self.nested(self.expression), self.since(start))

    def case(self) -> tree.Expression:
        start = self.start
        self.step()
        operand = None if self.is_word("WHEN") else self.nested(self.value_expression)
        whens = []
        while self.take("WHEN"):
            condition = self.nested(self.expression)
            self.need("THEN")
            whens.append((condition, self.nested(self.expression)))
        if not whens:
            self.fail("Expecting 'WHEN'")
        default = self.nested(self.expression) if self.take("ELSE") else None
        self.need("END")
        return tree.Case(operand, tuple(whens), default, self.since(start))

    def cast(self) -> tree.Expression:
        start = self.start
        self.step()
        self.need_symbol("(")
        value = self.nested(self.expression)
        self.need("AS")
        type_ = self.type()
        self.need_symbol(")", "Expecting ')'")
        return tree.Cast(value, type_, self.since(start))

    def array(self) -> tree.Expression | None:
        start = self.start
        if self.peek()[1] != "[":
            return None
        self.step()
        self.step()
        items = () if self.is_symbol("]") else self.nested(lambda: self.list_of(self.expression))
        self.need_symbol("]", "Expecting {',', ']'}")
        return tree.ArrayOf(items, self.since(start))

    def map(self) -> tree.Expression | None:
        start = self.start
        if self.peek()[1] != "(":
            return None
        self.step()
        self.step()
        items = () if self.is_symbol(")") else self.nested(lambda: self.list_of(self.pair))
        self.need_symbol(")", "Expecting {',', ')'}")
        return tree.MapOf(items, self.since(start))

    def pair(self) -> tuple[tree.Expression, tree.Expression]:
        key = self.expression()
        self.need_symbol(":=")
        return key, self.expression()

    def struct(self) -> tree.Expression | None:
        start = self.start
        if self.peek()[1] != "(":
            return None
        self.step()
        self.step()
        items = () if self.is_symbol(")") else self.nested(lambda: self.list_of(self.struct_item))
        self.need_symbol(")", "Expecting {',', ')'}")
        return tree.StructOf(items, self.since(start))

    def struct_item(self) -> tuple[str, tree.Expression]:
        name = self.identifier()
        self.need_symbol(":=")
        return name, self.expression()

    # Types and names

    def type(self) -> SqlType:
        found = self.nested(self.base_type)
        while self.is_word("ARRAY"):  # INTEGER ARRAY
            self.step()
            found = Array(found)
        return found

    def base_type(self) -> SqlType:
        start, word = self.start, self.value
        following = self.peek()[1]
        if self.kind == "word" and following == "<":
            if word == "ARRAY":
                self.step()
                self.step()
                item = self.type()
                self.need_symbol(">", "Expecting '>'")
                return Array(item)
            if word == "MAP":
                self.step()
                self.step()
                key = self.type()
                self.need_symbol(",")
                value = self.type()
                self.need_symbol(">", "Expecting '>'")
                return Map(key, value)
            if word == "STRUCT":
                return self.struct_type()
        if self.kind == "word" and word == "STRUCT" and following == "<>":
            self.step()
            self.step()
            return Struct(())
        if self.kind == "word" and word in ("DECIMAL", "DEC", "NUMERIC") and following == "(":
            return self.decimal_type()
        quoted = self.kind == "quoted"
        name = self.identifier()
        if self.take_symbol("("):
            self.list_of(self.type_parameter)
            self.need_symbol(")", "Expecting {',', ')'}")
        if not quoted and name in PRIMITIVES:
            return PRIMITIVES[name]
        return tree.NamedType(name, self.since(start))

    def type_parameter(self) -> None:
        if self.kind != "integer" and not self.is_word("STRING"):
            self.fail("Expecting {'STRING', INTEGER_VALUE}")
        self.step()

    def decimal_type(self) -> SqlType:
        start = self.start
        self.step()
        self.step()
        precision = self.count()
        self.need_symbol(",")
        scale = self.count()
        self.need_symbol(")", "Expecting ')'")
        at = self.since(start)
        if precision < 1:
            raise self.prepare_error(
                f"DECIMAL precision must be >= 1: DECIMAL({precision},{scale})", at
            )
        if scale > precision:
            raise self.prepare_error(
                f"DECIMAL precision must be >= scale: DECIMAL({precision},{scale})", at
            )
        return Decimal(precision, scale)

    def struct_type(self) -> SqlType:
        self.step()
        self.step()
        if self.take_symbol(">"):
            return Struct(())

        def member() -> tuple[str, SqlType]:
            return self.identifier(), self.type()

        members = self.list_of(member)
        self.need_symbol(">", "Expecting {',', '>'}")
        return Struct(members)

    def identifier(self) -> str:
        if self.kind == "quoted":
            return self.step()
        if self.kind == "word" and self.value in RESERVED:
            line, column = place(self.text, self.start)
            self.fail(
                f"Syntax error at or near '{self.text[self.start : self.end]}' at line {line}:{column}\n"
                f'"{self.value}" is a reserved word; quote it to use it as a name'
            )
        if self.kind != "word":
            self.fail()
        return self.step()

    def source_name(self) -> str:
        """A stream's or table's name: letters, digits, ``_`` and ``-`` only."""
        start = self.start
        name = self.identifier()
        if not name or not all((c.isalnum() and c.isascii()) or c in "_-" for c in name):
            raise self.prepare_error(
                f"Illegal argument at line {place(self.text, start)[0]}, "
                f"column {place(self.text, start)[1]}. Source name may only contain alphanumeric "
                f"values, '_' or '-'. Got: '{name}'",
                self.since(start),
            )
        return name

    def string(self) -> str:
        if self.kind != "string":
            self.fail("Expecting STRING")
        return self.step()


_STATEMENTS: dict[str, Callable[[_Parser], tree.Body]] = {
    "SELECT": _Parser.select,
    "CREATE": _Parser.create,
    "INSERT": _Parser.insert,
    "DROP": _Parser.drop,
    "ALTER": _Parser.alter,
    "TERMINATE": _Parser.control,
    "PAUSE": _Parser.control,
    "RESUME": _Parser.control,
    "SHOW": _Parser.show,
    "LIST": _Parser.show,
    "DESCRIBE": _Parser.describe,
    "EXPLAIN": _Parser.explain,
    "SET": _Parser.set_property,
    "UNSET": _Parser.unset_property,
    "DEFINE": _Parser.define,
    "UNDEFINE": _Parser.undefine,
    "PRINT": _Parser.print_topic,
    "ASSERT": _Parser.assertion,
    "RUN": _Parser.run_script,
}
_PRIMARIES: dict[str, Callable[[_Parser], tree.Expression | None]] = {
    "NULL": _Parser.word_literal,
    "TRUE": _Parser.word_literal,
    "FALSE": _Parser.word_literal,
    "CASE": _Parser.case,
    "CAST": _Parser.cast,
    "ARRAY": _Parser.array,
    "MAP": _Parser.map,
    "STRUCT": _Parser.struct,
}
