"""When schedules are due: cron lines and zones, summer time, intervals; and what is refused at the door."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rq_sched.errors import InvalidValue
from rq_sched.model.due import DueTimes, parse_times, stamp


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


def due(line: str, zone: str, begin: str, number: int) -> list[str]:
    """So many due times after a time, each asked for anew from the one before, as schedulers do."""
    times, found = DueTimes(line, zone), [ms(begin)]
    for _ in range(number):
        following = times.next_after(found[-1])
        assert following is not None
        found.append(following)
    assert found[1:] == list(islice(times.after(found[0]), number))
    return [stamp(at)[6:13] for at in found[1:]]


SUMMER_TIME = [
    # line, zone, begin (UTC), what is due (UTC): on the last Sundays of March and October, and on those of America
    ("30 2 * * *", "Europe/Zurich", "2026-03-28T12:00", ["29T0100", "30T0030", "31T0030"]),  # 2:30 isn't: at 3:00
    ("30 2 * * *", "Europe/Zurich", "2026-10-24T12:00", ["25T0030", "26T0130", "27T0130"]),  # 2:30 is twice: once
    ("0 * * * *", "Europe/Zurich", "2026-03-29T00:00", ["29T0100", "29T0200"]),
    ("0 * * * *", "Europe/Zurich", "2026-10-24T23:00", ["25T0000", "25T0100", "25T0200"]),
    ("*/30 2 * * *", "Europe/Zurich", "2026-03-28T12:00", ["30T0000", "30T0030"]),  # no such hour on the 29th
    ("*/30 2 * * *", "Europe/Zurich", "2026-10-24T12:00", ["25T0000", "25T0030", "25T0100", "25T0130", "26T0100"]),
    ("0,30 2 * * *", "Europe/Zurich", "2026-03-28T12:00", ["29T0100", "30T0000", "30T0030"]),
    ("0 3 * * *", "Europe/Zurich", "2026-03-28T12:00", ["29T0100", "30T0100"]),
    ("0 3 * * *", "Europe/Zurich", "2026-10-24T12:00", ["25T0200", "26T0200"]),
    ("30 1 * * *", "Europe/London", "2026-03-28T12:00", ["29T0100", "30T0030"]),
    ("30 1 * * *", "Europe/London", "2026-10-24T12:00", ["25T0030", "26T0130"]),
    ("15 * * * *", "Europe/London", "2026-10-25T00:00", ["25T0015", "25T0115", "25T0215"]),
    ("30 2 * * *", "America/New_York", "2026-03-07T12:00", ["08T0700", "09T0630"]),
    ("30 1 * * *", "America/New_York", "2026-10-31T12:00", ["01T0530", "02T0630"]),
    ("0 12 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", ["04T0100", "05T0100"]),  # half an hour
    ("0 2 * * *", "UTC", "2026-03-28T12:00", ["29T0200", "30T0200"]),
]


@pytest.mark.parametrize(("line", "zone", "begin", "expected"), SUMMER_TIME)
def test_summer_time(line: str, zone: str, begin: str, expected: list[str]) -> None:
    assert due(line, zone, begin, len(expected)) == expected


def test_whoever_looks_between_the_first_half_past_two_and_the_second() -> None:
    assert due("30 2 * * *", "Europe/Zurich", "2026-10-25T00:35", 1) == ["26T0130"]
    assert due("30 2 * * *", "Europe/Zurich", "2026-10-25T01:15", 1) == ["26T0130"]


fields = [
    st.sampled_from(["*", "*/7", "0", "30", "0,30", "59"]),
    st.sampled_from(["*", "*/2", "1", "2", "2,3", "1-3", "23"]),
    st.sampled_from(["*", "*/3", "25-31", "L", "29"]),
    st.sampled_from(["*", "3,10", "*/2"]),
    st.sampled_from(["*", "SUN", "0L", "MON#1", "1-5"]),
]
zones = st.sampled_from(["UTC", "Europe/Zurich", "America/New_York", "Australia/Lord_Howe", "America/St_Johns"])
moments = st.integers(ms("2026-03-06T00:00"), ms("2026-11-10T00:00"))


@given(line=st.tuples(*fields).map(" ".join), zone=zones, begin=moments)
def test_whoever_asks_from_anywhere_gets_the_same(line: str, zone: str, begin: int) -> None:
    """Due times rise, are whole seconds, and don't depend on where a scheduler began to look."""
    times = DueTimes(line, zone)
    found = list(islice(times.after(begin), 20))
    assert all(a < b for a, b in zip([begin, *found], found, strict=False))
    assert all(at % 1000 == 0 for at in found)
    for i, at in enumerate(found[:-1]):
        assert times.next_after(at) == found[i + 1]


@given(line=st.text("0123456789*/-,L#@MONSUN ?", max_size=30))
def test_any_line_is_read_or_refused(line: str) -> None:
    try:
        times = parse_times(line, None, "Europe/Zurich")
    except InvalidValue:
        return
    following = times.next_after(ms("2026-11-30T12:00"))
    assert following is None or following > ms("2026-11-30T12:00")


def test_an_interval() -> None:
    times, first = parse_times(None, "10m", None).begun(ms("2026-11-30T12:00:07") + 400)
    assert stamp(first) == "20261130T121007Z"
    assert [stamp(at) for at in islice(times.after(first), 2)] == ["20261130T122007Z", "20261130T123007Z"]
    assert times.next_after(0) == first
    assert parse_times(None, timedelta(days=1), None).interval == 86_400_000


@pytest.mark.parametrize(
    ("until", "last"),
    [
        ("2026-12-02", "20261202T020000Z"),
        (date(2026, 12, 2), "20261202T020000Z"),
        ("2026-12-02T03:00", "20261202T020000Z"),
        ("2026-12-02T02:59", "20261201T020000Z"),
        ("2026-12-02T02:00+00:00", "20261202T020000Z"),
        ("2026-12-02T02:00Z", "20261202T020000Z"),
        (datetime(2026, 12, 2, 1, 59, tzinfo=UTC), "20261201T020000Z"),
    ],
)
def test_until(until: Any, last: str) -> None:
    times = parse_times("0 3 * * *", None, "Europe/Zurich", until)
    assert [stamp(at) for at in times.after(ms("2026-11-30T12:00"))][-1] == last


@pytest.mark.parametrize(("line", "first"), [("@daily", "01T0000"), ("@hourly", "30T1300"), ("@weekly", "06T0000")])
def test_names_of_lines(line: str, first: str) -> None:
    assert due(line, "UTC", "2026-11-30T12:00", 1) == [first]


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "say when: either cron, such as '0 3 \\* \\* \\*', or interval, such as 10m"),
    ({"cron": "* * * * *", "interval": 5}, "say when: either cron"),
    ({"cron": "0 3 * *"}, "it has 4 fields, and needs 5: minute hour day-of-month month day-of-week"),
    ({"cron": "*/15 * * * * *"}, "it has 6 fields, and needs 5: .*; for seconds say --interval 15s"),
    ({"cron": "61 * * * *"}, r"bad cron line '61 \* \* \* \*': bad minute"),
    ({"cron": "0 0 31 2 *"}, "bad day-of-month"),
    ({"cron": "* * * * 5L/2"}, "bad day-of-week"),
    ({"cron": "@reboot"}, "bad cron line '@reboot': known are @yearly"),
    ({"cron": "* * * * *\n"}, "cron must be a line"),
    ({"cron": 5}, "cron must be a line"),
    ({"cron": "* " * 200}, "cron must be a line"),
    (
        {"cron": "* * * * *", "zone": "Europe/Zürich"},
        r"unknown time zone 'Europe/Z\\xfcrich': did you mean Europe/Zurich",
    ),
    ({"cron": "* * * * *", "zone": "localtime"}, "unknown time zone 'localtime'"),
    ({"cron": "* * * * *", "zone": "../etc/passwd"}, "unknown time zone"),
    ({"cron": "* * * * *", "zone": "Europe"}, "unknown time zone 'Europe'"),
    ({"cron": "* * * * *", "zone": 5}, "tz must be the name of a time zone such as Europe/Zurich, not 5"),
    ({"interval": 0.5}, "interval must be between 1 and"),
    ({"interval": 1.5}, "interval must be whole seconds"),
    ({"interval": "often"}, "interval must be a number of seconds, or such as"),
    ({"interval": 5, "zone": "UTC"}, "an interval is the same in every time zone: tz belongs to cron"),
    ({"interval": 5, "until": "tomorrow"}, "until must be a date or a time such as 2027-01-31"),
    ({"interval": 5, "until": 7}, "until must be a date or a time such as 2027-01-31"),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_what_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        parse_times(given.get("cron"), given.get("interval"), given.get("zone"), given.get("until"))


def test_a_machine_without_zones_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoneinfo.available_timezones", set)
    with pytest.raises(InvalidValue, match="this machine has no time zones: install tzdata"):
        parse_times("* * * * *", None, "Europe/Nowhere")
