"""``Link``: the line to Redis that waits for its answers."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import redis
from redis import exceptions

from rq_sched.errors import ClientClosed
from rq_sched.link import drivers
from rq_sched.link.ears import CLOSED, Ears, Listener
from rq_sched.link.lines import Lines, limit_of
from rq_sched.link.requests import Command, Op, Outgoing, RoundTrips, Talk, left_behind
from rq_sched.link.scripts import load
from rq_sched.link.stream import Stream

T = TypeVar("T")
BACKOFF = drivers.backoff_of_commands()


class Link(Talk):
    """A line to Redis that waits for its answers. Threads may share it: every run takes a connection of its own.

    Parameters:
        url: see ``address.py``.
        client: a driver's client to use instead of one made from ``url`` (fakeredis in tests).
        answer_seconds: until an answer that doesn't come counts as lost.
        greeting: what is asked before the first operation (``Talk``).
    """

    def __init__(
        self,
        url: str,
        client: redis.Redis | None = None,
        *,
        answer_seconds: float = drivers.ANSWER_SECONDS,
        greeting: Callable[[], Op[None]] | None = None,
    ) -> None:
        super().__init__(url, given=client is not None, greeting=greeting)
        self._redis: Any = client or drivers.blocking(url, answer_seconds)
        self._redis.response_callbacks.clear()  # operations read replies as they come
        self._given = client is not None
        self._closed = False
        self._most = limit_of(self._redis.connection_pool)
        self._stalled = (1 + drivers.RETRIES) * (answer_seconds + drivers.CONNECT_SECONDS)
        self._open()

    def _open(self) -> None:
        pool = self._redis.connection_pool
        self._lines = Lines(pool, self._most, self._stalled)
        self._following = Lines(pool, max(1, self._most // 2), self._stalled)
        self._listener = Listener(pool, self)

    def _check(self) -> None:
        """Begin anew in a forked process: what was open is its parent's.  Raises: ClientClosed."""
        if self._closed:
            raise ClientClosed(CLOSED)
        if self._lines.process != os.getpid():
            self._open()

    def run(self, op: Op[T], within: float | None = None, follows: bool = False) -> T:
        """Carry an operation out.

        Parameters:
            within: seconds that it may wait for a connection if all are in use; None: as long as others get answers.
            follows: the server waits with its answer. Such have connections of their own, half as many at most, so that
                others needn't wait behind them.

        Raises:
            RqSchedError: a refusal, or Redis can't be used.
        """
        return self._carry(self.round_trips(op), within, follows)

    def load(self, names: Sequence[str]) -> None:
        """Have the server know these scripts.

        Raises:
            RqSchedError
        """
        self._carry(self.loading([load(name) for name in names]))

    def _carry(self, trips: RoundTrips[T], within: float | None = None, follows: bool = False) -> T:
        try:
            commands = next(trips)
            while True:
                commands = trips.send(self._send(commands, within, follows))
        except StopIteration as stop:
            value: T = stop.value
            return value

    def _send(self, commands: Sequence[Command], within: float | None, follows: bool) -> list[Any]:
        self._check()
        try:
            if self._given:
                replies = self._send_by_driver(commands)
            else:
                replies = self._send_packed(self._following if follows else self._lines, Outgoing(commands), within)
        except (exceptions.RedisError, OSError) as error:
            raise self.translate(error) from None
        if left_behind(replies):
            self._leave()
        return replies

    def _send_packed(self, lines: Lines, outgoing: Outgoing, within: float | None) -> list[Any]:
        """One round trip, past what the driver does for each command. See ``AsyncLink._send_packed``."""
        failures = 0
        while True:
            permit: list[None] = []
            connection: Any = None
            try:
                lines.wait(permit, within)
                connection = lines.take()
                connection.connect()  # if it isn't: not left to the next line, which would not ask the sentinels
                for piece in outgoing:
                    connection.send_packed_command([piece], check_health=False)
                replies = [_reply(connection) for _ in range(outgoing.count)]
                lines.answers += 1
                return replies
            except (exceptions.ConnectionError, exceptions.TimeoutError, OSError):
                if connection is None:  # all are in use
                    raise
                connection.disconnect()
                self._leave()  # what has befallen this one may have befallen the others
                failures += 1
                if failures > drivers.RETRIES:
                    raise
            except BaseException:  # interrupted: replies that nobody has read must not be taken for the next one's
                if connection is not None:
                    connection.disconnect()
                raise
            finally:
                lines.give_back(permit, connection)
            time.sleep(BACKOFF.compute(failures))
            self._check()

    def _leave(self) -> None:
        """Close all connections that aren't in use: who needs one asks anew where the server is."""
        self._lines.leave()
        self._following.leave()
        self._listener.leave()
        self._redis.connection_pool.disconnect(inuse_connections=False)

    def _send_by_driver(self, commands: Sequence[Command]) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        replies: list[Any] = pipe.execute(raise_on_error=False)
        return replies

    def hear(self, *channels: str) -> Ears:
        """Hear what is published on channels, until ``stop``. All who listen share a connection, kept for those who
        listen next.

        Raises:
            RedisUnavailable: there is none, or it was lost: listen anew.
        """
        self._check()
        return self._listener.listen(channels)

    def hears(self, ears: Ears) -> bool:
        """Whether these still hear; not in a forked process: the connection is its parent's.  Raises: ClientClosed."""
        self._check()
        return ears.listener is self._listener and not ears.lost

    def stop(self, ears: Ears) -> None:
        """These hear no more."""
        if ears.listener is self._listener:
            ears.listener.stop(ears)

    @contextlib.contextmanager
    def listen(self, *channels: str) -> Iterator[Ears]:
        """``hear``, as long as the block lasts."""
        ears = self.hear(*channels)
        try:
            yield ears
        finally:
            self.stop(ears)

    def stream(self, scripts: Sequence[str]) -> Stream:
        """A connection on which requests are sent ahead of their replies, all by these scripts. See ``Stream``."""
        self.load(scripts)  # which checks that there is still a link
        return Stream(self, self._redis.connection_pool.get_connection())

    def close(self) -> None:
        """Give all connections up. Calls that wait for one, and later ones, raise ``ClientClosed``."""
        closed, self._closed = self._closed, True
        if closed or self._lines.process != os.getpid():
            return
        for lines in (self._lines, self._following):
            lines.closed = True
            lines.leave()
        self._listener.close()
        self._redis.close()


def _reply(connection: Any) -> Any:
    """The next reply, be it an error."""
    try:
        return connection.read_response()
    except exceptions.ResponseError as error:
        return error
