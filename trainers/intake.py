"""Records to rows: decoded in one call a chunk, labels checked, and a code for each record that cannot be used."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gradstream.errors import UnavailableError
from gradstream.wire.codec_avro import AvroDecoder
from gradstream.wire.faults import NUMBER
from gradstream.wire.records import Records
from trainers.interrupts import Broken, Interrupts
from trainers.models import Floats
from trainers.preflight import Plan

REGISTRY_SECONDS = 60.0  # for a registry that went away to come back, while a chunk waits
BAD_LABEL, OUT_OF_RANGE = NUMBER["BAD_LABEL"], NUMBER["OUT_OF_RANGE"]
# Records from which on a reader of the schema's own is compiled; it stays on disk, so that later runs have it, too.
MANY = 1_000_000
# Beyond these, sums of squares overflow: one such number would end the run for good, since nothing gets past it.
LARGEST = {"float64": 1e150, "float32": 1e15}


class Decoded(NamedTuple):
    """A chunk as columns.

    Attributes:
        features: shape (n, features). target: shape (n,), zeros where the job has none.
        codes: shape (n,); rows with another code than OK hold unspecified numbers.
    """

    features: Floats
    target: Floats
    codes: npt.NDArray[np.uint8]


class Intake:
    """Decodes what a job reads."""

    def __init__(self, plan: Plan, interrupts: Interrupts) -> None:
        self._plan, self._interrupts = plan, interrupts
        self._decoder = AvroDecoder(plan.registry, subject=f"{plan.job.source}-value")
        self._most = LARGEST[plan.backend.dtype]
        self._labelled = plan.model.classifies and bool(plan.job.target)

    def prepare(self, expected: int) -> None:
        """Gets ready for so many records: loads, or compiles if they are many, what reads their latest schema fastest."""
        plan = self._plan
        self._decoder.prepare(plan.source_schema_id, plan.columns, compile_it=expected >= MANY)

    def decode(self, records: Records) -> Decoded | None:
        """The chunk's rows, None where Ctrl-C came first (a first call may compile for seconds). A registry that is
        away is waited for: its absence must not make a record bad.

        Raises:
            UnavailableError: when it stays away.
        """
        deadline = time.monotonic() + REGISTRY_SECONDS
        while not self._interrupts.noted:
            try:
                with self._interrupts.breakable():
                    return self._decode(records)
            except Broken:
                return None
            except UnavailableError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        return None

    def _decode(self, records: Records) -> Decoded:
        columns, spans = self._plan.columns, records.spans
        if spans is None:
            matrix, codes = self._decoder.matrix(records.value, columns)
        else:  # read where they lie: the values of good records are never copied
            matrix, codes = self._decoder.matrix_at(*spans, columns)
        # NaN, which may stand where a record could not be read, fails these comparisons, and the closer look tells.
        if len(matrix) and not (matrix.min() >= -self._most and matrix.max() <= self._most):
            large = (codes == 0) & (np.abs(matrix) > self._most).any(axis=1)
            codes = np.where(large, np.uint8(OUT_OF_RANGE), codes)
        if not self._plan.job.target:
            return Decoded(matrix, np.zeros(len(matrix)), codes)
        features, target = matrix[:, :-1], matrix[:, -1]
        if self._labelled:
            wrong = (codes == 0) & (target != 0) & (target != 1)
            if wrong.any():
                codes = np.where(wrong, np.uint8(BAD_LABEL), codes)
        return Decoded(features, target, codes)

    def reason(self, records: Records, row: int, code: int) -> str:
        """Why a row has its code."""
        if code == BAD_LABEL:
            return f"{self._plan.job.target} is neither 0 nor 1"
        if (
            code == OUT_OF_RANGE
            and not self._decoder.matrix(records.value.slice(row, 1), self._plan.columns)[1].any()
        ):
            return f"a number lies beyond ±{self._most:g}, so that {self._plan.backend.dtype} cannot hold its square"
        return self._decoder.reasons(records.value, row, code, self._plan.columns)
