"""A short form of ``make graphs``, with one worker killed; and that its judge sees faults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rq_sched.model.states import State
from tests.faults import graphs


def test_a_graph_runs_as_it_says(tmp_path: Path) -> None:
    told = graphs.play(tmp_path, tasks=1_000, seed=1, nodes=2, kill_at=200)
    assert told["killed"] == {"nodes": 1}, told


STEPS = [graphs.Step("a"), graphs.Step("b", ["a"], fails=True), graphs.Step("c", ["b"]), graphs.Step("d", ["b:any"])]
RIGHT = ["B a", "B a", "E a", "E a", "B b", "F b", "B d", "E d"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda lines: lines, ""),
        (lambda lines: ["B d", *lines], "d began before the end of b:any"),
        (lambda lines: [*lines, "B c", "E c"], "c ran, and was to be cancelled"),
        (lambda lines: lines[:-2], "d never ran"),
    ],
)
def test_what_is_wrong_is_seen(wrong: Callable[[list[str]], list[str]], told: str) -> None:
    ends = graphs.expected(STEPS)
    assert ends == {"a": State.COMPLETED, "b": State.FAILED, "c": State.CANCELLED, "d": State.COMPLETED}
    assert "\n".join(graphs.problems(STEPS, ends, wrong(RIGHT))) == told
