"""Redis has lost its last writes: a real worker and what Redis believes of it come to agree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rq_sched.link import Command, Op
from rq_sched.task import State
from tests.faults.lost_writes import Snapshot
from tests.service.worker.kit import Desk, lines_of
from tests.support import wait_for


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
