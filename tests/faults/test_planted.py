"""Marks in the scripts and the bugs that are planted there belong together."""

from __future__ import annotations

from pathlib import Path

import pytest

from rq_sched.link import scripts
from tests.faults import test_controls, test_simulation_controls
from tests.faults.planted import marks, plant

BUGS = [*test_controls.BUGS.values(), *test_simulation_controls.BUGS.values()]


def test_every_mark_is_used_and_there() -> None:
    assert {mark for mark, _ in BUGS} == marks()


def test_the_line_becomes_what_the_test_says(tmp_path: Path) -> None:
    script = scripts.load("place")
    bug = plant("order", "return false", tmp_path)(script)
    before, after = script.source.splitlines(), bug.source.splitlines()
    changed = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    assert len(changed) == 1
    assert changed[0][1] == "  return false"


@pytest.mark.parametrize("mark", ["nowhere", "orde"])
def test_an_unknown_mark_is_an_error(mark: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=f"--@mark {mark}"):
        plant(mark, "", tmp_path)


@pytest.mark.parametrize(("mark", "line"), BUGS)
def test_every_bug_changes_a_script(mark: str, line: str, tmp_path: Path) -> None:
    bug = plant(mark, line, tmp_path)
    assert any(bug(script) != script for script in map(scripts.load, scripts.names()))
