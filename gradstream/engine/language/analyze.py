"""Names and types resolved: an expression of the tree becomes one whose every node knows its type.

Everything that ksqlDB refuses about an expression before any row is seen is refused here, in its words.
"""

from __future__ import annotations

import decimal
import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gradstream.engine.language import functions, iso_time, tree
from gradstream.engine.language.casts import (
    as_decimal,
    cast_function,
    is_numeric,
    text_boolean,
    text_decimal,
    wider_number,
)
from gradstream.engine.language.formatting import format_expression, format_type
from gradstream.engine.language.lexer import error_at
from gradstream.engine.types import (
    BIGINT,
    BOOLEAN,
    BYTES,
    DATE,
    DOUBLE,
    INTEGER,
    STRING,
    TIME,
    TIMESTAMP,
    Array,
    Decimal,
    Map,
    SqlType,
    Struct,
)
from gradstream.errors import SqlError
from gradstream.wire.java_text import parse_integer


@dataclass(frozen=True, slots=True)
class Typed:
    """A resolved expression.

    Attributes:
        kind: what codegen makes of it: literal, column, parameter, arithmetic, concat, negate, compare, and, or, not,
            is_null, in, like, case, cast, call, field, item, entry, array, map, struct, lambda.
        type: None for NULL.
        arguments: the operands, in the order in which they are evaluated.
        detail: the literal's value, the column's or field's name, the operator, the function …
        node: what it was made from, for messages.
    """

    kind: str
    type: SqlType | None
    arguments: tuple[Typed, ...] = ()
    detail: Any = None
    node: tree.Expression | None = field(default=None, compare=False)

    def columns(self) -> set[str]:
        """Names of the columns that it reads."""
        found = {self.detail} if self.kind == "column" else set()
        for argument in self.arguments:
            found |= argument.columns()
        return found


PSEUDO: dict[str, SqlType] = {"ROWTIME": BIGINT, "ROWPARTITION": INTEGER, "ROWOFFSET": BIGINT}
WINDOW_BOUNDS: dict[str, SqlType] = {"WINDOWSTART": BIGINT, "WINDOWEND": BIGINT}
_OPERATOR_NAMES = {
    "=": "EQUAL",
    "<>": "NOT_EQUAL",
    "<": "LESS_THAN",
    "<=": "LESS_THAN_OR_EQUAL",
    ">": "GREATER_THAN",
    ">=": "GREATER_THAN_OR_EQUAL",
    "IS DISTINCT FROM": "IS_DISTINCT_FROM",
    "IS NOT DISTINCT FROM": "IS_NOT_DISTINCT_FROM",
}
_TIMES = (DATE, TIME, TIMESTAMP)


def nearest(name: str, known: Iterable[str]) -> str:
    """``. Did you mean X?`` where a known name is close, else nothing."""
    close = difflib.get_close_matches(name, list(known), 1, 0.6) or difflib.get_close_matches(
        name.upper(), list(known), 1, 0.6
    )
    return f" Did you mean {close[0]}?" if close else ""


class Analyzer:
    """Resolves the expressions of one query.

    Args:
        text: what was parsed, for the places of errors.
        columns: by stored name, what the source offers, pseudo columns included.
        alias: how the source is called in the query.
        names: the source's stored name and alias, both of which may qualify a column.
    """

    def __init__(
        self,
        text: str,
        columns: Mapping[str, SqlType],
        qualifiers: tuple[str, ...] = (),
        types: Mapping[str, SqlType] | None = None,
        *,
        aggregates: bool = False,
        statement: str = "SELECT",
    ) -> None:
        self.text = text
        self.columns = columns
        self.qualifiers = qualifiers
        self.types = types or {}
        self.aggregates = aggregates
        self.statement = statement
        self.aggregate: str | None = None  # the one whose arguments are being resolved
        self.clause = "SELECT"
        self.parameters: dict[str, SqlType | None] = {}

    # Entry points

    def select(self, node: tree.Expression) -> Typed:
        self.clause = "SELECT"
        found = self.of(node)
        if found.type is None:
            raise self.error(
                "TYPE_MISMATCH",
                "Can't infer a type of null. Please explicitly cast it to a required type, "
                "e.g. CAST(null AS VARCHAR).",
                node,
            )
        return found

    def partition(self, node: tree.Expression) -> Typed:
        self.clause = "PARTITION BY"
        return self.of(node)

    def group(self, node: tree.Expression) -> Typed:
        self.clause = "GROUP BY"
        return self.of(node)

    def having(self, node: tree.Expression) -> Typed:
        return self.condition(node, "HAVING")

    def where(self, node: tree.Expression) -> Typed:
        return self.condition(node, "WHERE")

    def condition(self, node: tree.Expression, clause: str) -> Typed:
        self.clause = clause
        found = self.of(node)
        if found.type != BOOLEAN:
            raise self.error(
                "TYPE_MISMATCH",
                f"Type error in {clause} expression: Should evaluate to boolean but is {format_expression(node)} "
                f"({format_type(found.type)}) instead.",
                node,
            )
        return found

    # Errors

    def error(self, code: str, message: str, node: tree.Expression | None) -> SqlError:
        at = getattr(node, "at", tree.NOWHERE)
        if at == tree.NOWHERE:
            return SqlError(code, message)
        return error_at(code, message, self.text, at)

    def type_error(self, message: str, node: tree.Expression) -> SqlError:
        if self.clause == "WHERE":
            message = f"Error in WHERE expression: {message}"
        return self.error("TYPE_MISMATCH", message, node)

    def late_error(self, message: str, node: tree.Expression | None) -> SqlError:
        """What ksqlDB finds only when it compiles the expression."""
        kind = "Predicate" if self.clause == "WHERE" else "Select"
        return self.error("TYPE_MISMATCH", f"Invalid {kind}: {message}", node)

    # Nodes

    def of(self, node: tree.Expression) -> Typed:
        return _RULES[type(node)](self, node)

    def constant(self, node: tree.Constant) -> Typed:
        match node.kind:
            case "NULL":
                return Typed("literal", None, detail=None, node=node)
            case "DECIMAL" if isinstance(node.value, decimal.Decimal):
                return Typed("literal", literal_decimal(node.value), detail=node.value, node=node)
        types = {
            "BOOLEAN": BOOLEAN,
            "INTEGER": INTEGER,
            "BIGINT": BIGINT,
            "DOUBLE": DOUBLE,
            "STRING": STRING,
        }
        return Typed("literal", types[node.kind], detail=node.value, node=node)

    def name(self, node: tree.Name) -> Typed:
        if node.source is None and node.name in self.parameters:
            return Typed("parameter", self.parameters[node.name], detail=node.name, node=node)
        if node.source is not None and node.source not in self.qualifiers:
            raise self.error(
                "UNKNOWN_STREAM",
                f"'{node.source}' is not a valid stream/table name or alias."
                + nearest(node.source, self.qualifiers),
                node,
            )
        if node.name not in self.columns:
            shown = f"{node.source}.{node.name}" if node.source else node.name
            where = f"{self.clause} column '{shown}' cannot be resolved."
            raise self.error("UNKNOWN_COLUMN", where + nearest(node.name, self.columns), node)
        return Typed("column", self.columns[node.name], detail=node.name, node=node)

    def field(self, node: tree.Field) -> Typed:
        base = self.of(node.base)
        if not isinstance(base.type, Struct):
            raise self.type_error(f"Expected STRUCT type, got: {format_type(base.type)}", node)
        members = dict(base.type.fields)
        if node.name not in members:
            raise self.error(
                "UNKNOWN_COLUMN",
                f"Could not find field '{node.name}' in '{format_expression(node.base)}'."
                + nearest(node.name, members),
                node,
            )
        return Typed("field", members[node.name], (base,), node.name, node)

    def subscript(self, node: tree.Subscript) -> Typed:
        base, index = self.of(node.base), self.of(node.index)
        if isinstance(base.type, Array):
            if index.type not in (INTEGER, BIGINT):
                raise self.type_error(
                    f"Array index must be an INTEGER, got: {format_type(index.type)}", node
                )
            return Typed("item", base.type.item, (base, index), node=node)
        if isinstance(base.type, Map):
            if index.type != base.type.key and index.type is not None:
                raise self.type_error(
                    f"Map key must be {base.type.key}, got: {format_type(index.type)}", node
                )
            return Typed("entry", base.type.value, (base, index), node=node)
        raise self.type_error(
            f"Subscript operator can only be applied to ARRAY and MAP, got: {format_type(base.type)}",
            node,
        )

    def arithmetic(self, node: tree.Arithmetic) -> Typed:
        # Sums may be long, and lean to the left like AND and OR.
        spine = [node]
        while isinstance(spine[-1].left, tree.Arithmetic):
            spine.append(spine[-1].left)
        left = self.of(spine[-1].left)
        for parent in reversed(spine):
            left = self.calculated(parent, left, self.of(parent.right))
        return left

    def calculated(self, node: tree.Arithmetic, left: Typed, right: Typed) -> Typed:
        if left.type is None or right.type is None:
            raise self.type_error(
                f"Error processing expression: {format_expression(node)}. Arithmetic on types "
                f"{format_type(left.type)} and {format_type(right.type)} are not supported.",
                node,
            )
        if left.type == STRING and right.type == STRING and node.operator == "+":
            return Typed("concat", STRING, (left, right), node=node)
        if not (is_numeric(left.type) and is_numeric(right.type)):
            raise self.type_error(
                f"Error processing expression: {format_expression(node)}. Unsupported arithmetic types. "
                f"{base_name(left.type)} {base_name(right.type)}",
                node,
            )
        type_ = arithmetic_type(node.operator, left.type, right.type)
        return Typed("arithmetic", type_, (left, right), node.operator, node)

    def sign(self, node: tree.Sign) -> Typed:
        value = self.of(node.value)
        if not is_numeric(value.type):
            raise self.type_error(
                f"Error processing expression: {format_expression(node)}. Unsupported arithmetic types. "
                f"{format_type(value.type)}",
                node,
            )
        return value if node.operator == "+" else Typed("negate", value.type, (value,), node=node)

    def comparison(self, node: tree.Comparison) -> Typed:
        left, right = self.of(node.left), self.of(node.right)
        if left.type is None or right.type is None:
            shown = format_expression(node)[1:-1].replace("null", "NULL")
            raise self.type_error(f"Comparison with NULL not supported: {shown}", node)
        left, right = self.comparable(node, node.operator, left, right)
        return Typed("compare", BOOLEAN, (left, right), node.operator, node)

    def comparable(
        self, node: tree.Expression, operator: str, left: Typed, right: Typed
    ) -> tuple[Typed, Typed]:
        """Both sides as types that Python compares as ksqlDB would."""
        left, right = self.time_text(left, right), self.time_text(right, left)
        a, b = left.type, right.type
        if a is None or b is None:
            return left, right
        equality = operator in ("=", "<>") or "DISTINCT" in operator
        if is_numeric(a) and is_numeric(b):
            return self.same_number(left, right)
        if {a, b} == {DATE, TIMESTAMP}:
            return self.convert(left, TIMESTAMP), self.convert(right, TIMESTAMP)
        orderly = a in (STRING, BYTES, DATE, TIME, TIMESTAMP)
        if a == b and (orderly or equality):
            return left, right
        shown_left = format_expression(left.node) if left.node else "?"
        shown_right = format_expression(right.node) if right.node else "?"
        raise self.type_error(
            f"Cannot compare {shown_left} ({a}) to {shown_right} ({b}) with {_OPERATOR_NAMES[operator]}."
            f"\nStatement: {format_expression(node)}",
            node,
        )

    def same_number(self, left: Typed, right: Typed) -> tuple[Typed, Typed]:
        """DECIMAL against DOUBLE compares exactly, by the DOUBLE's shortest text."""
        if isinstance(left.type, Decimal) and right.type == DOUBLE:
            return left, Typed("exact", left.type, (right,), node=right.node)
        if isinstance(right.type, Decimal) and left.type == DOUBLE:
            return Typed("exact", right.type, (left,), node=left.node), right
        return left, right

    def time_text(self, side: Typed, other: Typed) -> Typed:
        """A text against a time is read as one; against ROWTIME and window bounds, a literal is."""
        if side.type != STRING:
            return side
        if other.type in _TIMES:
            return self.convert(side, other.type)
        magic = other.kind == "column" and other.detail in ("ROWTIME", "WINDOWSTART", "WINDOWEND")
        if magic and side.kind == "literal":
            try:
                value = iso_time.parse_timestamp(str(side.detail))
            except ValueError as error:
                raise self.error("TYPE_MISMATCH", str(error), side.node) from None
            return Typed("literal", BIGINT, detail=value, node=side.node)
        return side

    def convert(self, value: Typed, target: SqlType) -> Typed:
        """An implicit conversion; literals are converted here and now."""
        if value.type == target:
            return value
        if value.type is None:
            return Typed("literal", target, detail=None, node=value.node)
        cast = cast_function(value.type, target)
        if cast is None:
            raise self.late_error(
                f"Cast of {value.type} to {target} is not supported",
                value.node or tree.Expression(),
            )
        if value.kind == "literal" and value.detail is not None:
            try:
                return Typed("literal", target, detail=cast(value.detail), node=value.node)
            except (ValueError, ArithmeticError) as error:
                raise self.error("TYPE_MISMATCH", str(error), value.node) from None
        return Typed("cast", target, (value,), node=value.node)

    def logical(self, node: tree.Logical) -> Typed:
        # Chains of AND and OR may be long; they lean to the left, so walk down that side first.
        spine: list[tree.Logical] = [node]
        while isinstance(spine[-1].left, tree.Logical):
            spine.append(spine[-1].left)
        left = self.truth(spine[-1].left, spine[-1])
        for parent in reversed(spine):
            right = self.truth(parent.right, parent)
            left = Typed(parent.operator.lower(), BOOLEAN, (left, right), node=parent)
        return left

    def when(self, node: tree.Expression) -> Typed:
        found = self.of(node)
        if found.type != BOOLEAN:
            raise self.type_error(
                "WHEN operand type should be boolean.\n"
                f"Type for '{format_expression(node)}' is {format_type(found.type)}",
                node,
            )
        return found

    def truth(self, node: tree.Expression, parent: tree.Expression) -> Typed:
        found = self.of(node)
        if found.type != BOOLEAN:
            raise self.type_error(
                f"Error processing expression: {format_expression(parent)}. "
                f"{format_expression(node)} should evaluate to boolean but is {format_type(found.type)}.",
                node,
            )
        return found

    def negation(self, node: tree.Not) -> Typed:
        return Typed("not", BOOLEAN, (self.truth(node.value, node),), node=node)

    def is_null(self, node: tree.IsNull) -> Typed:
        return Typed("is_null", BOOLEAN, (self.of(node.value),), node.negated, node)

    def between(self, node: tree.Between) -> Typed:
        value, low, high = self.of(node.value), self.of(node.low), self.of(node.high)
        if None in (value.type, low.type, high.type):
            raise self.type_error(
                f"Comparison with NULL not supported: {format_expression(node)}", node
            )
        first = self.comparable(node, ">=", value, low)
        second = self.comparable(node, "<=", value, high)
        return Typed(
            "and",
            BOOLEAN,
            (
                Typed("compare", BOOLEAN, first, ">=", node),
                Typed("compare", BOOLEAN, second, "<=", node),
            ),
            node=node,
        )

    def membership(self, node: tree.In) -> Typed:
        items = [self.of(node.value), *map(self.of, node.items)]
        common = self.common_type(items)
        value, *others = (
            [self.coerce(item, common) for item in items] if common is not None else items
        )
        return Typed("in", BOOLEAN, (value, *others), node=node)

    def like(self, node: tree.Like) -> Typed:
        value, pattern = self.of(node.value), self.of(node.pattern)
        if value.type != STRING or pattern.type != STRING:
            raise self.type_error(
                f"Like condition must be between strings, got {format_type(value.type)} and "
                f"{format_type(pattern.type)}",
                node,
            )
        return Typed("like", BOOLEAN, (value, pattern), node.escape, node)

    def case(self, node: tree.Case) -> Typed:
        conditions = [
            self.when(condition)
            if node.operand is None
            else self.comparison(tree.Comparison("=", node.operand, condition, node.at))
            for condition, _ in node.whens
        ]
        branches = [result for _, result in node.whens]
        if node.default is not None:
            branches.append(node.default)
        results = [self.of(result) for result in branches]
        if all(result.type is None for result in results):
            raise self.type_error("Invalid Case expression. All case branches have NULL type", node)
        common = self.common_type(results)
        if common is None:
            raise self.type_error("Invalid Case expression.", node)
        results = [self.coerce(result, common) for result in results]
        arguments: list[Typed] = []
        for condition, result in zip(conditions, results, strict=False):
            arguments += (condition, result)
        if node.default is not None:
            arguments.append(results[-1])
        return Typed("case", common, tuple(arguments), node=node)

    def cast(self, node: tree.Cast) -> Typed:
        value, target = self.of(node.value), self.resolve_type(node.type)
        if value.type is None:
            return Typed("literal", target, detail=None, node=node)
        if value.type == target:
            return Typed("cast", target, (value,), node=node)
        if cast_function(value.type, target) is None:
            raise self.late_error(f"Cast of {value.type} to {target} is not supported", node)
        return Typed("cast", target, (value,), node=node)

    def resolve_type(self, type_: SqlType) -> SqlType:
        return resolve_type(type_, self.types, self.text)

    def array(self, node: tree.ArrayOf) -> Typed:
        items = [self.of(item) for item in node.items]
        common = self.common_type(items)
        if common is None:
            what = (
                "Cannot construct an array with all NULL elements "
                "(see https://github.com/confluentinc/ksql/issues/4239). As a workaround, you may cast a NULL "
                "value to the desired type."
                if items
                else "Array constructor cannot be empty. Please supply at least one element "
                "(see https://github.com/confluentinc/ksql/issues/4239)."
            )
            raise self.type_error(what, node)
        coerced = tuple(self.coerce(item, common) for item in items)
        return Typed("array", Array(common), coerced, node=node)

    def map(self, node: tree.MapOf) -> Typed:
        if not node.items:
            raise self.type_error(
                "Map constructor cannot be empty. Please supply at least one key value pair "
                "(see https://github.com/confluentinc/ksql/issues/4239).",
                node,
            )
        keys = [self.of(key) for key, _ in node.items]
        values = [self.of(value) for _, value in node.items]
        key_type, value_type = self.common_type(keys), self.common_type(values)
        if key_type is None:
            raise self.type_error(
                "Cannot construct a map with all NULL keys "
                "(see https://github.com/confluentinc/ksql/issues/4239). As a workaround, you may cast a NULL "
                "key to the desired type.",
                node,
            )
        if value_type is None:
            raise self.type_error(
                "Cannot construct a map with all NULL values "
                "(see https://github.com/confluentinc/ksql/issues/4239). As a workaround, you may cast a NULL "
                "value to the desired type.",
                node,
            )
        arguments: list[Typed] = []
        for key, value in zip(keys, values, strict=True):
            arguments += (self.coerce(key, key_type), self.coerce(value, value_type))
        return Typed("map", Map(key_type, value_type), tuple(arguments), node=node)

    def struct(self, node: tree.StructOf) -> Typed:
        names = [name for name, _ in node.fields]
        if len(set(names)) < len(names):
            raise self.type_error(
                f"Duplicate field names found in STRUCT: '{format_expression(node)}'", node
            )
        members = []
        for name, value in node.fields:
            found = self.of(value)
            if found.type is None:
                raise self.type_error(
                    "Can't infer a type of null. Please explicitly cast it to a required type, "
                    "e.g. CAST(null AS VARCHAR).",
                    node,
                )
            members.append((name, found))
        type_ = Struct(tuple((name, found.type) for name, found in members if found.type))
        return Typed("struct", type_, tuple(found for _, found in members), tuple(names), node)

    # Functions

    def call(self, node: tree.Call) -> Typed:
        family = functions.find(node.name)
        if family is None:
            close = nearest(node.name, functions.names())
            raise self.error(
                "UNKNOWN_FUNCTION",
                f"Can't find any functions with the name '{node.name}'.{close}",
                node,
            )
        if family.kind == "AGGREGATE":
            return self.aggregate_call(node)
        if family.kind == "TABLE":
            return self.table_call(node)
        arguments: list[Typed | None] = [
            None if isinstance(argument, tree.Lambda) else self.of(argument)
            for argument in node.arguments
        ]
        for at, argument in enumerate(node.arguments):
            if isinstance(argument, tree.Lambda):
                arguments[at] = self.lambda_argument(node, family, arguments, at, argument)
        done = [argument for argument in arguments if argument is not None]
        try:
            chosen = family.choose([argument.type for argument in done])
        except functions.NoOverload as error:
            raise self.type_error(str(error), node) from None
        coerced = tuple(
            argument if target is None else self.convert(argument, target)
            for argument, target in zip(done, chosen.parameters, strict=True)
        )
        return Typed("call", chosen.returns, coerced, chosen, node)

    def table_call(self, node: tree.Call) -> Typed:
        """A call of a table function; ``detail`` is the function."""
        if self.aggregates:
            raise self.error(
                "BAD_TABLE_FUNCTION", "Table functions cannot be used with aggregations.", node
            )
        if self.clause != "SELECT":
            raise self.error(
                "BAD_TABLE_FUNCTION",
                f"Table functions can only be used in SELECT, not in {self.clause}: {node.name}",
                node,
            )
        arguments = [self.of(argument) for argument in node.arguments]
        if any(_has_table(argument) for argument in arguments):
            raise self.error("BAD_TABLE_FUNCTION", "Table functions cannot be nested.", node)
        try:
            type_, body = functions.tables.bind(
                node.name.upper(), [argument.type for argument in arguments]
            )
        except functions.NoOverload as error:
            raise self.type_error(str(error), node) from None
        return Typed("table", type_, tuple(arguments), body, node)

    def aggregate_call(self, node: tree.Call) -> Typed:
        """A call of an aggregate function; ``detail`` is (name, values of its constant arguments)."""
        if self.clause in ("GROUP BY", "PARTITION BY", "WHERE"):
            raise self.error(
                "BAD_AGGREGATE",
                f"{self.clause} does not support aggregate functions: {node.name} is an aggregate function.",
                node,
            )
        if not self.aggregates:
            raise self.error(
                "BAD_AGGREGATE",
                f"{self.statement} statement does not support aggregate function [{_counted(node)}] "
                "without a GROUP BY clause.",
                node,
            )
        if self.aggregate is not None:
            raise self.error(
                "BAD_AGGREGATE",
                f"Aggregate functions can not be nested: {self.aggregate}({node.name}())",
                node,
            )
        self.aggregate = node.name
        arguments = [self.of(argument) for argument in node.arguments]
        self.aggregate = None
        types = [argument.type for argument in arguments if argument.type is not None]
        for number, argument in enumerate(arguments[1:], 2):
            wants = functions.aggregates.CONSTANTS.get(node.name.upper())
            if wants is not None and argument.kind != "literal" and number > len(arguments) - wants:
                assert argument.node is not None
                raise self.error(
                    "BAD_AGGREGATE",
                    f"Parameter {number} passed to function {node.name} must be a literal constant, but was "
                    f"expression: '{format_expression(argument.node)}'",
                    node,
                )
        constants = tuple(of.detail for of in arguments[1:] if of.kind == "literal")
        try:
            if len(types) < len(arguments):
                raise functions.NoOverload(
                    f"Function '{node.name}' cannot be resolved due to ambiguous method parameters (null)."
                )
            found = functions.aggregates.bind(node.name.upper(), types, list(constants))
        except functions.NoOverload as error:
            raise self.type_error(str(error), node) from None
        return Typed(
            "aggregate", found.returns, tuple(arguments), (node.name.upper(), constants), node
        )

    def lambda_argument(
        self,
        node: tree.Call,
        family: functions.Family,
        arguments: list[Typed | None],
        at: int,
        lambda_: tree.Lambda,
    ) -> Typed:
        """A lambda's parameters get their types from the other arguments."""
        known = [argument.type if argument else None for argument in arguments]
        types = family.lambda_types(known, at, len(lambda_.parameters))
        if types is None:
            raise self.type_error(
                f"Function '{family.display}' does not accept a lambda of {len(lambda_.parameters)} "
                f"parameters as argument {at + 1}",
                node,
            )
        outer = self.parameters
        self.parameters = {**outer, **dict(zip(lambda_.parameters, types, strict=True))}
        try:
            body = self.of(lambda_.body)
        finally:
            self.parameters = outer
        signature = functions.LambdaType(tuple(types), body.type)
        return Typed("lambda", signature, (body,), lambda_.parameters, lambda_)

    def unit(self, node: tree.Unit) -> Typed:
        # A column of that name wins: a stream may have a column DAYS or YEAR.
        singular = node.name[:-1]
        for name in (self.text[node.at[0] : node.at[1]].upper(), node.name, singular):
            if name in self.columns:
                return Typed(
                    "column", self.columns[name], detail=name, node=tree.Name(name, at=node.at)
                )
        return Typed("literal", functions.UNIT, detail=node.name, node=node)

    def misplaced_lambda(self, node: tree.Lambda) -> Typed:
        raise self.type_error("a lambda may only be an argument of a function", node)

    # Common types of IN, ARRAY, MAP and CASE

    def common_type(self, items: list[Typed]) -> SqlType | None:
        """The type to which all items can be brought, or None when all are NULL."""
        known = [item for item in items if item.type is not None]
        if not known:
            return None
        # Literal texts adapt to the others, as '10' does to a BIGINT.
        firm = [item for item in known if not _is_text(item)]
        if firm and not any(item.type == STRING for item in firm[:1]):
            common = self.merge_all(firm)
            if is_numeric(common):
                for item in known:
                    if _is_text(item):
                        common = self.with_number_text(common, item)
            return common
        return STRING

    def merge_all(self, items: list[Typed]) -> SqlType:
        common = items[0].type
        for item in items[1:]:
            merged = _merge(common, item.type, item.kind in ("array", "map", "struct"))
            if merged is None and common is not None:
                raise self.no_operator(common, item)
            common = merged
        if common is None:
            raise AssertionError("NULLs were left out")
        return common

    def with_number_text(self, common: SqlType, item: Typed) -> SqlType:
        text = str(item.detail)
        try:
            number = text_decimal(text)
        except (ValueError, ArithmeticError):
            raise self.bad_text(text, common, item) from None
        if common == DOUBLE:
            return common
        if text.strip().lstrip("+-").isdigit() and not isinstance(common, Decimal):
            return wider_number(common, _integer_type(int(number), common))
        return wider_number(common, literal_decimal(number))

    def coerce(self, item: Typed, target: SqlType) -> Typed:
        """An item of IN, ARRAY, MAP or CASE as the common type."""
        if item.type is None:
            return Typed("literal", target, detail=None, node=item.node)
        if item.type == target:
            return item
        if _is_text(item) and item.detail is not None:
            return self.text_as(item, target)
        if target == STRING:
            if item.kind == "literal" and item.detail is not None:
                return self.convert(item, STRING)
            raise self.no_operator(STRING, item)
        if item.kind == "array" and isinstance(target, Array):
            arguments = tuple(self.coerce(argument, target.item) for argument in item.arguments)
            return Typed("array", target, arguments, node=item.node)
        if item.kind == "map" and isinstance(target, Map):
            arguments = tuple(
                self.coerce(argument, target.value if at % 2 else target.key)
                for at, argument in enumerate(item.arguments)
            )
            return Typed("map", target, arguments, node=item.node)
        if item.kind == "struct" and isinstance(target, Struct):
            given = dict(zip(item.detail, item.arguments, strict=True))
            arguments = tuple(
                self.coerce(given[name], type_)
                if name in given
                else Typed("literal", type_, node=item.node)
                for name, type_ in target.fields
            )
            names = tuple(name for name, _ in target.fields)
            return Typed("struct", target, arguments, names, item.node)
        cast = cast_function(item.type, target)
        if cast is None or not _same_kind(item.type, target):
            raise self.no_operator(target, item)
        return self.convert(item, target)

    def text_as(self, item: Typed, target: SqlType) -> Typed:
        text = str(item.detail)
        try:
            value = _TEXT_READERS[base_name(target)](text, target)
        except (KeyError, ValueError, ArithmeticError):
            raise self.bad_text(text, target, item) from None
        return Typed("literal", target, detail=value, node=item.node)

    def bad_text(self, text: str, target: SqlType, item: Typed) -> SqlError:
        return self.late_error(
            f'invalid input syntax for type {base_name(target)}: "{text}".',
            item.node,
        )

    def no_operator(self, left: SqlType, item: Typed) -> SqlError:
        shown = format_expression(item.node) if item.node else ""
        return self.late_error(
            f"operator does not exist: {left} = {item.type} ({shown})\n"
            "Hint: You might need to add explicit type casts.",
            item.node,
        )


def _merge(left: SqlType | None, right: SqlType | None, built: bool) -> SqlType | None:
    """The type that holds both, or None.

    ``built``: the right one is a constructor's, inside which a text may stand for what the left one wants;
    coerce() finds out whether it does.
    """
    if left is None or right is None or left == right:
        return left or right
    if is_numeric(left) and is_numeric(right):
        return wider_number(left, right)
    match left, right:
        case Array(a), Array(b):
            item = _merge_inner(a, b, built)
            return None if item is None else Array(item)
        case Map(k, a), Map(m, b):
            key, value = _merge_inner(k, m, built), _merge_inner(a, b, built)
            return None if key is None or value is None else Map(key, value)
        case Struct(members), Struct(others):
            fields = dict(members)
            for name, type_ in others:
                merged = _merge_inner(fields.get(name, type_), type_, built)
                if merged is None:
                    return None
                fields[name] = merged
            return Struct(tuple(fields.items()))
    return None


def _merge_inner(left: SqlType, right: SqlType, built: bool) -> SqlType | None:
    if built and right == STRING != left:
        return left
    return _merge(left, right, built)


def _is_text(item: Typed) -> bool:
    return item.kind == "literal" and item.type == STRING


def _integer_type(number: int, at_least: SqlType) -> SqlType:
    if -(1 << 31) <= number < 1 << 31:
        return INTEGER
    if -(1 << 63) <= number < 1 << 63:
        return BIGINT
    return literal_decimal(decimal.Decimal(number))


def _same_kind(source: SqlType, target: SqlType) -> bool:
    if is_numeric(source):
        return is_numeric(target)
    return type(source) is type(target) and not (source in _TIMES or source in (BYTES, BOOLEAN))


def _read_boolean(text: str, _: SqlType) -> bool:
    word = text.strip().lower()
    if word and ("false".startswith(word) or "no".startswith(word)):
        return False
    if not text_boolean(text):
        raise ValueError(text)
    return True


def _read_decimal(text: str, target: SqlType) -> decimal.Decimal:
    cast = cast_function(STRING, target)
    if cast is None:
        raise ValueError(text)
    found: decimal.Decimal = cast(text)
    return found


def _read_integer(bits: int) -> Callable[[str, SqlType], int]:
    def read(text: str, _: SqlType) -> int:
        number = text_decimal(text)
        if number != number.to_integral_value():
            raise ValueError(text)
        return parse_integer(str(int(number)), bits)

    return read


_TEXT_READERS: dict[str, Callable[[str, SqlType], Any]] = {
    "BOOLEAN": _read_boolean,
    "INTEGER": _read_integer(32),
    "BIGINT": _read_integer(64),
    "DOUBLE": lambda text, _: float(text_decimal(text)),
    "DECIMAL": _read_decimal,
    "STRING": lambda text, _: text,
    "TIMESTAMP": lambda text, _: iso_time.parse_timestamp(text),
    "DATE": lambda text, _: iso_time.parse_date(text),
    "TIME": lambda text, _: iso_time.parse_time(text),
}


def _has_table(item: Typed) -> bool:
    return item.kind == "table" or any(map(_has_table, item.arguments))


def _counted(node: tree.Call) -> str:
    """An aggregate's call as ksqlDB rewrites it: what counts rows counts their times."""
    return format_expression(
        node if node.arguments else tree.Call(node.name, (tree.Name("ROWTIME"),))
    )


def base_name(type_: SqlType | None) -> str:
    """INTEGER, DECIMAL, ARRAY …, without parameters."""
    return format_type(type_).split("(")[0].split("<")[0]


def literal_decimal(value: decimal.Decimal) -> Decimal:
    """The type of a DECIMAL literal."""
    _, digits, exponent = value.as_tuple()
    scale = -int(exponent) if int(exponent) < 0 else 0
    precision = len(digits) + max(int(exponent), 0)
    return Decimal(max(precision, scale, 1), scale)


def arithmetic_type(operator: str, left: SqlType, right: SqlType) -> SqlType:
    """The type of a sum, difference, product, quotient or remainder."""
    if DOUBLE in (left, right):
        return DOUBLE
    if not (isinstance(left, Decimal) or isinstance(right, Decimal)):
        return wider_number(left, right)
    a, b = as_decimal(left), as_decimal(right)
    scale = max(a.scale, b.scale)
    match operator:
        case "+" | "-":
            whole = max(a.precision - a.scale, b.precision - b.scale)
            return Decimal(whole + scale + 1, scale)
        case "*":
            return Decimal(a.precision + b.precision + 1, a.scale + b.scale)
        case "/":
            scale = max(6, a.scale + b.precision + 1)
            return Decimal(a.precision - a.scale + b.scale + scale, scale)
    whole = min(a.precision - a.scale, b.precision - b.scale)
    return Decimal(whole + scale, scale)


def resolve_type(type_: SqlType, types: Mapping[str, SqlType], text: str) -> SqlType:
    """Names of CREATE TYPE replaced by what they stand for.

    Raises:
        SqlError: UNKNOWN_TYPE.
    """
    match type_:
        case tree.NamedType(name, at):
            if name not in types:
                raise error_at(
                    "UNKNOWN_TYPE",
                    f"Cannot resolve unknown type: {name}{'.' + nearest(name, types)}",
                    text,
                    at,
                )
            return types[name]
        case Array(item):
            return Array(resolve_type(item, types, text))
        case Map(key, value):
            return Map(resolve_type(key, types, text), resolve_type(value, types, text))
        case Struct(fields):
            return Struct(
                tuple((name, resolve_type(member, types, text)) for name, member in fields)
            )
    return type_


_RULES: dict[type, Callable[[Analyzer, Any], Typed]] = {
    tree.Constant: Analyzer.constant,
    tree.Name: Analyzer.name,
    tree.Field: Analyzer.field,
    tree.Subscript: Analyzer.subscript,
    tree.Arithmetic: Analyzer.arithmetic,
    tree.Sign: Analyzer.sign,
    tree.Comparison: Analyzer.comparison,
    tree.Logical: Analyzer.logical,
    tree.Not: Analyzer.negation,
    tree.IsNull: Analyzer.is_null,
    tree.Between: Analyzer.between,
    tree.In: Analyzer.membership,
    tree.Like: Analyzer.like,
    tree.Case: Analyzer.case,
    tree.Cast: Analyzer.cast,
    tree.Call: Analyzer.call,
    tree.ArrayOf: Analyzer.array,
    tree.MapOf: Analyzer.map,
    tree.StructOf: Analyzer.struct,
    tree.Lambda: Analyzer.misplaced_lambda,
    tree.Unit: Analyzer.unit,
}
