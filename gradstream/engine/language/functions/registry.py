"""How functions are declared, found by name and chosen by the types of their arguments.

    @scalar("SUBSTRING", "STRING, INTEGER -> STRING", "STRING, INTEGER, INTEGER -> STRING", category="STRING")
    def substring(value, position, length=None): …

A signature names types as SQL does. ``T`` and ``U`` stand for any type, the same throughout; ``DECIMAL`` for a
DECIMAL wide enough for all such arguments; ``X...`` may be repeated, also not at all; ``X!`` is a Java primitive, for
which NULL is an error; ``(T, U)=>V`` is a lambda; UNIT is a time unit such as DAYS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

from gradstream.engine.language.casts import as_decimal, is_numeric, widens, wider_number
from gradstream.engine.types import (
    DATE,
    PRIMITIVES,
    STRING,
    TIME,
    TIMESTAMP,
    Array,
    Decimal,
    Map,
    Primitive,
    SqlType,
    Struct,
)

F = TypeVar("F", bound=Callable[..., Any])
UNIT = Primitive("INTERVALUNIT")


@dataclass(frozen=True, slots=True)
class LambdaType(SqlType):
    """The type of a lambda argument."""

    parameters: tuple[SqlType | None, ...]
    returns: SqlType | None

    def __str__(self) -> str:
        return "LAMBDA"


@dataclass(frozen=True, slots=True)
class Variable(SqlType):
    """``T`` in a signature."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class AnyDecimal(SqlType):
    def __str__(self) -> str:
        return "DECIMAL"


@dataclass(frozen=True, slots=True)
class Parameter:
    type: SqlType
    primitive: bool = False


Nulls: TypeAlias = Literal["null", "see"]
Returns: TypeAlias = Callable[[list[SqlType | None]], SqlType]


@dataclass(frozen=True, slots=True)
class Overload:
    """One signature of a function.

    Attributes:
        nulls: ``null``: a NULL argument makes the result NULL and ``body`` is not called; ``see``: it gets the None.
        variadic: the last parameter may be repeated or left out.
        typed: ``body`` is called with the arguments' types and gives the function.
        safe: never raises, so that a nested call needs no guard.
        column: the same on a whole Arrow column as first argument and constants as others, or None.
    """

    parameters: tuple[Parameter, ...]
    returns: SqlType | Returns
    body: Callable[..., Any]
    nulls: Nulls
    variadic: bool
    column: Callable[..., Any] | None = None
    typed: bool = False
    safe: bool = False

    def expanded(self, count: int) -> tuple[Parameter, ...] | None:
        """The parameters for that many arguments, None where it takes more or fewer."""
        if not self.variadic:
            return self.parameters if len(self.parameters) == count else None
        fixed = self.parameters[:-1]
        if count < len(fixed):
            return None
        return fixed + self.parameters[-1:] * (count - len(fixed))


@dataclass(frozen=True, slots=True)
class Chosen:
    """An overload with its types filled in.

    Attributes:
        parameters: the type to which each argument is brought; None leaves it alone.
        primitives: for each argument: is NULL an error?
    """

    name: str
    parameters: tuple[SqlType | None, ...]
    primitives: tuple[bool, ...]
    returns: SqlType
    overload: Overload
    types: tuple[SqlType | None, ...] = ()

    @property
    def body(self) -> Callable[..., Any]:
        """The function to call with a row's values."""
        if not self.overload.typed:
            return self.overload.body
        made: Callable[..., Any] = self.overload.body(*self.types)
        return made


class NoOverload(Exception):  # noqa: N818  (a finding, turned into a SqlError by the analysis)
    """No signature takes these arguments; the text is ksqlDB's."""


@dataclass(slots=True)
class Family:
    """All functions of one name."""

    name: str
    display: str
    category: str
    description: str
    kind: Literal["SCALAR", "AGGREGATE", "TABLE"] = "SCALAR"
    overloads: list[Overload] = field(default_factory=list)

    def choose(self, types: list[SqlType | None]) -> Chosen:
        """The overload for these arguments: exact types first, then widened ones; fixed counts before variadic.

        Raises:
            NoOverload: none fits, or NULLs leave more than one.
        """
        shown = ", ".join("null" if type_ is None else str(type_) for type_ in types)
        for widen in (False, True):
            for variadic in (False, True):
                found = [
                    chosen
                    for overload in self.overloads
                    if overload.variadic == variadic
                    and (chosen := self._bind(overload, types, widen)) is not None
                ]
                if len(found) > 1 and types and all(type_ is None for type_ in types):
                    raise NoOverload(
                        f"Function '{self.display}' cannot be resolved due to ambiguous method parameters ({shown})."
                    )
                if found:
                    return found[0]
        alternatives = "\n".join(self.signature_text(overload) for overload in self.overloads)
        raise NoOverload(
            f"Function '{self.display}' does not accept parameters ({shown}).\n"
            f"Valid alternatives are:\n{alternatives}"
        )

    def signature_text(self, overload: Overload) -> str:
        shown = [str(parameter.type) for parameter in overload.parameters]
        return f"{self.display}({', '.join(shown)}{'...' if overload.variadic else ''})"

    def _bind(self, overload: Overload, types: list[SqlType | None], widen: bool) -> Chosen | None:
        parameters = overload.expanded(len(types))
        if parameters is None:
            return None
        bound: dict[str, SqlType] = {}
        for parameter, type_ in zip(parameters, types, strict=True):
            if not _matches(parameter.type, type_, bound, widen):
                return None
        targets = tuple(
            None if type_ is None or isinstance(type_, LambdaType) else _fill(parameter.type, bound)
            for parameter, type_ in zip(parameters, types, strict=True)
        )
        if callable(overload.returns):
            returns = overload.returns(types)
        else:
            filled = _fill(overload.returns, bound)
            if filled is None:
                return None
            returns = filled
        primitives = tuple(parameter.primitive for parameter in parameters)
        return Chosen(self.name, targets, primitives, returns, overload, tuple(types))

    def lambda_types(
        self, known: list[SqlType | None], at: int, count: int
    ) -> list[SqlType | None] | None:
        """The types of the parameters of the lambda at position ``at``; later lambdas are not known yet."""
        for overload in self.overloads:
            parameters = overload.expanded(len(known))
            if parameters is None:
                continue
            pattern = parameters[at].type
            if not isinstance(pattern, LambdaType) or len(pattern.parameters) != count:
                continue
            bound: dict[str, SqlType] = {}
            pairs = [
                (parameter.type, type_)
                for parameter, type_ in zip(parameters, known, strict=True)
                if type_ is not None
            ]
            if all(_matches(wanted, type_, bound, True) for wanted, type_ in pairs):
                return [None if p is None else _fill(p, bound) for p in pattern.parameters]
        return None


def _matches(
    pattern: SqlType, type_: SqlType | None, bound: dict[str, SqlType], widen: bool
) -> bool:
    """Does the type fit the pattern? Fills ``bound``."""
    if type_ is None:
        return True
    match pattern:
        case Variable(name):
            if type_ == UNIT:
                return False
            if name not in bound:
                bound[name] = type_
                return True
            return bound[name] == type_
        case AnyDecimal():
            if not isinstance(type_, Decimal) and not (
                widen and is_numeric(type_) and widens(type_, as_decimal(type_))
            ):
                return False
            own = as_decimal(type_)
            bound["DECIMAL"] = wider_number(bound.get("DECIMAL", own), own)
            return True
        case Array(item):
            return isinstance(type_, Array) and _matches(item, type_.item, bound, False)
        case Map(key, value):
            return (
                isinstance(type_, Map)
                and _matches(key, type_.key, bound, False)
                and _matches(value, type_.value, bound, False)
            )
        case LambdaType(parameters, returns):
            return (
                isinstance(type_, LambdaType)
                and len(parameters) == len(type_.parameters)
                and all(
                    _matches(p, t, bound, False)
                    for p, t in zip(parameters, type_.parameters, strict=True)
                    if p is not None
                )
                and (returns is None or _matches(returns, type_.returns, bound, False))
            )
    if pattern == type_:
        return True
    if widen and pattern in (DATE, TIME, TIMESTAMP):
        return type_ == STRING
    return widen and is_numeric(pattern) and widens(type_, pattern)


def _fill(pattern: SqlType, bound: dict[str, SqlType]) -> SqlType | None:
    """The pattern with its variables replaced, None where one is not known."""
    match pattern:
        case Variable(name):
            return bound.get(name)
        case AnyDecimal():
            return bound.get("DECIMAL")
        case Array(item):
            inner = _fill(item, bound)
            return None if inner is None else Array(inner)
        case Map(key, value):
            k, v = _fill(key, bound), _fill(value, bound)
            return None if k is None or v is None else Map(k, v)
        case Struct(members):
            filled = [(name, _fill(member, bound)) for name, member in members]
            if any(member is None for _, member in filled):
                return None
            return Struct(tuple((name, member) for name, member in filled if member is not None))
    return pattern


_WORD = re.compile(r"\s*(=>|\.\.\.|->|[A-Za-z_]+|\S)")


class _Reader:
    """Reads a signature."""

    def __init__(self, text: str) -> None:
        self.words = _WORD.findall(text)
        self.at = 0

    def next(self) -> str:
        return self.words[self.at] if self.at < len(self.words) else ""

    def take(self, word: str) -> bool:
        if self.next() != word:
            return False
        self.at += 1
        return True

    def signature(self) -> tuple[tuple[Parameter, ...], bool, SqlType]:
        parameters: list[Parameter] = []
        variadic = False
        while not self.take("->"):
            type_ = self.type()
            parameters.append(Parameter(type_, self.take("!")))
            variadic = self.take("...")
            self.take(",")
        return tuple(parameters), variadic, self.type()

    def type(self) -> SqlType:
        if self.take("("):
            parameters = []
            while not self.take(")"):
                parameters.append(self.type())
                self.take(",")
            self.at += 1  # =>
            return LambdaType(tuple(parameters), self.type())
        word = self.next()
        self.at += 1
        if word == "ARRAY":
            self.at += 1
            item = self.type()
            self.at += 1
            return Array(item)
        if word == "MAP":
            self.at += 1
            key = self.type()
            self.at += 1
            value = self.type()
            self.at += 1
            return Map(key, value)
        if word == "STRUCT":
            return self.struct()
        if word == "DECIMAL":
            return AnyDecimal()
        if word == "UNIT":
            return UNIT
        return PRIMITIVES.get(word) or Variable(word)

    def struct(self) -> SqlType:
        self.at += 1
        members = []
        while not self.take(">"):
            name = self.next()
            self.at += 1
            members.append((name, self.type()))
            self.take(",")
        return Struct(tuple(members))


_FAMILIES: dict[str, Family] = {}


def scalar(
    name: str,
    *signatures: str,
    category: str,
    nulls: Nulls = "null",
    display: str | None = None,
    returns: Returns | None = None,
    column: Callable[..., Any] | None = None,
    typed: bool = False,
    safe: bool = False,
    description: str | None = None,
) -> Callable[[F], F]:
    """Declare a function under a name, with its signatures.

    Args:
        description: what DESCRIBE FUNCTION says; the body's docstring unless told otherwise.
        display: how ksqlDB writes the name in messages, lower case unless told otherwise.
        returns: the result's type from the arguments' types, where the signature cannot say it.
    """

    def declare(body: F) -> F:
        said = (description or body.__doc__ or "").strip()
        family = _FAMILIES.setdefault(name, Family(name, display or name.lower(), category, said))
        for text in signatures:
            parameters, variadic, result = _Reader(text).signature()
            family.overloads.append(
                Overload(parameters, returns or result, body, nulls, variadic, column, typed, safe)
            )
        return body

    return declare


def reserve(kind: Literal["AGGREGATE", "TABLE"], category: str, *names: str) -> None:
    """Names that exist but whose calls other stages carry out."""
    for name in names:
        _FAMILIES[name] = Family(name, name.lower(), category, "", kind)


def find(name: str) -> Family | None:
    return _FAMILIES.get(name.upper())


def names() -> Iterable[str]:
    return _FAMILIES.keys()


def families() -> list[Family]:
    """All of them, by name, for SHOW FUNCTIONS."""
    return [_FAMILIES[name] for name in sorted(_FAMILIES)]
