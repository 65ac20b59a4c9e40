"""Java's date patterns, both ways."""

from __future__ import annotations

import pytest

from gradstream.engine.language import iso_time
from gradstream.engine.language.functions import java_time

MOMENT = 1_582_938_123_456  # 2020-02-29T01:02:03.456Z, a Saturday


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("yyyy-MM-dd'T'HH:mm:ss.SSSX", "2020-02-29T01:02:03.456Z"),
        ("yyyy-MM-dd HH:mm:ss.SSS", "2020-02-29 01:02:03.456"),
        ("yyyyMMddHHmmssSSS", "20200229010203456"),
        ("dd MMM yyyy, hh:mm:ss.SSS a", "29 Feb 2020, 01:02:03.456 AM"),
        ("EEEE, d MMMM yyyy HH.mm.ss.SSS", "Saturday, 29 February 2020 01.02.03.456"),
        ("yy-M-d H:m:s.SSS xxx", "20-2-29 1:2:3.456 +00:00"),
        ("yyyy-DDD HH:mm:ss[.SSS]", "2020-060 01:02:03.456"),
    ],
)
def test_a_moment_is_written_and_read_back(form: str, text: str) -> None:
    assert java_time.format_timestamp(MOMENT, form) == text
    assert java_time.parse_timestamp(text, form) == MOMENT


@pytest.mark.parametrize(
    ("text", "form", "zone", "expected"),
    [
        ("2020-02-29T02:02:03+0100", "yyyy-MM-dd'T'HH:mm:ssZ", "UTC", 1_582_938_123_000),
        ("2020-02-29 02:02:03", "yyyy-MM-dd HH:mm:ss", "Europe/Berlin", 1_582_938_123_000),
        ("2020-07-01 02:00", "yyyy-MM-dd HH:mm", "Europe/Berlin", 1_593_561_600_000),
        ("2020", "yyyy", "UTC", 1_577_836_800_000),
        ("10:15", "HH:mm", "UTC", 36_900_000),
        ("2020-01-01z", "yyyy-MM-ddX", "UTC", 1_577_836_800_000),
        ("01-JAN-2020", "dd-MMM-yyyy", "UTC", 1_577_836_800_000),
        ("2019-02-31", "yyyy-MM-dd", "UTC", 1_551_312_000_000),  # the last day of February
    ],
)
def test_reading(text: str, form: str, zone: str, expected: int) -> None:
    assert java_time.parse_timestamp(text, form, zone) == expected


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("2020-1-01", "yyyy-MM-dd"),
        ("2020-01-01x", "yyyy-MM-dd"),
        ("2020-13-01", "yyyy-MM-dd"),
        ("25:00", "HH:mm"),
    ],
)
def test_what_does_not_fit(text: str, form: str) -> None:
    with pytest.raises(ValueError):
        java_time.parse_timestamp(text, form)


@pytest.mark.parametrize("form", ["yyyy-bb", "yyyy 'open", "yyyy]"])
def test_bad_patterns(form: str) -> None:
    with pytest.raises(ValueError):
        java_time.timestamp_reader(form)


def test_zones() -> None:
    assert (
        java_time.format_timestamp(MOMENT, "HH:mm VV z", "America/New_York")
        == "20:02 America/New_York EST"
    )
    assert java_time.moved(MOMENT, "UTC", "Asia/Tokyo") == MOMENT + 9 * 3_600_000
    with pytest.raises(ValueError, match="Unknown time-zone"):
        java_time.zone("Mars/Olympus")


def test_dates_and_times() -> None:
    assert java_time.format_date(18321, "dd.MM.yy") == "29.02.20"
    assert java_time.parse_date("29.02.2020", "dd.MM.yyyy") == 18321
    assert java_time.parse_simple_date("2020-2-29 and more", "yyyy-MM-dd") == 18321
    assert java_time.format_time(3_723_000, "HH:mm:ss") == "01:02:03"
    with pytest.raises(ValueError, match="Unsupported field"):
        java_time.format_date(1, "HH")


@pytest.mark.parametrize("text", ["2020-02-24T24", "2020-02-24T24:00:00.000Z"])
def test_hour_24_is_the_end_of_an_iso_day(text: str) -> None:
    assert iso_time.parse_timestamp(text) == iso_time.parse_timestamp("2020-02-25")


def test_there_is_no_time_after_the_end_of_an_iso_day() -> None:
    for text in ("2020-02-24T24:01", "2020-02-24T25", "2020-02-24T24:00:00.001"):
        with pytest.raises(ValueError, match="no such time of day"):
            iso_time.parse_timestamp(text)
