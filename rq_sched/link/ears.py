"""What is published, heard by any number of threads on one connection: ``Listener`` has the connection, and each thread
``Ears`` of its own.

Whoever waits reads for all, one at a time: what comes for others is put into their ears. When that thread has what it
waited for, another one goes on reading. So there is no thread for it that could outlive its users, and where only one
listens it is as if the connection were its own. ``AsyncListener`` does the same for coroutines (``async_ears.py``).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from redis import exceptions

from rq_sched.errors import ClientClosed, RedisUnavailable, RqSchedError
from rq_sched.link import drivers
from rq_sched.link.requests import Talk, packed
from rq_sched.link.silence import SIGN_OF_LIFE, Silence

LOST = "the line was lost: listen anew"
MARGIN = 0.5
"""Seconds after which a reader that hasn't come back from the socket is taken for gone."""
CLOSED = "this client was closed: make a new one"


class Heard:
    """Who hears which channels on a connection, and which the server has confirmed: without IO, for both listeners."""

    def __init__(self) -> None:
        self._by_channel: dict[bytes, list[Any]] = {}
        self._asked = 0  # channels that the server was told of; it confirms them in that order
        self._confirmed = 0

    def add(self, ears: Any) -> None:
        """These hear their channels, once they are ``confirmed``."""
        for channel in ears.channels:
            self._by_channel.setdefault(channel, []).append(ears)
        self._asked += len(ears.channels)
        ears.number = self._asked

    def confirmed(self, ears: Any) -> bool:
        return bool(self._confirmed >= ears.number)

    def remove(self, ears: Any) -> list[bytes]:
        """These hear no more; answers the channels that nobody hears now."""
        silent = []
        for channel in ears.channels:
            those = self._by_channel.get(channel, [])
            if ears in those:
                those.remove(ears)
                if not those:
                    del self._by_channel[channel]
                    silent.append(channel)
        return silent

    def deal(self, reply: list[Any]) -> list[Any]:
        """Put what was read into the ears that it is for; answers those."""
        kind, channel, *data = reply
        if kind == b"subscribe":
            self._confirmed += 1
        elif kind != b"message":
            return []
        those = [ears for ears in self._by_channel.get(channel, []) if self.confirmed(ears)]
        if kind == b"message":  # who isn't confirmed yet isn't meant: others listened here before
            for ears in those:
                ears.messages.append((channel.decode(), data[0]))
        return those

    def all(self) -> list[Any]:
        return [ears for those in self._by_channel.values() for ears in those]


class Ears:
    """What ``Link.listen`` gives: messages, one by one."""

    idle = False
    """Whether nobody waits here for now: the connection needn't be kept for it."""

    def __init__(self, listener: Listener, channels: Sequence[str]) -> None:
        self.listener = listener
        self.channels = [channel.encode() for channel in channels]
        self.messages: deque[tuple[str, bytes]] = deque()
        self.number = 0
        self.lost = False
        self.turn = threading.Condition(listener.lock)
        """Told when there is something in here, when it is lost, and when nobody reads."""

    def get(self, timeout: float) -> tuple[str, bytes] | None:
        """The next message, as (channel, text); None if there is none within ``timeout`` seconds.

        Raises:
            RedisUnavailable: the line is dead.
        """
        return self.listener.get(self, timeout)


class Listener:
    """The one connection of a link on which its threads listen; made when the first does, and kept.

    Parameters:
        pool: the driver's, for a connection.
        link: tells what an error means.
    """

    def __init__(self, pool: Any, link: Talk) -> None:
        self.lock = threading.Lock()
        """Of everything here, but not held while a thread waits for the socket to be readable."""
        self._pool = pool
        self._link = link
        self._connection: Any = None
        self._heard = Heard()
        self._silence = Silence()
        self._reading_until = 0.0  # somebody reads; if until then he hasn't come back, he was interrupted (Ctrl-C)
        self._waiting: dict[Ears, None] = {}
        self._closed = False

    def listen(self, channels: Sequence[str]) -> Ears:
        """Returns when the server has confirmed every channel: what is published from now on is heard.

        Raises:
            RedisUnavailable
        """
        for again in (True, False):
            ears = Ears(self, channels)
            with self.lock:
                kept = self._connection is not None
                try:
                    self._begin(ears)
                    end = time.monotonic() + drivers.CONNECT_SECONDS
                    if self._wait(ears, lambda ears=ears: self._heard.confirmed(ears), end):  # type: ignore[misc]
                        return ears
                    with self._translated():
                        raise exceptions.TimeoutError("no answer to SUBSCRIBE")
                except RqSchedError:
                    if not (kept and again):  # a kept one may have been dead for long
                        raise
                except BaseException:
                    self._end(ears)
                    raise
        raise AssertionError  # never: the second try ends it

    def get(self, ears: Ears, timeout: float) -> tuple[str, bytes] | None:
        """See ``Ears.get``."""
        with self.lock:
            self._wait(ears, lambda: bool(ears.messages), time.monotonic() + timeout)
            return ears.messages.popleft() if ears.messages else None

    def stop(self, ears: Ears) -> None:
        """Those hear no more."""
        with self.lock:
            self._end(ears)

    def leave(self) -> None:
        """Give the connection up unless somebody waits."""
        with self.lock:
            if all(ears.idle for ears in self._heard.all()):
                self._lose()

    def close(self) -> None:
        """Nobody listens any more."""
        with self.lock:
            self._closed = True
            self._lose()

    # -- with the lock ----------------------------------------------------------------------------

    def _begin(self, ears: Ears) -> None:
        if self._closed:
            raise ClientClosed(CLOSED)
        with self._translated():
            if self._connection is None:
                self._connection = self._pool.make_connection()
                self._connection.connect()
                self._silence = Silence()
            self._heard.add(ears)
            self._send(b"SUBSCRIBE", *ears.channels)

    def _end(self, ears: Ears) -> None:
        silent = self._heard.remove(ears)
        if silent and not ears.lost:
            with contextlib.suppress(RqSchedError), self._translated():
                self._send(b"UNSUBSCRIBE", *silent)

    def _wait(self, ears: Ears, ready: Callable[[], bool], end: float) -> bool:
        """Whether ``ready`` came true until then; looks at least once what has come.  Raises: RedisUnavailable."""
        try:
            while not ready():
                if ears.lost:
                    raise ClientClosed(CLOSED) if self._closed else RedisUnavailable(LOST)
                now = time.monotonic()
                left = max(0.0, end - now)
                if now < self._reading_until:
                    self._waiting[ears] = None
                    ears.turn.wait(min(left, self._reading_until - now))
                    self._waiting.pop(ears, None)
                else:
                    self._read(left)
                if not ready() and time.monotonic() >= end:
                    return False
            return True
        finally:
            if self._waiting and time.monotonic() >= self._reading_until:
                next(iter(self._waiting)).turn.notify()

    def _read(self, left: float) -> None:
        """Wait for the socket, with the lock given away, and deal out what has come."""
        connection = self._connection
        with self._translated(connection):
            seconds = min(left, SIGN_OF_LIFE / 2)
            self._reading_until = time.monotonic() + seconds + MARGIN
            try:
                self.lock.release()
                connection.can_read(timeout=seconds)
            finally:
                self.lock.acquire()
                self._reading_until = 0.0
            if connection is not self._connection:
                raise exceptions.ConnectionError(LOST)
            if not connection.can_read(timeout=0):  # nothing, or another one was faster
                if self._silence.must_ask():
                    self._send(b"PING")
                return
            self._silence.broken()
            while True:
                for ears in self._heard.deal(connection.read_response()):
                    ears.turn.notify()
                if not connection.can_read(timeout=0):
                    return

    def _send(self, *command: bytes) -> None:
        self._connection.send_packed_command([packed([command])], check_health=False)

    @contextlib.contextmanager
    def _translated(self, connection: Any = None) -> Iterator[None]:
        """A connection on which something went wrong isn't used again."""
        try:
            yield
        except BaseException as error:
            if connection not in (None, self._connection):  # lost already, by another thread, while this one used it
                connection.disconnect()  # or the driver may have connected it again
                if isinstance(error, Exception):
                    raise RedisUnavailable(LOST) from None
            else:
                self._lose()
            if isinstance(error, (exceptions.RedisError, OSError)):
                raise self._link.translate(error) from None
            raise

    def _lose(self) -> None:
        connection, self._connection = self._connection, None
        those, self._heard = self._heard.all(), Heard()
        for ears in those:
            ears.lost = True
            ears.turn.notify()
        if connection is not None:
            connection.disconnect()
