"""Starts that are told with ends, in one call."""

from __future__ import annotations

from rq_sched.model.orders import Start
from rq_sched.model.states import State
from rq_sched.store.answers import EndReport
from rq_sched.store.attempts import start_of
from tests.lua.cell import START, Cell


def told(cell: Cell, *ended: Start, starts: list[str]) -> list[str]:
    reports = [EndReport(one.token, one.task_id, "completed", ran=0.3, result=b"\xc0") for one in ended]
    return cell.run(cell.store.task_finish("a", "1", acked=cell.acked["a"], reports=reports, starts=starts)).outcomes


def test_a_start_goes_with_an_end_and_says_since_when(cell: Cell) -> None:
    cell.node("a", 3, 1024)
    cell.submit("t1", "t2", "t3")
    cell.place()
    orders = cell.starts("a")
    cell.now += 500
    first, *others = (orders[task] for task in ("t1", "t2", "t3"))
    assert told(cell, first, starts=[start_of(others[0].token, 0.4), others[1].token]) == ["recorded"]
    assert [cell.state(task) for task in orders] == [State.COMPLETED, State.RUNNING, State.RUNNING]
    assert [cell.info(task).started_at for task in ("t2", "t3")] == [(START + 100) / 1000, (START + 500) / 1000]
    assert told(cell, starts=[one.token for one in others]) == []  # once more: nothing changes
    assert cell.info("t2").started_at == (START + 100) / 1000
    for order in others:
        assert cell.finish("a", order)[0] == "recorded"
    assert cell.free("a") == (3, 1024)


def test_a_start_of_what_has_ended_is_passed_over(cell: Cell) -> None:
    """Else its entry would come back to the ledger, and hold its room for ever."""
    cell.node("a", 1, 1024)
    cell.submit("t1", "t2")
    cell.place()
    order = cell.starts("a")["t1"]
    assert told(cell, order, starts=[order.token, f"{order.token}:99", "no.such:1", ":", "x:y:z"]) == ["recorded"]
    assert cell.run(cell.store.node("a")).running == 1
    assert told(cell, starts=[start_of(order.token, 0.1)]) == []
    assert (cell.state("t1"), cell.state("t2")) == (State.COMPLETED, State.ASSIGNED)
