"""A node that is drained, killed, and comes back with other cards: what tasks are told to use is what it has then."""

from __future__ import annotations

from rq_sched.model.node import NodeInfo
from rq_sched.model.states import State
from tests.lua.cell import Cell


def free(cell: Cell, node_id: str) -> dict[str, float]:
    node: NodeInfo = cell.run(cell.store.node(node_id))
    return node.free_indexes["gpu"]


def test_a_node_comes_back_with_other_cards(cell: Cell) -> None:
    cell.node("a", resources="gpu=0,1,2,3")
    cell.submit("two", resources={"gpu": 2})
    cell.submit("half", "other", resources={"gpu": 0.5})
    cell.submit("three", resources={"gpu": 3})
    assert cell.place() == 3
    held = {task: start.held for task, start in cell.starts("a").items()}
    assert held == {"two": "gpu=0*1000,1*1000", "half": "gpu=2*500", "other": "gpu=2*500"}
    assert free(cell, "a") == {"0": 0, "1": 0, "2": 0, "3": 1}

    cell.run(cell.store.node_leave("a", "1", crashed=True))
    assert cell.run(cell.store.reap("a:1:crashed")) == (3, 0)
    cell.node("a", incarnation="2", resources="gpu=3,GPU-7")
    cell.place()
    starts = cell.starts("a", "2")
    assert {task: start.held for task, start in starts.items()} == {"two": "gpu=3*1000,GPU-7*1000"}
    assert cell.info("three").reason == "infeasible"

    cell.run(cell.store.node_drain("a"))
    assert cell.finish("a", starts["two"], incarnation="2")[0] == "recorded"
    assert free(cell, "a") == {"3": 1, "GPU-7": 1}
    assert cell.place() == 0, "drained, it gets nothing"
    cell.run(cell.store.node_undrain("a"))
    cell.place()
    starts = cell.starts("a", "2")
    assert {task: start.held for task, start in starts.items()} == {"half": "gpu=3*500", "other": "gpu=3*500"}
    cell.run(cell.store.node_drain("a", requeue=True))
    for stop in cell.stops("a", "2").values():
        cell.finish("a", stop, "stopped", incarnation="2")
    assert free(cell, "a") == {"3": 1, "GPU-7": 1}

    cell.run(cell.store.node_leave("a", "2"))
    cell.run(cell.store.reap("a:2:left"))
    cell.node("a", incarnation="3")
    cell.node("b", resources="gpu=5,6,8")
    cell.run(cell.store.node_undrain("a"))
    cell.place()
    held = {task: start.held for task, start in cell.starts("b").items()}
    assert held == {"half": "gpu=5*500", "other": "gpu=5*500"}, "three comes later, and finds two whole ones"
    assert cell.starts("a", "3") == {}
    assert {cell.state(task) for task in held} == {State.ASSIGNED}
