"""What stands where an index should be, or is gone from a ledger, keeps no end from being written."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from rq_sched import audit
from rq_sched.audit.mend import repair
from rq_sched.errors import RqSchedError
from rq_sched.model.orders import Start
from rq_sched.model.states import State
from tests.lua.cell import Cell

damaged = pytest.mark.no_audit("damage is planted")


def plant(cell: Cell, *command: Any) -> Any:
    def op() -> Any:
        return (yield [command])[0]

    return cell.run(op())


def mended(cell: Cell) -> None:
    """A repair leaves nothing to find, and a further one does nothing."""
    namespace = cell.store.keys.namespace
    cell.run(repair(namespace))
    assert not audit.problems(cell.run(audit.check(namespace)))
    assert cell.run(repair(namespace)) == []


@damaged
@pytest.mark.parametrize(
    "index", ["finished:completed", "preemptible", "arrays", "wake", "dirty", "free", "ends", "events"]
)
def test_an_end_is_written_once_whatever_an_index_is(cell: Cell, index: str) -> None:
    cell.node("a")
    cell.submit("t", preemptible=True)
    cell.submit("s", array="0-1")
    key = cell.store.keys.prefix + index
    cell.place()
    starts = cell.starts("a")
    plant(cell, "DEL", key)
    plant(cell, "HSET", key, "not", "ours")
    for task_id in ("t", "s/0", "s/1"):
        assert cell.finish("a", starts[task_id])[0] == "recorded"
        assert cell.finish("a", starts[task_id])[0] == "recorded"  # sent again, as its reply was lost
    assert [cell.state(task_id) for task_id in ("t", "s/0", "s/1", "s")] == [State.COMPLETED] * 4
    assert cell.free("a") == (4, 1024)
    mended(cell)


@damaged
@pytest.mark.parametrize("index", ["groups", "classes:1:128"])
def test_what_an_array_makes_is_there_whatever_an_index_is(cell: Cell, index: str) -> None:
    """A script that such a key ends half-way has taken elements from their array: only their requests tell of them."""
    cell.submit("s", array="0-2")
    key = cell.store.keys.prefix + index
    plant(cell, "DEL", key)
    plant(cell, "SADD", key, "not ours")
    cell.node("a")
    with contextlib.suppress(RqSchedError):
        cell.run(cell.store.place())
    mended(cell)
    cell.place()
    starts = cell.starts("a")
    for element in range(3):
        cell.finish("a", starts[f"s/{element}"])
    assert cell.state("s") is State.COMPLETED


@damaged
@pytest.mark.parametrize("index", ["groups", "pending:1:100"])
def test_nobody_is_asked_to_go_on_at_once_where_nobody_gets_on(cell: Cell, index: str) -> None:
    """A scheduler that is told of more to do looks again without a pause: at what is damaged it would for ever."""
    cell.submit("t")
    key = cell.store.keys.prefix + index
    plant(cell, "DEL", cell.store.keys.fresh)
    plant(cell, "DEL", key)
    plant(cell, "SADD", key, "not ours")
    for node in ("a", "b"):
        cell.node(node)
    for _ in range(3):
        placed = cell.run(cell.store.place())
        assert (placed.placed, placed.more) == (0, False)
    mended(cell)
    assert cell.place() == 1  # both nodes are looked at again


@damaged
def test_what_is_gone_from_a_ledger_is_known_by_the_record(cell: Cell) -> None:
    """Its end counts, and its room is given back; where a repair has done that, not once more."""
    cell.node("a")
    cell.submit("t1", "t2", "t3")
    cell.place()
    starts = cell.starts("a")
    ledger = cell.store.keys.ledger("a", "1")
    plant(cell, "HDEL", ledger, starts["t1"].token)
    plant(cell, "HSET", ledger, "1:100", "nobody's")
    assert cell.finish("a", starts["t1"])[0] == "recorded"
    assert cell.state("t1") is State.COMPLETED
    assert cell.free("a") == (2, 824)
    plant(cell, "HDEL", ledger, starts["t2"].token)
    plant(cell, "HSET", cell.store.keys.node("a"), "free_cpu", 3, "free_memory", 924)
    assert cell.finish("a", starts["t2"])[0] == "recorded"
    assert cell.free("a") == (3, 924)
    assert cell.finish("a", starts["t3"])[0] == "recorded"
    assert cell.free("a") == (4, 1024)
    mended(cell)


@damaged
@pytest.mark.parametrize("key", ["orders", "tasks", "grown"])
def test_an_end_is_written_and_room_given_whatever_stands_beside_a_node(cell: Cell, key: str) -> None:
    cell.node("a")
    cell.submit("elastic", max_cpu_needed=2)
    cell.submit("t1", "t2")
    cell.place()
    starts = cell.starts("a")
    assert cell.run(cell.store.task_grow("a", "1", [starts["elastic"].token], idle=1.0))[0] == 1
    cell.submit("t3", cpu=4)
    name = f"{cell.store.keys.node('a')}:1:{key}"
    plant(cell, "DEL", name)
    plant(cell, "SADD", name, "not ours")
    told: dict[str, Start] = {}
    for task_id in ("t1", "t2", "elastic"):
        outcome, more = cell.finish("a", starts[task_id])
        assert (outcome, cell.state(task_id)) == ("recorded", State.COMPLETED)
        told |= more
    mended(cell)
    cell.place()
    told |= cell.starts("a")
    assert cell.finish("a", told["t3"])[0] == "recorded"
    assert cell.free("a") == (4, 1024)
    mended(cell)


@damaged
def test_orders_come_behind_a_list_that_was_replaced(cell: Cell) -> None:
    """Those in it are lost, and known to be: none is left, which has the agent compare with the ledger."""
    cell.node("a")
    cell.submit("lost")
    cell.place()
    orders = cell.store.keys.orders("a", "1")
    plant(cell, "DEL", orders)
    plant(cell, "HSET", orders, "not", "ours")
    assert cell.orders("a") == []
    cell.submit("next")
    cell.place()
    assert [order.task_id for order in cell.starts("a").values()] == ["next"]
    assert cell.run(cell.store.node_heartbeat("a", "1", acked=cell.acked["a"])).ordered == cell.acked["a"]
    assert cell.orders("a") == []
    assert not audit.problems(cell.run(audit.check(cell.store.keys.namespace)))


@damaged
def test_a_list_of_orders_that_was_replaced_is_none_for_who_acknowledges(cell: Cell) -> None:
    cell.node("a")
    cell.submit("t")
    cell.place()
    assert list(cell.starts("a")) == ["t"]
    orders = cell.store.keys.orders("a", "1")
    plant(cell, "DEL", orders)
    plant(cell, "SET", orders, "not ours")
    cell.run(cell.store.node_heartbeat("a", "1", acked=cell.acked["a"]))
    cell.submit("next")
    cell.place()
    assert list(cell.starts("a")) == ["next"]
    assert not audit.problems(cell.run(audit.check(cell.store.keys.namespace)))


@damaged
def test_an_array_is_not_failed_for_a_stray_entry_of_it(cell: Cell) -> None:
    """In a queue of another class, or after all of it was made."""
    cell.node("a")
    cell.submit("s", array="0-1")
    keys = cell.store.keys
    (member,) = plant(cell, "ZRANGE", keys.pending("1:100"), 0, -1)
    for name in ("1:100", "2:100"):
        plant(cell, "ZADD", keys.pending(name), -9, member)
        plant(cell, "ZADD", keys.classes("2:128" if name == "2:100" else "1:128"), -9, member[:13] + name.encode())
        plant(cell, "ZADD", keys.groups, -9, member[:13] + name.encode())
    cell.place()
    starts = cell.starts("a")
    assert set(starts) == {"s/0", "s/1"}
    plant(cell, "ZADD", keys.pending("1:100"), -9, member)
    plant(cell, "ZADD", keys.classes("1:128"), -9, member[:13] + b"1:100")
    plant(cell, "ZADD", keys.groups, -9, member[:13] + b"1:100")
    cell.place()
    for start in starts.values():
        assert cell.finish("a", start)[0] == "recorded"
    assert cell.state("s") is State.COMPLETED
    mended(cell)


@damaged
def test_behind_a_task_that_is_set_aside_its_queue_goes_on(cell: Cell) -> None:
    cell.submit("bad", "good")
    cell.submit("other", cpu=2, memory=300)
    cell.place()
    plant(cell, "SET", cell.store.keys.task("bad"), "not a request")
    cell.node("n", cpu=4)
    cell.place()
    assert list(cell.starts("n")) == ["good", "other"]
    assert cell.state("bad") is State.FAILED
    mended(cell)
