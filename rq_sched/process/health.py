"""Is a scheduler or worker on this machine well? Well means that it *consumed* lately, not that its process is there.

``ok``: what there was to do was done lately. ``waiting``: Redis can't be used right now; it tries again and again, and
starting it anew would not help. ``faulty``: its machine has a fault (no room, no folder): it begins no tasks, and takes
them again by itself. ``stuck``: Redis answers, and still nothing is done: start it anew.

Each process writes its mood to a file once a second (``rq-sched health`` reads it: a file that isn't fresh means that
the process is gone, or hangs), and tells systemd, where it was started by systemd (``Type=notify``, ``WatchdogSec=``).
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from rq_sched.process.embedded import state_dir

EVERY = 1.0
"""Seconds between two notes."""
FRESH = 10.0
"""Seconds after which a note counts as old."""
KEEP_SECONDS = 3600.0
"""Seconds for which a process that has vanished is told of, unless another has taken its place."""
LATE = 15.0
"""Seconds that something to do may lie undone while Redis answers."""
NOTE_BYTES = 64 * 1024


class Mood(StrEnum):
    """How a process is."""

    OK = "ok"  # what there was to do was done lately
    WAITING = "waiting"  # Redis can't be used right now
    FAULTY = "faulty"  # a fault of the machine keeps tasks from beginning; it looks again by itself
    STUCK = "stuck"  # Redis answers, and nothing is done


@dataclass(frozen=True, slots=True)
class Note:
    """What a health file says. ``at``, ``since``: seconds since 1970, when it was written, and when the process began;
    ``namespace``: empty where a test says none; ``gone``: there is no such process any more."""

    role: str
    name: str
    pid: int
    at: float
    mood: Mood
    message: str
    namespace: str = ""
    since: float = 0.0
    gone: bool = False

    def problem(self, now: float, *, live: bool = False) -> str | None:
        """What is wrong; None: nothing. ``live``: waiting for Redis, or for the machine to be
        well, is well enough."""
        age = now - self.at
        if self.gone:
            return (
                f"its process ({self.pid}) has vanished {age:.0f} s ago, and nothing has taken its place: start it anew"
            )
        if age > FRESH:
            return f"no sign of life for {age:.0f} s: it is gone, or hangs"
        if self.mood is Mood.OK or (live and self.mood in (Mood.WAITING, Mood.FAULTY)):
            return None
        return f"{self.mood}: {self.message}"


def folder() -> Path:
    """Where the files are: systemd's ``RuntimeDirectory=``, the user's runtime folder, or ``state_dir()``."""
    given = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "rq-sched" if runtime else state_dir() / "health"


class Reporter:
    """Writes the notes of one process. What can't be written isn't: nobody may fail for his health's sake.

    Parameters:
        path: the file; None: one in ``folder()``, another one for each Redis, namespace and name.
        url, namespace: whom it works for.
    """

    def __init__(self, role: str, name: str, path: str | None = None, *, url: str = "", namespace: str = "") -> None:
        self._role = role
        self._name = name
        self._namespace = namespace
        self._since = time.time()
        where = hashlib.blake2b(f"{url} {namespace}".encode(), digest_size=4).hexdigest()
        self._path = Path(path) if path else folder() / f"{role}-{name}-{where}.health"

    def note(self, mood: Mood, message: str = "") -> None:
        note = Note(self._role, self._name, os.getpid(), time.time(), mood, message, self._namespace, self._since)
        line = json.dumps(asdict(note))
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = self._path.with_name(f".{self._path.name}.{os.getpid()}")
            fresh.unlink(missing_ok=True)
            # "x": the folder may be one for all (/dev/shm), and what stands there under this name another's link.
            with open(fresh, "x", encoding="utf-8") as file:
                file.write(line + "\n")
            fresh.replace(self._path)
        except OSError:
            pass

    def remove(self) -> None:
        """It ended in order."""
        try:
            self._path.unlink()
        except OSError:
            pass


def read(path: Path) -> Note | None:
    """What a file says; None: there is none, or it isn't one of ours."""
    try:
        fields = json.loads(_text(path))
        return Note(**{**fields, "mood": Mood(fields["mood"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _text(path: Path) -> bytes:
    """What stands in a file that isn't a stranger's: it is this user's, or of who owns the folder; root may read any.

    Raises:
        OSError
    """
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found, me = os.fstat(file), os.geteuid()
        if not stat.S_ISREG(found.st_mode) or (me != 0 and found.st_uid not in (me, path.parent.stat().st_uid)):
            raise PermissionError(path)
        return os.read(file, NOTE_BYTES)
    finally:
        os.close(file)


def notes() -> Iterator[Note]:
    """What the processes of this user say. Who was killed leaves a file: its process is told to be gone for an hour,
    or until another has begun to do the same work."""
    found = [(path, note) for path in sorted(folder().glob("*.health")) if (note := read(path)) is not None]
    there = [(path, note) for path, note in found if not _is_gone(note)]
    for path, note in found:
        if not _is_gone(note):
            yield note
        elif time.time() - note.at > KEEP_SECONDS or any(_replaces(*other, path, note) for other in there):
            path.unlink(missing_ok=True)
        else:
            yield replace(note, gone=True)


def _is_gone(note: Note) -> bool:
    return time.time() - note.at > EVERY and not _exists(note.pid)


def _replaces(path: Path, note: Note, lost_path: Path, lost: Note) -> bool:
    """Whether a process does the work of one that is gone: a scheduler of the same place (as its file is named)."""
    same = path.name.rpartition("-")[2] == lost_path.name.rpartition("-")[2]
    return same and note.role == lost.role == "scheduler" and note.since > lost.at


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


class Systemd:
    """Tells systemd how we are, if it wants to know (sd_notify). Processes that we start don't inherit that."""

    def __init__(self) -> None:
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        self._ready = False
        self._notified_at = 0.0

    def tell(self, mood: Mood, message: str = "") -> None:
        """READY=1 when first ok; WATCHDOG=1 unless stuck; at most once a second."""
        if not self._address or time.monotonic() - self._notified_at < EVERY / 2:
            return
        self._notified_at = time.monotonic()
        lines = [f"STATUS={mood}{': ' if message else ''}{message}"]
        if mood is not Mood.STUCK:
            lines.append("WATCHDOG=1")
        if mood is Mood.OK and not self._ready:
            self._ready = True
            lines.append("READY=1")
        self.send("\n".join(lines))

    def stopping(self) -> None:
        if self._address:
            self.send("STOPPING=1")

    def send(self, text: str) -> None:
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
                line.sendto(text.encode(), address)
        except OSError:
            pass
