"""Durations: in Python, in files and on the command line a number of seconds, ``"10m"``, or a ``timedelta``."""

from __future__ import annotations

import re
from datetime import timedelta

from rq_sched.errors import InvalidValue
from rq_sched.model.given import given

Duration = float | str | timedelta
LONGEST = 10**9
"""Seconds that a duration may have: 31 years."""
_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*(ms|s|m|h|d)?\s*")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_duration(value: object, name: str, least: float = 0) -> float:
    """A duration in seconds.

    Parameters:
        value: seconds; text such as ``90``, ``1.5``, ``500ms``, ``10m``, ``2h``, ``1d``; or a ``timedelta``.
        name: what it is, for the error.
        least: seconds that it must have.

    Raises:
        InvalidValue: anything else, less than ``least``, or more than 10⁹ seconds.

    >>> parse_duration("10m", "delay"), parse_duration(1.5, "delay"), parse_duration(timedelta(hours=1), "delay")
    (600.0, 1.5, 3600.0)
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds: float = value
    elif isinstance(value, timedelta):
        seconds = value.total_seconds()
    else:
        found = _TEXT.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise InvalidValue(
                f"{name} must be a number of seconds, or such as 500ms, 10m, 2h or 1d, not {given(value)}"
            )
        seconds = float(found[1]) * _SECONDS[found[2] or "s"]
    if not least <= seconds <= LONGEST:  # also not a number
        raise InvalidValue(f"{name} must be between {least:g} and {LONGEST:,} seconds, not {given(value)}")
    return seconds
