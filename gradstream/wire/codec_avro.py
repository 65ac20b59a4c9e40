"""Avro in Confluent's framing, a whole chunk at a time: values to columns or to one float matrix, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gradstream.wire.decoded import Decoded
from gradstream.wire.registry import Registry


def encode(
    batch: pa.RecordBatch, schema: dict[str, Any] | list[Any] | str, schema_id: int
) -> pa.BinaryArray:
    """Every row as one Confluent-framed Avro value."""
    raise NotImplementedError


def numeric_columns(schema: dict[str, Any] | list[Any] | str) -> list[str]:
    """Names of the columns that hold numbers, in the schema's order: the default list of features."""
    raise NotImplementedError


def subject_columns(registry: Registry, subject: str) -> dict[str, str]:
    """Names and kinds of the columns of a subject's latest schema."""
    raise NotImplementedError


class AvroDecoder:
    """Reads Confluent-framed Avro values of any number of writer schemas.

    Args:
        registry: where schema ids are looked up.
        subject: if given, ids that are not versions of it give SUBJECT_MISMATCH.
    """

    def __init__(self, registry: Registry, *, subject: str | None = None) -> None:
        self.registry = registry
        self.subject = subject

    def columns(self, values: pa.BinaryArray) -> Decoded:
        raise NotImplementedError

    def matrix(
        self, values: pa.BinaryArray, columns: Sequence[str], dtype: npt.DTypeLike = np.float64
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
        """Numbers of shape (n, d) and a code for each row; rows with a code hold unspecified numbers."""
        raise NotImplementedError

    def reasons(
        self, values: pa.BinaryArray, row: int, code: int, columns: Sequence[str] | None = None
    ) -> str:
        """Why a row has its code, in words that hold no value of the record."""
        raise NotImplementedError
