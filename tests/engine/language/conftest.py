"""SQL in, Python values out: what the language's tests share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gradstream.engine import types
from gradstream.engine.catalog import Catalog
from gradstream.engine.language import plan
from gradstream.engine.language.analyze import Analyzer
from gradstream.engine.language.codegen import Compiled
from gradstream.engine.language.parser import parse_expression
from gradstream.engine.language.query import Evaluated


@pytest.fixture
def value() -> Callable[..., Any]:
    """``value("A + 1", A=(INTEGER, 2))``: the value of an expression; an error while computing it is raised."""

    def evaluate(expression: str, **columns: tuple[types.SqlType, Any]) -> Any:
        analyzer = Analyzer(expression, {name: type_ for name, (type_, _) in columns.items()})
        item = Compiled(analyzer.select(parse_expression(expression)))
        errors: list[tuple[int, str]] = []
        answer = item.run([[columns[name][1]] for name in item.columns], 1, errors)
        if errors:
            raise ArithmeticError(errors[0][1])
        return answer[0]

    return evaluate


@pytest.fixture
def type_of() -> Callable[..., str]:
    """``type_of("A + 1", A=INTEGER)``: the type of an expression as ksqlDB prints it."""

    def find(expression: str, **columns: types.SqlType) -> str:
        return str(Analyzer(expression, columns).select(parse_expression(expression)).type)

    return find


@dataclass
class Engine:
    """A catalog and what statements made of it."""

    catalog: Catalog = field(default_factory=Catalog)
    properties: dict[str, object] = field(default_factory=dict)
    actions: list[plan.Action] = field(default_factory=list)

    def run(self, text: str) -> plan.Action:
        """Plans and applies all statements; the last one's action."""
        for statement in plan.parse(text):
            action = plan.plan_statement(
                statement, self.catalog, self.properties, number=len(self.actions)
            )
            plan.apply(action, self.catalog)
            self.actions.append(action)
        return self.actions[-1]

    def query(self, text: str) -> plan.QueryPlan:
        action = self.run(text)
        assert isinstance(action, plan.StartQuery)
        return action.query

    def evaluate(
        self,
        text: str,
        rows: Sequence[dict[str, Any] | None],
        keys: Sequence[dict[str, Any]] | None = None,
        timestamps: Sequence[int] | None = None,
    ) -> Evaluated:
        """What a query makes of rows; None is a record without a value."""
        query = self.query(text)
        source = query.source
        keys = keys or [{}] * len(rows)
        arrays = [
            types.from_python(
                [{**(row or {}), **key}.get(c.name) for row, key in zip(rows, keys, strict=True)],
                c.type,
            )
            for c in source.columns
        ]
        batch = pa.RecordBatch.from_arrays(arrays, [c.name for c in source.columns])
        batch = batch.append_column("ROWPARTITION", pa.array([3] * len(rows), pa.int32()))
        batch = batch.append_column("ROWOFFSET", pa.array(range(len(rows)), pa.int64()))
        times = np.array(timestamps or [0] * len(rows), np.int64)
        nulls = np.array([row is None for row in rows])
        return query.evaluate(batch, times, nulls)

    def rows(self, text: str, rows: Sequence[dict[str, Any] | None], **more: Any) -> list[Any]:
        """The values that come out, as dictionaries."""
        answer = self.evaluate(text, rows, **more)
        return [
            None if null else row
            for row, null in zip(answer.values.to_pylist(), answer.null_values, strict=True)
        ]


@pytest.fixture
def sql() -> Engine:
    return Engine()
