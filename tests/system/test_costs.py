"""What a task costs Redis, in calls: counts, which no machine makes faster or slower. Times are the benches' affair."""

from __future__ import annotations

import pytest

from bench.common import server
from bench.instructions import counted, not_counted
from bench.throughput import System, at_once, drain, latency
from rq_sched.link import Link

TASKS = 1500


@pytest.fixture(scope="module")
def costs() -> dict[str, dict[str, float]]:
    with server("everysec") as running:
        system = System(running.url, "costs")
        with system.running(64):
            return {
                "drain": drain(system, TASKS),
                "at once": at_once(system, TASKS),
                "alone": latency(system, 50),
            }


def test_ends_travel_in_batches(costs: dict[str, dict[str, float]]) -> None:
    """28 reports a call at most, so 0.036; a scheduler that is rung, or a poll, after each would double that."""
    assert costs["drain"]["calls"] < 0.07, costs["drain"]
    assert costs["at once"]["calls"] < 0.12, costs["at once"]


def test_the_commands_of_a_life_are_few(costs: dict[str, dict[str, float]]) -> None:
    assert costs["drain"]["commands"] < 2.5, costs["drain"]
    assert costs["at once"]["commands"] < 3, costs["at once"]


def test_a_task_alone_takes_two_calls(costs: dict[str, dict[str, float]]) -> None:
    """Submit (which places it) and end; heartbeats and sweeps of the time that passes come on top. The order comes with
    the doorbell, the result with the news of the end."""
    assert costs["alone"]["calls"] < 3, costs["alone"]
    assert costs["alone"]["commands"] < 40, costs["alone"]


LIMITS = {  # phase: commands and appended bytes of one task; as counted, and a hundredth more
    "submit, 64 a call": (0.20, 186),
    "finish and refill, 28 a call": (1.16, 485),
    "finish and refill, 1 a call": (27.04, 1440),
    "a whole life alone": (39.05, 1784),
}


def test_commands_and_bytes_of_a_task_do_not_rise() -> None:
    """Exact counts of what one caller does, the same on each run. Who lowers them lowers the limits."""
    with server("everysec") as running:
        link = Link(running.url)
        found = {one.phase: one for one in counted(link, 1000, not_counted)}
        link.close()
    assert found.keys() == LIMITS.keys()
    for phase, (commands, size) in LIMITS.items():
        assert found[phase].commands <= 1.01 * commands, found[phase]
        assert found[phase].bytes <= 1.01 * size, found[phase]
