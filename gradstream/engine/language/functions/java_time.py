"""Java's DateTimeFormatter patterns: ``yyyy-MM-dd'T'HH:mm:ss[.SSS]X`` to read and to write times.

A pattern becomes one regular expression for reading and a list of small functions for writing; both are kept for the
patterns used last. Times are integers (milliseconds since 1970, days, milliseconds of the day), as everywhere.
"""

from __future__ import annotations

import datetime
import functools
import re
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass

from gradstream.engine.language.iso_time import DAY_MS, date_of, days_of

_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_NUMBERS = frozenset("uyMLdDHhKkmsSnANQqwWeFYg")
_LETTERS = frozenset("GuyDMLdQqYwWEecFahKkHmsSAnNVzOXxZ")
# Letter to the name of the value that it reads.
_MEANING = {
    "u": "year", "y": "year", "Y": "year", "M": "month", "L": "month", "d": "day", "D": "day_of_year", "H": "hour",
    "h": "clock_hour", "K": "half_hour", "k": "full_hour", "m": "minute", "s": "second", "S": "fraction",
    "n": "nano", "A": "milli_of_day", "N": "nano_of_day", "a": "half", "E": "weekday", "e": "weekday", "c": "weekday",
    "X": "offset", "x": "offset", "Z": "offset", "O": "offset", "z": "zone", "V": "zone", "Q": "quarter",
    "q": "quarter", "G": "era", "w": "week", "W": "week_of_month", "F": "week_aligned",
}  # fmt: skip


# Short names stand for the region, so that "PST" in May is summer time all the same.
_REGIONS = {
    "PST": "America/Los_Angeles", "PDT": "America/Los_Angeles", "MST": "America/Denver", "MDT": "America/Denver",
    "CST": "America/Chicago", "CDT": "America/Chicago", "EST": "America/New_York", "EDT": "America/New_York",
    "CET": "Europe/Paris", "CEST": "Europe/Paris", "BST": "Europe/London", "EET": "Europe/Bucharest",
    "EEST": "Europe/Bucharest", "MSK": "Europe/Moscow", "IST": "Asia/Kolkata", "JST": "Asia/Tokyo",
    "AEST": "Australia/Sydney", "AEDT": "Australia/Sydney", "HST": "Pacific/Honolulu", "AKST": "America/Anchorage",
    "AKDT": "America/Anchorage",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Moment:
    """A local date and time with the offset that it has there.

    Attributes:
        nano: of the second.
        offset: seconds east of Greenwich.
        zone: its id.
        short: what it is called then and there, such as PDT.
    """

    days: int
    second_of_day: int
    nano: int
    offset: int
    zone: str
    short: str = "UTC"


@dataclass(frozen=True, slots=True)
class _Letters:
    letter: str
    count: int


class Pattern:
    """A compiled pattern.

    Args:
        simple: read as SimpleDateFormat does: numbers of any length, and text may follow.

    Raises:
        ValueError: an unknown letter or an open quote or bracket.
    """

    def __init__(self, pattern: str, simple: bool = False) -> None:
        self.pattern = pattern
        self.simple = simple
        self.parts, rest = _split(pattern, 0, depth=0)
        if rest != len(pattern):
            raise ValueError(f"Unknown pattern, ] without [: {pattern}")
        self.fields: list[str] = []
        self.regex = re.compile(
            self._regex(self.parts) + r"\Z" * (not simple), re.ASCII | re.IGNORECASE
        )

    def _regex(self, parts: list[object]) -> str:
        out = []
        for at, part in enumerate(parts):
            if isinstance(part, str):
                out.append(re.escape(part))
            elif isinstance(part, list):
                out.append(f"(?:{self._regex(part)})?")
            elif isinstance(part, _Letters):
                following = parts[at + 1] if at + 1 < len(parts) else None
                joined = isinstance(following, _Letters) and _is_number(following)
                self.fields.append(part.letter * part.count)
                loose = self.simple and _is_number(part) and not joined
                out.append(r"(\d+)" if loose else f"({_field_regex(part, joined)})")
        return "".join(out)

    def read(self, text: str) -> dict[str, int | str]:
        """The values that a text gives, by meaning.

        Raises:
            ValueError: the text does not fit.
        """
        match = self.regex.match(text)
        if match is None:
            raise ValueError(f"Text '{text}' could not be parsed at index 0")
        found: dict[str, int | str] = {}
        for field, value in zip(self.fields, match.groups(), strict=True):
            if value is not None:
                found[_MEANING[field[0]]] = _value(field, value)
        return found

    def write(self, moment: Moment) -> str:
        return _written(self.parts, moment)


def _split(pattern: str, at: int, depth: int) -> tuple[list[object], int]:
    parts: list[object] = []
    while at < len(pattern):
        character = pattern[at]
        if character == "'":
            text, at = _quoted(pattern, at)
            parts.append(text)
        elif character == "[":
            inner, at = _split(pattern, at + 1, depth + 1)
            parts.append(inner)
        elif character == "]":
            return parts, (at + 1 if depth else at)
        elif character.isalpha() and character.isascii():
            end = at
            while end < len(pattern) and pattern[end] == character:
                end += 1
            if character not in _LETTERS:
                raise ValueError(f"Unknown pattern letter: {character}")
            parts.append(_Letters(character, end - at))
            at = end
        else:
            parts.append(character)
            at += 1
    # Java lets an optional section run to the end.
    return parts, at


def _quoted(pattern: str, at: int) -> tuple[str, int]:
    if pattern.startswith("''", at):
        return "'", at + 2
    out = []
    at += 1
    while True:
        end = pattern.find("'", at)
        if end < 0:
            raise ValueError(f"Pattern ends with an incomplete string literal: {pattern}")
        out.append(pattern[at:end])
        if not pattern.startswith("''", end):
            return "".join(out), end + 1
        out.append("'")
        at = end + 2


def _is_number(part: _Letters) -> bool:
    return part.letter in _NUMBERS and not (part.letter in "MLQq" and part.count > 2)


def _field_regex(part: _Letters, joined: bool) -> str:
    letter, count = part.letter, part.count
    if letter in "ML" and count > 2:
        return _choice([name[:3] if count == 3 else name for name in _MONTHS])
    if letter in "Eec" and (letter == "E" or count > 2):
        return _choice([name if count == 4 else name[:3] for name in _DAYS])
    match letter:
        case "a":
            return "[AP]M"
        case "G":
            return "AD|BC|Anno Domini|Before Christ"
        case "X":
            return "Z|" + _offset_regex(count)
        case "x":
            return _offset_regex(count)
        case "Z":
            return (
                r"GMT(?:[+-]\d\d:\d\d)?"
                if count == 4
                else (r"Z|[+-]\d\d:\d\d" if count == 5 else r"[+-]\d{4}")
            )
        case "O":
            return r"GMT(?:[+-]\d{1,2}(?::?\d\d)?)?"
        case "V" | "z":
            return r"[A-Za-z][A-Za-z0-9~/._+-]*(?::\d\d)?|[+-]\d\d:?\d\d"
        case "S":
            return rf"\d{{{count}}}"
        case "u" | "y" | "Y":
            if count == 2:
                return r"\d{2}"
            return (
                rf"\d{{{count}}}" if joined else rf"[+-]?\d{{{count},10}}" if count < 10 else r"\d+"
            )
    if count == 1:
        return r"\d" if joined else r"\d{1,10}"
    return rf"\d{{{count}}}"


def _choice(words: list[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


def _offset_regex(count: int) -> str:
    return {
        1: r"[+-]\d\d(?:\d\d)?",
        2: r"[+-]\d{4}",
        3: r"[+-]\d\d:\d\d",
        4: r"[+-]\d{4}(?:\d\d)?",
        5: r"[+-]\d\d:\d\d(?::\d\d)?",
    }[min(count, 5)]


def _value(field: str, text: str) -> int | str:
    letter, count = field[0], len(field)
    if letter in "ML" and count > 2:
        return next(n for n, name in enumerate(_MONTHS, 1) if name[:3].lower() == text[:3].lower())
    if letter == "a":
        return text.upper()
    if letter in "GEecVz":
        return text
    if letter in "XxZO":
        return _offset_seconds(text)
    if letter == "S":
        return int(text.ljust(9, "0")[:9])
    number = int(text)
    return number + 2000 if letter in "uyY" and count == 2 else number


def _offset_seconds(text: str) -> int:
    text = text.upper().removeprefix("GMT")
    if text.upper() in ("Z", ""):
        return 0
    digits = text[1:].replace(":", "").ljust(4, "0")
    if len(text[1:]) == 1:
        digits = "0" + text[1:] + "00"
    seconds = int(digits[:2]) * 3600 + int(digits[2:4]) * 60 + int(digits[4:6] or 0)
    return -seconds if text[0] == "-" else seconds


def _written(parts: list[object], moment: Moment) -> str:
    return "".join(
        part
        if isinstance(part, str)
        else _written(part, moment)
        if isinstance(part, list)
        else _field_text(part, moment)
        if isinstance(part, _Letters)
        else ""
        for part in parts
    )


def _field_text(part: _Letters, moment: Moment) -> str:
    letter, count = part.letter, part.count
    year, month, day = date_of(moment.days)
    hour, rest = divmod(moment.second_of_day, 3600)
    minute, second = divmod(rest, 60)
    match letter:
        case "u" | "y" | "Y":
            return f"{year % 100:02d}" if count == 2 else f"{year:0{count}d}"
        case "M" | "L":
            name = _MONTHS[month - 1]
            return f"{month:0{count}d}" if count < 3 else name[:3] if count == 3 else name
        case "E" | "e" | "c":
            name = _DAYS[(moment.days + 3) % 7]
            return name if count == 4 else name[:3]
        case "a":
            return "AM" if hour < 12 else "PM"
        case "G":
            return "AD"
        case "S":
            return f"{moment.nano:09d}".ljust(count, "0")[:count]
        case "X" | "x" | "Z" | "O":
            return _offset_text(letter, count, moment.offset)
        case "V":
            return moment.zone
        case "z":
            return moment.short
    number = {
        "d": day,
        "D": moment.days - days_of(year, 1, 1) + 1,
        "H": hour,
        "k": hour or 24,
        "K": hour % 12,
        "h": hour % 12 or 12,
        "m": minute,
        "s": second,
        "n": moment.nano,
        "A": moment.second_of_day * 1000 + moment.nano // 1_000_000,
        "N": moment.second_of_day * 10**9 + moment.nano,
        "Q": (month + 2) // 3,
        "q": (month + 2) // 3,
        "w": datetime.date(year, month, day).isocalendar().week,
        "W": (day + 6) // 7,
        "F": (day - 1) % 7 + 1,
    }[letter]
    return f"{number:0{count}d}"


def _offset_text(letter: str, count: int, offset: int) -> str:
    sign = "-" if offset < 0 else "+"
    hours, minutes = divmod(abs(offset) // 60, 60)
    if letter == "O" or (letter == "Z" and count == 4):
        if offset == 0:
            return "GMT"
        short = f"GMT{sign}{hours}" + (f":{minutes:02d}" if minutes else "")
        return short if count == 1 else f"GMT{sign}{hours:02d}:{minutes:02d}"
    if offset == 0 and (letter == "X" or (letter == "Z" and count == 5)):
        return "Z"
    if letter != "Z" and count == 1:
        return f"{sign}{hours:02d}" + (f"{minutes:02d}" if minutes else "")
    colon = ":" if count in (3, 5) else ""
    if letter == "Z" and count < 4:
        colon = ""
    return f"{sign}{hours:02d}{colon}{minutes:02d}"


@functools.lru_cache(maxsize=256)
def pattern(text: str) -> Pattern:
    """The compiled pattern; raises ValueError in Java's words."""
    return Pattern(text)


@functools.lru_cache(maxsize=256)
def zone(name: str) -> datetime.tzinfo:
    """A time zone by Java's name: ``Europe/Berlin``, ``UTC``, ``+02:00``, ``GMT+1``.

    Raises:
        ValueError: there is none of that name.
    """
    bare = re.sub(r"\A(UTC|GMT|UT)(?=[+-])", "", name)
    if re.match(r"[+-]\d{1,2}(:?\d\d)?(:?\d\d)?\Z", bare):
        digits = bare[1:].replace(":", "")
        digits = digits.zfill(2).ljust(4, "0") if len(digits) < 3 else digits
        seconds = int(digits[:2]) * 3600 + int(digits[2:4]) * 60
        delta = datetime.timedelta(seconds=-seconds if bare[0] == "-" else seconds)
        return datetime.timezone(delta)
    if name in ("Z", "UTC", "GMT", "UT"):
        return datetime.UTC
    try:
        return zoneinfo.ZoneInfo(_REGIONS.get(name.upper(), name))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"Unknown time-zone ID: {name}") from None


def _days(fields: dict[str, int | str]) -> int:
    """Days since 1970 of the fields read; what is missing is that of 1970-01-01."""
    year = int(fields.get("year", 1970))
    if fields.get("era") in ("BC", "Before Christ"):
        raise ValueError("dates before Christ are not supported")
    if "day_of_year" in fields:
        return days_of(year, 1, 1) + int(fields["day_of_year"]) - 1
    month, day = int(fields.get("month", 1)), int(fields.get("day", 1))
    if not (1 <= month <= 12 and 1 <= day <= 31):
        raise ValueError(f"Invalid date: month {month}, day {day}")
    # As Java's "smart" resolver: the 31st of a short month is its last day.
    following = days_of(year + month // 12, month % 12 + 1, 1)
    return min(days_of(year, month, 1) + day - 1, following - 1)


def _milliseconds(fields: dict[str, int | str]) -> int:
    """Milliseconds of the day."""
    if "milli_of_day" in fields:
        return int(fields["milli_of_day"])
    if "hour" in fields:
        hour = int(fields["hour"])
    elif "full_hour" in fields:
        hour = int(fields["full_hour"]) % 24
    else:
        hour = int(fields.get("clock_hour", fields.get("half_hour", 0))) % 12
        hour += 12 * (fields.get("half") == "PM")
    minute, second = int(fields.get("minute", 0)), int(fields.get("second", 0))
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError(f"Invalid time: {hour}:{minute}:{second}")
    nano = int(fields.get("fraction", fields.get("nano", 0)))
    return ((hour * 60 + minute) * 60 + second) * 1000 + nano // 1_000_000


def _offset_at(local_ms: int, where: datetime.tzinfo) -> int:
    """Seconds east of Greenwich at a local time."""
    if where is datetime.UTC:
        return 0
    local = datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=local_ms)
    delta = local.replace(tzinfo=where).utcoffset()
    return 0 if delta is None else int(delta.total_seconds())


def parse_timestamp(text: str, form: str, where: str = "UTC") -> int:
    """Milliseconds of a text; a zone in the text wins over ``where``.

    Raises:
        ValueError: the text or the pattern is wrong.
    """
    fields = pattern(form).read(text)
    local = _days(fields) * DAY_MS + _milliseconds(fields)
    if "offset" in fields:
        return local - int(fields["offset"]) * 1000
    return local - _offset_at(local, zone(str(fields.get("zone", where)))) * 1000


def parse_date(text: str, form: str) -> int:
    """Days of a text."""
    return _days(pattern(form).read(text))


@functools.lru_cache(maxsize=256)
def _simple_pattern(text: str) -> Pattern:
    return Pattern(text, simple=True)


def parse_simple_date(text: str, form: str) -> int:
    """Days of a text, read as SimpleDateFormat does."""
    fields = _simple_pattern(form).read(text)
    if "yy" in _simple_pattern(form).fields and int(fields["year"]) > 2099:
        fields["year"] = int(fields["year"]) - 2000
    return _days(fields)


def parse_time(text: str, form: str) -> int:
    """Milliseconds of the day of a text."""
    return _milliseconds(pattern(form).read(text))


def format_timestamp(milliseconds: int, form: str, where: str = "UTC") -> str:
    """A timestamp as it reads in a time zone."""
    tz = zone(where)
    offset = 0
    short = where
    if tz is not datetime.UTC:
        moment = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(
            milliseconds=milliseconds
        )
        local = moment.astimezone(tz)
        delta = local.utcoffset()
        offset = 0 if delta is None else int(delta.total_seconds())
        short = local.tzname() or where
    days, rest = divmod(milliseconds + offset * 1000, DAY_MS)
    second, milli = divmod(rest, 1000)
    return pattern(form).write(Moment(days, second, milli * 1_000_000, offset, where, short))


def format_date(days: int, form: str) -> str:
    _refuse(form, "HhKkmsSnANaXxZOVz", "date")
    return pattern(form).write(Moment(days, 0, 0, 0, "UTC"))


def format_time(milliseconds: int, form: str) -> str:
    _refuse(form, "uyYMLdDEecQqwWFGXxZOVz", "time")
    second, milli = divmod(milliseconds, 1000)
    return pattern(form).write(Moment(0, second, milli * 1_000_000, 0, "UTC"))


def _refuse(form: str, letters: str, what: str) -> None:
    def check(parts: list[object]) -> None:
        for part in parts:
            if isinstance(part, _Letters) and part.letter in letters:
                raise ValueError(f"Unsupported field in a {what}: {part.letter}")
            if isinstance(part, list):
                check(part)

    check(pattern(form).parts)


def timestamp_reader(form: str) -> Callable[[str], int]:
    """A function from text to milliseconds for WITH (TIMESTAMP_FORMAT = …).

    Raises:
        ValueError: a pattern that Java would refuse.
    """
    pattern(form)
    return lambda text: parse_timestamp(text, form)


def letters(form: str) -> set[str]:
    """The pattern letters that a pattern uses."""

    def walk(parts: list[object]) -> set[str]:
        found: set[str] = set()
        for part in parts:
            if isinstance(part, _Letters):
                found.add(part.letter)
            elif isinstance(part, list):
                found |= walk(part)
        return found

    return walk(pattern(form).parts)


def moved(milliseconds: int, before: str, after: str) -> int:
    """The local time of one zone read as the same moment's local time of another."""
    moment = milliseconds - _offset_at(milliseconds, zone(before)) * 1000
    where = zone(after)
    at = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(
        milliseconds=moment
    )
    delta = at.astimezone(where).utcoffset()
    return moment + (0 if delta is None else int(delta.total_seconds()) * 1000)
