"""Arguments and results as they travel: msgpack, and only what comes back as it went (``docs/values.md``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from rq_sched.errors import NotSerializable, PayloadTooLarge, UnreadableValue

MAX_PAYLOAD = 256 * 1024
"""Bytes that the arguments, or the result, of a task may have."""
SHOWN = 40
"""Bytes that are shown of what can't be read."""


def pack(value: Any, what: str, parts: Sequence[str] = ()) -> bytes:
    """``value`` as msgpack.

    Most values are of plain types only, and need one pass. Others (tuples, types derived from plain ones) are made
    plain in a second, and read back: that a key is a tuple would be found out only where it arrives.

    Parameters:
        what: names it in errors.
        parts: names what is in it, if it is a list of ours.

    Raises:
        NotSerializable: it can't come back as it is. Why, and what to send instead, is in the message.
        PayloadTooLarge: it has more than 256 KiB.
    """
    packed: bytes
    try:
        try:
            packed = msgpack.packb(value, strict_types=True)
        except TypeError:
            packed = msgpack.packb(value, strict_types=True, default=_made_plain)
            msgpack.unpackb(packed, strict_map_key=False)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        from rq_sched.model.remedies import PLAIN, why_unsendable  # here: who sends plain data never needs it

        raise NotSerializable(f"{what} can't be sent: {why_unsendable(value, parts) or f'{error}; {PLAIN}'}") from None
    if len(packed) > MAX_PAYLOAD:
        raise PayloadTooLarge(
            f"{what} has {len(packed)} bytes, at most {MAX_PAYLOAD} are taken; "
            f"put it in a file or a store and pass its name"
        )
    return packed


def _made_plain(value: Any) -> Any:
    """An equal value of a plain type, for one of a type derived from it; a list for a tuple.

    Raises:
        TypeError: it is something else.
    """
    for kind in type(value).__mro__:
        if make := _PLAIN.get(kind):
            return make(value)
    raise TypeError(f"can not serialize {type(value).__name__!r} object")


# The methods of the plain types themselves: a derived one may have others (an enum's str() is its name).
_PLAIN: dict[type, Callable[[Any], Any]] = {
    tuple: list,
    list: list,
    dict: lambda value: dict(dict.items(value)),
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    bytes: lambda value: bytes(memoryview(value)),
    bytearray: lambda value: bytes(memoryview(value)),
}


def unpack(packed: bytes) -> Any:
    """What ``pack`` packed. Map keys may be of any plain type.

    Raises:
        UnreadableValue: somebody else has written it.
    """
    try:
        return msgpack.unpackb(packed, strict_map_key=False)
    except Exception as error:  # of many classes; TypeError for a key that is a list
        shown = f"{packed[:SHOWN]!r}{'…' if len(packed) > SHOWN else ''}"
        raise UnreadableValue(f"no value that rq-sched packs: {shown} ({error or type(error).__name__})") from None
