"""The SQL goldens as they stand in the files of this folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_ROW = re.compile(r"-- (in|out) ([\w.-]+): (.+)")


@dataclass(frozen=True, slots=True)
class Golden:
    """One case.

    Attributes:
        statements: with the rows as comments.
        inputs, outputs: (topic, value as JSON) in order; a JSON string is text as on the wire.
        error: what the last statement's error says, instead of outputs.
    """

    name: str
    statements: str
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]
    error: str | None

    def expected(self, number: Callable[[str], Any] = float) -> dict[str, list[Any]]:
        """The rows of each output topic; ``number`` makes a number of one with a point."""
        found: dict[str, list[Any]] = {}
        for topic, value in self.outputs:
            found.setdefault(topic, []).append(json.loads(value, parse_float=number))
        return found


def goldens() -> Iterator[Golden]:
    for path in sorted(HERE.glob("*.sql")):
        for text in re.split(r"^-- golden: ", path.read_text(), flags=re.MULTILINE)[1:]:
            title, _, body = text.partition("\n")
            rows = _ROW.findall(body)
            ways = {way: tuple((topic, value) for which, topic, value in rows if which == way) for way in ("in", "out")}  # fmt: skip
            error = re.search(r"^-- error: (.+)", body, re.MULTILINE)
            yield Golden(f"{path.stem}/{title}", body, ways["in"], ways["out"], error and error[1])


GOLDENS = list(goldens())
