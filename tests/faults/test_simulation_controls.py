"""Negative controls of the simulation: bugs that others had, each planted as a change of one line. A run of a few seeds
must catch every one; ``-s`` prints after how many. (``test_controls.py`` does the same with the model test.)"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from unittest import mock

import pytest

from rq_sched.errors import RqSchedError
from rq_sched.link.scripts import Script
from rq_sched.scheduler import reaper
from rq_sched.worker.agent import attempts
from rq_sched.worker.agent.reconcile import Reconciler
from tests.faults.sim.play import Simulation
from tests.faults.test_controls import planted

SEEDS = 60
LINES = {
    # what goes wrong: the line as it is, the line with the bug
    "no attempt check: a late report counts": (
        "if not id and not entry then return late(given_id, token) end",
        "if not id and not entry then entry, id, cpu, memory, mark = true, given_id, 1, 100, 'r' end",
    ),
    "bare decrement on release": (
        "node.cpu, node.memory = left_cpu, left_memory",
        "node.cpu, node.memory = left_cpu, cpu < 0 and node.memory or left_memory",
    ),
    "no incarnation: an old one is heard": (
        "if node and node.incarnation == incarnation and node.state ~= 'dead' then return node end",
        "if node then return node end",
    ),
    "cancel by pub/sub only": (  # the mark on the ledger alone would be found by reconciliation
        "if mark ~= 's' then call('HSET', path, token, id .. ':' .. cpu .. ':' .. memory .. ':s') end",
        "if true then call('PUBLISH', P .. 'bell:' .. node_id, 0) return true end",
    ),
    "requeue before the process is gone": (
        "local intention = (record.b == 'end'",
        "task_pending(id, record, record.n) local intention = (record.b == 'end'",
    ),
    "orders without numbers": ("node.ordered = node.ordered + 1", "node.ordered = node.ordered"),
    "submit isn't idempotent": ("if known then return known == digest and 0 or -1 end", ""),
    "no grace after a restart or a jump of the clock": ("elseif not excused(id, tonumber(late[i + 1])) then", "else"),
    "a doorbell as the only memory of new tasks": (
        "call('ZADD', P .. 'fresh', score, entry)\n    return true",
        "return true",
    ),
    "a fill doesn't look at labels": (
        "if labels and (group_skips[i] or not (carries and carries(labels))) then",
        "if false then",
    ),
    "a node isn't found by its labels": (
        "P .. name .. ':' .. label, score, id)",
        "P .. name .. ':' .. label, score - 1, id)",
    ),
    "what never started is charged a crash": ("died and mark ~= 'a' and", "died and"),
    "a node's death is charged to nobody": ("died and mark ~= 'a' and", "false and"),
    "unbounded requeue of what crashes": ("if crashes >= (whole_of(record.C) or 3) then", "if false then"),
    "poison one death too early": (
        "if crashes >= (whole_of(record.C) or 3) then",
        "if crashes + 1 >= (whole_of(record.C) or 3) then",
    ),
    "an innocent neighbour fails as poison": ("if report.among and crashes >=", "if false and crashes >="),
    "a suspect is one for ever": ("call('HSET', P .. 'task:' .. id, 'c', record.O)", "if true then return end"),
    "an element is made twice": (
        "array.next, array.head = array.next + 1, nil\n",
        "array.next, array.head = array.next + (array.again or 0), nil\n  array.again = 1\n",
    ),
    "what was made before its turn is made again": ("if array.apart == 0 then return end", "if true then return end"),
    "an array ends before its elements": (
        "or call('EXISTS', P .. 'live:' .. id) == 1 then return end",
        "then return end",
    ),
    "an array never ends": ("> last then array_settle(now, id) end", "> last then end"),
    "a cancelled array goes on": ("'jn', whole(array.last + 1), 'ja', '0', 's', 'running')", "'s', 'running')"),
    "what is left of an array is lost": (
        "if array_write(array) then call('ZADD'",
        "if array_write(array) and false then call('ZADD'",
    ),
    "a node with a fault never takes tasks again": ("if node.state == 'faulty' then node_resume(now, node) end", ""),
    "a suspect isn't alone": ("record.c = alone_class(record.O, node_id) or record.c", ""),
}


def play_until_caught(redis_url: str, plant: Callable[[Script], Script] | None = None, skewed: bool = False) -> int:
    """The number of seeds that it took."""
    for seed in range(SEEDS):
        simulation = Simulation(seed, redis_url, seconds=6, plant=plant)
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
@pytest.mark.parametrize("bug", LINES)
def test_a_planted_line_is_caught(bug: str, redis_url: str) -> None:
    right, wrong = LINES[bug]
    print(f"\n{bug}: {play_until_caught(redis_url, partial(planted, right=right, wrong=wrong))} seeds", end=" ")


@pytest.mark.timeout(600)
def test_the_clients_clock_is_caught(redis_url: str) -> None:
    """Every process brings the time of its own machine."""
    print(f"\nthe client's clock: {play_until_caught(redis_url, skewed=True)} seeds", end=" ")


@pytest.mark.timeout(600)
def test_orphans_looked_for_only_at_boot_are_caught(redis_url: str) -> None:
    """sidekiq#5540: nobody sweeps once a scheduler has started."""
    with mock.patch.object(reaper.Reaper, "every", 1e6), mock.patch.object(reaper.Reaper, "rung", False):
        print(f"\norphans looked for only at boot: {play_until_caught(redis_url)} seeds", end=" ")


@pytest.mark.timeout(600)
def test_an_agent_that_never_compares_is_caught(redis_url: str) -> None:
    """After a failover that has lost writes each side goes on with what it believes."""
    with mock.patch.object(Reconciler, "heard"):
        print(f"\nno reconciliation: {play_until_caught(redis_url)} seeds", end=" ")


@pytest.mark.timeout(600)
def test_a_killer_that_is_never_charged_is_caught(redis_url: str) -> None:
    """It kills its machine before its start was reported, each time: it must not be tried for ever."""
    with mock.patch.object(attempts, "ANNOUNCED", 10**9):
        print(f"\nstarts are never reported first: {play_until_caught(redis_url)} seeds", end=" ")
