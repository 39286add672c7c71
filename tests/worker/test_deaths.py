"""Killed, frozen, cut off: what is left of a worker, and how soon its tasks are back."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from rq_sched.link import Link
from rq_sched.model.node import NodeState
from rq_sched.model.states import Reason, State
from rq_sched.process.embedded import EmbeddedServer
from rq_sched.worker import system
from tests.support import wait_for
from tests.worker.kit import Desk, Node, lines_of

pytestmark = pytest.mark.skipif(not system.LINUX, reason="names of processes, signals at a parent's death")


def start(desk: Desk, path: Path, function: str = "start_processes_and", *args: str, **options: Any) -> list[int]:
    """A task that runs, with processes in its group, in another session, and a daemon; their ids and its own."""
    desk.submit(function, str(path), *(args or ("sleep",)), task_id="t", **options)
    desk.running("t")
    wait_for(lambda: lines_of(path), 10, lambda: [node.log for node in desk.nodes])
    return [int(pid) for pid in lines_of(path)[-1].split() if pid.isdigit()]


def gone(pids: list[int]) -> bool:
    return not any(runs(pid) for pid in pids)


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_agent_is_killed(desk: Desk, tmp_path: Path) -> None:
    """All that ran is gone, then the node is given up, long before its time to live; another agent goes on."""
    node = desk.node(ttl=60.0)
    pids = start(desk, tmp_path / "notes")
    before, children, first = node.agent, node.children, node.wait_up()
    os.kill(before, signal.SIGKILL)
    node.wait_up(but=first)
    assert gone(pids + children)
    info = desk.running("t")
    assert (info.attempt, info.crashes) == (2, 1)
    assert node.process.poll() is None
    assert node.agent != before
    desk.link.run(desk.store.cancel("t", requeue=False, grace=0))
    desk.end("t")


def test_a_task_that_kills_its_node_at_once_is_not_tried_for_ever(desk: Desk) -> None:
    """The first time nobody may know that it had begun. From then on its start is reported first."""
    desk.node(ttl=60.0)
    info = desk.run("kill_the_agent", task_id="t", crash_limit=2)
    assert (info.state, info.reason, info.crashes) == (State.FAILED, Reason.POISON, 2)
    assert info.attempt in (2, 3)


def test_the_agent_hangs(desk: Desk, tmp_path: Path) -> None:
    """It is killed, with its tasks, before anyone else declares the node dead."""
    node = desk.node(ttl=2.0)
    pids = start(desk, tmp_path / "notes")
    children, first = node.children, node.wait_up()
    os.kill(node.agent, signal.SIGSTOP)
    wait_for(lambda: gone(pids + children), 10, lambda: node.log)
    assert node.info is not None
    assert node.info.incarnation == first
    node.wait_up(but=first)
    assert desk.running("t").attempt == 2
    desk.link.run(desk.store.cancel("t", requeue=False, grace=0))
    desk.end("t")


def test_the_parent_is_killed(desk: Desk, node: Node, tmp_path: Path) -> None:
    """All that is below it dies with it; the agent waits for that, reports, and ends."""
    pids = start(desk, tmp_path / "notes")
    agent, children = node.agent, node.children
    node.process.kill()
    wait_for(lambda: gone([agent, *pids, *children]), 10, lambda: node.log)
    assert node.state is NodeState.DEAD
    desk.turn()
    assert desk.info("t").state is State.PENDING


def test_parent_and_agent_are_killed(desk: Desk, tmp_path: Path) -> None:
    """All of their processes die, wherever they hid; the next start on this machine finds what was recorded, and
    doesn't wait for the time to live."""
    node = desk.node(ttl=60.0)
    pids = start(desk, tmp_path / "notes")
    first, children, agent = node.wait_up(), node.children, node.agent
    assert json.loads(node.record.read_text())["incarnation"] == first
    os.kill(node.process.pid, signal.SIGSTOP)  # so that neither notices the other's death
    os.kill(agent, signal.SIGKILL)
    node.process.kill()
    node.process.wait()
    wait_for(lambda: gone([*children, *pids]), 5, lambda: (children, pids))
    assert node.state is NodeState.UP
    again = desk.node(ttl=60.0, up=False)
    again.wait_up(but=first)
    info = desk.running("t")
    assert (info.attempt, info.crashes) == (2, 1)
    desk.link.run(desk.store.cancel("t", requeue=False, grace=0))
    desk.end("t")


def test_an_idle_child_is_killed(desk: Desk, node: Node) -> None:
    first = desk.run("number_of_process").result
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: first not in node.children, 5, lambda: node.log)
    second = desk.run("number_of_process")
    assert (second.state, second.crashes) == (State.COMPLETED, 0)
    assert second.result != first


# -- refused --------------------------------------------------------------------------------------


def test_a_node_that_is_alive_on_this_machine(desk: Desk, node: Node) -> None:
    again = desk.node(up=False)
    assert again.wait_ended() == 2
    assert "refused: node_alive: node n1 is already run by another worker on this machine" in again.log
    assert node.state is NodeState.UP


def test_a_node_that_is_alive_elsewhere(desk: Desk, node: Node, tmp_path: Path) -> None:
    elsewhere = Desk(desk.link, desk.url, desk.store.keys.namespace, tmp_path / "elsewhere")
    elsewhere.folder.mkdir()
    again = elsewhere.node(up=False)
    assert again.wait_ended() == 2
    assert again.log.count("refused: node_alive: node n1 is alive on") == 1
    assert "Traceback" not in again.log
    assert node.state is NodeState.UP


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"allow": ("not a pattern",)}, "invalid_value: bad pattern"),
        ({"chdir": "/no/such/folder"}, "invalid_value: --chdir"),
        ({"ttl": 0}, "invalid_value: --ttl"),
        ({"on_lost_redis": "panic"}, "invalid_value: --on-lost-redis"),
        ({"affinity": "perhaps"}, "invalid_value: --affinity"),
    ],
)
def test_a_bad_configuration(desk: Desk, options: dict[str, Any], words: str) -> None:
    node = desk.node(up=False, **options)
    assert node.wait_ended() == 2
    assert f"refused: {words}" in node.log


# -- Redis ----------------------------------------------------------------------------------------


@pytest.fixture
def own_server(tmp_path: Path, server_binary: Path | None) -> Iterator[EmbeddedServer]:
    """A server that the test may harm."""
    with EmbeddedServer(tmp_path / "redis", binary=server_binary, settings={"appendfsync": "always"}) as server:
        yield server


@pytest.fixture
def own_desk(own_server: EmbeddedServer, tmp_path: Path) -> Iterator[Desk]:
    link = Link(own_server.url)
    desk = Desk(link, own_server.url, "own", tmp_path)
    try:
        yield desk
    finally:
        own_server.start()
        wrong = list(desk.close())
        link.close()
    assert not wrong, "\n".join(wrong)


def test_no_redis_at_the_start(own_desk: Desk, own_server: EmbeddedServer) -> None:
    own_server.stop()
    node = own_desk.node(up=False)
    assert node.wait_ended(30) == 69
    assert "refused: redis_unavailable: Redis at unix://" in node.log


def kill(server: EmbeddedServer) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    wait_for(lambda: server.pid is None, 5)


def test_redis_is_away_for_a_while(own_desk: Desk, own_server: EmbeddedServer, tmp_path: Path) -> None:
    """Within the time to live: what runs goes on, what has ended is told later."""
    node = own_desk.node(ttl=30.0)
    first = node.wait_up()
    go = tmp_path / "go"
    own_desk.running(own_desk.submit("wait_for_file", str(go), task_id="t"))
    kill(own_server)
    go.touch()
    wait_for(lambda: "a task ended" in node.log or "a task completed" in node.log, 10, lambda: node.log)
    own_server.start()
    assert own_desk.end("t").result == "there"
    assert node.info is not None
    assert node.info.incarnation == first
    assert own_desk.run("add", 1, 2).result == 3


@pytest.mark.parametrize("on_lost_redis", ["kill", "keep"])
def test_redis_is_away_for_long(own_desk: Desk, own_server: EmbeddedServer, tmp_path: Path, on_lost_redis: str) -> None:
    """The tasks are gone before others declare the node dead, or go on, as was said."""
    node = own_desk.node(ttl=1.0, on_lost_redis=on_lost_redis)
    path = tmp_path / "notes"
    pids = start(own_desk, path)
    children = node.children
    kill(own_server)
    if on_lost_redis == "kill":
        wait_for(lambda: gone(pids + children), 5, lambda: node.log)
    else:
        wait_for(lambda: "Redis is lost" in node.log, 5, lambda: node.log)
        time.sleep(2 * node.config.ttl)  # what is shown is that nothing happens
        assert not gone(pids[:1])
    own_server.start()
    if on_lost_redis == "kill":
        info = own_desk.until("t", lambda info: info.attempt > 1 and info.state is State.RUNNING)
        assert (info.crashes, info.retries_left) == (0, 0)
    own_desk.link.run(own_desk.store.cancel("t", requeue=False, grace=0))
    assert own_desk.end("t").state is State.CANCELLED
    assert gone(pids)
    assert own_desk.run("add", 1, 2).result == 3


def test_a_worker_can_be_stopped_without_redis(own_desk: Desk, own_server: EmbeddedServer, tmp_path: Path) -> None:
    node = own_desk.node(grace=0.1)
    pids = start(own_desk, tmp_path / "notes")
    kill(own_server)
    assert node.stop(40) == 0
    assert gone(pids)
    assert node.record.exists()  # the next start tells what this one couldn't
    own_server.start()
    own_desk.node()
    own_desk.until("t", lambda info: info.attempt == 2 and info.state is State.RUNNING)
    own_desk.link.run(own_desk.store.cancel("t", requeue=False, grace=0))
    own_desk.end("t")


def test_a_node_that_was_declared_dead_stops_its_tasks(desk: Desk, node: Node, tmp_path: Path) -> None:
    """It joins as a new incarnation, with nothing of the old one running."""
    pids = start(desk, tmp_path / "notes")
    first = node.wait_up()
    desk.link.run(desk.store.node_leave("n1", first))
    node.wait_up(but=first)
    assert gone(pids)
    assert desk.running("t").attempt == 2
    desk.link.run(desk.store.cancel("t", requeue=False, grace=0))
    desk.end("t")


def test_a_node_that_is_declared_dead_again_and_again(desk: Desk) -> None:
    """No order of a new incarnation is taken for one of the old, whatever was under way."""
    node = desk.node(ttl=2.0)  # with the next heartbeat it hears that it was given up
    for n in range(15):
        first = node.wait_up()
        ids = [desk.submit("add", n, k) for k in range(5)]
        desk.link.run(desk.store.node_leave("n1", first))
        node.wait_up(but=first)
        assert [desk.end(task_id).result for task_id in ids] == [n + k for k in range(5)]


def test_frozen_beyond_its_time_to_live(desk: Desk, tmp_path: Path) -> None:
    """The whole worker stands still, is declared dead, and thaws: what it ran is ended, its reports are refused."""
    node = desk.node(ttl=1.0)
    pids = start(desk, tmp_path / "notes")
    frozen = node.everything()
    for process in frozen:
        process.suspend()

    def dead() -> bool:
        desk.turn()
        return node.state is NodeState.DEAD

    wait_for(dead, 10, lambda: node.info)
    assert desk.info("t").state is State.PENDING
    for process in frozen:
        process.resume()
    wait_for(lambda: gone(pids), 10, lambda: node.log)
    desk.until("t", lambda info: info.attempt > 1 and info.state is State.RUNNING)
    desk.link.run(desk.store.cancel("t", requeue=False, grace=0))
    desk.end("t")
