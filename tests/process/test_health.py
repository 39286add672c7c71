"""Healthy means consumed lately: files, the command, systemd."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import time
from pathlib import Path

import pytest

from rq_sched.process import health
from rq_sched.process.health import FRESH, Mood, Note, Reporter, Systemd
from rq_sched.scheduler.loop import Loop
from rq_sched.store import Store
from tests.cli.kit import Cli
from tests.faults.cluster import ROOT, Cluster
from tests.faults.servers import Server
from tests.support import wait_for


@pytest.fixture(autouse=True)
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)


def note(mood: Mood, message: str = "") -> Note:
    return Note("worker", "n", 1, 1000.0, mood, message)


def test_what_counts_as_a_problem() -> None:
    assert note(Mood.OK).problem(1000.0 + FRESH) is None
    assert "no sign of life for 11 s" in str(note(Mood.OK).problem(1011.0))
    assert note(Mood.WAITING, "x").problem(1001.0) == "waiting: x"
    assert note(Mood.WAITING, "x").problem(1001.0, live=True) is None
    assert note(Mood.STUCK, "x").problem(1001.0, live=True) == "stuck: x"


class Slow:
    """An actor whose turn doesn't end."""

    every = 0.01
    on_bell = False
    min_gap = 0.0

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def run_once(self) -> None:
        self.begun.set()
        await asyncio.Event().wait()


def test_an_actor_that_hangs_is_named() -> None:
    async def story() -> None:
        actor = Slow()
        loop = Loop([actor])
        running = asyncio.ensure_future(loop.run())
        await actor.begun.wait()
        assert loop.overdue(5.0) is None
        loop.done["slow"] -= 10
        assert loop.overdue(5.0) == "the slow has done nothing for 10 s"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(story())


def test_the_command_reads_all_files_of_this_user(cli: Cli) -> None:
    assert "no scheduler or worker runs here" in cli("health", code=1).out
    Reporter("worker", "n1").note(Mood.OK)
    Reporter("scheduler", "7").note(Mood.STUCK, "the placer has done nothing for 20 s")
    shown = cli("health", code=1).lines
    assert shown == ["scheduler 7: stuck: the placer has done nothing for 20 s", "worker n1: ok"]
    Reporter("scheduler", "7").remove()
    assert cli.json("health").one["ok"] is True
    dead = health.folder() / "worker-dead.health"
    dead.write_text(json.dumps({"role": "worker", "name": "dead", "pid": 2**22, "at": 0, "mood": "ok", "message": ""}))
    assert cli("health").lines == ["worker n1: ok"]
    assert not dead.exists()


def test_a_process_that_has_vanished_is_told_until_another_takes_its_place(cli: Cli) -> None:
    now = time.time()
    lost = {
        "role": "scheduler",
        "name": "1",
        "pid": 2**22,
        "at": now - 60,
        "mood": "ok",
        "message": "",
        "since": now - 99,
    }
    path = health.folder() / "scheduler-1-abcd.health"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(lost))
    (line,) = cli("health", code=1).lines
    assert line.startswith("scheduler 1: its process (4194304) has vanished 60 s ago")
    other = {**lost, "name": "2", "pid": os.getpid(), "at": now}
    (health.folder() / "scheduler-2-abcd.health").write_text(json.dumps({**other, "since": now - 99}))
    assert len(cli("health", code=1).lines) == 2  # it was there before: one is missing
    (health.folder() / "scheduler-3-beef.health").write_text(json.dumps({**other, "since": now - 9}))
    assert len(cli("health", code=1).lines) == 3  # it works somewhere else
    (health.folder() / "scheduler-2-abcd.health").write_text(json.dumps({**other, "since": now - 9}))
    assert len(cli("health").lines) == 2
    assert not path.exists()


def test_the_same_name_in_two_namespaces_or_at_two_servers(cli: Cli) -> None:
    Reporter("worker", "n1", url="redis://a/0", namespace="default").note(Mood.OK)
    Reporter("worker", "n1", url="redis://b/0", namespace="default").note(Mood.STUCK, "orders wait")
    other = Reporter("worker", "n1", url="redis://a/0", namespace="other")
    other.note(Mood.WAITING, "Redis is away")
    assert sorted(cli("health", code=1).lines) == [
        "worker n1 in other: waiting: Redis is away",
        "worker n1: ok",
        "worker n1: stuck: orders wait",
    ]
    other.remove()
    assert {one["namespace"] for one in cli.json("health", code=1).one["processes"]} == {"default"}


def test_a_file_of_one_s_own(cli: Cli, tmp_path: Path) -> None:
    path = str(tmp_path / "here")
    assert "no process has written there" in cli("health", "--file", path, code=1).out
    Reporter("worker", "n1", path).note(Mood.WAITING, "Redis is away\x1b[31m")
    assert cli("health", "--file", path, code=1).out == "worker n1: waiting: Redis is away\\x1b[31m\n"
    cli("health", "--file", path, "--live")


def test_what_systemd_hears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ears:
        ears.bind(str(tmp_path / "notify"))
        ears.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        systemd = Systemd()
        said = []
        for mood in (Mood.WAITING, Mood.OK, Mood.STUCK, Mood.OK):
            systemd._notified_at = 0.0
            systemd.tell(mood, "why")
            said.append(ears.recv(500).decode().split("\n")[1:])
    assert said == [["WATCHDOG=1"], ["WATCHDOG=1", "READY=1"], [], ["WATCHDOG=1"]]


def test_real_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    """They are well, wait while Redis is away, and are well again; systemd hears it from the main process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ears, Server(tmp_path / "server") as server:
        ears.bind(str(tmp_path / "notify"))
        ears.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        ears.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with Cluster(server.url, Store("t"), tmp_path) as cluster:
            file = str(tmp_path / "health")
            cluster._start("s1", ["scheduler"])
            options = ["--node-id", "n1", "--cpu", "1", "--memory", "100", "--ttl", "2", "--chdir", str(ROOT)]
            cluster._start("n1", ["worker", *options, "--allow", "*", "--health-file", file])
            wait_for(lambda: _mood(file) == "ok", 20, cluster.logs)
            assert cli("health", "--file", file).out == "worker n1 in t: ok\n"
            assert wait_for(lambda: [n.role for n in health.notes()]) == ["scheduler"]
            pids = {process.pid for process in cluster.processes.values()}
            ready: set[int] = set()
            deadline = time.monotonic() + 20
            while ready != pids:
                assert time.monotonic() < deadline, cluster.logs()
                ready |= _ready(ears)
            server.kill()
            wait_for(lambda: _mood(file) == "waiting", 20, cluster.logs)
            assert "waiting: Redis" in cli("health", "--file", file, code=1).out
            cli("health", "--file", file, "--live")
            server.start()
            wait_for(lambda: _mood(file) == "ok", 20, cluster.logs)
        assert not Path(file).exists()
        assert not list(health.notes())


def _ready(ears: socket.socket) -> set[int]:
    """The next message: the process that says that it is ready, if it says so."""
    text, more, _, _ = ears.recvmsg(500, 100)
    (pid,) = (struct.unpack("3i", data)[0] for _, kind, data in more if kind == socket.SCM_CREDENTIALS)
    return {pid} if b"READY=1" in text else set()


def _mood(file: str) -> str | None:
    note = health.read(Path(file))
    return str(note.mood) if note else None
