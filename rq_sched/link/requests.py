"""What operations ask, and how it becomes commands: everything about it that needs no IO, for both links."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import hiredis
from redis import exceptions

from rq_sched.errors import InvalidValue, NotFound, Refused, RqSchedError, Unreadable, WrongType
from rq_sched.link.address import shown
from rq_sched.link.answers import LEAVE, check_version, is_unknown_function, translate, word_of
from rq_sched.link.scripts import Argument, Call, Script, load, names

log = logging.getLogger(__name__)
T = TypeVar("T")
Command = tuple[Argument, ...]
# Refusals of FUNCTION LOAD after which a script does as well: not allowed to this user, or no memory for what is new.
_NO_FUNCTIONS = (exceptions.NoPermissionError, exceptions.OutOfMemoryError)


@dataclass(frozen=True, slots=True)
class Barrier:
    """A command about those before it in the same round trip (WAIT): when one of them is sent again, so is this. They
    are done whatever it answers, so an error isn't raised, but is the reply."""

    command: Command


@dataclass(frozen=True, slots=True)
class Row:
    """A read of one of many rows: that its key is of another type is the reply, not raised, so that the others can be
    shown."""

    command: Command


class Lazy(Sequence[T]):
    """A list whose items are made when they are first come to: who sends what he comes to has the server work on the
    first while the others are made.

    >>> squares = Lazy(number * number for number in range(4))
    >>> next(iter(squares)), squares[-1], len(squares)
    (0, 9, 4)
    """

    def __init__(self, items: Iterable[T]) -> None:
        self._coming = iter(items)
        self._made: list[T] = []

    def __iter__(self) -> Iterator[T]:
        yield from self._made
        for item in self._coming:
            self._made.append(item)
            yield item

    def _all(self) -> list[T]:
        self._made += self._coming
        return self._made

    def __getitem__(self, index: Any) -> Any:
        return self._all()[index]

    def __len__(self) -> int:
        return len(self._all())


Request = Call | Command | Barrier | Row
Op = Generator[Sequence[Request], list[Any], T]
RoundTrips = Generator[Sequence[Command], list[Any], T]
"""What a link carries out: lists of commands, each answered by the list of replies, errors among them."""
PIECE = 16_384
"""Bytes of commands that are sent at a time."""


class Talk:
    """Both links' own part: takes the steps of an operation.

    ``given``: the driver's client came from outside (fakeredis): no version to check, and no ``#!lua``.

    Scripts are called as functions. A user who may not call them, or may not load what is missing, sends them as
    scripts from then on, which costs the server 15 to 20 µs more a call; one who may not do that either (the users in
    ``deploy/acl``) needs a scheduler that has loaded them. ``for_all``: where a function is missing, all are loaded,
    for the users who may not. ``greeting``: an operation that is carried out before the first one; its first step,
    plain reads, goes with the question for the server's version. What it raises, the first operation does.
    """

    def __init__(
        self, url: str, given: bool, for_all: bool = False, greeting: Callable[[], Op[None]] | None = None
    ) -> None:
        self.url = url
        self._greeting = greeting
        self._where = f" at {shown(url)}"
        self._checked = given
        self._plain = given
        self._as_functions = not given
        self._for_all = for_all

    @property
    def met(self) -> bool:
        """Whether there ever was an answer: a server that was there may come back, an address may just be wrong."""
        return self._checked

    def round_trips(self, op: Op[T]) -> RoundTrips[T]:
        """The steps of an operation; ends with what it returns.

        Raises:
            RqSchedError
        """
        if not self._checked:
            yield from self._greet()
        replies: list[Any] | None = None
        while True:
            try:
                requests = next(op) if replies is None else sent(op, replies)
            except StopIteration as stop:
                value: T = stop.value
                return value
            replies = yield from self._ask(requests)

    def _greet(self) -> RoundTrips[None]:
        """Find out whether this is a server, and a namespace, to work with."""
        op = self._greeting() if self._greeting is not None else None
        requests = [] if op is None else next(op)
        info, *replies = yield [("INFO", "server"), *map(self._command, requests)]
        self._raise_first([info])
        check_version(info, self._where)
        answers = [answer(reply, request, self._where) for reply, request in zip(replies, requests, strict=True)]
        with contextlib.suppress(StopIteration):
            while op is not None:
                answers = yield from self._ask(op.send(answers))
        self._checked = True

    def _ask(self, requests: Sequence[Request]) -> RoundTrips[list[Any]]:
        commands = map(self._command, requests)
        replies = yield Lazy(commands) if isinstance(requests, Lazy) else list(commands)
        while missing := _missing(requests, replies):
            denied = any(isinstance(replies[i], exceptions.NoPermissionError) for i in missing)
            scripts = {request.script for i in missing if isinstance(request := requests[i], Call)}
            if not (yield from self.loading(scripts, functions=not denied)):
                break  # what was said of the function becomes the error
            again = yield [self._command(requests[i]) for i in missing]
            for i, reply in zip(missing, again, strict=True):
                replies[i] = reply
        return [answer(reply, request, self._where) for reply, request in zip(replies, requests, strict=True)]

    def loading(self, scripts: Collection[Script], functions: bool = True) -> RoundTrips[bool]:
        """Have the server know these scripts; False: this user may load nothing, and needs what others have loaded.

        Parameters:
            functions: False where this user may not call them.

        Raises:
            RqSchedError
        """
        refusals: list[Exception] = []
        if self._as_functions and functions:
            wanted = [load(name) for name in names()] if self._for_all else scripts
            replies = yield [("FUNCTION", "LOAD", script.library) for script in wanted]
            refusals = [r for r in replies if isinstance(r, Exception) and "already exists" not in str(r)]
            if not any(isinstance(refusal, _NO_FUNCTIONS) for refusal in refusals):
                self._raise_first(refusals)
                return True
        replies = yield [("SCRIPT", "LOAD", self._source(script)) for script in scripts]
        if self._as_functions and any(isinstance(reply, exceptions.NoPermissionError) for reply in replies):
            self._raise_first([r for r in refusals if not isinstance(r, exceptions.NoPermissionError)])
            return False
        self._raise_first(replies)
        self._as_functions = False
        return True

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
            if self._as_functions:
                verb = "FCALL_RO" if script.reads_only else "FCALL"
                return (verb, script.function, 1, request.prefix, *request.arguments)
            if self._plain:
                return ("EVALSHA", script.plain_sha, 1, request.prefix, *request.arguments)
            verb = "EVALSHA_RO" if script.reads_only else "EVALSHA"
            return (verb, script.sha, 1, request.prefix, *request.arguments)
        return request.command if isinstance(request, Barrier | Row) else request

    def translate(self, error: BaseException) -> RqSchedError:
        return translate(error, self._where)


def answer(reply: Any, request: Request, where: str = "") -> Any:
    """A reply as the operation gets it: an error only where that may be an answer.

    Raises:
        RqSchedError: it is one that isn't.
    """
    if not isinstance(reply, Exception) or isinstance(request, Barrier):
        return reply
    error = translate(reply, where)
    refused = isinstance(request, Call) and request.may_refuse and is_refusal(error)
    if refused or (isinstance(request, Row) and isinstance(error, WrongType)):
        return error
    raise error from None


def is_refusal(error: RqSchedError) -> bool:
    """Whether an error is about what was asked for, rather than about Redis: what else is asked for may be granted."""
    return isinstance(error, (Refused, NotFound, Unreadable, WrongType))


def sent(op: Op[Any], replies: list[Any]) -> Sequence[Request]:
    """What an operation asks next, given the replies.

    Raises:
        Unreadable: the operation can't make sense of them. Whoever can write to Redis may write anything; that must not
            look like an error of ours, nor end who only has to try again.
        StopIteration: it has ended.
    """
    try:
        return op.send(replies)
    except (RqSchedError, StopIteration):
        raise
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        log.debug("a reply can't be read", exc_info=error)
        raise Unreadable(
            f"what Redis holds can't be read ({type(error).__name__}: {error}): `rq-sched doctor` says what it is, "
            "`rq-sched doctor --repair` mends it"
        ) from error


def packed(commands: Sequence[Command]) -> bytes:
    """Commands as they are sent.

    Raises:
        InvalidValue: text that has no UTF-8.
    """
    try:
        return b"".join([hiredis.pack_command(command) for command in commands])  # type: ignore[arg-type]
    except UnicodeEncodeError as error:
        raise InvalidValue(f"text with a lone surrogate can't be sent: {ascii(error.object)[:80]}") from None


class Outgoing:
    """Commands on their way, in pieces, each packed when it is to be sent; but the first one at once: what can't be
    sent is mostly found before anything was.

    Raises:
        InvalidValue: at once, or from the iteration: text that has no UTF-8.
    """

    def __init__(self, commands: Sequence[Command]) -> None:
        self._commands = iter(commands)
        self._pieces: list[bytes] = []
        self.count = 0
        """Commands that were packed so far."""
        self._pack()

    def __iter__(self) -> Iterator[bytes]:
        """All pieces, from the first one on: after a broken connection they are sent again."""
        number = 0
        while number < len(self._pieces) or self._pack():
            yield self._pieces[number]
            number += 1

    def _pack(self) -> bool:
        """Pack the next piece, if there is one."""
        piece: list[bytes] = []
        size = 0
        for command in self._commands:
            piece.append(packed([command]))
            size += len(piece[-1])
            if size > PIECE:
                break
        self.count += len(piece)
        if piece:
            self._pieces.append(b"".join(piece))
        return bool(piece)


def left_behind(replies: Sequence[Any]) -> bool:
    """Whether a server's answers say that it may no longer be the one to talk to."""
    return any(isinstance(reply, Exception) and word_of(reply) in LEAVE for reply in replies)


def _missing(requests: Sequence[Request], replies: list[Any]) -> list[int]:
    """Positions of the scripts that the server didn't know, and of the barriers after them. The scripts did nothing,
    so they can be sent again."""
    unknown = [i for i, reply in enumerate(replies) if isinstance(requests[i], Call) and _is_unknown(reply)]
    if not unknown:
        return []
    return [
        i for i, request in enumerate(requests) if i in unknown or (isinstance(request, Barrier) and i > unknown[0])
    ]


def _is_unknown(reply: Any) -> bool:
    """Whether the server says that it has no such script or function, or that this user may not call functions."""
    if isinstance(reply, exceptions.NoPermissionError):
        return "'fcall" in str(reply)
    return isinstance(reply, exceptions.NoScriptError) or is_unknown_function(reply)
