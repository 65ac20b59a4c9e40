"""Machine code for the records of one schema: a function written from its table, and compiled by Numba.

It does the ordinary and leaves the rest. A record that is framed, sound and made of finite numbers is read in straight
line; at the first byte that is not as expected the record stays PENDING, and the loops of avro_numba, which follow the
table, read it again and say what is wrong. So there is one judge, and both ways give the same codes and numbers.

What is written holds numbers and the names below only: nothing that a schema's author could have chosen, neither names
nor text, gets into it. Numba keeps its machine code by the hash of that source and of avro_numba's.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from numba import types

from gradstream.wire import avro_numba, faults
from gradstream.wire import avro_schema as avro
from gradstream.wire.avro_chunk import Chunk, Selection
from gradstream.wire.avro_schema import DEST, KIND, NEXT, PRECISION, SCALE, SIZE, WRITTEN
from gradstream.wire.compiled import compiled, on_disk, stamp

log = logging.getLogger(__name__)

Ops = npt.NDArray[np.int64]
Rows = Callable[[int, int, int, int, int, Ops, int, int, int], int]

STAMP = stamp(sys.modules[__name__], avro_numba, avro, faults)
MOST_STEPS = 200  # in straight line; compiling more takes longer than it saves
LEAST_RUN = 4  # fields alike, one after the other, that become a loop
WIDTHS = {avro.DOUBLE: 8, avro.FLOAT: 4, avro.BOOLEAN: 1, avro.NULL: 0}
SEVERAL = avro.PIECES
EXPONENT = 0x7FF0000000000000  # all of it is set in a double that is not finite
# What the written code may call.
NAMES = (
    "load_u8", "load_i32", "load_i64", "load_f32", "load_f64", "store_u8", "store_i64", "store_f32", "store_f64",
    "_read_long", "_read_length", "_read_branch", "_read_decimal", "_quick_text", "_read_one_of", "_skip", "check_value",
)  # fmt: skip
SIGNATURE = types.int64(
    *[types.int64] * 5,
    types.Array(types.int64, 2, "C"),
    *[types.int64] * 3,
)
HEAD = """\
def rows(n, begins, ends, head, tail, ops, out, width, codes):
    done = 0
    for i in range(n):
        if load_u8(codes + i) != {pending}:
            continue
        pos = load_i64(begins + 8 * i)
        end = load_i64(ends + 8 * i)
        if end - pos < 6:
            continue
        if load_i32(pos) != head or load_u8(pos + 4) != tail:
            continue
        pos += 5
        to = out + width * i
        wrong = False
        over = 0
"""
TAIL = """\
        if pos != end or wrong or over < 0:
            continue
        store_u8(codes + i, 0)
        done += 1
    return done
"""


@dataclass(frozen=True, slots=True)
class Kernel:
    """Reads the records of one schema id into their rows of a matrix.

    Attributes:
        rows: ``rows(n, begins, ends, head, tail, ops, out, width, codes)`` returns how many of n records it read:
            begins, ends: addresses of int64 (n,), each value's first byte and the one after its last;
            head, tail: the frame that a value must have, its first four bytes as int32 and the fifth;
            out, width: address of the matrix, bytes of one of its rows;
            codes: address of uint8 (n,): 0 is written for what was read, what is not PENDING is passed over.
    """

    schema_id: int
    rows: Rows
    head: int
    tail: int
    ops: Ops

    @classmethod
    def of(
        cls, schema_id: int, selection: Selection, dtype: np.dtype[Any], *, compile_it: bool = True
    ) -> Kernel | None:
        """None if there is none: the selection cannot be read so, or is not on disk and must not be compiled."""
        text = "" if selection.code else source(selection, dtype == np.float64)
        rows = load(text, compile_it=compile_it) if text else None
        if rows is None:
            return None
        frame = b"\0" + schema_id.to_bytes(4, "big")
        head = int.from_bytes(frame[:4], "little", signed=True)
        return cls(schema_id, rows, head, frame[4], selection.ops)

    def read(self, chunk: Chunk, out: npt.NDArray[Any]) -> int:
        """Read what is pending and as expected; returns how many records that were."""
        return self.rows(
            len(out),
            chunk.begins.ctypes.data,
            chunk.ends.ctypes.data,
            self.head,
            self.tail,
            self.ops,
            out.ctypes.data,
            out.strides[0],
            chunk.codes.ctypes.data,
        )


@dataclass(frozen=True, slots=True)
class Run:
    """Fields written alike, one after the other.

    Attributes:
        row: the first one's in the table. count: how many.
        dest: where the first one goes, the others behind it; -1: nowhere.
    """

    row: int
    count: int
    dest: int


class _Source:
    """The lines of one kernel."""

    def __init__(self, ops: Ops, wide: bool) -> None:
        self.ops, self.wide = ops, wide
        self.limit = float(np.finfo(np.float64 if wide else np.float32).max)
        self.lines: list[str] = []
        self.steps = 0
        self.deep = 2  # indentation
        self.looped = False  # inside a loop over fields, which is left by break

    def say(self, *lines: str) -> None:
        self.lines += ["    " * self.deep + line for line in lines]

    @contextmanager
    def inside(self, opening: str) -> Iterator[None]:
        self.say(opening)
        self.deep += 1
        yield
        self.deep -= 1

    def leave(self, when: str) -> None:
        """Leave the record to the table's loop."""
        with self.inside(f"if {when}:"):
            self.say(*(("pos = -1", "break") if self.looped else ("continue",)))

    def block(self, start: int, stop: int) -> None:
        """The fields from row ``start`` to before ``stop``: those of fixed width together, with one check."""
        fixed: list[Run] = []
        for run in self._runs(start, stop):
            if self._width(run.row, run.dest) is not None:
                fixed.append(run)
                continue
            self._flush(fixed)
            fixed = []
            self._varying(run)
        self._flush(fixed)

    def _rows(self, start: int, stop: int) -> Iterator[int]:
        """Fields in their order; those of records that are always there among them."""
        row = start
        while row < stop:
            if self.ops[row, KIND] == avro.RECORD and self.ops[row, WRITTEN] == avro.PLAIN:
                row += 1
            else:
                yield row
                row = int(self.ops[row, NEXT])

    def _runs(self, start: int, stop: int) -> Iterator[Run]:
        run: Run | None = None
        for row in self._rows(start, stop):
            dest = int(self.ops[row, DEST])
            if run and self._continues(run, row, dest):
                run = Run(run.row, run.count + 1, run.dest)
                continue
            if run:
                yield run
            run = Run(row, 1, dest)
        if run:
            yield run

    def _continues(self, run: Run, row: int, dest: int) -> bool:
        kind = self.ops[row, KIND]
        what = [KIND, WRITTEN, SIZE, SCALE, PRECISION]
        alike = (self.ops[run.row, what] == self.ops[row, what]).all()
        behind = dest == (run.dest + run.count if run.dest >= 0 else -1)
        return bool(alike and behind and kind not in (*SEVERAL, avro.RECORD))

    def _width(self, row: int, dest: int) -> int | None:
        """Bytes of a field that always has as many, unless it is left to the table."""
        kind, written = int(self.ops[row, KIND]), self.ops[row, WRITTEN]
        if written != avro.PLAIN and (dest < 0 or kind == avro.RECORD):
            return None
        if kind == avro.ARRAY and dest >= 0:
            return self._vector_width(row)
        size = int(self.ops[row, SIZE]) if kind in (avro.FIXED, avro.DECIMAL_FIXED) else None
        width = WIDTHS.get(kind, size)
        return width if width is None else width + (written != avro.PLAIN)

    def _vector_width(self, row: int) -> int | None:
        """Bytes of an array of as many numbers as are wanted, written as one block; None where they vary."""
        if (item := WIDTHS.get(int(self.ops[row + 1, KIND]))) is None:
            return None
        item += self.ops[row + 1, WRITTEN] != avro.PLAIN
        union = self.ops[row, WRITTEN] != avro.PLAIN
        return int(union + len(self._opening(row)) + item * self.ops[row, SIZE])

    def _opening(self, row: int) -> bytes:
        """The count in front of an array's items, and the 0 behind them, which is all of an empty array."""
        count, found = 2 * int(self.ops[row, SIZE]), b""
        while count > 127:
            found += bytes([count & 127 | 128])
            count >>= 7
        return found + bytes([count, 0] if found or count else [0])

    def _fixed_vector(self, row: int, dest: int) -> None:
        """An array of plain numbers at ``at``, all bytes of which are there if it is written as one block."""
        opening, count = self._opening(row), int(self.ops[row, SIZE])
        if self.ops[row, WRITTEN] != avro.PLAIN:
            self.say(f"wrong |= load_u8(at) != {self._tag(row)}", "at += 1")
        for byte in opening[:-1]:
            self.say(f"wrong |= load_u8(at) != {byte}", "at += 1")
        self.say("item = at")
        width = WIDTHS[int(self.ops[row + 1, KIND])] + (self.ops[row + 1, WRITTEN] != avro.PLAIN)
        with self.inside(f"for k in range({count}):"):
            self.say(f"at = item + {width} * k")
            self._fixed(row + 1, f"{dest} + k")
        self.say(f"wrong |= load_u8(item + {width * count}) != 0")

    def _flush(self, runs: list[Run]) -> None:
        """Runs of fixed width: one check of the end, then each field at its place."""
        widths = [self._width(run.row, run.dest) or 0 for run in runs]
        if not (total := sum(width * run.count for width, run in zip(widths, runs, strict=True))):
            return
        self.leave(f"end - pos < {total}")
        place = 0
        for width, run in zip(widths, runs, strict=True):
            if run.dest >= 0 or self.ops[run.row, KIND] == avro.BOOLEAN:
                self._each_fixed(run, place, width)
            place += width * run.count
        self.say(f"pos += {total}")

    def _each_fixed(self, run: Run, place: int, width: int) -> None:
        if self.ops[run.row, KIND] == avro.ARRAY:
            self.say(f"at = pos + {place}")
            self._fixed_vector(run.row, run.dest)
            return
        if run.count >= LEAST_RUN:
            with self.inside(f"for k in range({run.count}):"):
                self.say(f"at = pos + {place} + {width} * k")
                self._fixed(run.row, f"{run.dest} + k" if run.dest >= 0 else "")
            return
        for k in range(run.count):
            self.say(f"at = pos + {place + width * k}")
            self._fixed(run.row, str(run.dest + k) if run.dest >= 0 else "")

    def _fixed(self, row: int, dest: str) -> None:
        """One field at ``at``, all bytes of which are there."""
        self.steps += 1
        kind, written = self.ops[row, KIND], self.ops[row, WRITTEN]
        if written != avro.PLAIN:
            self.say(f"wrong |= load_u8(at) != {self._tag(row)}", "at += 1")
        if kind == avro.BOOLEAN:
            self.say("wrong |= load_u8(at) > 1")
        elif kind == avro.DOUBLE and self.wide:
            self.say("bits = load_i64(at)", f"over |= {EXPONENT - 1} - (bits & {EXPONENT})")
            self.say(f"store_i64(to + 8 * ({dest}), bits)")
        elif kind == avro.DECIMAL_FIXED:
            self._put(self._decimal(row, "at", str(self.ops[row, SIZE])), dest)
        else:
            self._put("load_f64(at)" if kind == avro.DOUBLE else "load_f32(at)", dest)

    def _tag(self, row: int) -> int:
        """The byte in front of a value that is there."""
        return 2 if self.ops[row, WRITTEN] == avro.NULL_FIRST else 0

    def _put(self, number: str, dest: str) -> None:
        self.say(f"number = {number}", f"wrong |= not abs(number) <= {self.limit!r}")
        store, width = ("store_f64", 8) if self.wide else ("store_f32", 4)
        self.say(f"{store}(to + {width} * ({dest}), number)")

    def _decimal(self, row: int, place: str, length: str) -> str:
        scale, precision = self.ops[row, SCALE], self.ops[row, PRECISION]
        return f"_read_decimal({place}, {length}, {scale}, {precision})"

    def copy(self, source: int, dest: int) -> None:
        """A column that was asked for once more."""
        bits, width = ("f64", 8) if self.wide else ("f32", 4)
        number = f"load_{bits}(to + {width * source})"
        self.say(f"store_{bits}(to + {width * dest}, {number})")

    def constant(self, dest: int, number: float) -> None:
        """A column that the writer lacks."""
        self._put(repr(number), str(dest))

    def _varying(self, run: Run) -> None:
        if run.count < LEAST_RUN:
            for k in range(run.count):
                self._one(run.row, str(run.dest + k) if run.dest >= 0 else "")
            return
        self.looped, outer = True, self.looped
        with self.inside(f"for k in range({run.count}):"):
            self._one(run.row, f"{run.dest} + k" if run.dest >= 0 else "")
        self.looped = outer
        self.leave("pos < 0")

    def _one(self, row: int, dest: str) -> None:
        """One field at ``pos``, however long."""
        self.steps += 1
        kind, written = self.ops[row, KIND], int(self.ops[row, WRITTEN])
        if kind == avro.ARRAY and dest:
            self._vector(row, int(dest))
        elif kind == avro.UNION and dest:
            self.say(f"number, pos = _read_one_of(ops, {row}, pos, end)")
            self.leave("pos < 0")
            self._put("number", dest)
        elif kind in SEVERAL:
            self.say(f"pos = check_value(ops, {row}, pos, end)")
            self.leave("pos < 0")
        elif written == avro.PLAIN:
            self._value(row, dest)
        elif dest:
            self.leave(f"pos >= end or load_u8(pos) != {self._tag(row)}")
            self.say("pos += 1")
            self._value(row, dest)
        else:
            self.say(f"present, pos = _read_branch({written}, pos, end)")
            self.leave("pos < 0")
            with self.inside("if present:"):
                self._value(row, dest)

    def _vector(self, row: int, dest: int) -> None:
        """An array of whole numbers, written as one block."""
        opening = self._opening(row)
        if self.ops[row, WRITTEN] != avro.PLAIN:
            opening = bytes([self._tag(row)]) + opening
        self.leave(f"end - pos < {len(opening)}")
        for byte in opening[:-1]:
            self.leave(f"load_u8(pos) != {byte}")
            self.say("pos += 1")
        self._varying(Run(row + 1, int(self.ops[row, SIZE]), dest))
        self.leave("pos >= end or load_u8(pos) != 0")
        self.say("pos += 1")

    def _value(self, row: int, dest: str) -> None:
        kind, size = self.ops[row, KIND], self.ops[row, SIZE]
        if kind == avro.RECORD:
            self.say("pos += 0")  # so that an empty record is a block too
            self.block(row + 1, int(self.ops[row, NEXT]))
        elif not dest:
            self.say(f"pos = _skip({kind}, {size}, pos, end)")
            self.leave("pos < 0")
        elif kind in (avro.INT, avro.LONG):
            self.say("whole, pos = _read_long(pos, end)")
            over = " or whole < -2147483648 or whole > 2147483647" if kind == avro.INT else ""
            self.leave("pos < 0" + over)
            self._put("float(whole)", dest)
        elif kind == avro.DECIMAL:
            self.say("length, pos = _read_length(pos, end)")
            self.leave("pos < 0")
            self._put(self._decimal(row, "pos", "length"), dest)
            self.say("pos += length")
        else:
            self.say("text, pos = _quick_text(pos, end)")
            self.leave("pos < 0")
            self._put("text", dest)


def source(selection: Selection, wide: bool) -> str:
    """The kernel of a selection; empty where the table's loop is as good: too many kinds of fields."""
    into = _Source(selection.ops, wide)
    into.block(0, len(selection.ops))
    for column, again in selection.copies:
        into.copy(column, again)
    for column, number in selection.constants:
        into.constant(column, number)
    if into.steps + len(selection.copies) + len(selection.constants) > MOST_STEPS:
        return ""
    return HEAD.format(pending=avro_numba.PENDING) + "\n".join(into.lines) + "\n" + TAIL


def load(text: str, *, compile_it: bool) -> Rows | None:
    """The kernel of that source: from the disk, else compiled if that is wanted, which is said."""
    names: dict[str, Any] = {name: getattr(avro_numba, name) for name in NAMES}
    names["__name__"] = avro_numba.__name__  # to which Numba comes back when it loads from the disk
    exec(compile(text, avro_numba.__file__, "exec"), names)  # noqa: S102 - written above, of numbers
    mark = hashlib.sha256(text.encode()).hexdigest()[:20]
    kernel = compiled(f"{mark}_{STAMP}", nogil=True)(names["rows"])
    if not (kept := on_disk(kernel)) and not compile_it:
        return None
    if not kept:
        # A warning only so that it is seen: a start that takes seconds longer has to say why.
        log.warning("compiling a reader for this Avro schema, once on this machine (some seconds)")
    started = time.perf_counter()
    kernel.compile(SIGNATURE)
    kernel.disable_compile()
    log.info(
        "the schema's reader was %s in %.2f s",
        "loaded" if kept else "compiled",
        time.perf_counter() - started,
    )
    return cast("Rows", kernel)
