"""What is needed to understand a problem that chaos has found, kept in files and named in the report.

While a run goes on, what is done is written down (``act``). At a problem ``keep`` writes one file: the problem, what
was done around it, the decision log of the nodes concerned, their keys as they are now, and the lines of all logs from
that time. Processes are asked first where they stand, so that their answers are among the lines.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

Ask = Callable[..., Any]
BEFORE, AFTER = 25.0, 15.0
"""Seconds around the moment of a problem that are told."""
MOST_FILES = 20
"""Problems that get a file of their own: what follows from one fault is often many."""
ANSWER_SECONDS = 0.5
"""How long processes that were asked where they stand have to write it down."""
READ = {
    b"hash": ("HGETALL",),
    b"string": ("GET",),
    b"zset": ("ZRANGE", 0, 50, "WITHSCORES"),
    b"set": ("SMEMBERS",),
    b"list": ("LRANGE", 0, 50),
}
_CLOCK = re.compile(r"\d\d:\d\d:\d\d\.\d\d\d ")


class Story:
    """The story of one run.

    Parameters:
        folder: where the logs are (``NAME.log``), and where the files go, below ``problems``.
        ask: one plain command to the server.
        prefix: of the namespace's keys.
    """

    def __init__(self, folder: Path, ask: Ask, prefix: str) -> None:
        self._folder = folder
        self._ask = ask
        self._prefix = prefix
        self._acts: list[tuple[float, str]] = []
        self.files: list[Path] = []
        """One for each problem that was kept."""

    def act(self, text: str) -> None:
        """Something is done now."""
        self._acts.append((time.time(), text))

    def keep(
        self, problem: str, *, at: float | None = None, names: Sequence[str] = (), processes: Iterable[int] = ()
    ) -> None:
        """Write down what is known of a problem.

        Parameters:
            at: when it was (seconds since 1970); None: now.
            names: the nodes or tasks concerned; none: all that was logged.
            processes: those that are asked where they stand.
        """
        if len(self.files) >= MOST_FILES:
            return
        for pid in processes:
            try:
                os.kill(pid, signal.SIGUSR1)
            except ProcessLookupError:
                continue
        at = time.time() if at is None else at
        path = self._folder / "problems" / f"{len(self.files) + 1}.txt"
        path.parent.mkdir(exist_ok=True)
        parts = [problem, *self._told_acts(at), *self._told_keys(names)]
        parts += self._told_events(at, names)
        time.sleep(ANSWER_SECONDS)
        path.write_text("\n".join([*parts, *self._told_logs(at)]) + "\n")
        self.files.append(path)

    def _told_acts(self, at: float) -> list[str]:
        done = [f"{_clock(when)} {text}" for when, text in self._acts if at - BEFORE <= when <= at + AFTER]
        return [f"\n-- it was {_clock(at)}; what was done", *done]

    def _told_keys(self, names: Sequence[str]) -> list[str]:
        lines = ["\n-- the keys"]
        for key in sorted([f"{self._prefix}{name}" for name in ("swept", "nodes", "lost", "gone")] + self._keys(names)):
            kind = self._ask("TYPE", key)
            command, *more = READ.get(kind, ("TYPE",))
            lines.append(f"{key} {kind.decode()} (expires in {self._ask('PTTL', key)} ms)")
            lines.append(f"    {_text(self._ask(command, key, *more))}")
        return lines

    def _keys(self, names: Sequence[str]) -> list[str]:
        found: list[str] = []
        for name in names:
            for pattern in (f"{self._prefix}node:{name}", f"{self._prefix}node:{name}:*", f"{self._prefix}task:{name}"):
                cursor: Any = b"0"
                while True:
                    cursor, keys = self._ask("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
                    found += [key.decode() for key in keys]
                    if int(cursor) == 0:
                        break
        return found

    def _told_events(self, at: float, names: Sequence[str]) -> list[str]:
        first, last = int((at - BEFORE) * 1000), int((at + AFTER) * 1000)
        lines = ["\n-- the decision log"]
        for number, fields in self._ask("XRANGE", f"{self._prefix}events", first, last):
            when = int(number.split(b"-")[0]) / 1000
            for kind, items in zip(fields[::2], fields[1::2], strict=True):
                told = [item for item in items.decode().split() if not names or {*re.split("[@#:]", item)} & {*names}]
                if told:
                    lines.append(f"{_clock(when)} {kind.decode()} {' '.join(told)}")
        return lines

    def _told_logs(self, at: float) -> list[str]:
        """The lines of each log from that time; lines without a time belong to the one before."""
        first, last = _clock(at - BEFORE), _clock(at + AFTER)
        lines: list[str] = []
        for log in sorted(self._folder.glob("*.log")):
            lines.append(f"\n-- {log.name}")
            inside = False
            for line in log.read_text(errors="backslashreplace").splitlines():
                if _CLOCK.match(line):
                    inside = first <= line[:12] <= last if first <= last else not last < line[:12] < first
                if inside:
                    lines.append(line)
        return lines


def _clock(at: float) -> str:
    """The time of day, as the logs tell it."""
    return datetime.fromtimestamp(at).strftime("%H:%M:%S.%f")[:12]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_text(one) for one in value)
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
