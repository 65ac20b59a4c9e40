"""Schemas by id and by subject, from any registry that speaks Confluent's API."""

from __future__ import annotations

from dataclasses import dataclass

from gradstream.errors import DataError


@dataclass(frozen=True, slots=True)
class Schema:
    """One registered schema.

    Attributes:
        id: what stands in front of every value written with it.
        type: AVRO, JSON or PROTOBUF.
        text: the schema as it was registered.
    """

    id: int
    type: str
    text: str


class UnknownSchema(DataError):  # noqa: N818  named for what happened
    """No schema, subject or version of that name or number."""


class Registry:
    """A schema registry; answers are kept, since a schema never changes under its id."""

    def __init__(self, url: str) -> None:
        self.url = url

    def check(self, timeout: float = 8.0) -> None:
        raise NotImplementedError

    def schema(self, schema_id: int) -> Schema:
        raise NotImplementedError

    def register(self, subject: str, text: str) -> int:
        raise NotImplementedError

    def latest(self, subject: str) -> tuple[int, int, str]:
        """(id, version, text)"""
        raise NotImplementedError

    def subjects(self) -> list[str]:
        raise NotImplementedError

    def has(self, subject: str, schema_id: int) -> bool:
        """Whether the schema is one of the subject's versions."""
        raise NotImplementedError
