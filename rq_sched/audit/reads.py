"""How the checker reads: many checks in step, or one at one instant; and the forms of replies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from rq_sched.link import Barrier, Command, Op, Request, Row
from rq_sched.link.scripts import Argument, Call
from rq_sched.link.together import together

T = TypeVar("T")

BATCH = 250
"""Subjects a round trip."""
Check = Callable[[], Op[str | None]]
"""A check of one subject: what is wrong with it, or None. It judges by what its last step has read."""


def in_step(checks: Iterable[Check]) -> Op[list[str | None]]:
    """The results of many checks, taken in step: what they want to read at a step shares one round trip."""
    return (yield from together(*(_carefully(check()) for check in checks)))


def _carefully(op: Op[str | None]) -> Op[str | None]:
    """A check that reads what may be of any type, and says so where it can't make sense of it."""
    replies: list[Any] | None = None
    while True:
        wanted, result = _step(op, replies)
        if not wanted:
            return result
        replies = yield [_row(request) for request in wanted]


def at_once(check: Check) -> Op[str | None]:
    """One check, each of whose steps reads at one instant: in a transaction."""
    op = check()
    replies: list[Any] | None = None
    while True:
        wanted, result = _step(op, replies)
        if not wanted:
            return result
        replies = (yield [("MULTI",), *wanted, ("EXEC",)])[-1]


def _step(op: Op[str | None], replies: list[Any] | None) -> tuple[Sequence[Request], str | None]:
    """What a check wants next, or, if nothing, what it says. What it can't make sense of is wrong, too."""
    if replies is not None and any(isinstance(reply, Exception) for reply in replies):
        return (), "can't be read: a key of it is of another type"
    try:
        return (next(op) if replies is None else op.send(replies)), None
    except StopIteration as stop:
        return (), stop.value
    except (ValueError, LookupError, TypeError, ArithmeticError) as error:
        return (), f"can't be read: {error!r}"


def _row(request: Request) -> Request:
    return Row(request) if isinstance(request, tuple) else request


def rows(commands: Sequence[Command]) -> Op[list[Any]]:
    """The replies to plain reads; None for one whose key is of another type."""
    found = yield [Row(command) for command in commands]
    return [None if isinstance(reply, Exception) else reply for reply in found]


def encoded(op: Op[T]) -> Op[T]:
    """The same operation, on names that needn't be UTF-8: what ``decoded`` escaped goes back as it was."""
    replies: list[Any] | None = None
    while True:
        try:
            requests = next(op) if replies is None else op.send(replies)
        except StopIteration as stop:
            value: T = stop.value
            return value
        replies = yield [_encoded(request) for request in requests]


def _encoded(request: Request) -> Request:
    if isinstance(request, Call):
        return replace(request, arguments=_bytes(request.arguments))
    if isinstance(request, Row | Barrier):
        return replace(request, command=_bytes(request.command))
    return _bytes(request)


def _bytes(arguments: Sequence[Argument]) -> tuple[Argument, ...]:
    return tuple(
        one.encode("utf-8", "surrogateescape") if isinstance(one, str) and not one.isascii() else one
        for one in arguments
    )


def decoded(value: bytes | None) -> str:
    """As text; what isn't UTF-8 stands there so that ``encoded`` finds it again."""
    return (value or b"").decode("utf-8", "surrogateescape")


def number(value: bytes | None) -> float | None:
    return None if value is None else float(value)


def pairs(reply: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    """Fields with values, or members with scores."""
    return ((decoded(name), value) for name, value in zip(reply[::2], reply[1::2], strict=True))


def first(reply: Sequence[bytes]) -> tuple[str, float] | None:
    """The first member of a sorted set with its score."""
    return (decoded(reply[0]), float(reply[1])) if reply else None


def peek(queue: str) -> Command:
    """Asks for the first member of a sorted set."""
    return ("ZRANGE", queue, 0, 0, "WITHSCORES")
