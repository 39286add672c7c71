"""The table of transitions, the drawing in the docs and the contracts of the scripts say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rq_sched.link import scripts
from rq_sched.model.states import TRANSITIONS, State

DRAWING = Path(__file__).parents[2] / "docs" / "state-machine.md"
Move = tuple[State | None, State]

VERBS = {  # script: the verbs of the table that it carries out
    "task_submit": ["submit", "place"],
    "graph_submit": ["submit_after"],
    "task_release": ["release"],
    "place": ["place"],
    "task_start": ["start"],
    "task_finish": ["start", "finish", "place"],
    "task_cancel": ["cancel"],
    "task_hold": ["hold"],
    "task_unhold": ["unhold"],
    "task_requeue": ["requeue"],
    "task_promote": ["promote"],
    "task_expire": ["expire"],
    "node_reap": ["reap"],
}


def test_the_drawing_is_the_table() -> None:
    drawn: dict[str, set[Move]] = {}
    for source, target, verb in re.findall(r"^\s+(\S+) --> (\w+): (\w+)$", DRAWING.read_text(), re.MULTILINE):
        drawn.setdefault(verb, set()).add((None if source == "[*]" else State(source), State(target)))
    assert drawn == {verb: set(moves) for verb, moves in TRANSITIONS.items()}


def _moves(name: str) -> set[Move]:
    """The transitions in the brackets of a contract: ``(a | b → c | d; e → f)``."""
    head = (scripts.FOLDER / f"{name}.lua").read_text().split("-- KEYS:")[0].replace("\n--", "")
    found = re.search(r"\(([^()]*→[^()]*)\)", head)
    moves: set[Move] = set()
    for part in found[1].split(";") if found else []:
        if "→" not in part:
            continue
        sources, targets = ([word.strip() for word in side.split("|")] for side in part.split("→"))
        for source in sources:
            moves |= {(None if source == "none" else State(source), State(target)) for target in targets}
    return moves


@pytest.mark.parametrize("name", sorted(VERBS))
def test_the_contract_is_the_table(name: str) -> None:
    expected = set().union(*(TRANSITIONS[verb] for verb in VERBS[name]))
    assert _moves(name) == expected


def test_every_script_begins_with_its_contract() -> None:
    for name in scripts.names():
        text = (scripts.FOLDER / f"{name}.lua").read_text()
        assert text.startswith("#!lua"), name
        assert f"--- {name}: " in text, name
        for part in ("-- KEYS: prefix", "-- ARGV: now_ms", "-- Replies: ", "-- Refuses: ", "-- Promises: "):
            assert part in text, f"{name}: {part}"


def test_every_include_begins_with_its_purpose() -> None:
    for path in scripts.FOLDER.glob("_*.lua"):
        lines = (line for line in path.read_text().splitlines() if not line.startswith("--@include "))
        assert next(lines).startswith("-- "), path.name
