"""What a worker writes down, so that the next start on this machine can clean up after it was killed with its agent.

One small file a node, in the user's state folder: the start of the machine it belongs to, the incarnation, and the
process groups of the children and their subreapers, each with when its leader began (process ids come again). The
parent holds a lock on it for as long as it lives, so whether the previous one is dead is certain.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rq_sched.errors import InvalidValue, NodeAlive
from rq_sched.process.embedded import state_dir
from rq_sched.process.folders import open_own, weakness_of_last
from rq_sched.worker import system

GONE_SECONDS = 5.0
"""How long killed groups may take to be gone."""


@dataclass(frozen=True, slots=True)
class Left:
    """What a killed worker has left: its incarnation, its process groups as (id, birth of the leader), and subreapers
    as (process id, birth)."""

    incarnation: str
    groups: tuple[tuple[int, str], ...]
    subreapers: tuple[tuple[int, str], ...] = ()


def path_of(url: str, namespace: str, node_id: str) -> Path:
    """The file for a node: the same for the same Redis, namespace and node id."""
    where = hashlib.blake2b(url.encode(), digest_size=6).hexdigest()
    return state_dir() / "workers" / f"{namespace}+{node_id}+{where}"


class RunRecord:
    """The file, locked.

    Raises:
        NodeAlive: another worker on this machine holds it.
        InvalidValue: it can't be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if weak := weakness_of_last(path.parent):
                raise PermissionError(weak)  # who writes there has us kill processes of this user
            self._file = self._lock()
        except BlockingIOError:
            raise NodeAlive(
                f"node {path.name.split('+')[1]} is already run by another worker on this machine: "
                "stop that one, or give another --node-id"
            ) from None
        except OSError as error:
            raise InvalidValue(
                f"can't write {path}: {error.strerror or error}; "
                "set XDG_STATE_HOME to a folder that this user may write to, and nobody else"
            ) from None
        self.left = self._read()

    def _lock(self) -> int:
        # A POSIX lock: forked children don't share it. Whoever ends removes the file, so look whether it still is it.
        while True:
            file = open_own(self.path, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(file)
                raise BlockingIOError from None
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), os.stat(self.path)):
                    return file
            os.close(file)

    def _read(self) -> Left | None:
        """What the previous worker left on this start of the machine."""
        try:
            noted = json.loads(os.pread(self._file, 1 << 20, 0))
            if noted["boot"] == system.boot_id() and noted["incarnation"]:
                return Left(noted["incarnation"], _pairs(noted["groups"]), _pairs(noted.get("subreapers", ())))
        except (ValueError, KeyError, TypeError):
            pass  # empty, or half written
        return None

    def write(
        self, incarnation: str, groups: Iterable[tuple[int, str]], subreapers: Iterable[tuple[int, str]] = ()
    ) -> None:
        """Note the present state."""
        noted = {
            "boot": system.boot_id(),
            "incarnation": incarnation,
            "groups": list(groups),
            "subreapers": list(subreapers),
        }
        data = json.dumps(noted).encode()
        os.pwrite(self._file, data, 0)
        os.ftruncate(self._file, len(data))

    def remove(self) -> None:
        """Nothing is left to clean up."""
        with contextlib.suppress(OSError):
            self.path.unlink()
        self.close()

    def close(self) -> None:
        """Leave the file for the next start; in a forked process: leave it to the parent."""
        os.close(self._file)


def _pairs(noted: Iterable[tuple[int, str]]) -> tuple[tuple[int, str], ...]:
    return tuple((int(pid), str(birth)) for pid, birth in noted)


def clean_up(left: Left, seconds: float = GONE_SECONDS) -> list[int]:
    """Let subreapers kill what is below them, as they do when the worker has died; then kill what is left of the
    groups. Those that aren't gone."""
    deadline = time.monotonic() + seconds
    while any(_runs(pid, birth) for pid, birth in left.subreapers) and time.monotonic() < deadline:
        time.sleep(0.005)
    return kill_groups(left.groups, seconds)


def _runs(pid: int, birth: str) -> bool:
    return system.birth_of(pid) == birth and system.runs(pid)


def kill_groups(groups: Iterable[tuple[int, str]], seconds: float = GONE_SECONDS) -> list[int]:
    """Kill what is left of recorded groups; waits until they are gone, and returns those that aren't."""
    ours = [group for group, birth in groups if _is_ours(group, birth)]
    for group in ours:
        system.signal_group(group, signal.SIGKILL)
    deadline = time.monotonic() + seconds
    while (left := [group for group in ours if system.group_runs(group)]) and time.monotonic() < deadline:
        time.sleep(0.005)
    return left


def _is_ours(group: int, birth: str) -> bool:
    """Whether the id still means the group that was recorded. While any process of a group is left, no other process
    gets its id; so a leader with another birth is a stranger."""
    now = system.birth_of(group)
    return (not now or now == birth) and system.group_exists(group)
