"""Marks in the scripts and the bugs that are planted there belong together."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from rq_sched.link import scripts
from tests.faults import test_controls, test_simulation_controls
from tests.faults.planted import marks, plant
from tests.lua import test_after_each, test_after_model, test_deadlines, test_limits, test_resources
from tests.lua.test_luacheck import GLOBALS

BUGS = [
    *test_controls.BUGS.values(),
    *test_simulation_controls.BUGS.values(),
    *test_after_model.BUGS.values(),
    *test_after_each.BUGS.values(),
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


def marks_of_scripts(folder: Path) -> dict[str, set[str]]:
    """Each script with the marks that stand in it when it is put together; an empty folder for them."""
    for path in scripts.FOLDER.glob("*.lua"):
        (folder / path.name).write_text(path.read_text().replace("--@mark ", "-- marked: "))
    return {name: set(re.findall(r"-- marked: (\w+)", scripts.assemble(name, folder))) for name in scripts.names()}


def scripts_with(marked: set[str], marks_of: Mapping[str, set[str]]) -> Iterator[str]:
    """Few scripts in which all these marks stand."""
    while marked:
        name = max(marks_of, key=lambda name: len(marks_of[name] & marked))
        assert marks_of[name] & marked, f"no script has {marked}"
        marked -= marks_of[name]
        yield name


@pytest.mark.full
def test_no_bug_is_found_by_a_name_that_there_is_not(tmp_path: Path) -> None:
    """A line that names what the script hasn't got is an error of Lua: the bug itself would prove nothing."""
    checked = tmp_path / "checked"
    checked.mkdir()
    rounds: list[dict[str, str]] = []  # in each as many as can be planted at once: luacheck takes long
    for mark, line in BUGS:
        free = next((one for one in rounds if mark not in one), None)
        if free is None:
            rounds.append(free := {})
        free[mark] = line
    (noted := tmp_path / "noted").mkdir()
    marks_of = marks_of_scripts(noted)
    for i, planted in enumerate(rounds):
        folder = tmp_path / str(i)
        shutil.copytree(scripts.FOLDER, folder)
        for mark, line in planted.items():
            plant(mark, line, folder, folder)
        for name in scripts_with({*planted}, marks_of):
            (checked / f"{name}_{i}.lua").write_text(scripts.Script.of(name, scripts.assemble(name, folder)).plain)
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
