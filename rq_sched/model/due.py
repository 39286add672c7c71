"""When a schedule is due: by a cron line in a time zone, or every so many seconds.

Cron lines are read by cronsim, zones by ``zoneinfo`` (``docs/decisions/033-schedules.md`` says why). Both are imported
when the first line is read: most processes read none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from itertools import islice

from rq_sched.errors import InvalidValue
from rq_sched.model.durations import Duration, parse_duration
from rq_sched.model.given import given
from rq_sched.model.reading import LAST_MS

NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
"""What stands for a cron line."""
FIELDS = "minute hour day-of-month month day-of-week"
LONGEST_LINE = 200
"""Characters."""
BACKWARD = 1000
"""Times that a cron line may give once more, where the clock is set back."""
_SECOND = 1000


@dataclass(frozen=True, slots=True)
class DueTimes:
    """The due times of a schedule, in ms since 1970: those of a cron line in a zone, or one each ``interval`` ms after
    ``start``; none after ``until``.

    >>> daily = DueTimes(cron="0 3 * * *", zone="Europe/Zurich")
    >>> stamp(daily.next_after(1796000000000))
    '20261130T020000Z'
    """

    cron: str = ""
    zone: str = "UTC"
    interval: int = 0
    start: int = 0
    until: int | None = None

    def after(self, ms: int) -> Iterator[int]:
        """Those after a time, in their order.

        Raises:
            InvalidValue: the line or the zone can't be read (on this machine).
        """
        for due in self._after_cron(ms) if self.cron else self._after_interval(ms):
            if due > (LAST_MS if self.until is None else self.until):
                return
            yield due

    def next_after(self, ms: int) -> int | None:
        """The first of them; None: there is none.  Raises: InvalidValue."""
        return next(self.after(ms), None)

    def begun(self, now: int) -> tuple[DueTimes, int]:
        """The same counted from now, and the first due time.

        Raises:
            InvalidValue: there is none.
        """
        times = replace(self, start=now // _SECOND * _SECOND) if self.interval else self
        first = times.next_after(now)
        if first is None:
            what = "until has been" if self.until is not None and self.until <= now else "no such time comes"
            raise InvalidValue(f"it would never be due: {what}")
        return times, first

    def _after_interval(self, ms: int) -> Iterator[int]:
        due = self.start + (max(0, ms - self.start) // self.interval + 1) * self.interval
        while True:
            yield due
            due += self.interval

    def _after_cron(self, ms: int) -> Iterator[int]:
        times = _read_line(self.cron, datetime.fromtimestamp(ms // _SECOND, zone_of(self.zone)))
        last = ms
        while True:
            try:  # where the clock is set back or forward it may give a time that has been
                last = next(due for time in islice(times, BACKWARD) if (due := _ms(time)) > last)
            except (StopIteration, OverflowError, ValueError):  # none in 50 years, or beyond the year 9999
                return
            yield last


def _ms(moment: datetime) -> int:
    return round(moment.timestamp()) * _SECOND


def parse_times(cron: str | None, interval: Duration | None, zone: str | None, until: object = None) -> DueTimes:
    """The due times that a user asks for.

    Parameters:
        cron: five fields, or such as ``@daily``. interval: the time between two of them. One of both.
        zone: in which the cron line is read, as ``Europe/Zurich`` (UTC).
        until: the last moment at which it may be due: a ``datetime``, a ``date`` (its end), or either as ISO 8601 text;
            without an offset it is of that zone.

    Raises:
        InvalidValue: says what is wrong, and what would do.
    """
    if (cron is None) == (interval is None):
        raise InvalidValue("say when: either cron, such as '0 3 * * *', or interval, such as 10m")
    if interval is not None and zone is not None:
        raise InvalidValue("an interval is the same in every time zone: tz belongs to cron")
    name = "UTC" if zone is None else zone
    if not isinstance(name, str):
        raise InvalidValue(f"tz must be the name of a time zone such as Europe/Zurich, not {given(name)}")
    last = None if until is None else _parse_until(until, zone_of(name))
    if interval is not None:
        seconds = parse_duration(interval, "interval", least=1)
        if seconds != round(seconds):
            raise InvalidValue(f"interval must be whole seconds, not {given(interval)}")
        return DueTimes(interval=round(seconds) * _SECOND, until=last)
    line = _parse_line(cron)
    _read_line(line, datetime.now(zone_of(name)))
    return DueTimes(cron=line, zone=name, until=last)


def _parse_line(line: object) -> str:
    if not isinstance(line, str) or len(line) > LONGEST_LINE or not line.isprintable():
        raise InvalidValue(f"cron must be a line such as '0 3 * * *', not {given(line)}")
    words = line.split()
    found = " ".join(words)
    if found.startswith("@"):
        if found in NAMED:
            return found
        raise InvalidValue(f"bad cron line {given(line)}: known are {', '.join(NAMED)}")
    if len(words) != len(FIELDS.split()):
        seconds = "; for seconds say --interval 15s" if len(words) == 6 else ""
        raise InvalidValue(f"bad cron line {given(line)}: it has {len(words)} fields, and needs 5: {FIELDS}{seconds}")
    return found


def _read_line(line: str, begin: datetime) -> Iterator[datetime]:
    """The times of a cron line after that one.  Raises: InvalidValue."""
    from cronsim import CronSim

    try:
        return CronSim(NAMED.get(line, line), begin)
    except Exception as error:  # a CronSimError as a rule; whatever it is, it is this line's
        why = str(error)[:1].lower() + str(error)[1:]
        raise InvalidValue(f"bad cron line {given(line)}: {why} (its fields: {FIELDS})") from None


@lru_cache(maxsize=1000)
def zone_of(name: str) -> tzinfo:
    """The time zone of that name.

    Raises:
        InvalidValue: this machine knows none; the nearest one is told.
    """
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    try:
        if not re.fullmatch(r"[A-Z][A-Za-z0-9_+/-]*", name):  # not such as localtime: it isn't everywhere the same
            raise ValueError(name)
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise _unknown_zone(name) from None


def _unknown_zone(name: str) -> InvalidValue:
    from difflib import get_close_matches
    from zoneinfo import available_timezones

    known = available_timezones()
    if not known:
        advice = "this machine has no time zones: install tzdata (the package of the system, or `pip install tzdata`)"
    elif near := get_close_matches(name, known, 1):
        advice = f"did you mean {near[0]}?"
    else:
        advice = "use a name such as Europe/Zurich or UTC"
    return InvalidValue(f"unknown time zone {given(name)}: {advice}")


def _parse_until(value: object, zone: tzinfo) -> int:
    try:
        moment = _moment(value)
        return round((moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp() * _SECOND)
    except ValueError:
        raise InvalidValue(
            f"until must be a date or a time such as 2027-01-31 or 2027-01-31T18:00, not {given(value)}"
        ) from None


def _moment(value: object) -> datetime:
    """Of a date: the last second of that day."""
    if isinstance(value, str):
        value = date.fromisoformat(value) if len(value) == len("2027-01-31") else datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time(23, 59, 59))
    raise ValueError


def stamp(ms: int, *, exact: bool = False) -> str:
    """A time as it stands in the id of a task, in UTC.

    >>> stamp(1796000400000), stamp(1796000400123, exact=True)
    ('20261130T010000Z', '20261130T010000.123Z')
    """
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    return moment.strftime("%Y%m%dT%H%M%S") + (f".{ms % 1000:03}Z" if exact else "Z")
