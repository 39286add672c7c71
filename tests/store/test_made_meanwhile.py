"""An element that is made while it is looked at isn't taken for an unknown one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from rq_sched.link import Link, Op
from rq_sched.model.states import State
from tests.lua.cell import Cell

T = TypeVar("T")


def interrupted(op: Op[T], act: Callable[[], object]) -> Op[T]:
    """The operation; after its first round trip something else happens."""
    replies = yield next(op)
    act()
    while True:
        try:
            requests = op.send(replies)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        replies = yield requests


def test_an_element_made_between_two_looks(link: Link, namespace: str) -> None:
    cell = Cell(link, namespace)
    cell.submit("sweep", array="1-3")
    cell.node("n1", cpu=1)
    states = cell.run(interrupted(cell.store.states(["sweep/1", "sweep/2", "sweep/4"]), cell.place))
    assert states == [State.ASSIGNED, State.PENDING, None]


def test_everything_known_of_it(link: Link, namespace: str) -> None:
    cell = Cell(link, namespace)
    cell.submit("sweep", array="1-3")
    cell.node("n1", cpu=1)
    infos = cell.run(interrupted(cell.store.status(["sweep/1", "sweep/2", "sweep/4"]), cell.place))
    assert [info and info.state for info in infos] == [State.ASSIGNED, State.PENDING, None]
    assert infos[0] is not None
    assert infos[0].node_id == "n1"
