"""Functions of dates, times and timestamps. Months and years have no fixed length and are no units here."""

from __future__ import annotations

import time

from gradstream.engine.language.functions import java_time
from gradstream.engine.language.functions.registry import scalar
from gradstream.engine.language.iso_time import DAY_MS
from gradstream.engine.language.parser import UNITS

_CATEGORY = "DATE / TIME"


def _milliseconds(unit: str, n: int) -> int:
    singular = unit[:-1]
    if singular not in UNITS or singular in ("MONTH", "YEAR"):
        raise ValueError(f"{unit} is no unit of fixed length")
    return UNITS[singular] * n


def _whole_days(unit: str, n: int, sign: int, days: int) -> int:
    return (days * DAY_MS + sign * _milliseconds(unit, n)) // DAY_MS


@scalar("TIMESTAMPADD", "UNIT, INTEGER, TIMESTAMP -> TIMESTAMP", category=_CATEGORY)
def timestamp_add(unit: str, n: int, timestamp: int) -> int:
    """Adds a time span to a TIMESTAMP."""
    return timestamp + _milliseconds(unit, n)


@scalar("TIMESTAMPSUB", "UNIT, INTEGER, TIMESTAMP -> TIMESTAMP", category=_CATEGORY)
def timestamp_sub(unit: str, n: int, timestamp: int) -> int:
    """Takes a time span from a TIMESTAMP."""
    return timestamp - _milliseconds(unit, n)


@scalar("DATEADD", "UNIT, INTEGER, DATE -> DATE", category=_CATEGORY)
def date_add(unit: str, n: int, date: int) -> int:
    """Adds a time span to a DATE."""
    return _whole_days(unit, n, 1, date)


@scalar("DATESUB", "UNIT, INTEGER, DATE -> DATE", category=_CATEGORY)
def date_sub(unit: str, n: int, date: int) -> int:
    """Takes a time span from a DATE."""
    return _whole_days(unit, n, -1, date)


@scalar("TIMEADD", "UNIT, INTEGER, TIME -> TIME", category=_CATEGORY)
def time_add(unit: str, n: int, of_day: int) -> int:
    """Adds a time span to a TIME, round the clock."""
    return (of_day + _milliseconds(unit, n)) % DAY_MS


@scalar("TIMESUB", "UNIT, INTEGER, TIME -> TIME", category=_CATEGORY)
def time_sub(unit: str, n: int, of_day: int) -> int:
    """Takes a time span from a TIME, round the clock."""
    return (of_day - _milliseconds(unit, n)) % DAY_MS


# The older functions take and give numbers, the newer ones the types for times.
for _name, _signatures, _body, _description in (
    (
        "TIMESTAMPTOSTRING",
        ("BIGINT!, STRING -> STRING", "BIGINT!, STRING, STRING -> STRING"),
        java_time.format_timestamp,
        "Writes milliseconds since 1970 by a pattern.",
    ),
    (
        "STRINGTOTIMESTAMP",
        ("STRING!, STRING! -> BIGINT", "STRING!, STRING!, STRING! -> BIGINT"),
        java_time.parse_timestamp,
        "Reads a text by a pattern as milliseconds since 1970.",
    ),
    (
        "PARSE_TIMESTAMP",
        ("STRING, STRING -> TIMESTAMP", "STRING, STRING, STRING -> TIMESTAMP"),
        java_time.parse_timestamp,
        "Reads a text by a pattern as a TIMESTAMP.",
    ),
    (
        "DATETOSTRING",
        ("INTEGER!, STRING -> STRING",),
        java_time.format_date,
        "Writes days since 1970 by a pattern.",
    ),
    (
        "FORMAT_DATE",
        ("DATE, STRING -> STRING",),
        java_time.format_date,
        "Writes a DATE by a pattern.",
    ),
    (
        "STRINGTODATE",
        ("STRING!, STRING! -> INTEGER",),
        java_time.parse_date,
        "Reads a text by a pattern as days since 1970.",
    ),
    (
        "PARSE_TIME",
        ("STRING, STRING -> TIME",),
        java_time.parse_time,
        "Reads a text by a pattern as a TIME.",
    ),
    (
        "FORMAT_TIME",
        ("TIME, STRING -> STRING",),
        java_time.format_time,
        "Writes a TIME by a pattern.",
    ),
):
    scalar(_name, *_signatures, category=_CATEGORY, description=_description)(_body)


@scalar("PARSE_DATE", "STRING, STRING -> DATE", category=_CATEGORY)
def parse_date(text: str, form: str) -> int:
    """Reads a text by a pattern as a DATE."""
    if any(letter in "HhKkmsSaAnNXxZz" for letter in java_time.letters(form)):
        raise ValueError(f"Date format contains time field: {form}")
    return java_time.parse_simple_date(text, form)


@scalar(
    "FORMAT_TIMESTAMP",
    "TIMESTAMP, STRING -> STRING",
    "TIMESTAMP, STRING, STRING -> STRING",
    category=_CATEGORY,
)
def format_timestamp(timestamp: int, form: str, zone: str = "GMT") -> str:
    """Writes a TIMESTAMP by a pattern."""
    return java_time.format_timestamp(timestamp, form, zone)


@scalar("CONVERT_TZ", "TIMESTAMP, STRING, STRING -> TIMESTAMP", category=_CATEGORY)
def convert_tz(timestamp: int, before: str, after: str) -> int:
    """Moves a TIMESTAMP from one time zone to another."""
    return java_time.moved(timestamp, before, after)


@scalar("UNIX_TIMESTAMP", "-> BIGINT", category=_CATEGORY)
def unix_timestamp_now() -> int:
    """Returns the milliseconds since 1970, of now or of a TIMESTAMP."""
    return time.time_ns() // 1_000_000


@scalar("UNIX_TIMESTAMP", "TIMESTAMP -> BIGINT", category=_CATEGORY)
def unix_timestamp(timestamp: int) -> int:
    """Returns the milliseconds since 1970 of a TIMESTAMP."""
    return timestamp


@scalar("UNIX_DATE", "-> INTEGER", category=_CATEGORY)
def unix_date_now() -> int:
    """Returns the days since 1970, of today or of a DATE."""
    return time.time_ns() // 1_000_000 // DAY_MS


@scalar("UNIX_DATE", "DATE -> INTEGER", category=_CATEGORY)
def unix_date(date: int) -> int:
    """Returns the days since 1970 of a DATE."""
    return date


@scalar("FROM_DAYS", "INTEGER -> DATE", category=_CATEGORY)
def from_days(days: int) -> int:
    """Returns the DATE of a number of days since 1970."""
    return days


@scalar("FROM_UNIXTIME", "BIGINT -> TIMESTAMP", category=_CATEGORY)
def from_unixtime(milliseconds: int) -> int:
    """Returns the TIMESTAMP of a number of milliseconds since 1970."""
    return milliseconds
