"""The line to Redis. Operations (``store.py``) say what to ask; a link asks it, waiting (``Link``) or not
(``AsyncLink``), and turns every answer that is an error into one of ``rq_sched.errors``.

An operation is a generator: it yields lists of requests, which travel together in one round trip, and gets the list of
replies. So the same operations serve both links, and neither knows what they are about.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import hiredis
import redis
import redis.asyncio
from redis import exceptions
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from rq_sched import errors
from rq_sched.errors import RqSchedError
from rq_sched.scripts import Argument, Call, Script

T = TypeVar("T")
Command = tuple[Argument, ...]
Request = Call | Command
Op = Generator[Sequence[Request], list[Any], T]

CONNECT_TIMEOUT = 5.0
"""Seconds until a server that doesn't answer counts as away."""
RETRIES = 2
"""How often the driver sends a command again by itself: every script can be repeated."""
LEAST_VERSION = 7
_BACK_OFF = ExponentialWithJitterBackoff(base=0.05, cap=0.5)


def translate(error: BaseException, where: str = "") -> RqSchedError:
    """The error of the driver as one of ours: a class to catch, and what to do in its text."""
    if isinstance(error, RqSchedError):  # ours already: some of them are OSErrors too
        return error
    text = str(error)
    word, _, rest = text.partition(" ")
    if word.startswith("RQS_"):
        return errors.by_code().get(word[4:].lower(), errors.Refused)(rest)
    if isinstance(error, exceptions.AuthenticationError) or word in ("WRONGPASS", "NOAUTH"):
        return errors.RedisRefused(f"Redis{where} refused the password: give user and password in --redis ({text})")
    if isinstance(error, exceptions.NoPermissionError) or word == "NOPERM":
        return errors.RedisRefused(
            f"Redis{where} refused a command to this user: see deploy/ for what it may need ({text})"
        )
    if isinstance(error, exceptions.BusyLoadingError) or word == "LOADING":
        return errors.RedisRefused(f"Redis{where} is loading its data: try again in a moment")
    if isinstance(error, exceptions.ReadOnlyError) or word == "READONLY":
        return errors.RedisRefused(f"Redis{where} is a read-only replica: give the address of the master")
    if isinstance(error, exceptions.OutOfMemoryError) or word == "OOM":
        return errors.RedisFull(f"Redis{where} is full: wait until tasks have drained, or raise its maxmemory")
    if "WRONGTYPE" in text:
        return errors.WrongType(f"a key of this namespace holds something else: choose another --namespace ({text})")
    if isinstance(error, (exceptions.ConnectionError, exceptions.TimeoutError, OSError)):
        return errors.RedisUnavailable(
            f"Redis{where} can't be reached: start one with `rq-sched up`, or say where it is with --redis ({text})"
        )
    if isinstance(error, exceptions.ResponseError):
        return errors.RedisRefused(f"Redis{where} refused a command ({text})")
    return errors.RqSchedError(text or type(error).__name__)


def _options(url: str) -> dict[str, Any]:
    scheme = urlsplit(url).scheme
    if scheme not in ("redis", "rediss", "unix"):
        raise errors.InvalidValue(
            f"bad Redis address {shown(url)!r}: use redis://HOST:PORT/DB, rediss://… or unix:///PATH"
        )
    options: dict[str, Any] = {"socket_connect_timeout": CONNECT_TIMEOUT, "protocol": 2}
    if scheme != "unix":
        options["socket_keepalive"] = True
    return options


def shown(url: str) -> str:
    """The address without its password."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return url.replace(f":{parts.password}@", ":***@", 1)


def _check_version(info: bytes, where: str) -> None:
    found = re.search(rb"redis_version:(\S+)", info)
    version = found[1].decode() if found else "0"
    if int(version.split(".")[0]) < LEAST_VERSION:
        raise errors.ServerTooOld(f"Redis{where} is version {version}: rq-sched needs Redis 7 or Valkey, or newer")


class _Base:
    """What both links share: preparing requests, reading replies.

    ``given``: the driver's client came from outside (fakeredis): no version to check, and no ``#!lua``.
    """

    def __init__(self, url: str, given: bool) -> None:
        self.url = url
        self._where = f" at {shown(url)}"
        self._checked = given
        self._plain = given

    def _source(self, script: Script) -> str:
        return script.plain if self._plain else script.source

    def _command(self, request: Request) -> Command:
        if isinstance(request, Call):
            sha = request.script.plain_sha if self._plain else request.script.sha
            return ("EVALSHA", sha, 1, request.prefix, *request.arguments)
        return request

    def _missing(self, requests: Sequence[Request], replies: list[Any]) -> list[int]:
        """Positions of the scripts that the server didn't know. They did nothing, so they can be sent again."""
        return [
            i
            for i, reply in enumerate(replies)
            if isinstance(reply, exceptions.NoScriptError) and isinstance(requests[i], Call)
        ]

    def _raise_first(self, replies: list[Any]) -> None:
        for reply in replies:
            if isinstance(reply, Exception):
                raise translate(reply, self._where) from None


class Link(_Base):
    """A line to Redis that waits for its answers. Threads may share it: every run takes a connection of its own.

    Parameters:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        client: a driver's client to use instead of one made from ``url`` (fakeredis in tests).
    """

    def __init__(self, url: str, client: redis.Redis | None = None) -> None:
        super().__init__(url, given=client is not None)
        self._redis: Any = client or redis.Redis.from_url(url, **_options(url), retry=Retry(_BACK_OFF, RETRIES))
        self._redis.response_callbacks.clear()  # operations read replies as they come

    def run(self, op: Op[T]) -> T:
        """Carry an operation out.

        Raises:
            RqSchedError: a refusal, or Redis can't be used.
        """
        replies: list[Any] | None = None
        try:
            while True:
                requests = next(op) if replies is None else op.send(replies)
                try:
                    replies = self._ask(requests)
                except (exceptions.RedisError, OSError) as error:
                    raise translate(error, self._where) from None
        except StopIteration as stop:
            return cast(T, stop.value)

    def _ask(self, requests: Sequence[Request]) -> list[Any]:
        if not self._checked:
            _check_version(self._redis.execute_command("INFO", "server"), self._where)
            self._checked = True
        replies = self._send(requests)
        while missing := self._missing(requests, replies):
            for script in {r.script for i in missing if isinstance(r := requests[i], Call)}:
                self._redis.script_load(self._source(script))
            again = self._send([requests[i] for i in missing])
            for i, reply in zip(missing, again, strict=True):
                replies[i] = reply
        self._raise_first(replies)
        return replies

    def _send(self, requests: Sequence[Request]) -> list[Any]:
        if len(requests) == 1:
            try:
                return [self._redis.execute_command(*self._command(requests[0]))]
            except exceptions.ResponseError as error:
                return [error]
        pipe = self._redis.pipeline(transaction=False)
        for request in requests:
            pipe.execute_command(*self._command(request))
        return cast(list[Any], pipe.execute(raise_on_error=False))

    @contextlib.contextmanager
    def listen(self, *channels: str) -> Iterator[Ears]:
        """Hear what is published on channels, on a connection of its own.

        Raises:
            RedisUnavailable: there is none, or it was lost: listen anew.
        """
        pubsub = self._redis.pubsub(ignore_subscribe_messages=False)
        try:
            try:
                pubsub.subscribe(*channels)
                ears = Ears(pubsub, self._where, len(channels))
                ears.wait_ready()
            except (exceptions.RedisError, OSError) as error:
                raise translate(error, self._where) from None
            yield ears
        finally:
            with contextlib.suppress(exceptions.RedisError, OSError):
                pubsub.close()

    def close(self) -> None:
        self._redis.close()


class Ears:
    """What ``Link.listen`` gives: messages, one by one."""

    def __init__(self, pubsub: Any, where: str, channels: int) -> None:
        self._pubsub = pubsub
        self._where = where
        self._channels = channels

    def wait_ready(self) -> None:
        """Returns when the server has confirmed every channel: what is published from now on is heard."""
        while self._channels:
            message = self._pubsub.get_message(timeout=CONNECT_TIMEOUT)
            if message is None:
                raise exceptions.TimeoutError("no answer to SUBSCRIBE")
            self._channels -= message["type"] == "subscribe"

    def get(self, timeout: float) -> tuple[str, bytes] | None:
        """The next message, as (channel, text); None if there is none within ``timeout`` seconds."""
        end = time.monotonic() + timeout
        while True:
            left = max(0.0, end - time.monotonic())
            try:
                message = self._pubsub.get_message(timeout=left)
            except (exceptions.RedisError, OSError) as error:
                raise translate(error, self._where) from None
            if message is not None and message["type"] == "message":
                return message["channel"].decode(), message["data"]
            if message is None and time.monotonic() >= end:
                return None


class AsyncLink(_Base):
    """A line to Redis for one event loop. See ``Link``."""

    def __init__(self, url: str, client: redis.asyncio.Redis | None = None) -> None:
        super().__init__(url, given=client is not None)
        self._redis: Any = client or redis.asyncio.Redis.from_url(
            url,
            **_options(url),
            retry=redis.asyncio.retry.Retry(_BACK_OFF, RETRIES),
        )
        self._redis.response_callbacks.clear()  # operations read replies as they come
        self._given = client is not None
        self._idle: list[Any] = []  # connections of the driver's that we keep for ourselves

    async def run(self, op: Op[T]) -> T:
        """Carry an operation out.

        Raises:
            RqSchedError: a refusal, or Redis can't be used.
        """
        replies: list[Any] | None = None
        try:
            while True:
                requests = next(op) if replies is None else op.send(replies)
                try:
                    replies = await self._ask(requests)
                except (TimeoutError, exceptions.RedisError, OSError) as error:
                    raise translate(error, self._where) from None
        except StopIteration as stop:
            return cast(T, stop.value)

    async def _ask(self, requests: Sequence[Request]) -> list[Any]:
        if not self._checked:
            _check_version(await self._redis.execute_command("INFO", "server"), self._where)
            self._checked = True
        replies = await self._send(requests)
        while missing := self._missing(requests, replies):
            for script in {r.script for i in missing if isinstance(r := requests[i], Call)}:
                await self._redis.script_load(self._source(script))
            again = await self._send([requests[i] for i in missing])
            for i, reply in zip(missing, again, strict=True):
                replies[i] = reply
        self._raise_first(replies)
        return replies

    async def _send(self, requests: Sequence[Request]) -> list[Any]:
        """One round trip. The driver makes the connections; what it does for each command (pool, retry, packing in
        Python, metrics) costs an agent more than the rest of its call, so commands and replies pass it by."""
        if self._given:
            return await self._send_by_driver(requests)
        packed = b"".join([hiredis.pack_command(self._command(r)) for r in requests])  # type: ignore[arg-type]
        failures = 0
        while True:
            connection = self._idle.pop() if self._idle else await self._redis.connection_pool.get_connection()
            try:
                await connection.send_packed_command(packed, check_health=False)  # connects, if need be
                return [await _reply(connection) for _ in requests]
            except (exceptions.ConnectionError, exceptions.TimeoutError, OSError):
                await connection.disconnect()
                failures += 1
                if failures > RETRIES:
                    raise
                await asyncio.sleep(_BACK_OFF.compute(failures))
            finally:  # who is cancelled while he waits for a reply leaves a closed connection behind
                self._idle.append(connection)

    async def _send_by_driver(self, requests: Sequence[Request]) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        for request in requests:
            pipe.execute_command(*self._command(request))
        return cast(list[Any], await pipe.execute(raise_on_error=False))

    @contextlib.asynccontextmanager
    async def listen(self, *channels: str) -> AsyncIterator[AsyncEars]:
        """Hear what is published on channels, on a connection of its own. See ``Link.listen``."""
        pubsub = self._redis.pubsub(ignore_subscribe_messages=False)
        try:
            try:
                await pubsub.subscribe(*channels)
                ears = AsyncEars(pubsub, self._where, len(channels))
                await ears.wait_ready()
            except (exceptions.RedisError, OSError) as error:
                raise translate(error, self._where) from None
            yield ears
        finally:
            with contextlib.suppress(exceptions.RedisError, OSError):
                await pubsub.aclose()

    async def pop(self, key: str, timeout: float) -> bytes | None:
        """Wait for an element of a list (BLPOP), on a connection of its own; None after ``timeout`` seconds."""
        try:
            found = await self._redis.blpop([key], timeout=timeout)
        except (exceptions.RedisError, OSError) as error:
            raise translate(error, self._where) from None
        return found[1] if found else None

    async def close(self) -> None:
        for connection in self._idle:
            await connection.disconnect()
        self._idle.clear()
        await self._redis.aclose()


async def _reply(connection: Any) -> Any:
    """The next reply, be it an error."""
    try:
        return await connection.read_response()
    except exceptions.ResponseError as error:
        return error


class AsyncEars:
    """What ``AsyncLink.listen`` gives: messages, one by one."""

    def __init__(self, pubsub: Any, where: str, channels: int) -> None:
        self._pubsub = pubsub
        self._where = where
        self._channels = channels

    async def wait_ready(self) -> None:
        """Returns when the server has confirmed every channel: what is published from now on is heard."""
        while self._channels:
            message = await self._pubsub.get_message(timeout=CONNECT_TIMEOUT)
            if message is None:
                raise exceptions.TimeoutError("no answer to SUBSCRIBE")
            self._channels -= message["type"] == "subscribe"

    async def get(self, timeout: float) -> tuple[str, bytes] | None:
        """The next message, as (channel, text); None if there is none within ``timeout`` seconds."""
        end = time.monotonic() + timeout
        while True:
            left = max(0.0, end - time.monotonic())
            try:
                message = await self._pubsub.get_message(timeout=left)
            except (exceptions.RedisError, OSError) as error:
                raise translate(error, self._where) from None
            if message is not None and message["type"] == "message":
                return message["channel"].decode(), message["data"]
            if message is None and time.monotonic() >= end:
                return None
