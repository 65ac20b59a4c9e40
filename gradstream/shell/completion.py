"""What may come next in a statement that somebody types: words, and the names that fit the place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gradstream.shell import script, words
from gradstream.shell.names import Names, Source, written

_NAME = r"(?:\w+|`[^`]*`)"
_QUALIFIED = re.compile(rf"({_NAME})\s*(?:\.|->)\s*(\w*)$")
_TOKEN = re.compile(r"\w+|`[^`]*`|[^\s\w]")
_FROM = re.compile(rf"(?i)\b(?:FROM|JOIN|INTO)\s+({_NAME})(?:\s+(?:AS\s+)?({_NAME}))?")
_SOURCES_FOLLOW = frozenset(("FROM", "JOIN", "INTO"))
_ONE_OF_KIND = {"STREAM": "stream", "TABLE": "table"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that may stand at the place.

    Attributes:
        text: as it would be written.
        about: what it is, in a word or two.
    """

    text: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """What may stand there.

    Attributes:
        start: index in the text of the first character that a candidate takes the place of.
        candidates: best first.
        expected: whether there is little else that could come, so that it may be offered unasked.
    """

    start: int
    candidates: list[Candidate]
    expected: bool = False


def complete(text: str, cursor: int, names: Names) -> Choice:
    """What may stand at the cursor of a text of statements."""
    begin = 0
    for part in script.parts(text[:cursor]):
        if script.begins_unended(part):
            return _within(part[0], text[begin : part.start()], part.start(), text[:cursor], names)
        if part[0] == ";":
            begin = part.end()
        if part[0].startswith("--") and part.end() == cursor:
            return Choice(cursor, [])
    before = text[begin:cursor]
    statement = before + text[cursor:].partition(";")[0]
    verb = next(iter(_TOKEN.findall(before)), "")
    if found := _QUALIFIED.search(before):
        columns = _columns_of(found[1], statement, names)
        return _picked(cursor, found[2], columns, True, not (found[2] or verb).islower())
    prefix = _last_word(before)
    before = before[: len(before) - len(prefix)]
    candidates, expected = _at(before, statement, names)
    return _picked(cursor, prefix, candidates, expected, not (prefix or verb).islower())


def _last_word(before: str) -> str:
    found = re.search(r"\w+$", before)
    return found[0] if found else ""


def _picked(
    cursor: int, prefix: str, candidates: Iterable[Candidate], expected: bool, upper: bool
) -> Choice:
    """Those that begin with what is there already, in small letters where it is."""
    chosen: dict[str, Candidate] = {}
    for of in candidates:
        if of.text.lstrip("`'").lower().startswith(prefix.lower()):
            shown = of.text if upper or of.text[:1] in "`'" else of.text.lower()
            chosen.setdefault(shown, Candidate(shown, of.about))
    if prefix in chosen and len(chosen) == 1:
        chosen = {}  # it is whole
    return Choice(cursor - len(prefix), list(chosen.values()), expected)


# Inside of quotes -----------------------------------------------------------------------------------------


def _within(quote: str, before: str, start: int, text: str, names: Names) -> Choice:
    """What may be quoted there; nothing in a comment."""
    typed = text[start + 1 :]
    if quote == "'":
        found = [Candidate(of, about) for of, about in _literals(before, typed, names)]
        chosen = [of for of in found if of.text.lower().startswith(typed.lower())]
        return Choice(start + 1, chosen, expected=True)
    if quote in ("`", '"'):
        found = [*_sources(names, ""), *_all_columns(names)]
        bare = (Candidate(of.text.strip("`"), of.about) for of in found)
        fits = {of.text: of for of in bare if of.text.startswith(typed)}
        return Choice(start, [Candidate(f"`{of.text}`", of.about) for of in fits.values()], True)
    return Choice(len(text), [])


def _literals(before: str, typed: str, names: Names) -> Iterator[tuple[str, str]]:
    """(text, what it is) of what a literal may hold after these words."""
    tokens = [of.upper() for of in _TOKEN.findall(before)]
    match tokens[-2:]:
        case ["RUN", "SCRIPT"]:
            yield from _paths(typed)
        case ["KAFKA_TOPIC", "="]:
            yield from ((of, "topic") for of in names.topics)
        case [("VALUE_FORMAT" | "KEY_FORMAT" | "FORMAT"), "="]:
            yield from ((of, "format") for of in words.FORMATS)
        case [*_, "PRINT"]:
            yield from ((of, "topic") for of in names.topics)
        case [*_, ("SET" | "UNSET")]:
            yield from names.properties.items()
    if tokens[:1] == ["SET"] and tokens[-1:] == ["="] and "auto.offset.reset" in before:
        yield from ((of, "") for of in words.RESETS)


def _paths(typed: str) -> Iterator[tuple[str, str]]:
    """Files and folders that begin like this."""
    folder = typed.rpartition("/")[0] + "/" if "/" in typed else ""
    try:
        inside = sorted(Path(folder or ".").expanduser().iterdir())
    except OSError:
        return
    for path in inside:
        if path.is_dir():
            yield f"{folder}{path.name}/", "folder"
        elif path.suffix == ".sql":
            yield f"{folder}{path.name}", "file"


# Outside of quotes ----------------------------------------------------------------------------------------


def _at(before: str, statement: str, names: Names) -> tuple[list[Candidate], bool]:
    """What may stand behind ``before``, and whether there is little else that could."""
    tokens = [of.upper() for of in _TOKEN.findall(before)]
    if not tokens:
        return _words(words.STATEMENTS) + _words(words.LOCAL, "the shell's own"), False
    last, verb = tokens[-1], tokens[0]
    if following := words.AFTER.get(tuple(tokens[-2:])) or words.AFTER.get((last,)):
        return _words(following), True
    if named := _named(verb, tokens, names):
        return named, True
    if opened := _opened(tokens):
        return _words(words.WITH, "property") if opened == "WITH" else _definition(names), True
    if verb == "PRINT":
        return _words(["FROM BEGINNING", "INTERVAL", "LIMIT"]), False
    if verb in ("SHOW", "LIST", "DESCRIBE"):
        return _words(["EXTENDED"]), False
    return [*_columns(statement, names), *_functions(names), *_words(words.CLAUSES)], False


def _named(verb: str, tokens: list[str], names: Names) -> list[Candidate]:
    """The names where only a name can stand; empty elsewhere."""
    last = tokens[-1]
    if verb == "DESCRIBE" and len(tokens) == 1:
        return _sources(names, "") + _words(["STREAMS", "TABLES", "FUNCTION"])
    if tokens == ["DESCRIBE", "FUNCTION"]:
        return _functions(names)
    if verb in ("TERMINATE", "PAUSE", "RESUME") and len(tokens) == 1:
        return _queries(names) + _words(["ALL"])
    if verb == "EXPLAIN" and len(tokens) == 1:
        return _queries(names) + _words(["SELECT", "CREATE", "INSERT"])
    if verb == "PRINT" and len(tokens) == 1:
        return [Candidate(of if re.fullmatch(r"\w+", of) else f"'{of}'", "topic") for of in names.topics]  # fmt: skip
    if verb in ("DROP", "ALTER") and last in _ONE_OF_KIND:
        return _sources(names, _ONE_OF_KIND[last]) + _words(["IF EXISTS"] * (verb == "DROP"))
    if verb == "DROP" and last == "EXISTS":
        return _sources(names, _ONE_OF_KIND.get(tokens[1], ""))
    if last in _SOURCES_FOLLOW and verb != "PRINT":
        return _sources(names, "")
    return []


def _opened(tokens: list[str]) -> str:
    """What the innermost open parenthesis belongs to: WITH, a CREATE's own columns, or nothing of interest."""
    depth = 0
    for place in range(len(tokens) - 1, -1, -1):
        if tokens[place] == ")":
            depth += 1
        elif tokens[place] == "(":
            if depth == 0:
                before = tokens[place - 1] if place else ""
                defines = tokens[0] == "CREATE" and "AS" not in tokens[:place]
                return "WITH" if before == "WITH" else "CREATE" if defines else ""
            depth -= 1
    return ""


def _definition(names: Names) -> list[Candidate]:
    own = [Candidate(written(of), "your type") for of in names.types]
    return _words(words.TYPES, "type") + own + _words(words.COLUMN_MARKS)


def _words(of: Iterable[str], about: str = "") -> list[Candidate]:
    return [Candidate(word, about) for word in of]


def _sources(names: Names, kind: str) -> list[Candidate]:
    """The streams and tables, or those of one kind."""
    return [
        Candidate(written(name), of.kind)
        for name, of in sorted(names.sources.items())
        if kind in ("", of.kind)
    ]


def _functions(names: Names) -> list[Candidate]:
    kinds = {"scalar": "function", "table": "table function"}
    return [Candidate(name, kinds.get(of, of)) for name, of in sorted(names.functions.items())]


def _queries(names: Names) -> list[Candidate]:
    return [Candidate(name, state) for name, state in sorted(names.queries.items())]


def _columns(statement: str, names: Names) -> list[Candidate]:
    """The columns of the sources that the statement names; of all, as long as it names none."""
    read = [found for _, found in _read(statement, names)]
    if not read:
        return _all_columns(names)
    return [Candidate(written(name), of) for found in read for name, of in found.columns.items()]


def _all_columns(names: Names) -> list[Candidate]:
    every = names.sources.values()
    return [Candidate(written(name), of) for found in every for name, of in found.columns.items()]


def _columns_of(qualifier: str, statement: str, names: Names) -> list[Candidate]:
    """The columns of a source that is called so in the statement."""
    wanted = _stored(qualifier)
    for called, source in _read(statement, names):
        if wanted in called:
            return [Candidate(written(name), of) for name, of in source.columns.items()]
    return []


def _read(statement: str, names: Names) -> Iterator[tuple[set[str], Source]]:
    """(what it is called, source) of those that the statement reads or writes."""
    for found in _FROM.finditer(statement):
        name = _stored(found[1])
        if source := names.sources.get(name):
            yield {name, _stored(found[2] or found[1])}, source


def _stored(name: str) -> str:
    return name.strip("`") if name.startswith("`") else name.upper()
