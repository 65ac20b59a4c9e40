"""Opening a text file that somebody else made: plain or gzip, told by its first bytes and not by its name."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from gradstream.errors import DataError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

GZIP = b"\x1f\x8b"
MAX_EXPANDED = 4 * 2**30
"""Bytes that a compressed file may grow to, unless the user allows more."""
_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


class TextInput(io.RawIOBase):
    """The bytes of a file, expanded; refuses by name what is not text in UTF-8.

    Raises, when made:
        DataError: NO_FILE, NOT_A_FILE, EMPTY_FILE, BAD_ENCODING, or as ``read``.
    """

    def __init__(self, path: Path, max_expanded: int = MAX_EXPANDED) -> None:
        super().__init__()
        self.path = path
        self._limit = max_expanded
        self._read = 0
        self.quotes = 0  # double quotes seen so far
        self._file = self._opened()
        try:
            self._ahead = self._take(4096)
            self._check_start(self._ahead)
        except BaseException:
            self.close()
            raise

    def _opened(self) -> IO[bytes]:
        if self.path.is_dir():
            raise DataError("NOT_A_FILE", f"{self.path} is a directory; give a file in it")
        try:
            file = self._under = self.path.open("rb")
        except FileNotFoundError:
            raise DataError("NO_FILE", f"{self.path} does not exist; check the path") from None
        except OSError as error:
            raise DataError("NO_FILE", f"cannot open {self.path}: {error.strerror}") from None
        start = file.read(2)
        file.seek(0)
        self._compressed = start == GZIP
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if self._compressed else file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer as far as there is something; 0 at the end.

        Raises:
            DataError: EXPANDS_TOO_LARGE, TRUNCATED or BAD_GZIP, compressed files only.
        """
        view = memoryview(buffer).cast("B")
        data = self._ahead[: len(view)] or self._take(len(view))
        self._ahead = self._ahead[len(view) :]
        view[: len(data)] = data
        return len(data)

    def _take(self, size: int) -> bytes:
        # One byte past the limit is enough to know, so a bomb never fills memory.
        if self._compressed:
            size = min(size, self._limit + 1 - self._read)
        try:
            data = self._file.read(size)
        except EOFError:
            raise DataError(
                "TRUNCATED", f"{self.path} ends in the middle of its gzip data; fetch it again"
            ) from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise DataError(
                "BAD_GZIP", f"{self.path} is damaged ({error}); fetch it again"
            ) from None
        self._read += len(data)
        self.quotes += data.count(b'"')
        if self._compressed and self._read > self._limit:
            raise DataError(
                "EXPANDS_TOO_LARGE",
                f"{self.path} ({self.path.stat().st_size:,} bytes) expands to more than {self._limit:,} bytes; "
                "if that is right, raise --max-expanded",
            )
        return data

    def _check_start(self, start: bytes) -> None:
        if not start.strip(b"\r\n\t \xef\xbb\xbf"):
            raise DataError("EMPTY_FILE", f"{self.path} is empty; it needs a header and rows")
        for mark, encoding in _MARKS.items():
            if start.startswith(mark):
                raise self._encoding(encoding)
        if b"\x00" in start:
            raise self._encoding("UTF-16 without a mark, or not text")

    def _encoding(self, found: str) -> DataError:
        fix = f"iconv -f {found[:6]} -t UTF-8 {self.path.name}"
        return DataError(
            "BAD_ENCODING", f"{self.path} is {found}, not UTF-8; convert it first: {fix}"
        )

    def close(self) -> None:
        if not self.closed:
            self._file.close()
            self._under.close()
        super().close()
