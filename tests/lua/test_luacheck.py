"""luacheck over the scripts as the server gets them: no unknown global, no shadowed or unused name."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from rq_sched.link import scripts

pytestmark = pytest.mark.full

GLOBALS = ["redis", "KEYS", "ARGV", "unpack", "cjson", "cmsgpack", "bit", "struct"]
OPTIONS = ["--formatter", "plain", "--codes", "--std", "lua51", "--no-max-line-length"]
UNUSED = re.compile(r"^(?P<script>\w+)\.lua:.*\(W2[134]1\) (?:unused )?(?:function|variable) '(?P<name>\w+)'")
NOT_NEEDED = re.compile(r"\(W212\) unused argument '(?:now|quiet)'")
"""What commit() is given goes to those includes that a script has (``--@with``)."""
OF_AN_INCLUDE = re.compile(r"^local (?:function )?([\w, ]+)", re.MULTILINE)


def test_luacheck_finds_nothing(tmp_path: Path) -> None:
    names = scripts.names()
    assert names
    for name in names:
        (tmp_path / f"{name}.lua").write_text(scripts.load(name).plain, encoding="utf-8")
    shared = {name for part in scripts.FOLDER.glob("_*.lua") for name in _top_level_names(part)}
    complaints, unused = [], defaultdict(set)
    for line in _luacheck(tmp_path).splitlines():
        found = UNUSED.match(line)
        if found and found["name"] in shared:
            unused[found["name"]].add(found["script"])  # a script needn't use all that it includes
        elif line.strip() and not NOT_NEEDED.search(line):
            complaints.append(line)
    complaints += [f"{name} is used by no script" for name in shared if unused[name] >= _holders(name)]
    assert not complaints, "\n".join(complaints)


def test_luacheck_would_find_something(tmp_path: Path) -> None:
    (tmp_path / "bad.lua").write_text("local unused = 1\nreturn not_defined\n")
    assert "W211" in (said := _luacheck(tmp_path))
    assert "accessing undefined variable 'not_defined'" in said


def _luacheck(folder: Path) -> str:
    run = subprocess.run(
        ["luacheck", *OPTIONS, "--read-globals", *GLOBALS, "--", "."],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not run.stderr, run.stderr
    return run.stdout.replace("./", "")


def _top_level_names(part: Path) -> list[str]:
    found = OF_AN_INCLUDE.findall(part.read_text(encoding="utf-8"))
    return [name.strip() for names in found for name in names.split(",")]


def _holders(name: str) -> set[str]:
    """The scripts whose text defines it."""
    pattern = re.compile(rf"^local (?:function )?(?:\w+, *)*{name}\b", re.MULTILINE)
    return {script for script in scripts.names() if pattern.search(scripts.load(script).plain)}
