"""All targets by name. A target has ``seeds`` and takes one input; it gives numbers for what it met, and raises on a bug."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol


class Target(Protocol):
    @property
    def seeds(self) -> Sequence[bytes]: ...

    def __call__(self, data: bytes) -> Iterable[int]: ...


def _avro(name: str, *schemas: str) -> Target:
    from tests.fuzz import avro_targets, guarded

    guarded.fence_new_arrays()
    made: Target = getattr(avro_targets, name)(*(getattr(avro_targets, one) for one in schemas))
    return made


def _text(name: str) -> Target:
    from tests.fuzz import guarded, text_targets

    guarded.fence_new_arrays()
    made: Target = getattr(text_targets, name)()
    return made


def _sql(name: str) -> Target:
    from tests.fuzz import sql_targets

    made: Target = getattr(sql_targets, name)()
    return made


def _property(name: str) -> Target:
    from tests.fuzz import avro_targets
    from tests.wire import test_avro_properties

    return avro_targets.Property(getattr(test_avro_properties, name))


def _broken(name: str) -> Target:
    from tests.fuzz import broken

    made: Target = getattr(broken, name)()
    return made


TARGETS: dict[str, Callable[[], Target]] = {
    "matrix": lambda: _avro("Matrix", "FLAT"),
    "columns": lambda: _avro("Columns", "FLAT"),
    "nested-matrix": lambda: _avro("Matrix", "NESTED"),
    "nested-columns": lambda: _avro("Columns", "NESTED"),
    "kernel": lambda: _avro("Kernel", "FLAT"),
    "nested-kernel": lambda: _avro("Kernel", "NESTED"),
    "any-matrix": lambda: _property("test_a_matrix_is_as_the_judge_says"),
    "any-columns": lambda: _property("test_columns_are_as_the_judge_says_and_fastavro_agrees"),
    "encode": lambda: _avro("Encode"),
    "schema": lambda: _avro("SchemaText"),
    "delimited": lambda: _text("Delimited"),
    "json": lambda: _text("Json"),
    "java-text": lambda: _text("JavaText"),
    "statements": lambda: _sql("Statements"),
    "sql-text": lambda: _sql("SqlText"),
    "rows": lambda: _sql("Rows"),
}


class Everything:
    """All targets in one process, the first byte of the input says which: for a short run."""

    def __init__(self) -> None:
        self.targets = [make() for make in TARGETS.values()]
        self.seeds = [
            bytes([i]) + seed for i, target in enumerate(self.targets) for seed in target.seeds
        ]

    def __call__(self, data: bytes) -> Iterable[int]:
        which = (data[0] if data else 0) % len(self.targets)
        return [which << 32 | number for number in self.targets[which](data[1:])]


# For the tests of the fuzzer itself: five of them have a bug each.
OTHERS: dict[str, Callable[[], Target]] = {
    "everything": Everything,
    "reads-on": lambda: _broken("ReadsOn"),
    "reads-before": lambda: _broken("ReadsBefore"),
    "writes-on": lambda: _broken("WritesOn"),
    "endless": lambda: _broken("Endless"),
    "wrong": lambda: _broken("Wrong"),
}
