"""Job arrays: many calls of one function that differ only by an index, submitted, kept and changed as one.

An array has one record, and one entry in the queue of its class for all elements that haven't been made yet: its
*rest*. An element becomes a task of its own, ``ARRAY/INDEX``, when it is placed, or earlier if somebody names it. What
is read of one that isn't made is worked out here from its array's record (``lua/_array.lua`` makes it).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Any

from rq_sched.errors import InvalidValue
from rq_sched.model.given import given

SEQUENCE = 13
"""Hex digits of a sequence, with which the members of queues begin: there are 2⁵² of them."""
SEQUENCES = 16**SEQUENCE
LIMIT = 10_000_000
"""Elements that an array may have."""
MAX_INDEX = 10**9 - 1
"""The last index that an element may have."""
_EXTENT = re.compile(r"(\d{1,9})-(\d{1,9})")
_INDEX = re.compile(r"\d{1,9}")
_OF_THE_WHOLE = frozenset({
    b"array", b"next", b"apart", b"cut", b"cut_at", b"cut_reason", b"unmade", b"completed", b"failed", b"cancelled",
    b"forgotten", b"digest", b"watch", b"operation", b"after", b"awaits", b"before", b"on_failure", b"each",
})  # fmt: skip
"""What an element doesn't have of its array."""


def parse_array(value: Any) -> str:
    """The indexes of an array as ``FIRST-LAST``, both included.

    Parameters:
        value: such text, or a ``range`` with the step 1.

    Raises:
        InvalidValue: anything else, or more than 10,000,000 elements.

    >>> parse_array(range(1, 101))
    '1-100'
    """
    if isinstance(value, range) and value.step == 1 and len(value):
        value = f"{value[0]}-{value[-1]}"
    found = _EXTENT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise InvalidValue(f"array must be FIRST-LAST, such as 1-1000, or a range with the step 1, not {given(value)}")
    first, last = int(found[1]), int(found[2])
    if last < first:
        raise InvalidValue(f"array {value}: the last index is below the first")
    if last - first >= LIMIT:
        raise InvalidValue(f"array {value} has {last - first + 1:,} elements; at most {LIMIT:,} are taken")
    return f"{first}-{last}"


def extent(array: str | bytes) -> tuple[int, int]:
    """First and last index.

    >>> extent("1-100")
    (1, 100)
    """
    first, last = (array.decode() if isinstance(array, bytes) else array).split("-")
    return int(first), int(last)


def size(array: str) -> int:
    """How many elements it has.

    >>> size("1-100")
    100
    """
    first, last = extent(array)
    return last - first + 1


def first_of(array_id: str, array: str) -> str:
    """The id of its first element.

    >>> first_of("sweep", "1-100")
    'sweep/1'
    """
    return f"{array_id}/{extent(array)[0]}"


def element_of(task_id: str) -> tuple[str, int] | None:
    """The array and the index of an element; None for any other task.

    >>> element_of("sweep/17")
    ('sweep', 17)
    """
    array_id, slash, index = task_id.partition("/")
    return (array_id, int(index)) if slash and _INDEX.fullmatch(index) else None


def tell_index(environment: MutableMapping[str, str], task_id: str) -> None:
    """What an element finds in its environment: ``RQ_SCHED_ARRAY_INDEX``. Any other task doesn't."""
    slash = task_id.find("/")
    if slash >= 0:
        environment["RQ_SCHED_ARRAY_INDEX"] = task_id[slash + 1 :]
    elif "RQ_SCHED_ARRAY_INDEX" in environment:
        del environment["RQ_SCHED_ARRAY_INDEX"]


def owner(task_id: str) -> str:
    """The task whose request it is: an element's array, any other task itself.

    >>> owner("sweep/17")
    'sweep'
    """
    return task_id.partition("/")[0]


def unmade_count(record: Mapping[bytes, bytes]) -> int:
    """How many elements of an array haven't been made, and will be."""
    _, last = extent(record[b"array"])
    return max(0, last - int(record[b"next"]) + 1 - int(record.get(b"apart", 0)))


def is_countable(record: Mapping[bytes, bytes]) -> bool:
    """Whether what is read of an array is in order: then what is left of it can be worked out."""
    try:
        unmade_count(record)
        sequence(record, int(record[b"next"]))
    except (ValueError, LookupError):
        return False
    return b"class" in record


def sequence(record: Mapping[bytes, bytes], index: int) -> str:
    """The sequence of an element, as it stands in members."""
    return f"{int(record[b'turn'], 16) + index - extent(record[b'array'])[0]:0{SEQUENCE}x}"


def index_at(record: Mapping[bytes, bytes], place: str) -> int:
    """The first element, of those from the next on, whose sequence isn't before ``place``; none: one after the last."""
    first, last = extent(record[b"array"])
    return min(max(first + int(place, 16) - int(record[b"turn"], 16), int(record[b"next"])), last + 1)


def unmade_member(array_id: str, record: Mapping[bytes, bytes]) -> str:
    """The entry of an array's rest in the queue of its class."""
    return f"{sequence(record, int(record[b'next']))}{array_id}/"


def unmade_element(record: Mapping[bytes, bytes], index: int, made_until: bytes | None) -> dict[bytes, bytes] | None:
    """The record that an element would have if it were made now; None: it was made, or isn't one.

    Parameters:
        record: its array's.
        made_until: the last index of the run in ``apart:ID`` that begins at or before it, if there is one.
    """
    if b"array" not in record or (made_until is not None and index <= int(made_until)):
        return None
    first, last = extent(record[b"array"])
    cut = int(record[b"cut"]) if b"cut" in record else last + 1
    if not first <= index <= last or index < min(int(record[b"next"]), cut):
        return None
    element = {name: value for name, value in record.items() if name not in _OF_THE_WHOLE}
    element[b"turn"] = sequence(record, index).encode()
    if (awaits := record.get(b"awaits", b"")).endswith(b":each"):
        element[b"awaits"] = awaits.removesuffix(b":each") + b"/%d" % index
    if index >= cut:
        element |= {b"state": b"cancelled", b"finished": record[b"cut_at"]}
        if b"cut_reason" in record:
            element |= {b"state": b"failed", b"reason": record[b"cut_reason"]}
    return element


def elements(record: Mapping[bytes, bytes], live: int) -> dict[str, int]:
    """How many elements of an array are where: ``waiting`` (not made yet), ``active`` (made, and not ended), and how
    the others have ended."""
    ended = {"completed": b"completed", "failed": b"failed", "cancelled": b"cancelled"}
    return {
        "waiting": unmade_count(record),
        "active": live,
        **{s: int(record.get(name, 0)) for s, name in ended.items()},
    }
