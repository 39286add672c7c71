"""Real servers on TCP ports of this machine, which tests kill, stop, restart and fail over: one, or a master with
replicas and three sentinels."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rq_sched.errors import RqSchedError
from rq_sched.link import Link, Op
from rq_sched.process.embedded import SETTINGS, find_server
from tests.support import wait_for

SENTINEL_CONFIG = """
port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor main 127.0.0.1 {master} 2
sentinel down-after-milliseconds main {patience}
sentinel failover-timeout main 4000
sentinel parallel-syncs main 5
"""


@dataclass(frozen=True, slots=True)
class Secured:
    """TLS with a certificate on both sides, and passwords; needs a server that was built with TLS.

    Parameters:
        certificates: a folder as ``tests.support.certificates.make`` makes it.
        password, sentinel_password: of the servers, and of the sentinels.
    """

    certificates: Path
    password: str = "of-servers"
    sentinel_password: str = "of-sentinels"

    def settings(self, port: int) -> dict[str, str]:
        """What a server or sentinel needs to speak nothing but TLS, with others of its kind, too."""
        files = {"tls-cert-file": "server.crt", "tls-key-file": "server.key", "tls-ca-cert-file": "ca.crt"}
        return {
            **{name: str(self.certificates / file) for name, file in files.items()},
            "port": "0",
            "tls-port": str(port),
            "tls-auth-clients": "yes",
            "tls-replication": "yes",
        }

    def query(self, ca: str = "ca") -> str:
        """The part of a URL after the question mark."""
        files = {"ssl_ca_certs": f"{ca}.crt", "ssl_certfile": "client.crt", "ssl_keyfile": "client.key"}
        return "&".join(f"{name}={self.certificates / file}" for name, file in files.items())

    def wrap(self, line: socket.socket) -> socket.socket:
        """A connection, with TLS."""
        context = ssl.create_default_context(cafile=str(self.certificates / "ca.crt"))
        context.load_cert_chain(self.certificates / "client.crt", self.certificates / "client.key")
        return context.wrap_socket(line, server_hostname="127.0.0.1")


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
        settings: of the server, besides those of ``embedded.SETTINGS``.
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

    def secure(self, secured: Secured) -> None:
        """TLS and a password, before it is started."""
        self._settings |= {
            **secured.settings(self.port),
            "requirepass": secured.password,
            "masterauth": secured.password,
        }
        self.url = f"rediss://:{secured.password}@127.0.0.1:{self.port}/0?{secured.query()}"

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

    secured: Secured | None = None

    def secure(self, secured: Secured) -> None:
        self.secured = secured

    def watch(self, master: int) -> None:
        """Start it."""
        config = self.folder / "sentinel.conf"
        patience = (
            700 if self.secured is None else 2000
        )  # a busy machine takes its time for TLS: no failovers by itself
        text = SENTINEL_CONFIG.format(port=self.port, folder=self.folder, master=master, patience=patience)
        if self.secured is not None:
            text = "\n".join(line for line in text.splitlines() if not line.startswith("port "))
            text += "".join(f"\n{name} {value}" for name, value in self.secured.settings(self.port).items())
            text += f"\nrequirepass {self.secured.sentinel_password}"
            text += f"\nsentinel auth-pass main {self.secured.password}\n"
        config.write_text(text)
        self._launch([str(config), "--sentinel"])
        wait_for(lambda: "monitor master main" in self.log(), 20, self.log)

    def master(self) -> int:
        """The port of the master, as this sentinel knows it."""
        return int(self._asked(b"SENTINEL GET-MASTER-ADDR-BY-NAME main").split(b"\r\n")[4])

    def _asked(self, command: bytes) -> bytes:
        """The answer to one command."""
        with socket.create_connection(("127.0.0.1", self.port), 2) as plain:
            if self.secured is None:
                plain.sendall(command + b"\r\n")
                return plain.recv(4000)
            with self.secured.wrap(plain) as line:
                line.sendall(b"AUTH " + self.secured.sentinel_password.encode() + b"\r\n")
                assert line.recv(100) == b"+OK\r\n"
                line.sendall(command + b"\r\n")
                return line.recv(4000)

    def others(self) -> tuple[int, int]:
        """How many replicas, and how many other sentinels it has found."""
        words = self._asked(b"SENTINEL MASTER main").split(b"\r\n")
        values = {words[i]: words[i + 2] for i in range(len(words) - 2)}
        return int(values[b"num-slaves"]), int(values[b"num-other-sentinels"])


class Watched:
    """A master, replicas, three sentinels.

    Parameters:
        replicas: how many.
        secured: with TLS and passwords.
        binary: of all servers; default: the one that tests use.
    """

    def __init__(
        self, folder: Path, replicas: int = 2, *, secured: Secured | None = None, binary: Path | None = None
    ) -> None:
        options = {"repl-diskless-sync-delay": "0"}
        self.servers = [Server(folder / f"server{n}", options, binary=binary) for n in range(replicas + 1)]
        self.sentinels = [SentinelProcess(folder / f"sentinel{n}", binary=binary) for n in range(3)]
        hosts = ",".join(f"127.0.0.1:{s.port}" for s in self.sentinels)
        self.url = f"redis+sentinel://{hosts}/main/0"
        if secured is not None:
            for one in (*self.servers, *self.sentinels):
                one.secure(secured)
            query = f"sentinel_password={secured.sentinel_password}&{secured.query()}"
            self.url = f"rediss+sentinel://:{secured.password}@{hosts}/main/0?{query}"

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
