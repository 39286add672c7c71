"""What operations ask, and how it becomes commands: everything about it that needs no IO, for both links."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from redis import exceptions

from rq_sched.address import shown
from rq_sched.errors import RqSchedError
from rq_sched.link.answers import LEAVE, check_version, translate, word_of
from rq_sched.scripts import Argument, Call, Script

T = TypeVar("T")
Command = tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Barrier:
    """A command about those before it in the same round trip (WAIT): when one of them is sent again, so is this. They
    are done whatever it answers, so an error isn't raised, but is the reply."""

    command: Command


Request = Call | Command | Barrier
Op = Generator[Sequence[Request], list[Any], T]
Steps = Generator[Sequence[Command], list[Any], T]
"""What a link carries out: lists of commands, each answered by the list of replies, errors among them."""


class Talk:
    """Both links' own part: takes the steps of an operation.

    ``given``: the driver's client came from outside (fakeredis): no version to check, and no ``#!lua``.
    """

    def __init__(self, url: str, given: bool) -> None:
        self.url = url
        self._where = f" at {shown(url)}"
        self._checked = given
        self._plain = given

    def steps(self, op: Op[T]) -> Steps[T]:
        """The steps of an operation; ends with what it returns.

        Raises:
            RqSchedError
        """
        if not self._checked:
            (info,) = yield from self._sound([("INFO", "server")])
            check_version(info, self._where)
            self._checked = True
        replies: list[Any] | None = None
        while True:
            try:
                requests = next(op) if replies is None else op.send(replies)
            except StopIteration as stop:
                value: T = stop.value
                return value
            replies = yield from self._ask(requests)

    def _ask(self, requests: Sequence[Request]) -> Steps[list[Any]]:
        replies = yield [self._command(request) for request in requests]
        while missing := _missing(requests, replies):
            scripts = {request.script for i in missing if isinstance(request := requests[i], Call)}
            yield from self._sound([("SCRIPT", "LOAD", self._source(script)) for script in scripts])
            again = yield [self._command(requests[i]) for i in missing]
            for i, reply in zip(missing, again, strict=True):
                replies[i] = reply
        self._raise_first([reply for reply, r in zip(replies, requests, strict=True) if not isinstance(r, Barrier)])
        return replies

    def _sound(self, commands: Sequence[Command]) -> Steps[list[Any]]:
        return self._raise_first((yield commands))

    def _raise_first(self, replies: list[Any]) -> list[Any]:
        for reply in replies:
            if isinstance(reply, Exception):
                raise translate(reply, self._where) from None
        return replies

    def _source(self, script: Script) -> str:
        return script.plain if self._plain else script.source

    def _command(self, request: Request) -> Command:
        if isinstance(request, Call):
            script = request.script
            if self._plain:
                return ("EVALSHA", script.plain_sha, 1, request.prefix, *request.arguments)
            verb = "EVALSHA_RO" if script.reads_only else "EVALSHA"
            return (verb, script.sha, 1, request.prefix, *request.arguments)
        return request.command if isinstance(request, Barrier) else request

    def translate(self, error: BaseException) -> RqSchedError:
        return translate(error, self._where)


def left_behind(replies: Sequence[Any]) -> bool:
    """Whether a server's answers say that it may no longer be the one to talk to."""
    return any(isinstance(reply, Exception) and word_of(reply) in LEAVE for reply in replies)


def _missing(requests: Sequence[Request], replies: list[Any]) -> list[int]:
    """Positions of the scripts that the server didn't know, and of the barriers after them. The scripts did nothing,
    so they can be sent again."""
    unknown = [
        i
        for i, reply in enumerate(replies)
        if isinstance(reply, exceptions.NoScriptError) and isinstance(requests[i], Call)
    ]
    if not unknown:
        return []
    return [
        i for i, request in enumerate(requests) if i in unknown or (isinstance(request, Barrier) and i > unknown[0])
    ]
