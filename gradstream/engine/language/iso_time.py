"""Dates and times as integers, and their ISO texts as ksqlDB reads and writes them."""

from __future__ import annotations

import datetime
import re

DAY_MS = 86_400_000
_EPOCH = datetime.date(1970, 1, 1).toordinal()
_TEXT = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d{1,2})(?:-(?P<day>\d{1,2}))?)?"
    r"(?:[T ](?P<hour>\d{1,2})(?::(?P<minute>\d{1,2})(?::(?P<second>\d{1,2})(?:\.(?P<fraction>\d{1,9}))?)?)?)?"
    r"\s*(?P<zone>Z|[+-]\d{2}:?\d{2})?\Z",
    re.ASCII,
)
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?\Z", re.ASCII)


def days_of(year: int, month: int, day: int) -> int:
    """Days since 1970 of a date; raises ValueError where there is no such day."""
    return datetime.date(year, month, day).toordinal() - _EPOCH


def date_of(days: int) -> tuple[int, int, int]:
    """Year, month, day; raises ValueError outside the years 1 to 9999."""
    try:
        date = datetime.date.fromordinal(days + _EPOCH)
    except OverflowError as error:
        raise ValueError(f"day {days} is outside the years 1 to 9999") from error
    return date.year, date.month, date.day


def date_text(days: int) -> str:
    year, month, day = date_of(days)
    return f"{year:04d}-{month:02d}-{day:02d}"


def time_text(milliseconds: int) -> str:
    """``LocalTime.toString``: seconds and milliseconds only where they are not zero."""
    seconds, millis = divmod(milliseconds, 1000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    text = f"{hour:02d}:{minute:02d}"
    if second or millis:
        text += f":{second:02d}"
    return text + (f".{millis:03d}" if millis else "")


def timestamp_text(milliseconds: int) -> str:
    """``2020-01-01T00:00:00.000``, in UTC."""
    days, rest = divmod(milliseconds, DAY_MS)
    seconds, millis = divmod(rest, 1000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{date_text(days)}T{hour:02d}:{minute:02d}:{second:02d}.{millis:03d}"


def _millis(fraction: str | None) -> int:
    return int((fraction or "").ljust(3, "0")[:3])


def parse_timestamp(text: str) -> int:
    """Milliseconds of an ISO text, which may end early: ``2018``, ``2018-01-01T10``, with an offset or not.

    Raises:
        ValueError: in ksqlDB's words.
    """
    match = _TEXT.match(text.strip())
    if match is None:
        raise ValueError(
            f"Failed to parse timestamp '{text}': Required format is: \"yyyy-MM-dd'T'HH:mm:ss.SSS[Z]\", "
            'with an optional numeric timezone. Partials are also supported, e.g. "2020-05-26"'
        )
    part = match.groupdict()
    days = days_of(int(part["year"]), int(part["month"] or 1), int(part["day"] or 1))
    hour, minute, second = (int(part[name] or 0) for name in ("hour", "minute", "second"))
    midnight = hour == 24 and not (minute or second or _millis(part["fraction"]))
    if (hour > 23 and not midnight) or minute > 59 or second > 59:  # 24 is the end of the day
        raise ValueError(f"Failed to parse timestamp '{text}': no such time of day")
    zone = part["zone"]
    shift = 0
    if zone and zone != "Z":
        digits = zone[1:].replace(":", "")
        shift = (int(digits[:2]) * 60 + int(digits[2:])) * 60_000 * (-1 if zone[0] == "-" else 1)
    day_ms = ((hour * 60 + minute) * 60 + second) * 1000 + _millis(part["fraction"])
    return days * DAY_MS + day_ms - shift


def parse_date(text: str) -> int:
    """Days of ``yyyy-MM-dd``, which may end early."""
    match = _TEXT.match(text.strip())
    if match is None or match["hour"] is not None or match["zone"] is not None:
        raise ValueError(f"Failed to parse date '{text}': Required format is: \"yyyy-MM-dd\"")
    return days_of(int(match["year"]), int(match["month"] or 1), int(match["day"] or 1))


def parse_time(text: str) -> int:
    """Milliseconds of the day of ``HH:mm[:ss[.SSS]]``."""
    match = _TIME.match(text.strip())
    if match is None or int(match[1]) > 23 or int(match[2]) > 59 or int(match[3] or 0) > 59:
        raise ValueError(f"Failed to parse time '{text}': Required format is: \"HH:mm:ss.SSS\"")
    return ((int(match[1]) * 60 + int(match[2])) * 60 + int(match[3] or 0)) * 1000 + _millis(
        match[4]
    )
