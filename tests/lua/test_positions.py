"""Nothing in the scripts counts positions: arguments and replies are bound to names, where they come in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rq_sched.link import scripts
from rq_sched.store import parts

POSITION = re.compile(r"[\w)]\[\d+\]")
BINDS = re.compile(r"local [\w, ]+ = ")
JUSTIFIED = {
    "_waiting": {"task_unreadable(clock(ARGV[1]), id)"},  # the time is the first argument of each script
    "node_reload": {"time_given(ARGV[1])"},  # checked like any other, and not needed
}


def positions(text: str) -> set[str]:
    """The lines of a script that index by a number and bind no name."""
    lines = (line.partition("--")[0].strip() for line in text.splitlines())
    return {line for line in lines if POSITION.search(line) and not BINDS.match(line)}


@pytest.mark.parametrize("path", sorted(scripts.FOLDER.glob("*.lua")), ids=lambda path: path.stem)
def test_only_names_are_used(path: Path) -> None:
    name, text = path.stem, path.read_text(encoding="utf-8")
    assert positions(text) == JUSTIFIED.get(name, set()), "write: local a, b = unpack(reply)"


def test_a_position_would_be_found() -> None:
    text = "local a, b = ARGV[1], r[2]\nif r[2] then return f(r)[1] end -- r[3]\n  r[i], r[#r + 1] = a, b\nlocal c = b"
    assert positions(text) == {"if r[2] then return f(r)[1] end"}


@pytest.mark.parametrize("part", ["REQUEST", "ATTEMPT", "OUTCOME"])
def test_the_parts_of_a_record_have_the_same_names_on_both_sides(part: str) -> None:
    text = (scripts.FOLDER / "_record.lua").read_text(encoding="utf-8")
    listed = text[text.index(f"local {part} = {{") :].partition("}")[0]
    in_front = {"ATTEMPT": ["token", "node", "placed", "attempt"]}
    to_the_end = {"REQUEST": ["with"], "OUTCOME": ["result", "error"]}
    names = [*in_front.get(part, []), *re.findall(r"'(\w+)'", listed), *to_the_end.get(part, [])]
    assert names == list(getattr(parts, part))
