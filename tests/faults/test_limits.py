"""A short form of ``make limits``, with one worker killed; and that its judge sees faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import limits


def test_a_limit_and_cards_hold_while_a_node_dies(tmp_path: Path) -> None:
    told = limits.play(tmp_path, tasks=24, seed=1, nodes=2, limit=4, kill_at=3, ttl=1.0)
    assert told["killed"] == {"nodes": 1}, told
    assert told["of_the_limit_at_most"] == 4, told
    assert told["cards_used"] == 2 * limits.CARDS, told


@pytest.mark.parametrize(
    ("lines", "problems"),
    [
        (["B 1 n0 t1 seats ", "B 2 n1 t2 seats ", "E 3 n0 t1", "B 4 n0 t3 seats "], []),
        (["B 1 n0 t1 seats ", "B 2 n1 t2 seats ", "B 4 n0 t3 seats "], ["3 of the limit in use at 4, of 2"]),
        (["B 1 n0 t1 seats ", "B 2 n1 t2 seats ", "K 3 n0", "B 4 n1 t3 seats "], []),
        (["B 1 n0 t1 500 0", "B 2 n0 t2 500 0", "B 3 n0 t3 2000 1,2", "B 4 n1 t4 1000 0"], []),
        (["B 1 n0 t1 500 0", "B 2 n0 t2 1000 0"], ["card 0 of n0: 1500 thousandths given"]),
        (["B 1 n0 t1 2000 0"], ["card wrong of n0: 9999 thousandths given"]),
    ],
)
def test_what_is_wrong_is_seen(lines: list[str], problems: list[str]) -> None:
    assert limits.replay(lines, 2).problems == problems


def test_full_use_is_measured_while_work_waits() -> None:
    lines = ["B 0 n0 t1 seats ", "B 1 n0 t2 seats ", "E 2 n0 t1", "B 3 n0 t3 seats ", "E 9 n0 t2", "E 9 n0 t3"]
    assert limits.replay(lines, 2).busy == 1.5
