"""Names of a test's own: behind the name of every topic, stream and table that a test makes stands the test's mark.

So tests run side by side on one stack with the statements of production, and whatever bears the mark may be dropped
when the test ends. In a statement only names that the test has made are changed, and ``payments.ID`` stays as it is:

    FROM payments WHERE payments.ID > 0   →   FROM payments_1F2E3D4C AS payments WHERE payments.ID > 0
"""

from __future__ import annotations

import uuid
from itertools import pairwise

from gradstream.engine.language.lexer import Token, tokens

_REFERS = {"FROM", "JOIN", "INTO", "DESCRIBE", "PRINT"}  # a name of a source follows
_NAMES = ("word", "quoted")
_CONDITION = ("IF", "NOT", "EXISTS")


class Names:
    """The mark of one test and the names that it has made.

    Attributes:
        mark: upper case, so that a name with it is the same whether KSQL puts it in upper case before or after.
        made: stored names of streams and tables, without the mark, in the order of their making.
    """

    def __init__(self) -> None:
        self.mark = f"_{uuid.uuid4().hex[:8].upper()}"
        self.made: list[str] = []
        self._shared: set[str] = set()
        self._numbered = 0

    def share(self, *names: str) -> None:
        """These topics, streams and tables are others': they keep their names and are never dropped."""
        self._shared.update(names, map(str.upper, names))

    def own(self, word: str = "") -> str:
        """The word with the mark, once; without a word a numbered one."""
        if not word:
            self._numbered += 1
            word = f"topic{self._numbered}"
        return word if self._kept(word) else word + self.mark

    def source(self, word: str) -> str | None:
        """A stream or table as it is written in a statement, if the test has made or shares something of that name."""
        stored = word.upper() if word.isidentifier() else word
        stored = stored.removesuffix(self.mark)
        known = stored in self.made or stored in self._shared
        return f"`{self.own(stored)}`" if known else None

    def statement(self, text: str) -> str:
        """The statement with the test's own names.

        Raises:
            SqlError: what no lexer can read.
        """
        found = tokens(text)
        qualified = {
            self._stored(name)
            for name, dot in pairwise(found)
            if name[0] in _NAMES and dot[1] == "." and dot[0] == "symbol"
        }
        joins = any(kind == "word" and word == "JOIN" for kind, word, *_ in found)
        pieces, done = [], 0
        for at, (kind, _, start, end) in enumerate(found):
            if not self._is_own(found, at):
                continue
            inside = end - (kind != "word")  # before the closing quote
            pieces += [text[done:inside], self.mark, text[inside:end]]
            done = end
            if (joins or self._stored(found[at]) in qualified) and _lacks_alias(found, at):
                pieces.append(f" AS {text[start:end]}")
        return "".join([*pieces, text[done:]])

    def _is_own(self, found: list[Token], at: int) -> bool:
        """Whether a token names something that gets the mark; notes what the statement makes."""
        kind, text = found[at][:2]
        words = [word if kind == "word" else "" for kind, word, *_ in found[:at]]
        if kind == "string":
            is_topic = at > 1 and found[at - 1][1] == "=" and words[-2] == "KAFKA_TOPIC"
            return is_topic and not self._kept(text)
        if kind not in _NAMES or (kind == "word" and text in _CONDITION):
            return False
        stored = self._stored(found[at])
        while words and words[-1] in _CONDITION:
            words.pop()
        before = words[-1] if words else ""
        if before in ("STREAM", "TABLE") and words[0] == "CREATE" and not self._kept(stored):
            if stored not in self.made:
                self.made.append(stored)
            return True
        refers = before in _REFERS or before in ("STREAM", "TABLE")
        distinct = before == "FROM" and words[-2:-1] == ["DISTINCT"]  # IS DISTINCT FROM
        return refers and not distinct and stored in self.made

    def _kept(self, name: str) -> bool:
        return name in self._shared or name.endswith(self.mark)

    @staticmethod
    def _stored(token: Token) -> str:
        return token[1]  # words are in upper case already


def _lacks_alias(found: list[Token], at: int) -> bool:
    """Whether a source in FROM or JOIN is not given another name."""
    kind, word = found[at + 1][:2]
    follows = {
        "WHERE", "JOIN", "INNER", "LEFT", "RIGHT", "FULL", "OUTER", "ON", "WITHIN", "WINDOW", "GROUP", "PARTITION",
        "HAVING", "EMIT", "LIMIT",
    }  # fmt: skip
    refers = found[at - 1][1] in ("FROM", "JOIN")
    return refers and (kind in ("symbol", "end") or (kind == "word" and word in follows))
