"""What is published, heard by any number of coroutines on one connection: see ``ears.py``."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from redis import exceptions

from rq_sched.errors import ClientClosed, RedisUnavailable, RqSchedError
from rq_sched.link import drivers
from rq_sched.link.ears import CLOSED, LOST, Heard
from rq_sched.link.requests import Talk, packed
from rq_sched.link.silence import SIGN_OF_LIFE, Silence


class AsyncEars:
    """What ``AsyncLink.listen`` gives: messages, one by one. See ``Ears``."""

    idle = False
    """See ``Ears``."""

    def __init__(self, listener: AsyncListener, channels: Sequence[str]) -> None:
        self.listener = listener
        self.channels = [channel.encode() for channel in channels]
        self.messages: deque[tuple[str, bytes]] = deque()
        self.number = 0
        self.lost = False
        self.turn = asyncio.Event()
        """Set when there is something in here, when it is lost, and when nobody reads."""

    async def get(self, timeout: float) -> tuple[str, bytes] | None:
        """The next message, as (channel, text); None if there is none within ``timeout`` seconds.

        Raises:
            RedisUnavailable: the line is dead.
        """
        return await self.listener.get(self, timeout)


class AsyncListener:
    """The one connection of a link on which the coroutines of an event loop listen. See ``Listener``."""

    def __init__(self, pool: Any, link: Talk) -> None:
        self._pool = pool
        self._link = link
        self._connecting = asyncio.Lock()
        self._connection: Any = None
        self._heard = Heard()
        self._silence = Silence()
        self._reading = False
        self._waiting: dict[AsyncEars, None] = {}
        self._closed = False

    async def listen(self, channels: Sequence[str]) -> AsyncEars:
        """See ``Listener.listen``."""
        for again in (True, False):
            ears = AsyncEars(self, channels)
            kept = self._connection is not None
            try:
                await self._begin(ears)
                end = time.monotonic() + drivers.CONNECT_SECONDS
                if await self._wait(ears, lambda ears=ears: self._heard.confirmed(ears), end):  # type: ignore[misc]
                    return ears
                async with self._translated():
                    raise exceptions.TimeoutError("no answer to SUBSCRIBE")
            except RqSchedError:
                if not (kept and again):  # a kept one may have been dead for long
                    raise
            except BaseException:
                await self.stop(ears)
                raise
        raise AssertionError  # never: the second try ends it

    async def get(self, ears: AsyncEars, timeout: float) -> tuple[str, bytes] | None:
        """See ``AsyncEars.get``."""
        await self._wait(ears, lambda: bool(ears.messages), time.monotonic() + timeout)
        return ears.messages.popleft() if ears.messages else None

    async def stop(self, ears: AsyncEars) -> None:
        """Those hear no more."""
        silent = self._heard.remove(ears)
        if silent and not ears.lost:
            with contextlib.suppress(RqSchedError):
                async with self._translated():
                    await self._send(b"UNSUBSCRIBE", *silent)

    async def leave(self) -> None:
        """Give the connection up unless somebody waits."""
        if all(ears.idle for ears in self._heard.all()):
            await self._lose()

    async def close(self) -> None:
        """Nobody listens any more."""
        self._closed = True
        await self._lose()

    async def _begin(self, ears: AsyncEars) -> None:
        async with self._translated():
            async with self._connecting:
                if self._closed:
                    raise ClientClosed(CLOSED)
                if self._connection is None:
                    connection = self._pool.make_connection()
                    await drivers.cancellable(connection.connect())
                    self._connection = connection
                    self._silence = Silence()
            self._heard.add(ears)
            await self._send(b"SUBSCRIBE", *ears.channels)

    async def _wait(self, ears: AsyncEars, ready: Callable[[], bool], end: float) -> bool:
        """Whether ``ready`` came true until then; looks at least once what has come.  Raises: RedisUnavailable."""
        try:
            while not ready():
                if ears.lost:
                    raise ClientClosed(CLOSED) if self._closed else RedisUnavailable(LOST)
                left = max(0.0, end - time.monotonic())
                if self._reading:
                    await self._be_told(ears, left)
                else:
                    await self._read(left)
                if not ready() and time.monotonic() >= end:
                    return False
            return True
        finally:
            if not self._reading and self._waiting:
                next(iter(self._waiting)).turn.set()

    async def _be_told(self, ears: AsyncEars, left: float) -> None:
        ears.turn.clear()
        self._waiting[ears] = None
        try:
            async with asyncio.timeout(left):
                await ears.turn.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting.pop(ears, None)

    async def _read(self, left: float) -> None:
        """Wait for what comes, and deal it out."""
        connection = self._connection
        async with self._translated(connection):
            self._reading = True
            try:  # who is cancelled while he reads leaves the rest of it to the next one
                reply = await connection.read_response(timeout=min(left, SIGN_OF_LIFE / 2), disconnect_on_error=False)
            finally:
                self._reading = False
            if connection is not self._connection:
                raise exceptions.ConnectionError(LOST)
            if reply is None:
                if self._silence.must_ask():
                    await self._send(b"PING")
                return
            self._silence.broken()
            for ears in self._heard.deal(reply):
                ears.turn.set()

    async def _send(self, *command: bytes) -> None:
        if not self._connection.is_connected:  # who was cancelled while he sent has closed it; it isn't to connect anew
            raise exceptions.ConnectionError(LOST)
        await self._connection.send_packed_command(packed([command]), check_health=False)

    @contextlib.asynccontextmanager
    async def _translated(self, connection: Any = None) -> AsyncIterator[None]:
        """A connection on which something went wrong isn't used again."""
        try:
            yield
        except Exception as error:
            if connection not in (None, self._connection):  # lost already, by another one, while this one used it
                raise RedisUnavailable(LOST) from None
            await self._lose()
            if isinstance(error, (exceptions.RedisError, OSError)):
                raise self._link.translate(error) from None
            raise

    async def _lose(self) -> None:
        connection, self._connection = self._connection, None
        those, self._heard = self._heard.all(), Heard()
        for ears in those:
            ears.lost = True
            ears.turn.set()
        if connection is not None:
            await connection.disconnect(nowait=True)
