"""Marks in the scripts and the bugs that are planted there belong together."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rq_sched.link import scripts
from tests.faults import test_controls, test_simulation_controls
from tests.faults.planted import marks, plant
from tests.lua import test_after_model, test_deadlines, test_limits, test_resources
from tests.lua.test_luacheck import GLOBALS

BUGS = [
    *test_controls.BUGS.values(),
    *test_simulation_controls.BUGS.values(),
    *test_after_model.BUGS.values(),
    *test_deadlines.BUGS,
    *test_limits.BUGS,
    *test_resources.BUGS.values(),
]


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


@pytest.mark.full
def test_no_bug_is_found_by_a_name_that_there_is_not(tmp_path: Path) -> None:
    """A line that names what the script hasn't got is an error of Lua: the bug itself would prove nothing."""
    checked = tmp_path / "checked"
    checked.mkdir()
    for i, (mark, line) in enumerate(BUGS):
        folder = tmp_path / str(i)
        folder.mkdir()
        bug = plant(mark, line, folder)
        script = next(script for script in map(scripts.load, scripts.names()) if bug(script) != script)
        (checked / f"{mark}_{i}.lua").write_text(bug(script).plain)
    command = [
        "luacheck",
        "--formatter",
        "plain",
        "--std",
        "lua51",
        "--only",
        "11",
        "--read-globals",
        *GLOBALS,
        "--",
        ".",
    ]
    run = subprocess.run(command, cwd=checked, capture_output=True, text=True, check=False)
    assert not run.stdout.strip(), run.stdout
    assert not run.stderr.strip(), run.stderr
