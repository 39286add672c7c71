"""A server of one's own for a replay, and what it tells of its scripts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rq_sched.link import Link
from rq_sched.process.embedded import EmbeddedServer
from rq_sched.simulate.ops import one

SETTINGS = {
    "appendonly": "no",  # nothing of a replay is worth a disk
    "notify-keyspace-events": "",  # nobody listens
    "slowlog-log-slower-than": "200",  # µs; raised to the longest script seen: only longer ones are noted
    "slowlog-max-len": "512",
}


@contextmanager
def own_server() -> Iterator[Link]:
    """A line to a fresh server in a temporary folder, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="rq-sched-") as folder:
        with EmbeddedServer(Path(folder), settings=SETTINGS) as server:
            link = Link(server.url)
            try:
                yield link
            finally:
                link.close()


class ServerMeter:
    """What the server says of itself: CPU time, memory, the longest script."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._longest = int(SETTINGS["slowlog-log-slower-than"])
        self._cpu = self._info("cpu")

    def look(self) -> None:
        """Call it now and then: the log of slow commands is short."""
        entries = self._link.run(one(("SLOWLOG", "GET", -1)))
        longest = max((entry[2] for entry in entries if entry[3][0].upper() == b"FCALL"), default=0)
        if longest > self._longest:
            self._longest = longest
            self._link.run(one(("CONFIG", "SET", "slowlog-log-slower-than", longest)))
        self._link.run(one(("SLOWLOG", "RESET")))

    @property
    def longest_ms(self) -> float:
        """The longest script by the server's clock; 0.2 if none took longer than that."""
        return self._longest / 1000

    def cpu_seconds(self) -> float:
        """CPU time of the server's main thread since this meter was made."""
        now = self._info("cpu")
        return sum(
            float(now.get(f"{name}_main_thread", now[name]))
            - float(self._cpu.get(f"{name}_main_thread", self._cpu[name]))
            for name in ("used_cpu_user", "used_cpu_sys")
        )

    def peak_memory(self) -> int:
        """Bytes."""
        return int(self._info("memory")["used_memory_peak"])

    def _info(self, section: str) -> dict[str, str]:
        lines = self._link.run(one(("INFO", section))).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)
