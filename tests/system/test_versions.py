"""Processes that meet data of another version: at their start they say so and end; under way they end, too."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rq_sched.cli import COMMANDS
from rq_sched.errors import OtherSchema
from rq_sched.link import Link, Op
from rq_sched.model.schema import SCHEMA
from rq_sched.model.states import State
from rq_sched.process.embedded import EmbeddedServer
from rq_sched.scheduler.process import SchedulerConfig, serve
from rq_sched.store import Store
from rq_sched.store.schema import known_features
from tests.cli.kit import Cli
from tests.support import wait_for
from tests.worker.conftest import desk, node
from tests.worker.kit import Desk, Node

__all__ = ["desk", "node"]

NEWER = str(SCHEMA + 1)
ELSEWHERE = {"health", "completion", "simulate", "up", "worker", "scheduler"}
WORDS = {
    "submit": ["m:f"], "status": ["t"], "cancel": ["t"], "wait": ["t"], "result": ["t"], "logs": ["t"],
    "explain": ["t"], "requeue": ["t"], "hold": ["t"], "unhold": ["t"], "priority": ["--to", "1", "t"], "forget": ["t"],
    "drain": ["n"], "undrain": ["n"], "reload": ["n"], "top": ["--count", "1"], "inspect": ["t"],
    "run": ["m:f"], "every": ["n", "--interval", "1h", "m:f"], "limit": ["api", "1"],
}  # fmt: skip


def say(link: Link, store: Store, version: str) -> None:
    def write() -> Op[None]:
        yield [("HSET", store.keys.settings, "schema", version)]

    link.run(write())


@pytest.fixture
def newer(link: Link, store: Store) -> Iterator[None]:
    """The data are of a newer version until the end of the test."""
    say(link, store, NEWER)
    yield
    say(link, store, str(SCHEMA))


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - ELSEWHERE))
def test_every_command_that_asks_redis_says_so(cli: Cli, newer: None, command: str) -> None:
    typed = cli(command, *WORDS.get(command, []), code=69)
    assert typed.out == ""
    (line,) = typed.err.splitlines()
    assert f"has data of version {NEWER}, and this process works with version {SCHEMA}" in line


def test_with_json_it_has_a_code(cli: Cli, newer: None) -> None:
    (error,) = cli("--json", "list", code=69).errors
    assert error["code"] == "other_schema"


@pytest.mark.parametrize("words", [["scheduler"], ["worker", "--node-id", "n1"]], ids=["scheduler", "worker"])
def test_a_process_that_starts_says_so_and_ends(
    newer: None, link: Link, store: Store, redis_url: str, words: list[str]
) -> None:
    command = [sys.executable, "-m", "rq_sched", *words, "--redis", redis_url, "--namespace", store.keys.namespace]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 69, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith(f"rq-sched: namespace {store.keys.namespace} has data of version")
    assert link.run(store.processes()) == []


@pytest.mark.parametrize(
    ("version", "advice"),
    [(NEWER, "install a newer rq-sched here"), (f"1>{SCHEMA}", "if it was stopped, run it again"), ("1", "then run")],
)
def test_up_says_so_and_ends(tmp_path: Path, version: str, advice: str) -> None:
    """It names the command that converts its own data, whose server nobody else starts."""
    with EmbeddedServer(tmp_path) as server:
        link = Link(server.url)
        say(link, Store("own"), version)
        link.close()
    own = ["--data", str(tmp_path), "--namespace", "own"]
    up = [sys.executable, "-m", "rq_sched", "up", *own, "--cpu", "1", "--memory", "100"]
    ended = subprocess.run(up, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 69, ended.stderr
    line = ended.stderr.splitlines()[-1]
    assert advice in line
    if version == NEWER:
        return
    upgrade = f"rq-sched upgrade {' '.join(own)}"
    assert f"`{upgrade}`" in line
    done = subprocess.run([sys.executable, "-m", *upgrade.replace("-", "_", 1).split()], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"0 tasks converted from version 1 to {SCHEMA}" in done.stdout


def test_a_scheduler_ends_when_the_data_are_upgraded_under_it(link: Link, store: Store, redis_url: str) -> None:
    async def scene() -> None:
        ready = asyncio.Event()
        serving = asyncio.ensure_future(serve(SchedulerConfig(redis_url, store.keys.namespace), ready))
        async with asyncio.timeout(30):
            await ready.wait()
            (scheduler,) = await asyncio.to_thread(link.run, store.processes())
            assert scheduler == ("scheduler", f"{os.uname().nodename}:{os.getpid()}", f"{SCHEMA}{known_features()}")
            await asyncio.to_thread(say, link, store, NEWER)
            await serving

    with pytest.raises(OtherSchema):
        asyncio.run(scene())
    say(link, store, str(SCHEMA))


def upgrade(desk: Desk) -> str:
    """What `rq-sched upgrade` does to those that it counts as dead; the node's incarnation."""
    incarnation = desk.link.run(desk.store.node("n1")).incarnation
    desk.link.run(desk.store.node_leave("n1", incarnation, crashed=True))
    say(desk.link, desk.store, NEWER)
    return incarnation


def test_a_worker_ends_with_its_tasks_when_the_data_are_upgraded_under_it(desk: Desk, node: Node) -> None:
    """What it held stays where it is for others to give back."""
    task = desk.submit("time:sleep", 60)
    desk.running(task)
    (child,) = node.children[:1]
    upgrade(desk)
    assert node.wait_ended() == 69
    assert "refused: other_schema" in node.log
    wait_for(lambda: not Path(f"/proc/{child}").exists())
    say(desk.link, desk.store, str(SCHEMA))
    assert desk.info(task).state is State.RUNNING
    desk.turn()
    assert desk.info(task).state in (State.PENDING, State.DELAYED)


def test_a_worker_whose_agent_died_meanwhile_ends_too(desk: Desk, node: Node) -> None:
    """The next agent finds the data upgraded."""
    os.kill(node.agent, signal.SIGSTOP)
    upgrade(desk)
    os.kill(node.agent, signal.SIGKILL)
    assert node.wait_ended() == 69
    say(desk.link, desk.store, str(SCHEMA))
