"""``Link``: the line to Redis that waits for its answers."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import hiredis
import redis
from redis import exceptions

from rq_sched.errors import RedisUnavailable, RqSchedError
from rq_sched.link import drivers
from rq_sched.link.requests import Command, Op, Steps, Talk, left_behind
from rq_sched.link.silence import SIGN_OF_LIFE, Silence
from rq_sched.link.stream import Stream
from rq_sched.scripts import load

T = TypeVar("T")
BACK_OFF = drivers.back_off()


class Link(Talk):
    """A line to Redis that waits for its answers. Threads may share it: every run takes a connection of its own.

    Parameters:
        url: see ``address.py``.
        client: a driver's client to use instead of one made from ``url`` (fakeredis in tests).
        answer_seconds: until an answer that doesn't come counts as lost.
    """

    def __init__(
        self, url: str, client: redis.Redis | None = None, *, answer_seconds: float = drivers.ANSWER_SECONDS
    ) -> None:
        super().__init__(url, given=client is not None)
        self._redis: Any = client or drivers.blocking(url, answer_seconds)
        self._redis.response_callbacks.clear()  # operations read replies as they come
        self._given = client is not None
        self._idle: list[Any] = []  # connections of the driver's that we keep for ourselves
        self._ears: list[Ears] = []  # those that nobody listens with
        self._process = os.getpid()

    def run(self, op: Op[T]) -> T:
        """Carry an operation out.

        Raises:
            RqSchedError: a refusal, or Redis can't be used.
        """
        return self._carry(self.steps(op))

    def load(self, names: Sequence[str]) -> None:
        """Have the server know these scripts.

        Raises:
            RqSchedError
        """
        self._carry(self.loading([load(name) for name in names]))

    def _carry(self, steps: Steps[T]) -> T:
        try:
            commands = next(steps)
            while True:
                commands = steps.send(self._send(commands))
        except StopIteration as stop:
            value: T = stop.value
            return value

    def _send(self, commands: Sequence[Command]) -> list[Any]:
        try:
            replies = self._send_by_driver(commands) if self._given else self._send_packed(commands)
        except (exceptions.RedisError, OSError) as error:
            raise self.translate(error) from None
        if left_behind(replies):
            self._leave()
        return replies

    def _send_packed(self, commands: Sequence[Command]) -> list[Any]:
        """One round trip, past what the driver does for each command. See ``AsyncLink._send_packed``."""
        packed = b"".join([hiredis.pack_command(command) for command in commands])  # type: ignore[arg-type]
        failures = 0
        while True:
            connection = self._take()
            try:
                connection.connect()  # if it isn't: not left to the next line, which would not ask the sentinels
                connection.send_packed_command([packed], check_health=False)
                return [_reply(connection) for _ in commands]
            except (exceptions.ConnectionError, exceptions.TimeoutError, OSError):
                connection.disconnect()
                self._leave()  # what has befallen this one may have befallen the others
                failures += 1
                if failures > drivers.RETRIES:
                    raise
                time.sleep(BACK_OFF.compute(failures))
            except BaseException:  # interrupted: replies that nobody has read must not be taken for the next one's
                connection.disconnect()
                raise
            finally:
                self._idle.append(connection)

    def _take(self) -> Any:
        """A connection that nobody uses."""
        return self._kept(self._idle) or self._redis.connection_pool.get_connection()

    def _kept(self, free: list[T]) -> T | None:
        """One of those that nobody uses, if there is one. A forked process leaves its parent's alone."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._idle.clear()
            self._ears.clear()
        try:
            return free.pop()
        except IndexError:
            return None

    def _leave(self) -> None:
        """Close all connections that aren't in use: who needs one asks anew where the server is."""
        idle, self._idle = self._idle, []
        ears, self._ears = self._ears, []
        for connection in idle:
            connection.disconnect()
        for one in ears:
            one.close()
        self._idle += idle
        self._redis.connection_pool.disconnect(inuse_connections=False)

    def _send_by_driver(self, commands: Sequence[Command]) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        replies: list[Any] = pipe.execute(raise_on_error=False)
        return replies

    @contextlib.contextmanager
    def listen(self, *channels: str) -> Iterator[Ears]:
        """Hear what is published on channels, on a connection of its own: kept for who listens next.

        Raises:
            RedisUnavailable: there is none, or it was lost: listen anew.
        """
        ears = self._hearing(channels)
        try:
            yield ears
        finally:
            if ears.stop():
                self._ears.append(ears)

    def _hearing(self, channels: Sequence[str]) -> Ears:
        while True:
            kept = self._kept(self._ears)
            ears = kept or Ears(self._redis.connection_pool, self)
            try:
                ears.listen(channels)
            except RqSchedError:
                if kept is None:
                    raise
            else:
                return ears

    def stream(self, scripts: Sequence[str]) -> Stream:
        """A connection on which requests are sent ahead of their replies, all by these scripts. See ``Stream``."""
        self.load(scripts)
        return Stream(self, self._redis.connection_pool.get_connection())

    def close(self) -> None:
        for connection in self._idle:
            connection.disconnect()
        for ears in self._ears:
            ears.close()
        self._idle.clear()
        self._ears.clear()
        self._redis.close()


def _reply(connection: Any) -> Any:
    """The next reply, be it an error."""
    try:
        return connection.read_response()
    except exceptions.ResponseError as error:
        return error


class Ears:
    """What ``Link.listen`` gives: messages, one by one.

    Parameters:
        pool: the driver's, for a connection.
        link: tells what an error means.
    """

    def __init__(self, pool: Any, link: Talk) -> None:
        self._pool = pool
        self._link = link
        self._connection: Any = None
        self._channels: frozenset[bytes] = frozenset()

    def listen(self, channels: Sequence[str]) -> None:
        """Returns when the server has confirmed every channel: what is published from now on is heard.

        Raises:
            RedisUnavailable
        """
        self._silence = Silence()
        self._channels = frozenset(channel.encode() for channel in channels)
        with self._translated():
            if self._connection is None:
                self._connection = self._pool.get_connection()
            self._send("SUBSCRIBE", *channels)
            missing = set(self._channels)
            while missing:
                if not self._connection.can_read(timeout=drivers.CONNECT_SECONDS):
                    raise exceptions.TimeoutError("no answer to SUBSCRIBE")
                kind, channel, *_ = self._connection.read_response()
                if kind == b"subscribe":  # others are what is left of those who listened before
                    missing.discard(channel)

    def get(self, timeout: float) -> tuple[str, bytes] | None:
        """The next message, as (channel, text); None if there is none within ``timeout`` seconds.

        Raises:
            RedisUnavailable: the line is dead.
        """
        if self._connection is None:
            raise RedisUnavailable("the line was lost: listen anew")
        end = time.monotonic() + timeout
        while True:
            left = max(0.0, end - time.monotonic())
            with self._translated():
                if self._connection.can_read(timeout=min(left, SIGN_OF_LIFE / 2)):
                    kind, channel, *data = self._connection.read_response()
                    self._silence.broken()
                    if kind == b"message" and channel in self._channels:
                        return channel.decode(), data[0]
                    continue
                if self._silence.must_ask():
                    self._send("PING")
            if time.monotonic() >= end:
                return None

    def stop(self) -> bool:
        """Hear no more; answers whether this can be used again."""
        if self._connection is None:
            return False
        try:
            with self._translated():
                self._send("UNSUBSCRIBE")
        except RqSchedError:
            return False
        return True

    def close(self) -> None:
        """Give the connection up."""
        if self._connection is not None:
            self._connection.disconnect()
            self._pool.release(self._connection)
            self._connection = None

    def _send(self, *command: str) -> None:
        packed = hiredis.pack_command(command)  # type: ignore[arg-type]
        self._connection.send_packed_command([packed], check_health=False)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """A connection on which something went wrong isn't used again."""
        try:
            yield
        except (exceptions.RedisError, OSError) as error:
            self.close()
            raise self._link.translate(error) from None
        except BaseException:
            self.close()
            raise
