"""Ids: of tasks, nodes, namespaces; and of the elements of an array."""

from __future__ import annotations

import re

from rq_sched.errors import InvalidId
from rq_sched.model.given import given

ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


ELEMENT_PATTERN = re.compile(ID_PATTERN.pattern + r"/(0|[1-9]\d{0,8})")


def check_id(value: object, what: str = "task id") -> str:
    """The id itself, if it is one.

    Raises:
        InvalidId: it doesn't match ``^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$``.
    """
    if isinstance(value, str) and ID_PATTERN.fullmatch(value):
        return value
    raise InvalidId(
        f"bad {what} {given(value)}: use 1 to 128 letters, digits, '.', '_' or '-', beginning with a letter or digit"
    )


def known_id(value: object) -> str:
    """The id of a task that may be there: as ``check_id``, or an element of an array, ``ID/INDEX``.

    Raises:
        InvalidId: it is neither.
    """
    if isinstance(value, str) and "/" in value:
        if ELEMENT_PATTERN.fullmatch(value):
            return value
        raise InvalidId(f"bad task id {given(value)}: an element of an array is ARRAY/INDEX, such as sweep/17")
    return check_id(value)
