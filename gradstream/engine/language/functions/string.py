"""Functions of texts and bytes. Positions count from 1 in UTF-16 units, as Java counts."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
import uuid
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gradstream.engine.language.functions.registry import scalar

_BLANKS = "".join(map(chr, range(0x21)))  # what String.trim() takes off


# One row must not take all memory.
LARGEST = 1 << 24


def units(value: str) -> int:
    """Length in UTF-16 units."""
    if value.isascii():
        return len(value)
    return len(value) + sum(character > "\uffff" for character in value)


def cut(value: str, start: int, end: int) -> str:
    """``String.substring`` by UTF-16 units."""
    if value.isascii() or max(value) <= "\uffff":
        return value[start:end]
    raw = value.encode("utf-16-le", "surrogatepass")[2 * start : 2 * end]
    # Half a pair cannot be written as UTF-8; Java writes a question mark.
    return raw.decode("utf-16-le", "surrogatepass").encode("utf-8", "replace").decode()


def _ascii_column(verb: Callable[..., Any]) -> Callable[..., Any]:
    """A column function that leaves everything but ASCII to the slow way."""

    def column(values: pa.Array) -> pa.Array | None:
        return verb(values) if pc.all(pc.string_is_ascii(values)).as_py() is not False else None

    return column


@scalar(
    "UCASE", "STRING -> STRING", category="STRING", safe=True, column=_ascii_column(pc.utf8_upper)
)
def ucase(value: str) -> str:
    """Returns the text in upper case."""
    return value.upper()


@scalar(
    "LCASE", "STRING -> STRING", category="STRING", safe=True, column=_ascii_column(pc.utf8_lower)
)
def lcase(value: str) -> str:
    """Returns the text in lower case."""
    return value.lower()


@scalar("TRIM", "STRING -> STRING", category="STRING", safe=True)
def trim(value: str) -> str:
    """Removes blanks and control characters at both ends."""
    return value.strip(_BLANKS)


@scalar("INITCAP", "STRING -> STRING", category="STRING", safe=True)
def initcap(value: str) -> str:
    """Makes the first letter of each word upper case and all others lower case."""
    return re.sub(r"(^|\s)(\S)", lambda match: match[1] + match[2].upper(), value.lower())


@scalar("LEN", "STRING -> INTEGER", category="STRING", safe=True)
def length(value: str) -> int:
    """Returns the length of a text in UTF-16 units."""
    return units(value)


@scalar("LEN", "BYTES -> INTEGER", category="STRING", safe=True)
def length_bytes(value: bytes) -> int:
    """Returns the number of bytes."""
    return len(value)


def _bounds(size: int, position: int, length: int | None) -> tuple[int, int]:
    start = max(size + position, 0) if position < 0 else max(min(position - 1, size), 0)
    end = size if length is None else max(min(start + length, size), start)
    return start, end


@scalar(
    "SUBSTRING",
    "STRING, INTEGER -> STRING",
    "STRING, INTEGER, INTEGER -> STRING",
    category="STRING",
    safe=True,
)
def substring(value: str, position: int, length: int | None = None) -> str:
    """Returns a part of a text, from a position (negative: from the end) and of a length."""
    if value.isascii():
        start, end = _bounds(len(value), position, length)
        return value[start:end]
    start, end = _bounds(units(value), position, length)
    return cut(value, start, end)


@scalar(
    "SUBSTRING",
    "BYTES, INTEGER -> BYTES",
    "BYTES, INTEGER, INTEGER -> BYTES",
    category="STRING",
    safe=True,
)
def substring_bytes(value: bytes, position: int, length: int | None = None) -> bytes:
    """Returns some of the bytes, from a position (negative: from the end) and of a length."""
    start, end = _bounds(len(value), position, length)
    return value[start:end]


@scalar("CONCAT", "STRING... -> STRING", category="STRING", safe=True, nulls="see")
def concat(*values: str | None) -> str:
    """Joins texts; NULLs are left out."""
    if None not in values:
        return "".join(values)  # type: ignore[arg-type]
    return "".join(value for value in values if value is not None)


@scalar("CONCAT", "BYTES... -> BYTES", category="STRING", safe=True, nulls="see")
def concat_bytes(*values: bytes | None) -> bytes:
    """Joins bytes; NULLs are left out."""
    return b"".join(value for value in values if value is not None)


@scalar("CONCAT_WS", "STRING, STRING... -> STRING", category="STRING", safe=True, nulls="see")
def concat_ws(separator: str | None, *values: str | None) -> str | None:
    """Joins texts with a separator between them; NULLs are left out."""
    if separator is None:
        return None
    return separator.join(value for value in values if value is not None)


@scalar("CONCAT_WS", "BYTES, BYTES... -> BYTES", category="STRING", safe=True, nulls="see")
def concat_ws_bytes(separator: bytes | None, *values: bytes | None) -> bytes | None:
    """Joins bytes with a separator between them; NULLs are left out."""
    if separator is None:
        return None
    return separator.join(value for value in values if value is not None)


@scalar("REPLACE", "STRING, STRING, STRING -> STRING", category="STRING", safe=True)
def replace(value: str, old: str, new: str) -> str:
    """Replaces every occurrence of a text."""
    return value.replace(old, new)


@scalar("SPLIT", "STRING, STRING -> ARRAY<STRING>", category="STRING", safe=True)
def split(value: str, delimiter: str) -> list[str]:
    """Splits a text at a delimiter; an empty delimiter splits it into characters."""
    if not delimiter:
        return list(value) if value else [""]
    return value.split(delimiter)


@scalar("SPLIT", "BYTES, BYTES -> ARRAY<BYTES>", category="STRING", safe=True)
def split_bytes(value: bytes, delimiter: bytes) -> list[bytes]:
    """Splits bytes at a delimiter; an empty delimiter splits them into single bytes."""
    if not delimiter:
        return [bytes([byte]) for byte in value] or [b""]
    return value.split(delimiter)


@scalar(
    "INSTR",
    "STRING, STRING -> INTEGER",
    "STRING, STRING, INTEGER -> INTEGER",
    "STRING, STRING, INTEGER, INTEGER -> INTEGER",
    category="STRING",
    safe=True,
    nulls="see",
)
def instr(
    value: str | None, part: str | None, position: int | None = 1, occurrence: int | None = 1
) -> int:
    """Returns where a text stands within another, 0 where it does not; a negative position searches backwards."""
    if value is None or part is None or position is None or occurrence is None or position == 0:
        return 0
    if occurrence < 1:
        return 0
    found = -1
    if position > 0:
        start = position - 1
        for _ in range(occurrence):
            found = value.find(part, start)
            if found < 0:
                return 0
            start = found + 1
        return found + 1
    end = len(value) + position + len(part)
    for _ in range(occurrence):
        found = value.rfind(part, 0, max(end, 0))
        if found < 0:
            return 0
        end = found + len(part) - 1
    return found + 1


def _pad(value: Any, size: int, padding: Any, left: bool) -> Any:
    if size < 0 or not padding:
        return None
    if size > LARGEST:
        raise ValueError(f"a text of {size} characters is too large; at most {LARGEST} are made")
    missing = size - len(value)
    if missing <= 0:
        return value[:size]
    fill = (padding * (missing // len(padding) + 1))[:missing]
    return fill + value if left else value + fill


@scalar(
    "LPAD",
    "STRING, INTEGER, STRING -> STRING",
    "BYTES, INTEGER, BYTES -> BYTES",
    category="STRING",
)
def lpad(value: Any, size: int, padding: Any) -> Any:
    """Pads at the left up to a length, or cuts down to it."""
    return _pad(value, size, padding, True)


@scalar(
    "RPAD",
    "STRING, INTEGER, STRING -> STRING",
    "BYTES, INTEGER, BYTES -> BYTES",
    category="STRING",
)
def rpad(value: Any, size: int, padding: Any) -> Any:
    """Pads at the right up to a length, or cuts down to it."""
    return _pad(value, size, padding, False)


@scalar("CHR", "INTEGER -> STRING", category="STRING")
def chr_number(code: int) -> str | None:
    """Returns the character of a code point."""
    return chr(code) if 0 <= code <= 0x10FFFF and not 0xD800 <= code < 0xE000 else None


@scalar("CHR", "STRING -> STRING", category="STRING")
def chr_escape(text: str) -> str | None:
    r"""Returns the character of an escape such as \u0041."""
    match = re.fullmatch(r"((?:\\u+[0-9a-fA-F]{4})+)", text)
    if match is None:
        return None
    codes = [int(code, 16) for code in re.findall(r"\\u+([0-9a-fA-F]{4})", text)]
    raw = b"".join(struct.pack("<H", code) for code in codes)
    return raw.decode("utf-16-le", "replace")


@scalar("FIELD", "STRING, STRING... -> INTEGER", category="STRING", nulls="see")
def field(value: str | None, *others: str | None) -> int:
    """Returns the position of the first argument among the others, 0 where it is not there."""
    if value is None:
        return 0
    return others.index(value) + 1 if value in others else 0


@scalar("ELT", "INTEGER!, STRING... -> STRING", category="STRING", nulls="see")
def elt(n: int, *values: str | None) -> str | None:
    """Returns the n-th of the following arguments."""
    return values[n - 1] if 1 <= n <= len(values) else None


# Bytes


def _hex(text: str) -> bytes:
    match = re.fullmatch(r"(?:[xX]'([0-9A-Fa-f]*)'|0x([0-9A-Fa-f]*)|([0-9A-Fa-f]*))", text)
    if match is None:
        raise ValueError(f"Invalid hexadecimal text: {text!r}")
    digits = next(group for group in match.groups() if group is not None)
    if len(digits) % 2 and match[2] is None:
        raise ValueError(f"An odd number of hexadecimal digits: {text!r}")
    return bytes.fromhex("0" * (len(digits) % 2) + digits)


def _from_ascii(text: str) -> bytes:
    return text.encode("ascii", "replace")


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(f"Illegal base64: {error}") from None


_ENCODERS: dict[str, Callable[[str], bytes]] = {
    "hex": _hex,
    "utf8": str.encode,
    "ascii": _from_ascii,
    "base64": _base64,
}
_DECODERS: dict[str, Callable[[bytes], str]] = {
    "hex": lambda raw: raw.hex().upper(),
    "utf8": lambda raw: raw.decode("utf-8", "replace"),
    "ascii": lambda raw: raw.decode("ascii", "replace"),
    "base64": lambda raw: base64.b64encode(raw).decode(),
}


def _encoding(name: str) -> str:
    if name.lower() not in _ENCODERS:
        raise ValueError(f"Supported input encodings are: hex, utf8, ascii and base64. Got {name}")
    return name.lower()


@scalar("TO_BYTES", "STRING, STRING -> BYTES", category="STRING")
def to_bytes(text: str, encoding: str) -> bytes:
    """Reads a text as bytes: hex, utf8, ascii or base64."""
    return _ENCODERS[_encoding(encoding)](text)


@scalar("FROM_BYTES", "BYTES, STRING -> STRING", category="STRING")
def from_bytes(raw: bytes, encoding: str) -> str:
    """Writes bytes as a text: hex, utf8, ascii or base64."""
    return _DECODERS[_encoding(encoding)](raw)


@scalar("ENCODE", "STRING, STRING, STRING -> STRING", category="STRING")
def encode(text: str, before: str, after: str) -> str:
    """Turns a text from one encoding into another: hex, utf8, ascii or base64."""
    raw = _ENCODERS[_encoding(before)](text)
    if _encoding(after) == "hex":
        return raw.hex()
    return _DECODERS[_encoding(after)](raw)


def _unpacked(raw: bytes, form: str, order: str) -> Any:
    orders = {"BIG_ENDIAN": ">", "LITTLE_ENDIAN": "<"}
    if order not in orders:
        raise ValueError("Byte order must be BIG_ENDIAN or LITTLE_ENDIAN")
    size = struct.calcsize(form)
    if len(raw) != size:
        raise ValueError(f"Number of bytes must be equal to {size}, but found {len(raw)}")
    return struct.unpack(orders[order] + form, raw)[0]


@scalar("INT_FROM_BYTES", "BYTES -> INTEGER", "BYTES, STRING -> INTEGER", category="BYTES")
def int_from_bytes(raw: bytes, order: str = "BIG_ENDIAN") -> int:
    """Reads four bytes as an INTEGER."""
    return int(_unpacked(raw, "i", order))


@scalar("BIGINT_FROM_BYTES", "BYTES -> BIGINT", "BYTES, STRING -> BIGINT", category="BYTES")
def bigint_from_bytes(raw: bytes, order: str = "BIG_ENDIAN") -> int:
    """Reads eight bytes as a BIGINT."""
    return int(_unpacked(raw, "q", order))


@scalar("DOUBLE_FROM_BYTES", "BYTES -> DOUBLE", "BYTES, STRING -> DOUBLE", category="BYTES")
def double_from_bytes(raw: bytes, order: str = "BIG_ENDIAN") -> float:
    """Reads eight bytes as a DOUBLE."""
    return float(_unpacked(raw, "d", order))


@scalar("MD5", "STRING -> STRING", category="STRING")
def md5(value: str) -> str:
    """Returns the MD5 sum in hexadecimal digits."""
    return hashlib.md5(value.encode(), usedforsecurity=False).hexdigest()


@scalar("UUID", "-> STRING", category="STRING")
def uuid_random() -> str:
    """Returns a random UUID."""
    return str(uuid.uuid4())


@scalar("UUID", "BYTES -> STRING", category="STRING", nulls="see")
def uuid_of(raw: bytes | None) -> str | None:
    """Returns sixteen bytes as a UUID."""
    return str(uuid.UUID(bytes=raw)) if raw is not None and len(raw) == 16 else None
