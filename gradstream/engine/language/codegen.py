"""Typed expressions to Python functions over columns.

Each item becomes one loop over just the columns that it reads. As in the code that ksqlDB generates, a NULL operand
raises, AND and OR stop early, comparisons are two-valued, and one ``try`` around the item turns any error into NULL
and a line for the processing log. Casts, nested calls, fields and constructor items have a guard of their own.
"""

from __future__ import annotations

import decimal
import functools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from gradstream.engine.language.analyze import Typed
from gradstream.engine.language.casts import cast_function, double_decimal, same
from gradstream.engine.types import BIGINT, BOOLEAN, DOUBLE, INTEGER, STRING, Decimal

RowErrors: TypeAlias = list[tuple[int, str]]
# (columns in the order of Compiled.columns, number of rows, errors to append to) -> values
Loop: TypeAlias = Callable[[Sequence[Sequence[Any]], int, RowErrors], list[Any]]


class NullOperandError(Exception):
    """A NULL met an operator that cannot take one."""


class Compiled:
    """An item that can be run.

    Attributes:
        columns: names of the columns that it reads, in the order in which ``run`` wants them.
        source: the generated Python, for EXPLAIN and debugging.
    """

    def __init__(self, item: Typed) -> None:
        self.columns = sorted(item.columns())
        writer = _Writer({name: f"c{at}" for at, name in enumerate(self.columns)}, item)
        body = writer.code(item)
        self.source = "".join(writer.functions) + _loop_text(list(writer.columns.values()), body)
        scope = writer.scope
        exec(compile(self.source, f"<item {item.kind}>", "exec"), scope)  # noqa: S102  (our own text, no user text in it)
        self.run: Loop = scope["run"]


def _loop_text(names: list[str], body: str) -> str:
    if not names:
        head = "for i in range(n):"
    elif len(names) == 1:
        head = f"for i, {names[0]} in enumerate(columns[0]):"
    else:
        head = f"for i, ({', '.join(names)}) in enumerate(zip(*columns)):"
    return (
        "def run(columns, n, errors):\n"
        "    out = []\n"
        "    add = out.append\n"
        "    i = -1\n"
        "    def guard(thunk):\n"
        "        try:\n"
        "            return thunk()\n"
        "        except Exception as error:\n"
        "            errors.append((i, describe(error)))\n"
        "            return None\n"
        f"    {head}\n"
        "        try:\n"
        f"            add({body})\n"
        "        except Exception as error:\n"
        "            errors.append((i, describe(error)))\n"
        "            add(None)\n"
        "    return out\n"
    ).replace(_GUARD if "guard(" not in body else "\0", "")


_GUARD = (
    "    def guard(thunk):\n"
    "        try:\n"
    "            return thunk()\n"
    "        except Exception as error:\n"
    "            errors.append((i, describe(error)))\n"
    "            return None\n"
)


def describe(error: Exception) -> str:
    """The cause that the processing log gets."""
    if isinstance(error, TypeError):
        return "a NULL operand"
    return str(error) or type(error).__name__


# What generated code calls


def _truth(value: Any) -> bool:
    if value is None:
        raise NullOperandError("a NULL operand")
    return bool(value)


def _need(value: Any) -> Any:
    if value is None:
        raise NullOperandError("a NULL argument")
    return value


def _divide_int(left: int, right: int) -> int:
    if right == 0:
        raise ArithmeticError("/ by zero")
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _remainder_int(left: int, right: int) -> int:
    if right == 0:
        raise ArithmeticError("/ by zero")
    rest = abs(left) % abs(right)
    return -rest if left < 0 else rest


def _divide_double(left: float, right: float) -> float:
    if right != 0:
        return left / right
    left = left + 0.0
    if left == 0 or left != left:
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def _remainder_double(left: float, right: float) -> float:
    if right == 0 or math.isinf(left) or left != left or right != right:
        return math.nan + 0 * (left + right) if None in (left, right) else math.nan
    return math.fmod(left, right)


_INEXACT = [decimal.Inexact, decimal.InvalidOperation, decimal.DivisionByZero]


def _decimal_arithmetic(operator: str, type_: Decimal) -> Callable[[Any, Any], decimal.Decimal]:
    """Exact to the type's digits, or an error."""
    context = decimal.Context(prec=type_.precision, traps=_INEXACT)
    verb = {
        "+": context.add,
        "-": context.subtract,
        "*": context.multiply,
        "/": context.divide,
        "%": context.remainder,
    }[operator]
    unit = decimal.Decimal(1).scaleb(-type_.scale)
    exact = decimal.Context(prec=400, traps=_INEXACT)

    def calculate(left: Any, right: Any) -> decimal.Decimal:
        try:
            return verb(left, right).quantize(unit, None, exact)
        except decimal.Inexact:
            raise ArithmeticError("Rounding necessary") from None
        except decimal.InvalidOperation:
            raise ArithmeticError("Division undefined or impossible") from None

    return calculate


def _text_key(key: str | None) -> str:
    return "null" if key is None else key


def _item(values: list[Any] | None, index: int) -> Any:
    """1-based, negative from the end, NULL beyond."""
    if values is None:
        return None
    size = len(values)
    if index == 0 or index > size or index < -size:
        return None
    return values[index - 1] if index > 0 else values[index]


def _entry(entries: dict[Any, Any] | None, key: Any) -> Any:
    return None if entries is None else entries.get(key)


def like_pattern(pattern: str, escape: str | None) -> re.Pattern[str]:
    """``%`` and ``_`` as a regular expression; as in ksqlDB neither crosses a line."""
    out: list[str] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if escape is not None and character == escape and at + 1 < len(pattern):
            at += 1
            out.append(re.escape(pattern[at]))
        elif character == "%":
            out.append(".*")
        elif character == "_":
            out.append(".")
        else:
            out.append(re.escape(character))
        at += 1
    return re.compile("(?:" + "".join(out) + r")\Z")


_cached_pattern = functools.lru_cache(maxsize=256)(like_pattern)


def _like(value: str, pattern: str, escape: str | None) -> bool:
    return _cached_pattern(pattern, escape).match(value) is not None


def _joined(left: Any, right: Any) -> str:
    return f"{'null' if left is None else left}{'null' if right is None else right}"


_SCOPE: dict[str, Any] = {
    "describe": describe,
    "truth": _truth,
    "need": _need,
    "divide_int": _divide_int,
    "remainder_int": _remainder_int,
    "divide_double": _divide_double,
    "remainder_double": _remainder_double,
    "item": _item,
    "entry": _entry,
    "text_key": _text_key,
    "like": _like,
    "joined": _joined,
    "double_decimal": double_decimal,
    "inf": math.inf,
    "nan": math.nan,
}
_NEVER_NULL = frozenset(
    (
        "compare",
        "and",
        "or",
        "not",
        "is_null",
        "in",
        "like",
        "arithmetic",
        "concat",
        "negate",
        "array",
        "map",
        "struct",
    )
)
_SIMPLE_KINDS = frozenset(("literal", "column", "parameter"))


# Characters of generated text in one function.
_LONGEST = 600
_SAFE_CASTS = frozenset(
    (
        (INTEGER, BIGINT),
        (INTEGER, DOUBLE),
        (BIGINT, DOUBLE),
        (INTEGER, STRING),
        (BIGINT, STRING),
        (DOUBLE, STRING),
        (BOOLEAN, STRING),
    )
)


def _is_safe(item: Typed) -> bool:
    """Can it never raise?"""
    if item.kind in _SIMPLE_KINDS:
        return True
    if item.kind == "call":
        if not item.detail.overload.safe or any(item.detail.primitives):
            return False
    elif item.kind == "cast":
        if (item.arguments[0].type, item.type) not in _SAFE_CASTS:
            return False
    elif item.kind != "is_null":
        return False
    return all(map(_is_safe, item.arguments))


class _Writer:
    """Writes one item's Python expression and collects the objects it needs by name."""

    def __init__(self, columns: dict[str, str], root: Typed) -> None:
        self.columns = columns
        self.root = root
        self.scope: dict[str, Any] = dict(_SCOPE)
        self.parameters: dict[str, str] = {}
        self.functions: list[str] = []
        self.count = 0

    def fresh(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def constant(self, value: Any) -> str:
        if value is None or isinstance(value, bool):
            return repr(value)
        name = self.fresh("k")
        self.scope[name] = value
        return name

    def code(self, item: Typed) -> str:
        rule: Callable[[_Writer, Typed], str] = getattr(_Writer, "write_" + item.kind)
        text = rule(self, item)
        if len(text) > _LONGEST and not self.parameters and "guard(" not in text:
            return self.function(text)
        return text

    def function(self, text: str) -> str:
        """A long text as a function of its own: Python takes no more than 200 parentheses within each other."""
        name = self.fresh("f")
        names = ", ".join(self.columns.values())
        self.functions.append(f"def {name}({names}):\n    return {text}\n")
        return f"{name}({names})"

    def guarded(self, item: Typed) -> str:
        """As code(), with errors turned into NULL here and not for the whole item."""
        text = self.code(item)
        return text if _is_safe(item) or item.kind == "cast" else f"guard(lambda: {text})"

    def held(self, item: Typed) -> tuple[str, str]:
        """The text that computes a value once, and the name under which it can be used again."""
        text = self.code(item)
        if item.kind in _SIMPLE_KINDS:
            return text, text
        name = self.fresh("t")
        return f"({name} := {text})", name

    def number(self, item: Typed) -> str:
        return self.code(item)

    def boolean(self, item: Typed) -> str:
        text = self.code(item)
        return text if item.kind in _NEVER_NULL else f"truth({text})"

    def write_literal(self, item: Typed) -> str:
        return self.constant(item.detail)

    def write_column(self, item: Typed) -> str:
        return self.columns[item.detail]

    def write_parameter(self, item: Typed) -> str:
        return self.parameters[item.detail]

    def write_arithmetic(self, item: Typed) -> str:
        left, right = (self.operand(argument, item) for argument in item.arguments)
        operator = item.detail
        if isinstance(item.type, Decimal):
            function = self.constant(_decimal_arithmetic(operator, item.type))
            return f"{function}({left}, {right})"
        if item.type == DOUBLE:
            if operator == "/":
                return f"divide_double({left}, {right})"
            if operator == "%":
                return f"remainder_double({left}, {right})"
            return f"({left} {operator} {right})"
        if operator == "/":
            plain = f"divide_int({left}, {right})"
        elif operator == "%":
            return f"remainder_int({left}, {right})"
        else:
            plain = f"({left} {operator} {right})"
        return _wrapped(plain, item)

    def operand(self, argument: Typed, item: Typed) -> str:
        if argument.kind == "literal" and isinstance(argument.detail, int):
            return f"({argument.detail}{'.0' * (item.type == DOUBLE)})"
        if item.type == DOUBLE and argument.type != DOUBLE:
            if argument.kind == "literal" and argument.detail is not None:
                return self.constant(float(argument.detail))
            return f"float({self.code(argument)})"
        return self.code(argument)

    def write_negate(self, item: Typed) -> str:
        text = f"(-{self.code(item.arguments[0])})"
        return _wrapped(text, item) if item.type in (INTEGER, BIGINT) else text

    def write_concat(self, item: Typed) -> str:
        left, right = map(self.code, item.arguments)
        return f"joined({left}, {right})"

    def write_exact(self, item: Typed) -> str:
        first, name = self.held(item.arguments[0])
        return f"(None if {first} is None else double_decimal({name}))"

    def write_compare(self, item: Typed) -> str:
        left, right = item.arguments
        if item.detail == "IS DISTINCT FROM":
            return f"({self.code(left)} != {self.code(right)})"
        if item.detail == "IS NOT DISTINCT FROM":
            return f"({self.code(left)} == {self.code(right)})"
        operator = {"=": "==", "<>": "!="}.get(item.detail, item.detail)
        (first, a), (second, b) = self.held(left), self.held(right)
        tests = [
            f"{text} is not None"
            for side, text in ((left, first), (right, second))
            if side.kind != "literal"
        ]
        if any(side.kind == "literal" and side.detail is None for side in (left, right)):
            return "False"
        return "(" + " and ".join([*tests, f"{a} {operator} {b}"]) + ")"

    def write_and(self, item: Typed) -> str:
        left, right = map(self.boolean, item.arguments)
        return f"({left} and {right})"

    def write_or(self, item: Typed) -> str:
        left, right = map(self.boolean, item.arguments)
        return f"({left} or {right})"

    def write_not(self, item: Typed) -> str:
        return f"(not {self.boolean(item.arguments[0])})"

    def write_is_null(self, item: Typed) -> str:
        return f"({self.code(item.arguments[0])} is {'not ' * bool(item.detail)}None)"

    def write_in(self, item: Typed) -> str:
        value, *items = item.arguments
        first, name = self.held(value)
        constants = [i.detail for i in items if i.kind == "literal" and i.detail is not None]
        others = [i for i in items if i.kind != "literal"]
        tests = []
        if constants:
            tests.append(f"{name} in {self.constant(_set_of(constants))}")
        for other in others:
            text, again = self.held(other)
            tests.append(f"({text} is not None and {name} == {again})")
        if not tests:
            return "False"
        return f"({first} is not None and ({' or '.join(tests)}))"

    def write_like(self, item: Typed) -> str:
        value, pattern = item.arguments
        text = self.code(value)
        if pattern.kind == "literal" and pattern.detail is not None:
            match = self.constant(like_pattern(pattern.detail, item.detail).match)
            return f"({match}({text}) is not None)"
        return f"like({text}, {self.code(pattern)}, {item.detail!r})"

    def write_case(self, item: Typed) -> str:
        arguments = item.arguments
        text = self.code(arguments[-1]) if len(arguments) % 2 else "None"
        for at in range(len(arguments) // 2 - 1, -1, -1):
            condition = self.boolean(arguments[2 * at])
            text = f"({self.code(arguments[2 * at + 1])} if {condition} else {text})"
        return text

    def write_cast(self, item: Typed) -> str:
        text = self.cast_text(item)
        return text if item is self.root or _is_safe(item) else f"guard(lambda: {text})"

    def cast_text(self, item: Typed) -> str:
        value = item.arguments[0]
        text = self.code(value)
        function = None
        if value.type is not None and item.type is not None:
            function = cast_function(value.type, item.type)
        if function is None or function is same:
            return text
        cast = self.constant(function)
        if value.kind in _SIMPLE_KINDS:
            return f"(None if {text} is None else {cast}({text}))"
        name = self.fresh("t")
        return f"(None if ({name} := {text}) is None else {cast}({name}))"

    def write_field(self, item: Typed) -> str:
        base = item.arguments[0]
        text = self.guarded(base)
        name = self.constant(item.detail)
        if base.kind in _SIMPLE_KINDS:
            return f"(None if {text} is None else {text}.get({name}))"
        held = self.fresh("t")
        return f"(None if ({held} := {text}) is None else {held}.get({name}))"

    def write_item(self, item: Typed) -> str:
        base, index = map(self.code, item.arguments)
        return f"item({base}, {index})"

    def write_entry(self, item: Typed) -> str:
        base, key = map(self.code, item.arguments)
        return f"entry({base}, {key})"

    def write_array(self, item: Typed) -> str:
        return "[" + ", ".join(map(self.guarded, item.arguments)) + "]"

    def write_map(self, item: Typed) -> str:
        texts = list(map(self.guarded, item.arguments))
        for at in range(0, len(texts), 2):
            key = item.arguments[at]
            if key.type == STRING and (key.kind != "literal" or key.detail is None):
                # A NULL key is written as the text null, in every format.
                texts[at] = f"text_key({texts[at]})"
        pairs = ", ".join(
            f"{key}: {value}" for key, value in zip(texts[::2], texts[1::2], strict=True)
        )
        return "{" + pairs + "}"

    def write_struct(self, item: Typed) -> str:
        pairs = ", ".join(
            f"{self.constant(name)}: {self.guarded(value)}"
            for name, value in zip(item.detail, item.arguments, strict=True)
        )
        return "{" + pairs + "}"

    def write_lambda(self, item: Typed) -> str:
        outer = self.parameters
        names = [self.fresh("p") for _ in item.detail]
        self.parameters = {**outer, **dict(zip(item.detail, names, strict=True))}
        body = self.code(item.arguments[0])
        self.parameters = outer
        return f"(lambda {', '.join(names)}: {body})"

    def write_call(self, item: Typed) -> str:
        chosen = item.detail
        overload = chosen.overload
        function = self.constant(chosen.body)
        tests: list[str] = []
        texts: list[str] = []
        for argument, primitive in zip(item.arguments, chosen.primitives, strict=True):
            text = self.guarded(argument) if argument.kind == "call" else self.code(argument)
            if (
                argument.kind == "literal" and argument.detail is not None
            ) or argument.kind == "lambda":
                texts.append(text)
            elif primitive:
                texts.append(f"need({text})")
            elif overload.nulls == "see":
                texts.append(text)
            elif argument.kind in _SIMPLE_KINDS:
                tests.append(f"{text} is None")
                texts.append(text)
            else:
                name = self.fresh("t")
                tests.append(f"({name} := {text}) is None")
                texts.append(name)
        call = f"{function}({', '.join(texts)})"
        return f"(None if {' or '.join(tests)} else {call})" if tests else call


def _wrapped(text: str, item: Typed) -> str:
    """Java's overflow."""
    if item.type == INTEGER:
        return f"(({text} + 2147483648 & 4294967295) - 2147483648)"
    return f"(({text} + 9223372036854775808 & 18446744073709551615) - 9223372036854775808)"


def _set_of(values: list[Any]) -> Any:
    """Something with a fast ``in``; lists and maps cannot be hashed."""
    try:
        return frozenset(values)
    except TypeError:
        return values
