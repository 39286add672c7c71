"""Bugs planted in the scripts: a line that stands under a mark, ``--@mark NAME``, becomes another one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest

from rq_sched.link import scripts
from rq_sched.link.scripts import Script

_MARKED = r"^([ ]*)--@mark {name}\n.*$"


def marks() -> set[str]:
    """All that the scripts have."""
    pattern = re.compile(_MARKED.format(name=r"(\w+)"), re.MULTILINE)
    return {found[2] for path in scripts.FOLDER.glob("*.lua") for found in pattern.finditer(path.read_text())}


def plant(mark: str, line: str, folder: Path, source: Path = scripts.FOLDER) -> Callable[[Script], Script]:
    """What makes the script with the bug of a script.

    Parameters:
        mark: the name of the marked line; where several scripts have it, all of them get the bug.
        line: what the marked line becomes: ``""`` if it is to go.
        folder: where the scripts with the bug are put.
        source: where those without it are.

    Raises:
        AssertionError: no script has such a mark.

    >>> plant("order", "return score < than_score", tmp_path)(scripts.load("place"))  # doctest: +SKIP
    """
    assert mark in marks(), f"no line of a script stands under --@mark {mark}"
    pattern = re.compile(_MARKED.format(name=mark), re.MULTILINE)
    for path in source.glob("*.lua"):
        text = pattern.sub(lambda found: found[1] + line, path.read_text())
        (folder / path.name).write_text(text)

    @cache
    def with_bug(name: str) -> Script:
        return Script.of(name, scripts.assemble(name, folder))

    return lambda script: with_bug(script.name)


def run_with(monkeypatch: pytest.MonkeyPatch, mark: str, line: str, folder: Path) -> None:
    """From now on, for the rest of the test, scripts have the bug (parameters: as of ``plant``)."""
    load, with_bug = scripts.load, plant(mark, line, folder)
    monkeypatch.setattr(scripts, "load", lambda name: with_bug(load(name)))


def in_short(bugs: Mapping[str, tuple[str, str]], every: int) -> list[str]:
    """Those that a run of the tests plants: one of so many; with ``RQ_SCHED_BUGS=all`` (``make controls``) all."""
    return list(bugs) if os.environ.get("RQ_SCHED_BUGS") == "all" else list(bugs)[::every]
