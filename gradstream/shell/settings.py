"""What SET and DEFINE leave for the statements that follow: ksqlDB itself forgets both at a request's end."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from gradstream.shell.script import Piece

_DEFINE = re.compile(r"(?is)(DEFINE|UNDEFINE)\s+(\w+)\s*(?:=\s*'((?:[^']|'')*)'\s*)?;")
_SET = re.compile(r"(?is)(SET|UNSET)\s+'((?:[^']|'')*)'\s*(?:=\s*'((?:[^']|'')*)'\s*)?;")


@dataclass(slots=True)
class Settings:
    """Properties by SET, variables by DEFINE, as in ksqlDB's own shell."""

    properties: dict[str, object] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)

    def remember(self, piece: Piece) -> bool:
        """Carries out SET, UNSET, DEFINE and UNDEFINE; False for other statements."""
        if found := _SET.fullmatch(piece.text):
            store: dict[str, Any] = self.properties
        elif found := _DEFINE.fullmatch(piece.text):
            store = self.variables
        else:
            return False
        verb, name, value = found[1].upper(), found[2].replace("''", "'"), found[3]
        if verb.startswith("UN"):
            store.pop(name, None)
            return True
        if value is None:
            return False  # the server tells what is wrong with it
        store[name] = self.substituted(value.replace("''", "'"))
        return True

    def substituted(self, value: str) -> str:
        """The text with the variables put in, for people to read; the server puts them in for itself."""
        for name, text in self.variables.items():
            value = value.replace(f"${{{name}}}", text)
        return value
