"""What can be wrong with one record. Codecs report a code per row; the rest of the batch is unharmed.

The order is the number that the compiled decoders write, so append, never reorder.
"""

from __future__ import annotations

CODES: tuple[str, ...] = (
    "OK",
    "EMPTY_VALUE",
    "TOMBSTONE",
    "SHORT_FRAME",
    "BAD_MAGIC",
    "UNKNOWN_SCHEMA_ID",
    "WRONG_SCHEMA_TYPE",
    "SUBJECT_MISMATCH",
    "TRUNCATED",
    "TRAILING_BYTES",
    "NON_FINITE",
    "OUT_OF_RANGE",
    "BAD_UTF8",
    "BAD_UNION",
    "NULL_FIELD",
    "MISSING_FIELD",
    "WRONG_TYPE",
    "WRONG_DIMENSION",
    "TOO_MANY_ITEMS",
    "TOO_LARGE",
    "TOO_DEEP",
    "DUPLICATE_ID",
    "BAD_LABEL",
    "BAD_TIMESTAMP",
    "NULL_KEY",
    "HEADER_TOO_LARGE",
    "BAD_DECIMAL",
    "UNKNOWN_CONTROL",
    "BAD_ENUM",
    "BAD_BOOLEAN",
    "BAD_TEXT",
)
NUMBER: dict[str, int] = {code: number for number, code in enumerate(CODES)}
OK = NUMBER["OK"]
