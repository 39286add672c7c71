"""Limits that hold across nodes: so much of each may be in use at once in the whole namespace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from rq_sched.errors import InvalidValue
from rq_sched.model.amounts import MAX_LIMIT, NAME_FORM
from rq_sched.model.fit import Place
from rq_sched.model.given import given

OFF = "off"
"""In Redis, of a limit that was removed: who asks for it isn't limited."""


@dataclass(frozen=True, slots=True)
class LimitInfo:
    """A limit.

    Attributes:
        name: of the limit.
        limit: so much may be in use at once; None: it was removed, and tasks that ask for it aren't limited.
        in_use: so much is in use; more than ``limit`` where that was lowered since.
        first_waiting: the task that is the first in the order of those that ask for it and wait, for whatever reason.
    """

    name: str
    limit: int | None
    in_use: int
    first_waiting: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON shows it."""
        return asdict(self)


class Standing(NamedTuple):
    """How it is with a limit now.

    ``most``: None where it is off, below 0 where it was never set. ``kept_for``: the task for which its room is kept,
    with its ``kept_place`` in the order, and how much that needs.
    """

    most: int | None
    in_use: int
    kept_for: str | None = None
    kept_place: Place | None = None
    kept_need: int = 0

    def blocks(self, asked: int, place: Place | None) -> bool:
        """Whether a task with that place in the order can't have so much of it now."""
        if self.most is None:
            return False
        barred = self.kept_place is not None and place is not None and place > self.kept_place
        return self.in_use + asked + (self.kept_need if barred else 0) > self.most


def blocking(asked: Mapping[str, int], standings: Mapping[str, Standing], place: Place | None) -> list[dict[str, Any]]:
    """The limits that don't let a task start now, as ``explain`` tells them."""
    return [
        {
            "name": name,
            "asked": number,
            "limit": standings[name].most,
            "in_use": standings[name].in_use,
            "kept_for": None
            if standings[name]._replace(kept_place=None).blocks(number, place)
            else standings[name].kept_for,
        }
        for name, number in asked.items()
        if standings[name].blocks(number, place)
    ]


def check_limit_name(value: object) -> str:
    """The name of a limit, itself.  Raises: InvalidValue."""
    if isinstance(value, str) and NAME_FORM.fullmatch(value):
        return value
    raise InvalidValue(
        f"bad name of a limit {given(value)}: use 1 to 32 of a-z, 0-9, '_' and '-', beginning with a letter"
    )


def parse_most(value: object) -> int | None:
    """How much may be in use at once; None, or ``off``: it isn't limited.

    Raises:
        InvalidValue: says what it may be.

    >>> parse_most("20"), parse_most("off")
    (20, None)
    """
    if value is None or value == OFF:
        return None
    number = value
    if isinstance(value, str) and value.isascii() and value.isdigit():
        number = int(value)
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= MAX_LIMIT:
        return number
    raise InvalidValue(f"a limit must be a whole number from 0 to {MAX_LIMIT:,}, or off, not {given(value)}")
