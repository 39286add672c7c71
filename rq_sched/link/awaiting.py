"""``AsyncLink``: the line to Redis for one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

import redis.asyncio
from redis import exceptions

from rq_sched.errors import ClientClosed, RedisUnavailable, RqSchedError, WrongLoop
from rq_sched.link import drivers
from rq_sched.link.async_ears import AsyncEars, AsyncListener
from rq_sched.link.ears import CLOSED
from rq_sched.link.lines import AsyncLines, limit_of
from rq_sched.link.outage import Outage
from rq_sched.link.requests import Command, Op, Outgoing, RoundTrips, Talk, left_behind
from rq_sched.link.scripts import load

T = TypeVar("T")
BACKOFF = drivers.backoff_of_commands()
CONNECTING = 2 * drivers.SENTINEL_SECONDS
"""Seconds more that an answer may take where a connection must be made first."""


class AsyncLink(Talk):
    """A line to Redis for one event loop. See ``Link``.

    Parameters:
        outage: is told whether Redis can be used (long-running processes log it, and tell it as their health).
        patience: seconds that an operation may take, all its tries together; None: as the timeouts of each try have it.
        for_all: loads the functions of all scripts, for users who may not (schedulers).
        greeting: what is asked before the first operation (``Talk``).
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
        greeting: Callable[[], Op[None]] | None = None,
    ) -> None:
        super().__init__(url, client is not None, for_all, greeting)
        self._given = client is not None
        self._asked_seconds = answer_seconds
        self._connect(client)
        self._stalled = (1 + drivers.RETRIES) * (self._answer_seconds + CONNECTING)
        self._closed = False
        self._lines: AsyncLines | None = None
        self._following: AsyncLines
        self._listener: AsyncListener
        self.outage = outage
        self._patience = patience

    def _connect(self, client: redis.asyncio.Redis | None = None) -> None:
        """Have a client of the driver's; nothing is sent yet."""
        self._redis: Any = client or drivers.awaiting(self.url, self._asked_seconds)
        self._answer_seconds = self._asked_seconds if client is not None else _taken_over(self._redis)
        self._redis.response_callbacks.clear()  # operations read replies as they come
        self._most = limit_of(self._redis.connection_pool)

    def _open(self) -> AsyncLines:
        """The connections of the event loop that runs.

        Raises:
            ClientClosed
            WrongLoop: another loop has the connections, and may still be using them.
        """
        if self._closed:
            raise ClientClosed(CLOSED)
        lines, loop = self._lines, asyncio.get_running_loop()
        if lines is not None and lines.loop is loop:
            return lines
        if lines is not None:
            if lines.process == os.getpid() and not lines.loop.is_closed():
                raise WrongLoop("this client is in use by another event loop: make an AsyncClient for each loop")
            self._connect()  # what was open belongs to a loop that is gone
        pool = self._redis.connection_pool
        self._lines = lines = AsyncLines(pool, self._most, self._stalled)
        self._following = AsyncLines(pool, max(1, self._most // 2), self._stalled)
        self._listener = AsyncListener(pool, self)
        return lines

    async def run(self, op: Op[T], within: float | None = None, follows: bool = False) -> T:
        """Carry an operation out.

        Parameters:
            within, follows: see ``Link.run``.

        Raises:
            RqSchedError: a refusal, or Redis can't be used.
        """
        try:
            async with asyncio.timeout(self._patience):
                value = await self._carry(self.round_trips(op), within, follows)
        except RqSchedError as error:  # some of which are TimeoutErrors, too
            self._failed(error)
            raise
        except TimeoutError:
            late = RedisUnavailable(f"Redis{self._where} gave no answer within {self._patience:g} s")
            self._failed(late)
            raise late from None
        if self.outage is not None:
            self.outage.worked()
        return value

    async def ask(self, command: Command) -> Any:
        """The answer to one command, be it an error; also of a server that is too busy for others. The outage isn't
        told of it.

        Raises:
            RqSchedError: there is no answer.
        """
        return (await self._send([command], None))[0]

    def _failed(self, error: RqSchedError) -> None:
        if self.outage is not None:
            self.outage.failed(error)

    async def load(self, names: Sequence[str]) -> None:
        """Have the server know these scripts.

        Raises:
            RqSchedError
        """
        await self._carry(self.loading([load(name) for name in names]))

    async def _carry(self, trips: RoundTrips[T], within: float | None = None, follows: bool = False) -> T:
        try:
            commands = next(trips)
            while True:
                commands = trips.send(await self._send(commands, within, follows))
        except StopIteration as stop:
            value: T = stop.value
            return value

    async def _send(self, commands: Sequence[Command], within: float | None, follows: bool = False) -> list[Any]:
        lines = self._open()
        try:
            if self._given:
                replies = await self._send_by_driver(commands)
            else:
                lines = self._following if follows else lines
                replies = await self._send_packed(lines, Outgoing(commands), within)
        except (exceptions.RedisError, OSError) as error:
            raise self._translated(error) from None
        if left_behind(replies):
            await self._leave()
        return replies

    async def _send_packed(self, lines: AsyncLines, outgoing: Outgoing, within: float | None) -> list[Any]:
        """One round trip. The driver makes the connections; what it does for each command (pool, retry, packing in
        Python, metrics) costs an agent more than the rest of its call, so commands and replies pass it by."""
        failures = 0
        while True:
            await lines.wait(within)
            connection = lines.take()
            try:
                connected = connection.is_connected
                async with asyncio.timeout_at(self._soon(0 if connected else CONNECTING)) as limit:
                    if not connected:
                        # Not left to the next line, which would not ask the sentinels.
                        await drivers.cancellable(connection.connect())
                        limit.reschedule(self._soon())
                    for piece in outgoing:
                        await connection.send_packed_command(piece, check_health=False)
                    replies: list[Any] = []
                    while len(replies) < outgoing.count:
                        if replies:  # setting a limit anew costs as much as reading a reply
                            limit.reschedule(self._soon())
                        replies.append(await _reply(connection))
                    lines.answers += 1
                    return replies
            except (exceptions.ConnectionError, exceptions.TimeoutError, OSError):
                await connection.disconnect(nowait=True)
                await self._leave()  # what has befallen this one may have befallen the others
                failures += 1
                if failures > drivers.RETRIES:
                    raise
            except Exception:  # of a command behind others: their replies must not be taken for the next one's
                await connection.disconnect(nowait=True)
                raise
            finally:  # who is cancelled while he waits for a reply leaves a closed connection behind
                await lines.give_back(connection)
            await asyncio.sleep(BACKOFF.compute(failures))
            self._open()  # it may have been closed meanwhile

    def _soon(self, more: float = 0.0) -> float:
        """When an answer counts as lost, by the event loop's clock."""
        return asyncio.get_running_loop().time() + self._answer_seconds + more

    def _translated(self, error: Exception) -> RqSchedError:
        if isinstance(error, TimeoutError):
            return self.translate(exceptions.TimeoutError(f"no answer within {self._answer_seconds:g} s"))
        return self.translate(error)

    async def _send_by_driver(self, commands: Sequence[Command]) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        replies: list[Any] = await drivers.cancellable(pipe.execute(raise_on_error=False))
        return replies

    async def _leave(self) -> None:
        """Close all connections that aren't in use: who needs one asks anew where the server is."""
        if self._lines is not None:
            await self._lines.leave()
            await self._following.leave()
            await self._listener.leave()
        await self._redis.connection_pool.disconnect(inuse_connections=False)
        await asyncio.sleep(0)  # the event loop closes them in its next turn

    async def hear(self, *channels: str) -> AsyncEars:
        """Hear what is published on channels, until ``stop``. See ``Link.hear``."""
        self._open()
        return await self._listener.listen(channels)

    def hears(self, ears: AsyncEars) -> bool:
        """Whether these still hear; not in a forked process, nor in another event loop.

        Raises:
            ClientClosed, WrongLoop
        """
        self._open()
        return ears.listener is self._listener and not ears.lost

    async def stop(self, ears: AsyncEars) -> None:
        """These hear no more."""
        if ears.listener is self._listener:
            await ears.listener.stop(ears)

    @contextlib.asynccontextmanager
    async def listen(self, *channels: str) -> AsyncIterator[AsyncEars]:
        """``hear``, as long as the block lasts."""
        ears = await self.hear(*channels)
        try:
            yield ears
        finally:
            await self.stop(ears)

    async def pop(self, key: str, timeout: float) -> bytes | None:
        """Wait for an element of a list (BLPOP), on a connection of its own; None after ``timeout`` seconds."""
        self._open()
        try:
            async with asyncio.timeout_at(self._soon(timeout)):
                found = await drivers.cancellable(self._redis.blpop([key], timeout=timeout))
        except (exceptions.RedisError, OSError) as error:
            if left_behind([error]):
                await self._leave()
            raise self._translated(error) from None
        return found[1] if found else None

    async def close(self) -> None:
        """See ``Link.close``."""
        lines, closed = self._lines, self._closed
        self._closed = True
        if closed or lines is None or lines.loop is not asyncio.get_running_loop():
            return
        for those in (lines, self._following):
            those.closed = True
            await those.leave()
        await self._listener.close()
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
