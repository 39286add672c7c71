"""Nodes that join, drain, die and come back."""

from __future__ import annotations

import pytest

from bench.common import asked
from rq_sched.audit.checks import Checks
from rq_sched.audit.mend import repair
from rq_sched.errors import NodeAlive, NodeNotFound, StaleIncarnation, WrongState
from rq_sched.model.node import NodeState
from rq_sched.model.states import State
from rq_sched.store.scheduling import REAP_BATCH
from tests.lua.cell import START, Cell


def test_a_heartbeat_that_runs_out_gives_the_tasks_back(cell: Cell) -> None:
    cell.node("a", ttl=1)
    cell.node("b", 1, 1024, ttl=100)
    cell.submit("t1", "t2", "t3", cpu=2)
    cell.place()
    starts = cell.starts("a")
    cell.started("a", starts["t1"])
    for _ in range(5):
        cell.now += 190
        assert cell.run(cell.store.sweep()) == (0, [])
    cell.now += 150
    dead, lost = cell.run(cell.store.sweep())
    assert (dead, lost) == (1, ["a:1:crashed"])
    assert cell.run(cell.store.reap(lost[0])) == (2, 0)
    assert cell.run(cell.store.reap(lost[0])) == (0, 0)
    assert [e[2] for e in cell.run(cell.store.pending_in_order(9))] == ["t1", "t2", "t3"]  # their old places
    assert (cell.info("t1").crashes, cell.info("t2").crashes) == (1, 0)
    with pytest.raises(StaleIncarnation):
        cell.finish("a", starts["t1"])
    with pytest.raises(StaleIncarnation):
        cell.run(cell.store.node_heartbeat("a", "1", acked=0))


def test_a_heartbeat_in_time_keeps_it_alive(cell: Cell) -> None:
    cell.node("a", ttl=1)
    for _ in range(5):
        cell.now += 800
        assert cell.run(cell.store.node_heartbeat("a", "1", acked=0)).state is NodeState.UP
        assert cell.run(cell.store.sweep()) == (0, [])


def test_after_an_outage_everyone_gets_one_more_time_to_live(cell: Cell) -> None:
    cell.node("a", ttl=1)
    cell.run(cell.store.sweep())
    cell.now += 60_000  # Redis was away
    assert cell.run(cell.store.sweep()) == (0, [])
    for _ in range(4):
        cell.now += 240
        assert cell.run(cell.store.sweep()) == (0, [])
    cell.now += 140
    assert cell.run(cell.store.sweep())[0] == 1


def test_a_slow_scheduler_still_finds_the_dead(cell: Cell) -> None:
    cell.node("a", ttl=1)
    dead = 0
    for _ in range(4):  # every sweep comes late: grace is not given for ever
        cell.now += 2500
        dead += cell.run(cell.store.sweep())[0]
    assert dead == 1


def test_others_heartbeats_tell_an_outage_from_a_death(cell: Cell) -> None:
    cell.node("a", ttl=1)
    cell.node("b", ttl=10)
    for _ in range(15):
        cell.now += 200
        cell.run(cell.store.node_heartbeat("b", "1", acked=0))
    assert cell.run(cell.store.sweep()) == (1, ["a:1:crashed"])


def test_one_heartbeat_after_an_outage_costs_nobody_else_the_grace(cell: Cell) -> None:
    cell.node("a", ttl=1)
    cell.node("b", ttl=1)
    cell.run(cell.store.sweep())
    cell.now += 3000
    cell.run(cell.store.node_heartbeat("b", "1", acked=0))
    for _ in range(5):
        assert cell.run(cell.store.sweep()) == (0, [])
        cell.now += 210
        cell.run(cell.store.node_heartbeat("b", "1", acked=0))
    assert cell.run(cell.store.sweep()) == (1, ["a:1:crashed"])


def test_a_node_that_joins_with_no_scheduler_there_has_its_grace_in_the_next_outage(cell: Cell) -> None:
    """Nobody called for long, a node joins, and an outage follows its first heartbeat."""
    cell.run(cell.store.sweep())
    cell.now += 4000
    cell.node("a", ttl=1)
    cell.now += 3
    cell.run(cell.store.node_heartbeat("a", "1", acked=0))
    cell.now += 3000
    for _ in range(5):
        assert cell.run(cell.store.sweep()) == (0, [])
        cell.now += 210
    assert cell.run(cell.store.sweep())[0] == 1


def test_a_short_outage_is_not_held_against_a_short_lease(cell: Cell) -> None:
    """An outage that is shorter than the time to live, but longer than what was left of the lease."""
    cell.node("a", ttl=1)
    cell.run(cell.store.sweep())
    cell.now += 200
    cell.run(cell.store.node_heartbeat("a", "1", acked=0))
    cell.now += 250
    cell.run(cell.store.sweep())
    cell.now += 900
    assert cell.run(cell.store.sweep()) == (0, [])
    cell.run(cell.store.node_heartbeat("a", "1", acked=0))
    for _ in range(4):
        cell.now += 200
        assert cell.run(cell.store.sweep()) == (0, [])
    cell.now += 240
    assert cell.run(cell.store.sweep())[0] == 1


def swept(cell: Cell, *times: int) -> list[int]:
    """Sweep at these times, in ms since the cell began; how many were declared dead each time."""
    dead = []
    for time in times:
        cell.now = START + time
        dead.append(cell.run(cell.store.sweep())[0])
    return dead


def test_a_lease_that_ends_in_a_short_hole_has_half_a_time_to_live_from_its_end(cell: Cell) -> None:
    """It must connect anew before it can renew: the length of the hole alone (till 1500) would be too little."""
    cell.node("a", ttl=1)
    assert swept(cell, 200, 400, 600, 800, 900) == [0] * 5
    assert swept(cell, 1400, 1600, 1800, 1899) == [0] * 4  # nothing was heard from 900 to 1400; the lease ended at 1000
    assert swept(cell, 1900) == [1]


def test_and_who_renews_within_it_lives_on(cell: Cell) -> None:
    cell.node("a", ttl=1)
    swept(cell, 200, 400, 600, 800, 900, 1400, 1600)
    cell.now = START + 1850
    cell.run(cell.store.node_heartbeat("a", "1", acked=0))
    assert swept(cell, 2050, 2250, 2450, 2650, 2849) == [0] * 5


def test_without_a_hole_a_lease_ends_when_it_ends(cell: Cell) -> None:
    cell.node("a", ttl=1)
    assert swept(cell, 250, 500, 750, 999, 1000) == [0, 0, 0, 0, 1]


def test_a_lease_that_had_ended_before_the_hole_gets_nothing_from_it(cell: Cell) -> None:
    cell.node("a", ttl=1)
    cell.node("b", ttl=10)
    swept(cell, 250, 500, 750, 999)
    cell.now = START + 1050  # 50 ms too late for a, and no sweep has seen it yet
    cell.run(cell.store.node_heartbeat("b", "1", acked=0))
    assert swept(cell, 1450) == [1]


def test_after_a_long_hole_it_is_a_whole_time_to_live(cell: Cell) -> None:
    cell.node("a", ttl=1)
    assert swept(cell, 250, 500, 750, 900) == [0] * 4
    assert swept(cell, 2900, 3100, 3300, 3500, 3700, 3899, 3900) == [0] * 6 + [1]


def test_outages_with_a_single_look_between_them_count_each(cell: Cell) -> None:
    cell.node("a", ttl=1)
    assert swept(cell, 250, 500, 750) == [0] * 3
    assert swept(cell, 4750, 8750) == [0, 0]  # Redis was away, came back for a moment, and was away again
    assert swept(cell, 8950, 9150, 9350, 9550, 9749, 9750) == [0] * 5 + [1]


def test_a_short_hole_prolongs_what_a_long_one_has_prolonged(cell: Cell) -> None:
    """Redis was away for 4 s, came back, and failed over to a replica that had heard of no heartbeat since (found by
    the simulation, seed 222)."""
    cell.node("a", ttl=1)
    assert swept(cell, 250, 500, 750, 4750, 4950) == [0] * 5  # a has time until 5750
    assert swept(cell, 6050, 6250, 6450, 6650, 6849, 6850) == [0] * 5 + [1]  # nothing was heard from 4950 to 6050


def test_short_holes_in_a_row_count_each(cell: Cell) -> None:
    """Redis was away for 1.1 s, came back for a moment, and was away again (found by the simulation, seed 250)."""
    cell.node("a", ttl=1)
    assert swept(cell, 200, 400, 600, 800, 1900, 1950) == [0] * 6  # a has time until 2400
    assert swept(cell, 3050, 3250, 3450, 3549, 3550) == [0] * 4 + [1]  # and now half a second more


def test_a_jump_of_the_clock_makes_no_hole_old(cell: Cell) -> None:
    """Redis was away, its clock jumped by a minute, and it was away again (found by the simulation, seed 21)."""
    cell.node("a", ttl=1)
    assert swept(cell, 250, 500, 750, 2900, 2950) == [0] * 5  # a has time until 3900
    assert swept(cell, 63_000, 63_050, 64_150, 64_350) == [0] * 4


def test_small_holes_hide_no_large_one(cell: Cell) -> None:
    """A lone scheduler's sweeps are half a second apart: gaps, and no outages."""
    cell.node("a", ttl=10)
    sparse = [500 * n for n in range(1, 19)]  # until 9000: the lease has a second left
    assert swept(cell, *sparse) == [0] * 18
    assert swept(cell, 11_000, 11_500, 12_000) == [0] * 3  # Redis was away for 2 s, over its end


def test_where_all_looks_come_late_the_dead_do_not_live_on(cell: Cell) -> None:
    cell.node("a", ttl=1)
    assert swept(cell, 2000, 4000, 6000, 8000) == [0] * 3 + [1]


def test_a_clock_set_back_kills_nobody_and_lets_nobody_live_for_ever(cell: Cell) -> None:
    cell.now += 7_200_000
    cell.node("a", ttl=1)
    cell.run(cell.store.sweep())
    cell.now -= 7_200_000
    for _ in range(5):
        assert cell.run(cell.store.sweep()) == (0, [])
        cell.now += 200
    assert cell.run(cell.store.sweep())[0] == 1


def test_an_id_that_is_alive_is_refused(cell: Cell) -> None:
    cell.node("a", ttl=1)
    cell.node("a", ttl=1)  # the same incarnation again: a driver's retry
    with pytest.raises(NodeAlive, match="choose another --node-id"):
        cell.node("a", incarnation="2")


def test_a_new_incarnation_has_a_ledger_of_its_own(cell: Cell) -> None:
    cell.node("a", 2, 1024, ttl=1)
    cell.submit("t", cpu=2)
    cell.place()
    old = cell.starts("a")["t"]
    cell.now += 1500
    cell.node("a", 2, 1024, ttl=1, incarnation="2")  # before any sweep
    assert cell.free("a") == (2, 1024)
    _, lost = cell.run(cell.store.sweep())
    assert lost == ["a:1:alone"]
    cell.run(cell.store.reap(lost[0]))
    assert cell.free("a") == (2, 1024)
    cell.place()
    assert cell.starts("a", "2")["t"].attempt == 2
    with pytest.raises(StaleIncarnation):
        cell.finish("a", old)


def test_drain_takes_no_new_tasks_and_outlives_a_restart(cell: Cell) -> None:
    cell.node("a", 2, 1024)
    cell.submit("t1", "t2", "t3")
    cell.place()
    assert cell.run(cell.store.node_drain("a")) is NodeState.DRAINING
    starts = cell.starts("a")
    assert cell.finish("a", starts["t1"])[1] == {}
    cell.finish("a", starts["t2"])
    cell.run(cell.store.node_leave("a", "1"))
    assert cell.run(cell.store.node_register("a", "2", cell.run(cell.store.node("a")).total)) is NodeState.DRAINING
    assert cell.place() == 0
    assert cell.run(cell.store.node_undrain("a")) is NodeState.UP
    assert cell.place() == 1
    with pytest.raises(NodeNotFound):
        cell.run(cell.store.node_drain("nobody"))


def test_reload_is_one_order_however_often_it_is_asked_for(cell: Cell) -> None:
    """Until it is acknowledged; among other orders it keeps its place. A draining node can be reloaded, a dead one
    can't."""
    cell.node("a", 2, 1024)
    for _ in range(3):
        assert cell.run(cell.store.node_reload("a")) is NodeState.UP
    cell.submit("t1")
    cell.place()
    cell.run(cell.store.node_drain("a"))
    assert cell.run(cell.store.node_reload("a")) is NodeState.DRAINING

    def orders(acked: int) -> list[str]:
        return [type(order).__name__ for order in cell.run(cell.store.node_poll("a", "1", acked=acked))]

    assert orders(0) == orders(0) == ["Reload", "Start", "Reload"]
    assert orders(1) == ["Start", "Reload"]
    assert orders(3) == []
    cell.run(cell.store.node_reload("a"))
    assert orders(3) == ["Reload"]
    with pytest.raises(NodeNotFound):
        cell.run(cell.store.node_reload("nobody"))
    cell.run(cell.store.node_leave("a", "1"))
    with pytest.raises(WrongState, match="node a is dead"):
        cell.run(cell.store.node_reload("a"))


def test_orders_that_are_acknowledged_go_in_bites(cell: Cell) -> None:
    """At each multiple of 32; until then they stand ahead of those that aren't, and are given to nobody again."""
    cell.node("a")
    orders, check = cell.store.keys.orders("a", "1"), Checks(cell.store.keys)

    def kept() -> int:
        assert cell.run(check.node("a")) is None
        (length,) = cell.run(asked(("LLEN", orders)))
        return int(length)

    for number in range(1, 71):
        cell.run(cell.store.node_reload("a"))
        assert [order.number for order in cell.orders("a")] == [number]
        assert kept() == 1 + (number - 1) % 32
        assert cell.orders("a") == []  # acknowledges it
        assert kept() == number % 32
    cell.run(asked(("LTRIM", orders, -3, -1)))
    assert cell.run(check.node("a")) is None
    cell.run(cell.store.node_reload("a"))
    cell.run(asked(("LTRIM", orders, 99, -1)))
    assert "orders are kept" in (cell.run(check.node("a")) or "")
    cell.run(repair(cell.store.keys.namespace))


def test_drain_with_requeue_stops_what_runs_at_no_cost(cell: Cell) -> None:
    cell.node("a", 2, 1024)
    cell.submit("t1", "t2", "t3")
    cell.place()
    cell.started("a", *cell.starts("a").values())
    cell.run(cell.store.node_drain("a", requeue=True, grace=3))
    stops = cell.stops("a")
    assert set(stops) == {"t1", "t2"}
    for stop in stops.values():
        cell.finish("a", stop, "stopped")
    assert [e[2] for e in cell.run(cell.store.pending_in_order(9))] == ["t1", "t2", "t3"]
    assert cell.info("t1").crashes == 0


def test_closing_is_for_this_incarnation_only(cell: Cell) -> None:
    cell.node("a")
    assert cell.run(cell.store.node_closing("a", "1")) is NodeState.DRAINING
    cell.run(cell.store.node_leave("a", "1"))
    assert cell.run(cell.store.node_register("a", "2", cell.run(cell.store.node("a")).total)) is NodeState.UP


def test_leaving_twice_is_leaving_once(cell: Cell) -> None:
    cell.node("a")
    assert cell.run(cell.store.node_leave("a", "1"))
    assert not cell.run(cell.store.node_leave("a", "1"))
    assert cell.run(cell.store.nodes())[0].state is NodeState.DEAD


def test_nodes_that_are_long_gone_are_forgotten_but_not_their_drain(cell: Cell) -> None:
    for node_id in ("a", "b"):
        cell.node(node_id)
    cell.run(cell.store.node_drain("b"))
    for node_id in ("a", "b"):
        cell.run(cell.store.node_leave(node_id, "1"))
    for incarnation in cell.run(cell.store.sweep())[1]:
        cell.run(cell.store.reap(incarnation))
    cell.now += 100_000
    assert cell.run(cell.store.forget_nodes(older_than=60)) == 1
    assert [n.node_id for n in cell.run(cell.store.nodes())] == ["b"]


def test_a_big_node_is_reaped_in_batches(cell: Cell) -> None:
    cell.node("a", 500, 100_000)
    cell.submit(*(f"t{i:03d}" for i in range(250)))
    cell.place()
    cell.run(cell.store.node_leave("a", "1", crashed=True))
    lost = cell.run(cell.store.sweep())[1][0]
    sizes = []
    left = 1
    while left:
        reaped, left = cell.run(cell.store.reap(lost))
        sizes.append(reaped)
    assert max(sizes) == REAP_BATCH
    assert sum(sizes) == 250
    assert [e[2] for e in cell.run(cell.store.pending_in_order(3))] == ["t000", "t001", "t002"]
    assert cell.state("t249") == State.PENDING


def test_the_best_fitting_node_is_chosen(cell: Cell) -> None:
    cell.node("big", 16, 9000)
    cell.node("tight", 3, 9000)
    cell.node("tighter", 3, 500)
    cell.node("short", 4, 100)
    cell.place()  # what has just joined is filled first, in the order of joining; from here on the choice is free
    cell.submit("t", cpu=2, memory=400)
    cell.place()
    assert list(cell.starts("tighter")) == ["t"]


def test_an_incarnation_that_was_given_up_cannot_register_again(cell: Cell) -> None:
    cell.node("a")
    cell.submit("t")
    cell.place()
    cell.run(cell.store.node_leave("a", "1"))
    with pytest.raises(StaleIncarnation, match="register a new one"):
        cell.node("a")  # a driver's retry that arrives late
    cell.run(cell.store.reap("a:1:left"))
    assert cell.free("a") == (4, 1024)
