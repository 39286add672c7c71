"""Redis has lost its last writes: a real worker and what Redis believes of it come to agree."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rq_sched.link import Command, Op
from rq_sched.model.orders import Start
from rq_sched.model.states import State
from rq_sched.model.task import TaskRequest
from tests.faults.lost_writes import Snapshot
from tests.support import wait_for
from tests.worker.kit import Desk, lines_of


def asker(desk: Desk) -> Callable[..., list[Any]]:
    def op(*commands: Command) -> Op[list[Any]]:
        return (yield list(commands))

    return lambda *commands: desk.link.run(op(*commands))


def test_what_redis_has_forgotten_ends_and_all_else_goes_on(desk: Desk, tmp_path: Path) -> None:
    """Lost: the submit of one task, the end of another, the cancel of a third. A fourth never notices."""
    node = desk.node(ttl=1.0)
    incarnation = node.wait_up()
    notes = {name: tmp_path / name for name in ("kept", "ended", "stopped", "new")}
    for name in ("kept", "ended", "stopped"):
        desk.submit("wait_for_file", str(notes[name]), task_id=name, memory_needed=100)
        desk.running(name)
    before = Snapshot.take(asker(desk), desk.store.keys.prefix)
    notes["ended"].touch()
    assert desk.end("ended").attempt == 1
    desk.link.run(desk.store.cancel("stopped", requeue=False, grace=0))
    assert desk.end("stopped").state == State.CANCELLED
    desk.submit("sleep", str(notes["new"]), task_id="new", memory_needed=100)
    desk.running("new")
    wait_for(lambda: lines_of(notes["new"]), 10, lambda: node.log)
    before.bring_back(asker(desk))
    assert desk.link.run(desk.store.states(["new"])) == [None]
    wait_for(lambda: "Redis doesn't know what runs here" in node.log, 10, lambda: node.log)
    assert desk.end("ended").attempt == 2
    assert desk.until("stopped", lambda info: info.attempt == 2 and info.state == State.RUNNING)
    for name in ("kept", "stopped"):
        notes[name].touch()
    assert desk.end("kept").attempt == 1
    assert desk.end("stopped").state == State.COMPLETED
    info = node.info
    assert info is not None
    assert (info.incarnation, info.running, info.free) == (incarnation, 0, info.total)


def test_an_order_that_a_call_from_before_the_loss_has_acknowledged_is_given_back(desk: Desk, tmp_path: Path) -> None:
    """Redis has forgotten orders and given their numbers again; then a call arrives that had seen the old ones. Its
    acknowledgement drops an order that nobody has read: the task would be assigned for ever."""
    node = desk.node(ttl=3.0)
    incarnation = node.wait_up()
    before = Snapshot.take(asker(desk), desk.store.keys.prefix)
    assert desk.run("add", 1, 2, task_id="lost").attempt == 1
    before.bring_back(asker(desk))
    wait_for(lambda: "Redis has forgotten orders" in node.log, 10, lambda: node.log)
    agent = node.agent
    os.kill(agent, signal.SIGSTOP)  # it reads nothing while the late call arrives
    try:
        asker(desk)(("CLIENT", "KILL", "TYPE", "pubsub"))  # nor hears the order with the doorbell
        desk.submit("add", 3, 4, task_id="unread")
        (order,) = desk.link.run(desk.store.node_poll("n1", incarnation, acked=0))
        assert isinstance(order, Start)
        assert (order.number, order.task_id) == (1, "unread")
        assert desk.link.run(desk.store.node_poll("n1", incarnation, acked=1)) == []
    finally:
        os.kill(agent, signal.SIGCONT)
    assert desk.end("unread").attempt == 2
    assert "Redis believes that this runs here: giving it back" in node.log
    info = node.info
    assert info is not None
    assert (info.incarnation, info.running) == (incarnation, 0)


def test_an_order_that_only_the_doorbell_has_is_ended(desk: Desk, tmp_path: Path) -> None:
    """Whoever may ring could also write to the list; but what isn't on the ledger doesn't run for long, and the order
    that Redis gives the same number isn't lost."""
    node = desk.node(ttl=1.0)
    incarnation = node.wait_up()
    desk.submit("wait_for_file", str(tmp_path / "kept"), task_id="kept")
    desk.running("kept")
    request = "class=1:1\nturn=1\ndigest=x\nat=1\nrun=tests.worker.functions:sleep\nwith="
    arguments = TaskRequest("m:f", [str(tmp_path / "forged")]).pack_arguments()
    forged = f"{incarnation} 2 start 5f.1.2 forged 1\n{request}".encode() + arguments
    asker(desk)(("PUBLISH", desk.store.keys.bell("n1"), forged))
    desk.submit("add", 3, 4, task_id="second")
    assert desk.end("second").result == 7
    wait_for(lambda: "Redis doesn't know what runs here: ending it" in node.log, 10, lambda: node.log)
    (tmp_path / "kept").touch()
    assert desk.end("kept").attempt == 1
    assert desk.link.run(desk.store.states(["forged"])) == [None]
    info = node.info
    assert info is not None
    assert (info.incarnation, info.running, info.free) == (incarnation, 0, info.total)
