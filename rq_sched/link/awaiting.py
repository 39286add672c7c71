"""``AsyncLink``: the line to Redis for one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

import hiredis
import redis.asyncio
from redis import exceptions

from rq_sched.errors import RedisUnavailable, RqSchedError
from rq_sched.link import drivers
from rq_sched.link.outage import Outage
from rq_sched.link.requests import Command, Op, Steps, Talk, left_behind
from rq_sched.link.silence import SIGN_OF_LIFE, Silence
from rq_sched.scripts import load

T = TypeVar("T")
BACK_OFF = drivers.back_off()
CONNECTING = 2 * drivers.SENTINEL_SECONDS
"""Seconds more that an answer may take where a connection must be made first."""


class AsyncLink(Talk):
    """A line to Redis for one event loop. See ``Link``.

    Parameters:
        outage: is told whether Redis can be used (long-running processes log it, and tell it as their health).
        patience: seconds that an operation may take, all its tries together; None: as the timeouts of each try have it.
        for_all: loads the functions of all scripts, for users who may not (schedulers).
    """

    def __init__(
        self,
        url: str,
        client: redis.asyncio.Redis | None = None,
        *,
        answer_seconds: float = drivers.ANSWER_SECONDS,
        outage: Outage | None = None,
        patience: float | None = None,
        for_all: bool = False,
    ) -> None:
        super().__init__(url, client is not None, for_all)
        self._redis: Any = client or drivers.awaiting(url, answer_seconds)
        self._answer_seconds = answer_seconds if client is not None else _taken_over(self._redis)
        self._redis.response_callbacks.clear()  # operations read replies as they come
        self._given = client is not None
        self._idle: list[Any] = []  # connections of the driver's that we keep for ourselves
        self._ears: list[AsyncEars] = []  # those that nobody listens with
        self.outage = outage
        self._patience = patience

    async def run(self, op: Op[T]) -> T:
        """Carry an operation out.

        Raises:
            RqSchedError: a refusal, or Redis can't be used.
        """
        try:
            async with asyncio.timeout(self._patience):
                value = await self._carry(self.steps(op))
        except TimeoutError:
            error = RedisUnavailable(f"Redis{self._where} gave no answer within {self._patience:g} s")
            self._failed(error)
            raise error from None
        except RqSchedError as error:
            self._failed(error)
            raise
        if self.outage is not None:
            self.outage.worked()
        return value

    def _failed(self, error: RqSchedError) -> None:
        if self.outage is not None:
            self.outage.failed(error)

    async def load(self, names: Sequence[str]) -> None:
        """Have the server know these scripts.

        Raises:
            RqSchedError
        """
        await self._carry(self.loading([load(name) for name in names]))

    async def _carry(self, steps: Steps[T]) -> T:
        try:
            commands = next(steps)
            while True:
                commands = steps.send(await self._send(commands))
        except StopIteration as stop:
            value: T = stop.value
            return value

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        try:
            replies = await (self._send_by_driver(commands) if self._given else self._send_packed(commands))
        except (exceptions.RedisError, OSError) as error:
            raise self._told(error) from None
        if left_behind(replies):
            await self._leave()
        return replies

    async def _send_packed(self, commands: Sequence[Command]) -> list[Any]:
        """One round trip. The driver makes the connections; what it does for each command (pool, retry, packing in
        Python, metrics) costs an agent more than the rest of its call, so commands and replies pass it by."""
        packed = b"".join([hiredis.pack_command(command) for command in commands])  # type: ignore[arg-type]
        failures = 0
        while True:
            connection: Any = None
            try:
                async with asyncio.timeout_at(self._soon(CONNECTING)) as limit:
                    connection = self._idle.pop() if self._idle else await self._redis.connection_pool.get_connection()
                    if not connection.is_connected:
                        await connection.connect()  # not left to the next line, which would not ask the sentinels
                    limit.reschedule(self._soon())
                    await connection.send_packed_command(packed, check_health=False)
                    replies = []
                    for _ in commands:
                        replies.append(await _reply(connection))
                        limit.reschedule(self._soon())
                    return replies
            except (exceptions.ConnectionError, exceptions.TimeoutError, OSError):
                if connection is not None:
                    await connection.disconnect(nowait=True)
                await self._leave()  # what has befallen this one may have befallen the others
                failures += 1
                if failures > drivers.RETRIES:
                    raise
                await asyncio.sleep(BACK_OFF.compute(failures))
            finally:  # who is cancelled while he waits for a reply leaves a closed connection behind
                if connection is not None:
                    self._idle.append(connection)

    def _soon(self, more: float = 0.0) -> float:
        """When an answer counts as lost, by the event loop's clock."""
        return asyncio.get_running_loop().time() + self._answer_seconds + more

    def _told(self, error: Exception) -> RqSchedError:
        if isinstance(error, TimeoutError):
            return self.translate(exceptions.TimeoutError(f"no answer within {self._answer_seconds:g} s"))
        return self.translate(error)

    async def _send_by_driver(self, commands: Sequence[Command]) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        replies: list[Any] = await pipe.execute(raise_on_error=False)
        return replies

    async def _leave(self) -> None:
        """Close all connections that aren't in use: who needs one asks anew where the server is."""
        idle, self._idle = self._idle, []  # nobody may take one meanwhile
        ears, self._ears = self._ears, []
        for connection in idle:
            await connection.disconnect(nowait=True)
        for one in ears:
            await one.close()
        self._idle += idle
        await self._redis.connection_pool.disconnect(inuse_connections=False)

    @contextlib.asynccontextmanager
    async def listen(self, *channels: str) -> AsyncIterator[AsyncEars]:
        """Hear what is published on channels, on a connection of its own. See ``Link.listen``."""
        ears = await self._hearing(channels)
        try:
            yield ears
        finally:
            if await ears.stop():
                self._ears.append(ears)

    async def _hearing(self, channels: Sequence[str]) -> AsyncEars:
        while True:
            kept = self._ears.pop() if self._ears else None
            ears = kept or AsyncEars(self._redis.connection_pool, self)
            try:
                await ears.listen(channels)
            except RqSchedError:
                if kept is None:
                    raise
            else:
                return ears

    async def pop(self, key: str, timeout: float) -> bytes | None:
        """Wait for an element of a list (BLPOP), on a connection of its own; None after ``timeout`` seconds."""
        try:
            async with asyncio.timeout_at(self._soon(timeout)):
                found = await self._redis.blpop([key], timeout=timeout)
        except (exceptions.RedisError, OSError) as error:
            if left_behind([error]):
                await self._leave()
            raise self._told(error) from None
        return found[1] if found else None

    async def close(self) -> None:
        for connection in self._idle:
            await connection.disconnect()
        for ears in self._ears:
            await ears.close()
        self._idle.clear()
        self._ears.clear()
        await self._redis.aclose()


def _taken_over(client: Any) -> float:
    """The seconds for an answer that the driver was given (ours, or the address's), and has no more: it would time each
    command by a task of its own (``asyncio.wait_for``), in which Python 3.11 may lose a cancellation."""
    options = client.connection_pool.connection_kwargs
    seconds: float = options["socket_timeout"]
    options["socket_timeout"] = None
    return seconds


async def _reply(connection: Any) -> Any:
    """The next reply, be it an error."""
    try:
        return await connection.read_response()
    except exceptions.ResponseError as error:
        return error


class AsyncEars:
    """What ``AsyncLink.listen`` gives: messages, one by one. See ``Ears``."""

    def __init__(self, pool: Any, link: Talk) -> None:
        self._pool = pool
        self._link = link
        self._connection: Any = None
        self._channels: frozenset[bytes] = frozenset()

    async def listen(self, channels: Sequence[str]) -> None:
        """Returns when the server has confirmed every channel.  Raises: RedisUnavailable."""
        self._silence = Silence()
        self._channels = frozenset(channel.encode() for channel in channels)
        async with self._translated():
            if self._connection is None:
                self._connection = await self._pool.get_connection()
            await self._send("SUBSCRIBE", *channels)
            missing = set(self._channels)
            while missing:
                reply = await self._connection.read_response(timeout=drivers.CONNECT_SECONDS)
                if reply is None:
                    raise exceptions.TimeoutError("no answer to SUBSCRIBE")
                if reply[0] == b"subscribe":  # others are what is left of those who listened before
                    missing.discard(reply[1])

    async def get(self, timeout: float) -> tuple[str, bytes] | None:
        """The next message, as (channel, text); None if there is none within ``timeout`` seconds.

        Raises:
            RedisUnavailable: the line is dead.
        """
        if self._connection is None:
            raise RedisUnavailable("the line was lost: listen anew")
        end = time.monotonic() + timeout
        while True:
            left = max(0.0, end - time.monotonic())
            async with self._translated():
                reply = await self._connection.read_response(timeout=min(left, SIGN_OF_LIFE / 2))
                if reply is not None:
                    kind, channel, *data = reply
                    self._silence.broken()
                    if kind == b"message" and channel in self._channels:
                        return channel.decode(), data[0]
                    continue
                if self._silence.must_ask():
                    await self._send("PING")
            if time.monotonic() >= end:
                return None

    async def stop(self) -> bool:
        """Hear no more; answers whether this can be used again."""
        if self._connection is None:
            return False
        try:
            async with self._translated():
                await self._send("UNSUBSCRIBE")
        except RqSchedError:
            return False
        return True

    async def close(self) -> None:
        """Give the connection up."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)

    async def _send(self, *command: str) -> None:
        packed = hiredis.pack_command(command)  # type: ignore[arg-type]
        await self._connection.send_packed_command(packed, check_health=False)

    @contextlib.asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        """A connection on which something went wrong isn't used again."""
        try:
            yield
        except (exceptions.RedisError, OSError) as error:
            await self.close()
            raise self._link.translate(error) from None
        except BaseException:
            await self.close()
            raise
