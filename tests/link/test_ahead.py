"""Requests that are made as they are sent: the server works on the first meanwhile, and one that can't be made leaves
nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from rq_sched.errors import InvalidValue, Unsendable
from rq_sched.link import AsyncLink, Command, Link, Op
from rq_sched.link.requests import PIECE, Lazy, Outgoing
from tests.support import wait_for

LONG = b"x" * (PIECE + 1)


def asked(*commands: Command) -> Op[list[Any]]:
    return (yield list(commands))


def made(commands: Iterator[Command]) -> Op[list[Any]]:
    return (yield Lazy(commands))


def counted(key: str, other: Link) -> Iterator[Command]:
    """Each is made only when the server has carried out the one before."""
    for number in range(3):
        if number:
            wait_for(lambda number=number: other.run(asked(("GET", key)))[0] == b"%d" % number)  # type: ignore[misc]
        yield ("INCRBY", key, 1)
        yield ("ECHO", LONG)


def broken(error: Exception) -> Iterator[Command]:
    yield ("ECHO", LONG)
    yield ("ECHO", LONG)
    raise error


def test_the_server_works_on_the_first_while_others_are_made(link: Link, redis_url: str, namespace: str) -> None:
    other = Link(redis_url)
    key = f"rqs:{{{namespace}}}:counted"
    assert link.run(made(counted(key, other)))[::2] == [1, 2, 3]
    link.run(asked(("DEL", key)))
    other.close()


def test_what_cannot_be_made_leaves_no_reply_behind(
    link: Link, alink: Callable[[], AbstractAsyncContextManager[AsyncLink]]
) -> None:
    async def awaited(error: Exception) -> None:
        async with alink() as client:
            assert await client.run(asked(("ECHO", "before"))) == [b"before"]
            with pytest.raises(type(error)):
                await client.run(made(broken(error)))
            assert await client.run(asked(("ECHO", "behind"))) == [b"behind"]

    for error in (Unsendable("this one"), RuntimeError("ours")):
        with pytest.raises(type(error)):
            link.run(made(broken(error)))
        assert link.run(asked(("ECHO", "behind"))) == [b"behind"]
        asyncio.run(awaited(error))


def test_pieces_are_sent_again_as_they_are() -> None:
    commands: Iterator[Command] = iter([("ECHO", LONG), ("ECHO", "two"), ("ECHO", LONG), ("ECHO", "four")])
    outgoing = Outgoing(Lazy(commands))
    assert outgoing.count == 1, "the first piece, at once"
    pieces = list(outgoing)
    assert [len(piece) > PIECE for piece in pieces] == [True, True, False]
    assert (outgoing.count, list(outgoing)) == (4, pieces)
    assert list(Outgoing([])) == []
    with pytest.raises(InvalidValue, match="surrogate"):
        Outgoing([("ECHO", "\ud800")])
