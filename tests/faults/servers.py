"""Real servers on TCP ports of this machine, which tests kill, stop, restart and fail over: one, or a master with
replicas and three sentinels."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rq_sched.errors import RqSchedError
from rq_sched.link import Link, Op
from rq_sched.server import SETTINGS, find_server
from tests.support import wait_for

SENTINEL_CONFIG = """
port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor main 127.0.0.1 {master} 2
sentinel down-after-milliseconds main 700
sentinel failover-timeout main 4000
sentinel parallel-syncs main 5
"""


def ask(*words: str | int) -> Op[Any]:
    """One plain command."""
    return (yield [words])[0]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A server process over a folder of its own, always on the same port.

    Parameters:
        settings: of the server, besides those of ``rq_sched.server.SETTINGS``.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None, *, binary: Path | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._binary = binary or find_server()
        given = settings or {}
        self._settings = {**SETTINGS, "bind": "127.0.0.1", "dir": str(folder), **given, "port": str(self.port)}
        self._settings.pop("unixsocketperm")
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, wait: bool = True) -> None:
        words = [word for name, value in self._settings.items() for word in (f"--{name}", value)]
        self._launch(words)
        if wait:
            wait_for(self.answers, 20, self.log)

    def _launch(self, words: list[str]) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self._binary), *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def log(self) -> str:
        return (self.folder / "log").read_text()[-3000:]

    def answers(self) -> bool:
        try:
            return bool(self.ask("PING") == b"PONG")
        except RqSchedError:
            return False

    def ask(self, *words: str | int) -> Any:
        """One command, on a connection of its own."""
        link = Link(self.url)
        try:
            return link.run(ask(*words))
        finally:
            link.close()

    def info(self, name: str) -> str:
        """A field of INFO."""
        lines: list[str] = self.ask("INFO", "everything").decode().splitlines()
        return next(line.partition(":")[2] for line in lines if line.startswith(f"{name}:"))

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.thaw()
            self.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class SentinelProcess(Server):
    """One sentinel, watching the service ``main``."""

    def watch(self, master: int) -> None:
        """Start it."""
        config = self.folder / "sentinel.conf"
        config.write_text(SENTINEL_CONFIG.format(port=self.port, folder=self.folder, master=master))
        self._launch([str(config), "--sentinel"])
        wait_for(lambda: "monitor master main" in self.log(), 20, self.log)

    def master(self) -> int:
        """The port of the master, as this sentinel knows it."""
        with socket.create_connection(("127.0.0.1", self.port), 2) as line:
            line.sendall(b"SENTINEL GET-MASTER-ADDR-BY-NAME main\r\n")
            return int(line.recv(200).split(b"\r\n")[4])

    def others(self) -> tuple[int, int]:
        """How many replicas, and how many other sentinels it has found."""
        with socket.create_connection(("127.0.0.1", self.port), 2) as line:
            line.sendall(b"SENTINEL MASTER main\r\n")
            words = line.recv(4000).split(b"\r\n")
        values = {words[i]: words[i + 2] for i in range(len(words) - 2)}
        return int(values[b"num-slaves"]), int(values[b"num-other-sentinels"])


class Watched:
    """A master, replicas, three sentinels.

    Parameters:
        replicas: how many.
    """

    def __init__(self, folder: Path, replicas: int = 2) -> None:
        options = {"repl-diskless-sync-delay": "0"}
        self.servers = [Server(folder / f"server{n}", options) for n in range(replicas + 1)]
        self.sentinels = [SentinelProcess(folder / f"sentinel{n}") for n in range(3)]
        self.url = f"redis+sentinel://{','.join(f'127.0.0.1:{s.port}' for s in self.sentinels)}/main/0"

    def __enter__(self) -> Watched:
        first, *others = self.servers
        first.start()
        for other in others:
            other._settings["replicaof"] = f"127.0.0.1 {first.port}"
            other.start(wait=False)
        wait_for(lambda: first.info("connected_slaves") == str(len(others)), 20, self.logs)
        for sentinel in self.sentinels:
            sentinel.watch(first.port)
        wait_for(lambda: all(s.others() == (len(others), 2) for s in self.sentinels), 20, self.logs)
        return self

    def master(self) -> Server:
        """The master, as all sentinels that answer agree."""
        ports = wait_for(self._agreed, 20, self.logs)
        return next(server for server in self.servers if server.port == ports)

    def _agreed(self) -> int | None:
        ports = {sentinel.master() for sentinel in self.sentinels}
        return ports.pop() if len(ports) == 1 else None

    def fail_over(self, break_it: Callable[[Server], None]) -> tuple[Server, Server]:
        """Break the master; the old one and the new one, once all sentinels agree on it."""
        old = self.master()
        break_it(old)
        wait_for(lambda: self._agreed() not in (None, old.port), 30, self.logs)
        new = self.master()
        wait_for(lambda: new.info("role") == "master", 20, self.logs)
        return old, new

    def settled(self) -> bool:
        """Whether every other server is a replica that has caught up."""
        return self.master().info("connected_slaves") == str(len(self.servers) - 1)

    def logs(self) -> str:
        return "\n".join(f"-- {one.folder.name}\n{one.log()}" for one in (*self.servers, *self.sentinels))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in (*self.sentinels, *self.servers):
            one.stop()
