"""Negative controls of the simulation: bugs that others had, each planted as a change of one line. A run of a few seeds
must catch every one; ``-s`` prints after how many. (``test_controls.py`` does the same with the model test.)"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from rq_sched.errors import RqSchedError
from rq_sched.link.scripts import Script
from rq_sched.scheduler import reaper
from rq_sched.worker.agent import attempts
from rq_sched.worker.agent.reconcile import Reconciler
from tests.faults.planted import in_short, plant
from tests.faults.sim.play import Simulation

SEEDS = 60
BUGS = {
    # what goes wrong: the mark of a line of a script, what the line becomes
    "no attempt check: a late report counts": (
        "late_report",
        "if not id and not entry then entry, id, cpu, memory, mark = true, given_id, 1, 100, 'r' end",
    ),
    "bare decrement on release": (
        "room_taken",
        "node.cpu, node.memory = left_cpu, cpu < 0 and node.memory or left_memory",
    ),
    "no incarnation: an old one is heard": ("incarnation", "if node then return node end"),
    "cancel by pub/sub only": (
        "stop_noted",
        "if true then call('PUBLISH', P .. 'bell:' .. node_id, 0) return true end",
    ),
    "requeue before the process is gone": (
        "intention",
        "local attempt = task.attempt task_pending(task, request.turn) task.attempt = attempt "
        "local intention = requeue and 'requeue' or 'end'",
    ),
    "orders without numbers": ("order_number", "node.ordered = node.ordered"),
    "submit isn't idempotent": ("same_request", ""),
    "no grace after a restart or a jump of the clock": ("grace", "else"),
    "a doorbell as the only memory of new tasks": ("new_head", ""),
    "a fill doesn't look at labels": ("labels_of_group", "elseif false then"),
    "a node isn't found by its labels": (
        "label_entered",
        "for _, own in ipairs(index_names(stands)) do read('ZADD', P .. name .. own, score - 1, id) end",
    ),
    "what never started is charged a crash": ("charged", "local outcome = died and 'crashed' or 'returned'"),
    "a node's death is charged to nobody": ("charged", "local outcome = false and 'crashed' or 'returned'"),
    "unbounded requeue of what crashes": ("poison", "if false then"),
    "poison one death too early": ("poison", "if crashes + 1 >= (whole_of(request.crash_limit) or 3) then"),
    "an innocent neighbour fails as poison": (
        "neighbour",
        "if false and crashes >= (whole_of(request.crash_limit) or 3) then",
    ),
    "a suspect is one for ever": ("suspect_cleared", "if true then return end"),
    "an element is made twice": (
        "next_element",
        "array.next, array.head = array.next + (array.again or 0), nil\n  array.again = 1",
    ),
    "what was made before its turn is made again": ("made_before", "if true then return end"),
    "an array ends before its elements": (
        "array_goes_on",
        "if not first or outcome_of(id) or (whole_of(next_index) or 0) <= tonumber(last) then return end",
    ),
    "an array never ends": ("array_ends", "if last then end"),
    "a cancelled array goes on": (
        "rest_cancelled",
        "call('HSET', array.key, 'cut', whole(array.next), 'cut_at', stamp(now))",
    ),
    "what is left of an array is lost": (
        "rest_left",
        "if array_write(array) and false then call('ZADD', class.key, array.score, array_member(array)) end",
    ),
    "a node with a fault never takes tasks again": ("fault_ends", ""),
    "a suspect isn't alone": ("alone", ""),
    "the first end releases": ("all_have_come", "if false then"),
    "a parent that ends as poison releases nobody": (
        "dependants_noted",
        "if before and reason ~= 'poison' then table.insert(endings.awaited, { id = id, state = state }) end",
    ),
    "a schedule that fires twice after a failover": ("due_once", "if false then return 0 end"),
    "a schedule's task beside the one before": ("one_at_a_time", "local active = false"),
}


def play_until_caught(
    redis_url: str, plant: Callable[[Script], Script] | None = None, skewed: bool = False, failovers: bool = False
) -> int:
    """The number of seeds that it took. ``failovers``: that lose writes, often."""
    for seed in range(SEEDS):
        simulation = Simulation(seed, redis_url, seconds=6, plant=plant)
        if failovers:
            simulation.trouble.prefer(simulation.trouble.writes_lost)
        if skewed:
            network = simulation.network
            network.senders_clock = lambda process: network.clock + 4000 * (hash_of(process.name) % 7 - 3)  # noqa: B023
        try:
            simulation.play()
        except (AssertionError, RqSchedError, LookupError, ValueError):
            return seed + 1
    pytest.fail(f"{SEEDS} seeds, and it wasn't noticed")


def hash_of(name: str) -> int:
    """The same on every run."""
    return sum(name.encode())


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", in_short(BUGS, 6))
def test_a_planted_line_is_caught(bug: str, redis_url: str, tmp_path: Path) -> None:
    print(f"\n{bug}: {play_until_caught(redis_url, plant(*BUGS[bug], tmp_path))} seeds", end=" ")


@pytest.mark.timeout(600)
def test_the_clients_clock_is_caught(redis_url: str) -> None:
    """Every process brings the time of its own machine."""
    print(f"\nthe client's clock: {play_until_caught(redis_url, skewed=True)} seeds", end=" ")


@pytest.mark.timeout(600)
def test_orphans_looked_for_only_at_boot_are_caught(redis_url: str) -> None:
    """sidekiq#5540: nobody sweeps once a scheduler has started."""
    with mock.patch.object(reaper.Reaper, "every", 1e6), mock.patch.object(reaper.Reaper, "on_bell", False):
        print(f"\norphans looked for only at boot: {play_until_caught(redis_url)} seeds", end=" ")


@pytest.mark.timeout(600)
def test_an_agent_that_never_compares_is_caught(redis_url: str) -> None:
    """After a failover that has lost writes each side goes on with what it believes."""
    with mock.patch.object(Reconciler, "on_heartbeat"):
        print(f"\nno reconciliation: {play_until_caught(redis_url, failovers=True)} seeds", end=" ")


@pytest.mark.timeout(600)
def test_a_killer_that_is_never_charged_is_caught(redis_url: str) -> None:
    """It kills its machine before its start was reported, each time: it must not be tried for ever."""
    with mock.patch.object(attempts, "ANNOUNCED", 10**9):
        print(f"\nstarts are never reported first: {play_until_caught(redis_url)} seeds", end=" ")
