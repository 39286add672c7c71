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
        """A connection that nobody uses. A forked process leaves its parent's alone."""
        if self._process != os.getpid():
            self._process, self._idle = os.getpid(), []
        try:
            return self._idle.pop()
        except IndexError:
            return self._redis.connection_pool.get_connection()

    def _leave(self) -> None:
        """Close all connections that aren't in use: who needs one asks anew where the server is."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.disconnect()
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
        """Hear what is published on channels, on a connection of its own.

        Raises:
            RedisUnavailable: there is none, or it was lost: listen anew.
        """
        pubsub = self._redis.pubsub(ignore_subscribe_messages=False)
        try:
            try:
                pubsub.subscribe(*channels)
                ears = Ears(pubsub, self, len(channels))
                ears.wait_ready()
            except (exceptions.RedisError, OSError) as error:
                raise self.translate(error) from None
            yield ears
        finally:
            with contextlib.suppress(exceptions.RedisError, OSError):
                pubsub.close()

    def stream(self, scripts: Sequence[str]) -> Stream:
        """A connection on which requests are sent ahead of their replies, all by these scripts. See ``Stream``."""
        self.load(scripts)
        return Stream(self, self._redis.connection_pool.get_connection())

    def close(self) -> None:
        for connection in self._idle:
            connection.disconnect()
        self._idle.clear()
        self._redis.close()


def _reply(connection: Any) -> Any:
    """The next reply, be it an error."""
    try:
        return connection.read_response()
    except exceptions.ResponseError as error:
        return error


class Ears:
    """What ``Link.listen`` gives: messages, one by one."""

    def __init__(self, pubsub: Any, link: Talk, channels: int) -> None:
        self._pubsub = pubsub
        self._link = link
        self._channels = channels
        self._silence = Silence()

    def wait_ready(self) -> None:
        """Returns when the server has confirmed every channel: what is published from now on is heard."""
        while self._channels:
            message = self._pubsub.get_message(timeout=drivers.CONNECT_SECONDS)
            if message is None:
                raise exceptions.TimeoutError("no answer to SUBSCRIBE")
            self._channels -= message["type"] == "subscribe"

    def get(self, timeout: float) -> tuple[str, bytes] | None:
        """The next message, as (channel, text); None if there is none within ``timeout`` seconds.

        Raises:
            RedisUnavailable: the line is dead.
        """
        end = time.monotonic() + timeout
        while True:
            left = max(0.0, end - time.monotonic())
            try:
                message = self._pubsub.get_message(timeout=min(left, SIGN_OF_LIFE / 2))
                if message is None and self._silence.must_ask():
                    self._pubsub.ping()
            except (exceptions.RedisError, OSError) as error:
                raise self._link.translate(error) from None
            if message is not None:
                self._silence.broken()
                if message["type"] == "message":
                    return message["channel"].decode(), message["data"]
            elif time.monotonic() >= end:
                return None
