"""The connections of a link: so many at most, lent out one by one. Who finds none free waits for one: that others of
the same client are busy doesn't mean that Redis is away. It is away if for a while none of them gets an answer.

``Lines`` is for the threads of one process, ``AsyncLines`` for the coroutines of one event loop; a link makes a new one
where it finds itself in another. The driver's pool only makes the connections: at its own limit it raises.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from queue import Empty, SimpleQueue
from typing import Any

from redis import exceptions

from rq_sched.errors import ClientBusy


def limit_of(pool: Any) -> int:
    """How many connections the driver's pool may have; from now on it is not the pool that minds it."""
    most: int = pool.max_connections
    pool.max_connections = 2**31
    return most


class _Limit:
    """What both have in common: when waiting for a connection is given up."""

    def __init__(self, pool: Any, most: int, stalled: float) -> None:
        self._pool = pool
        self._most = most
        self._stalled = stalled
        self.idle: list[Any] = []  # the one that was used last is used next: the others may be closed by the server
        self.closed = False  # if so, none stays open that is given back
        self.answers = 0
        """How many round trips have been answered."""

    def _patience(self, end: float | None) -> float:
        """Seconds to wait now.  Raises: ClientBusy."""
        left = self._stalled if end is None else end - time.monotonic()
        if left <= 0:
            raise ClientBusy(
                f"all {self._most} connections of this client are in use, and none became free in time: "
                f"give it more with ?max_connections=… in its address"
            )
        return min(left, self._stalled)

    def _still_answered(self, before: int, waited: float) -> None:
        """Whether there is something to wait for.  Raises: redis.TimeoutError."""
        if waited >= self._stalled and self.answers == before:
            raise exceptions.TimeoutError(f"no answer on any of {self._most} connections within {self._stalled:g} s")


class Lines(_Limit):
    """See above. Threads may share it.

    Parameters:
        pool: the driver's.
        most: how many connections.
        stalled: seconds without any answer after which waiting for a connection is given up.
    """

    def __init__(self, pool: Any, most: int, stalled: float) -> None:
        super().__init__(pool, most, stalled)
        self.process = os.getpid()
        self._permits: SimpleQueue[None] = SimpleQueue()
        for _ in range(most):
            self._permits.put(None)

    def wait(self, permit: list[None], within: float | None = None) -> None:
        """Until a connection may be taken. The permit for it is then in ``permit``, and to be given back.

        Parameters:
            permit: an empty list of the caller's. The permit gets from the queue into it within one call to C: who is
                interrupted (Ctrl-C) can't be between having taken it and knowing of it.
            within: seconds to wait at most.

        Raises:
            ClientBusy, redis.TimeoutError
        """
        with contextlib.suppress(Empty):
            permit.extend(map(self._permits.get, (False,)))  # at once, also where there is no time to wait
            return
        end = None if within is None else time.monotonic() + within
        while True:
            before, seconds = self.answers, self._patience(end)
            try:
                permit.extend(map(self._permits.get, (True,), (seconds,)))
                return
            except Empty:
                self._still_answered(before, seconds)

    def take(self) -> Any:
        """A connection that nobody uses; it may have to be connected."""
        try:
            return self.idle.pop()
        except IndexError:
            return self._pool.make_connection()

    def give_back(self, permit: list[None], connection: Any) -> None:
        """Others may use this one now (if it isn't None): it is closed, or all its answers have been read."""
        if connection is not None:
            self.idle.append(connection)
        if permit:
            self._permits.put(permit.pop())
        if self.closed:
            self.leave()

    def leave(self) -> None:
        """Close all that nobody uses."""
        while self.idle:
            with contextlib.suppress(IndexError):  # another thread was faster
                self.idle.pop().disconnect()


class AsyncLines(_Limit):
    """The same for the coroutines of the event loop that runs."""

    def __init__(self, pool: Any, most: int, stalled: float) -> None:
        super().__init__(pool, most, stalled)
        self.process = os.getpid()
        self.loop = asyncio.get_running_loop()
        self._permits = asyncio.Semaphore(most)

    async def wait(self, within: float | None = None) -> None:
        """See ``Lines.wait``."""
        if not self._permits.locked():
            await self._permits.acquire()  # at once
            return
        end = None if within is None else time.monotonic() + within
        while True:
            before, seconds = self.answers, self._patience(end)
            try:
                async with asyncio.timeout(seconds):
                    await self._permits.acquire()
                    return
            except TimeoutError:
                self._still_answered(before, seconds)

    def take(self) -> Any:
        """See ``Lines.take``."""
        return self.idle.pop() if self.idle else self._pool.make_connection()

    async def give_back(self, connection: Any) -> None:
        """See ``Lines.give_back``."""
        self.idle.append(connection)
        self._permits.release()
        if self.closed:
            await self.leave()

    async def leave(self) -> None:
        """See ``Lines.leave``."""
        while self.idle:
            await self.idle.pop().disconnect(nowait=True)
