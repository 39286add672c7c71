"""Processes that are kept running: started, started again with a backoff when they die, stopped in order."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic

BACK_OFF = 0.5
BACK_OFF_MOST = 30.0
HEALTHY_SECONDS = 10.0
"""A child that has run so long starts its backoff anew."""
LOOK_SECONDS = 0.5
"""SIGCHLD wakes us at once; this is for the signal that comes just before we wait."""


@dataclass
class ChildProcess:
    """One process to keep running."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] | None = None  # None: ours
    process: subprocess.Popen[bytes] | None = None
    deaths: int = 0
    started: float = 0.0
    start_at: float = field(default=0.0)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        # A session of its own: Ctrl-C is for us, who stop the children in order.
        self.process = subprocess.Popen(
            self.command, env=self.environment, stdin=subprocess.DEVNULL, start_new_session=True
        )
        self.started = monotonic()

    def look(self, say: Callable[[str], None]) -> None:
        """Start it again if it has died and its backoff is over."""
        now = monotonic()
        if self.process is not None and (code := self.process.poll()) is not None:
            self.process = None
            self.deaths = 0 if now - self.started > HEALTHY_SECONDS else self.deaths
            pause = min(BACK_OFF * 2.0**self.deaths, BACK_OFF_MOST)
            self.deaths += 1
            self.start_at = now + pause
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            say(f"{self.name} {how}; it is started again in {pause:g} s")
        if self.process is None and now >= self.start_at:
            self.start()


class Signals:
    """SIGINT, SIGTERM and SIGHUP as numbers to ask for, and a wait that they and the death of a child end."""

    def __init__(self) -> None:
        self.received: list[int] = []

    @contextlib.contextmanager
    def catch(self) -> Iterator[Signals]:
        """Catch them, until the block ends."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        self._reader = reader
        names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
        before = {name: signal.signal(name, self._note) for name in names}
        wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        try:
            yield self
        finally:
            signal.set_wakeup_fd(wakeup)
            for name, handler in before.items():
                signal.signal(name, handler)
            os.close(reader)
            os.close(writer)

    def _note(self, number: int, _: object) -> None:
        if number != signal.SIGCHLD:
            self.received.append(number)

    def wait(self, seconds: float) -> None:
        """Until a signal comes, at most so long."""
        if select.select([self._reader], [], [], max(0.0, seconds))[0]:
            with contextlib.suppress(BlockingIOError):
                os.read(self._reader, 1024)


def stop_children(children: Sequence[ChildProcess], seconds: float, signals: Signals) -> None:
    """SIGTERM to all, and wait; each further signal that we get is handed on; what is left in the end is killed.

    Parameters:
        seconds: how long they may take.
    """
    alive = [child for child in children if child.alive]
    _send(alive, signal.SIGTERM)
    deadline = monotonic() + seconds
    handed_on = len(signals.received)
    while alive := [child for child in alive if child.alive]:
        if len(signals.received) > handed_on:
            handed_on = len(signals.received)
            _send(alive, signal.SIGTERM)
        left = deadline - monotonic()
        if left <= 0:
            _send(alive, signal.SIGKILL)
            for child in alive:
                if child.process is not None:
                    child.process.wait()
            return
        signals.wait(min(left, LOOK_SECONDS))


def _send(children: Sequence[ChildProcess], number: int) -> None:
    for child in children:
        if child.process is not None:
            child.process.send_signal(number)
