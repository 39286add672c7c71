"""The line from a process to Redis: a real server behind a network that misbehaves.

What a request may meet on its way: it takes long; it never arrives; it is carried out and the reply gets lost (the
driver then sends it again, as redis-py does); only the first part of a pipeline is carried out; the sender is cut off
(the request waits in a buffer, and may arrive long after); Redis is away. What is published may be lost or heard
twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import unquote

import hiredis
from redis.exceptions import ResponseError

from rq_sched.errors import RedisUnavailable, RqSchedError
from rq_sched.link import ANSWER_SECONDS, Barrier, Command, Op, Outage, Request, Row
from rq_sched.link.drivers import RETRIES
from rq_sched.link.requests import answer, sent
from rq_sched.link.scripts import Call, Script
from rq_sched.store.keys import Keys
from tests.faults.lost_writes import Snapshot
from tests.faults.sim.clockwork import Process, World

T = TypeVar("T")
pack: Any = hiredis.pack_command


class Lost(Exception):
    """The connection broke: whether the request was carried out is unknown."""


class Wire:
    """A plain connection to the real server."""

    def __init__(self, url: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(unquote(url.removeprefix("unix://")))
        self._socket.settimeout(20)
        self._reader = hiredis.Reader(replyError=ResponseError)

    def ask(self, *commands: Command) -> list[Any]:
        """The replies; errors among them as exceptions."""
        self._socket.sendall(b"".join([pack(command) for command in commands]))
        return [self.read() for _ in commands]

    def read(self) -> Any:
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self._socket.recv(1 << 16))
        return reply

    def close(self) -> None:
        self._socket.close()


@dataclass(slots=True)
class Faults:
    """How often, a request."""

    slow: float = 0.03
    never_arrives: float = 0.01
    reply_lost: float = 0.02
    cut_short: float = 0.01  # of a pipeline, only the first part is carried out
    deaf: float = 0.1  # a message isn't heard
    twice: float = 0.02  # … or twice


@dataclass(slots=True)
class _Subscriber:
    process: Process
    channel: str
    heard: list[tuple[str, bytes] | Exception] = field(default_factory=list)
    waiting: asyncio.Future[None] | None = None

    def hear(self, message: tuple[str, bytes] | Exception) -> None:
        self.heard.append(message)
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(None)


@dataclass(slots=True)
class _Waiter:
    process: Process
    key: str
    future: asyncio.Future[bytes | None]


class Network:
    """Between all processes and the server.

    Parameters:
        executed: hears of every script that was carried out: its name, the reply, new entries of the decision log.
    """

    def __init__(self, world: World, url: str, namespace: str) -> None:
        self.world = world
        self.keys = Keys(namespace)
        self.faults = Faults()
        self.down = False
        self.offset_ms = 0
        self.calls = 0
        self.executed: Callable[[Call, Any, list[tuple[str, list[str]]]], None] = lambda *_: None
        self.plant: Callable[[Script], Script] = lambda script: script
        self.senders_clock: Callable[[Process], int] | None = None
        self._url = url
        self._server = Wire(url)
        self._ears = Wire(url)
        self._ears.ask(("PSUBSCRIBE", self.keys.prefix + "*"))
        self._subscribers: list[_Subscriber] = []
        self._waiters: list[_Waiter] = []
        self._held: list[Callable[[], None]] = []
        self._last_event = "0"
        self._age = 0
        self._planted: dict[str, Script] = {}

    # -- the server ---------------------------------------------------------------------------------

    @property
    def clock(self) -> int:
        """Redis' clock in ms."""
        return round(self.world.now * 1000) + self.offset_ms

    def plainly(self, *commands: Command) -> list[Any]:
        """Straight from the server, at no time at all: for the judge."""
        return self._server.ask(*commands)

    def run_plainly(self, op: Op[T]) -> T:
        """An operation, straight to the server."""
        replies: list[Any] | None = None
        try:
            while True:
                requests = next(op) if replies is None else op.send(replies)
                if any(isinstance(request, Call) for request in requests):
                    replies = [self.execute(request) for request in requests]
                else:
                    plain = [request.command if isinstance(request, Barrier | Row) else request for request in requests]
                    replies = self._server.ask(*plain)  # type: ignore[arg-type]
                replies = [answer(reply, request) for reply, request in zip(replies, requests, strict=True)]
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    def execute(self, request: Request, process: Process | None = None) -> Any:
        """Carry a request out, now. Redis' time is that of the simulation."""
        if isinstance(request, Barrier | Row):
            request = request.command
        if not isinstance(request, Call):
            return self._server.ask(request)[0]
        self.calls += 1
        script = self._planted.get(request.script.name)
        if script is None:
            script = self._planted[request.script.name] = self.plant(request.script)
        now = self.clock if self.senders_clock is None or process is None else self.senders_clock(process)
        command = ("FCALL", script.function, 1, request.prefix, now, *request.arguments[1:])
        log: Command = ("XRANGE", self.keys.events, "(" + self._last_event if self._last_event != "0" else "-", "+")
        reply, entries = self._server.ask(command, log)
        if isinstance(reply, Exception) and "Function not found" in str(reply):
            self._server.ask(("FUNCTION", "LOAD", script.library))
            reply, entries = self._server.ask(command, log)
        if isinstance(reply, Exception) and not str(reply).startswith("RQS_"):
            raise AssertionError(f"{script.name} failed: {reply}")
        self._ring()
        self.executed(request, reply, self._news(entries))
        return reply

    def _news(self, entries: list[Any]) -> list[tuple[str, list[str]]]:
        news: list[tuple[str, list[str]]] = []
        for number, fields in entries:
            self._last_event = number.decode()
            news += [(k.decode(), v.decode().split(" ")) for k, v in zip(fields[::2], fields[1::2], strict=True)]
        return news

    def _ring(self) -> None:
        """Pass on what was published, and the doorbell."""
        if self._subscribers:
            (pong,) = self._ears.ask(("PING",))
            while pong[0] != b"pong":
                if pong[0] == b"pmessage":
                    self.publish(pong[2].decode(), pong[3])
                pong = self._ears.read()
        self._waiters = [waiter for waiter in self._waiters if waiter.process.alive and not waiter.future.done()]
        if self._waiters:
            (element,) = self.plainly(("LPOP", self.keys.wake))
            if element is not None:
                waiter = self._waiters.pop(self.world.rng.randrange(len(self._waiters)))
                self._answer(waiter.process, waiter.future, element)

    def publish(self, channel: str, data: bytes) -> None:
        """Everyone who listens hears it, or not, or twice."""
        for subscriber in self._subscribers:
            if subscriber.channel != channel or self.world.chance(self.faults.deaf):
                continue
            if subscriber.process.owner is not None and subscriber.process.owner.cut_off:
                continue
            for _ in range(2 if self.world.chance(self.faults.twice) else 1):
                self.world.at(
                    self._latency(),
                    lambda s=subscriber: s.hear((channel, data)),  # type: ignore[misc]
                )

    # -- the way there and back -----------------------------------------------------------------------

    def _latency(self) -> float:
        rng = self.world.rng
        return rng.uniform(0.0001, 0.003) if not self.world.chance(self.faults.slow) else rng.uniform(0.01, 0.25)

    def send(self, process: Process, requests: Sequence[Request], future: asyncio.Future[list[Any]]) -> None:
        """A process has sent requests; the future gets the replies, or ``Lost``."""
        self.world.at(self._latency(), lambda: self._arrive(process, requests, future))

    def _arrive(self, process: Process, requests: Sequence[Request], future: asyncio.Future[list[Any]]) -> None:
        world, faults = self.world, self.faults
        if process.owner is not None and process.owner.cut_off:
            self._cut_off(process, requests, future)
        elif self.down:
            if world.chance(0.8):
                self._fail(process, future)
            else:  # no answer at all
                self._held.append(lambda: self._fail(process, future))
        elif world.chance(faults.never_arrives):
            self._fail(process, future)
        elif len(requests) > 1 and world.chance(faults.cut_short):
            for request in requests[: world.rng.randrange(1, len(requests))]:
                self.execute(request, process)
            self._fail(process, future)
        else:
            replies = [self.execute(request, process) for request in requests]
            if world.chance(faults.reply_lost):
                self._fail(process, future)
            else:
                self._answer(process, future, replies)

    def _cut_off(self, process: Process, requests: Sequence[Request], future: asyncio.Future[list[Any]]) -> None:
        """It stays in a buffer: it comes through when the line is back, unless the connection is given up first."""
        if self.world.chance(0.3):
            self._fail(process, future)
        else:
            self._held.append(lambda: self.send(process, requests, future))

    def release(self) -> None:
        """The line, or Redis, is back: what was held goes on."""
        held, self._held = self._held, []
        for act in held:
            self.world.at(self._latency(), act)

    def _answer(self, process: Process, future: asyncio.Future[Any], value: Any) -> None:
        age = self._age

        def arrive() -> None:
            if process.alive and age == self._age:
                process.call_soon(_set_result, future, value)
            elif process.alive:  # it comes from a Redis that is no more
                process.call_soon(_set_lost, future)

        self.world.at(self._latency(), arrive)

    def _fail(self, process: Process, future: asyncio.Future[Any]) -> None:
        def arrive() -> None:
            if process.alive:
                process.call_soon(_set_lost, future)

        self.world.at(self._latency(), arrive)

    def lose_writes(self, snapshot: Snapshot) -> None:
        """Redis is as it was then; what it has answered since, and what is still on its way, is void."""
        snapshot.bring_back(self.plainly)
        self._age += 1
        (last,) = self.plainly(("XREVRANGE", self.keys.events, "+", "-", "COUNT", 1))
        self._last_event = last[0][0].decode() if last else "0"

    # -- what links do ------------------------------------------------------------------------------

    def wait_for(self, process: Process, key: str) -> asyncio.Future[bytes | None]:
        """BLPOP."""
        future: asyncio.Future[bytes | None] = process.create_future()
        self._waiters.append(_Waiter(process, key, future))
        return future

    def subscribe(self, process: Process, channel: str) -> _Subscriber:
        subscriber = _Subscriber(process, channel)
        self._subscribers.append(subscriber)
        return subscriber

    def unsubscribe(self, subscriber: _Subscriber) -> None:
        if subscriber in self._subscribers:
            self._subscribers.remove(subscriber)

    def hang_up(self) -> None:
        """Every connection breaks (Redis died, CLIENT KILL)."""
        for subscriber in self._subscribers:
            subscriber.hear(Lost())
        self._subscribers.clear()
        for waiter in self._waiters:
            self._fail(waiter.process, waiter.future)
        self._waiters.clear()

    def close(self) -> None:
        self._server.close()
        self._ears.close()


def _set_result(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _set_lost(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_exception(Lost())


class SimLink:
    """``AsyncLink`` in a simulated process. The network is that of the world."""

    network: Network

    def __init__(
        self,
        url: str,
        *,
        answer_seconds: float = ANSWER_SECONDS,
        outage: Outage | None = None,
        patience: float | None = None,
        **_: Any,
    ) -> None:
        self._process = asyncio.get_running_loop()
        assert isinstance(self._process, Process)
        self.outage = outage
        self._patience = patience
        self._answer_seconds = answer_seconds

    async def run(self, op: Op[T]) -> T:
        """As ``AsyncLink.run``."""
        try:
            async with asyncio.timeout(self._patience):
                value = await self._run(op)
        except TimeoutError:
            error = RedisUnavailable("no answer in time")
            if self.outage is not None:
                self.outage.failed(error)
            raise error from None
        except RqSchedError as error:
            if self.outage is not None:
                self.outage.failed(error)
            raise
        if self.outage is not None:
            self.outage.worked()
        return value

    async def _run(self, op: Op[T]) -> T:
        replies: list[Any] | None = None
        try:
            while True:
                requests = next(op) if replies is None else sent(op, replies)
                replies = await self._ask(requests)
                replies = [answer(reply, request) for reply, request in zip(replies, requests, strict=True)]
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    async def _ask(self, requests: Sequence[Request]) -> list[Any]:
        assert isinstance(self._process, Process)
        for left in reversed(range(1 + RETRIES)):
            future: asyncio.Future[list[Any]] = self._process.create_future()
            self.network.send(self._process, requests, future)
            try:
                async with asyncio.timeout(self._answer_seconds):
                    return await future
            except (Lost, TimeoutError):
                if not left:
                    raise RedisUnavailable("the connection was lost") from None
                await asyncio.sleep(self.network.world.rng.uniform(0.02, 0.1))
        raise AssertionError

    async def pop(self, key: str, timeout: float) -> bytes | None:
        """As ``AsyncLink.pop``."""
        assert isinstance(self._process, Process)
        if self.network.down:
            await asyncio.sleep(0.001)
            raise RedisUnavailable("the connection was refused")
        try:
            return await asyncio.wait_for(self.network.wait_for(self._process, key), timeout)
        except TimeoutError:
            return None
        except Lost:
            raise RedisUnavailable("the connection was lost") from None

    @contextlib.asynccontextmanager
    async def listen(self, *channels: str) -> AsyncIterator[SimEars]:
        """As ``AsyncLink.listen``."""
        assert isinstance(self._process, Process)
        await asyncio.sleep(0.001)
        if self.network.down:
            raise RedisUnavailable("the connection was refused")
        subscriber = self.network.subscribe(self._process, channels[0])
        try:
            yield SimEars(subscriber)
        finally:
            self.network.unsubscribe(subscriber)

    async def load(self, names: Sequence[str]) -> None:
        """As ``AsyncLink.load``: the network loads a script when it is asked for it."""
        await self._ask([("PING",)])

    async def close(self) -> None: ...


class SimEars:
    """``AsyncEars``."""

    def __init__(self, subscriber: _Subscriber) -> None:
        self._subscriber = subscriber

    async def get(self, timeout: float) -> tuple[str, bytes] | None:
        """As ``AsyncEars.get``."""
        subscriber = self._subscriber
        if not subscriber.heard:
            subscriber.waiting = subscriber.process.create_future()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(subscriber.waiting, timeout)
        if not subscriber.heard:
            return None
        message = subscriber.heard.pop(0)
        if isinstance(message, Exception):
            raise RedisUnavailable("the connection was lost")
        return message
