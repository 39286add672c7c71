"""Arguments and results as they travel: msgpack, and only what comes back as it went (``docs/values.md``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgpack

from rq_sched.errors import NotSerializable, PayloadTooLarge, UnreadableValue
from rq_sched.model.references import Reference, ResultOf

MAX_PAYLOAD = 256 * 1024
"""Bytes that the arguments, or the result, of a task may have."""
RESULT = 1
"""The extension type of msgpack that stands among arguments for the result of a task: its bytes are the task's id."""
SHOWN = 40
"""Bytes that are shown of what can't be read."""


def pack(value: Any, what: str, parts: Sequence[str] = ()) -> bytes:
    """``value`` as msgpack.

    Most values are of plain types only, and need one pass. Others (tuples, types derived from plain ones) are made
    plain in a second, and read back: that a key is a tuple would be found out only where it arrives.

    Parameters:
        what: names it in errors.
        parts: names what is in it, if it is a list of ours: then it is the arguments of a task, in which handles may
            stand for results.

    Raises:
        NotSerializable: it can't come back as it is. Why, and what to send instead, is in the message.
        PayloadTooLarge: it has more than 256 KiB.
    """
    packed: bytes
    try:
        try:
            packed = msgpack.packb(value, strict_types=True)
        except TypeError:
            packed = msgpack.packb(value, strict_types=True, default=_with_results if parts else _made_plain)
            msgpack.unpackb(packed, strict_map_key=False, ext_hook=_no_key)
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


def _with_results(value: Any) -> Any:
    return msgpack.ExtType(RESULT, value.id.encode()) if isinstance(value, Reference) else _made_plain(value)


def _no_key(code: int, data: bytes) -> Any:
    """What stands for a result can't be a key."""
    return [] if code == RESULT else msgpack.ExtType(code, data)


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
    return _unpack(packed, msgpack.ExtType)


def unpack_arguments(packed: bytes, results: Mapping[str, bytes] | None = None) -> Any:
    """Packed arguments, with the results that stand in them.

    Parameters:
        results: by the ids of their tasks, packed; None: a ``ResultOf`` stands for each.

    Raises:
        UnreadableValue: they are none, or one of the results isn't there or is none.
    """

    def result(code: int, data: bytes) -> Any:
        if code != RESULT:
            return msgpack.ExtType(code, data)
        task_id = data.decode()
        if results is None:
            return ResultOf(task_id)
        if task_id not in results:
            raise LookupError(f"the result of task {task_id} isn't here")
        return _unpack(results[task_id], msgpack.ExtType, f"the result of task {task_id} can't be read: it is ")

    return _unpack(packed, result)


def _unpack(packed: bytes, extension: Callable[[int, bytes], Any], before: str = "") -> Any:
    try:
        return msgpack.unpackb(packed, strict_map_key=False, ext_hook=extension)
    except UnreadableValue:
        raise
    except LookupError as error:
        raise UnreadableValue(f"an argument is missing: {error}") from None
    except Exception as error:  # of many classes; TypeError for a key that is a list
        shown = f"{packed[:SHOWN]!r}{'…' if len(packed) > SHOWN else ''}"
        why = f"{shown} ({error or type(error).__name__})"
        raise UnreadableValue(f"{before}no value that rq-sched packs: {why}") from None
