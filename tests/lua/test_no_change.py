"""A call that is refused, or that finds nothing to do, writes nothing: no record of an element, no sequence."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lua.hostile import Hostile, Value, hostile_cell

CALLS: dict[str, tuple[str, list[Value], str | None]] = {
    # what is asked: the script, its arguments, the refusal (None: it is carried out)
    "forget an element that waits": ("task_forget", ["", "sweep/5"], "task_not_final"),
    "unhold an element that waits": ("task_unhold", ["", "sweep/9"], None),
    "an element gets the priority that it has": ("task_prioritize", ["", "sweep/5", 0], None),
    "requeue an element that waits": ("task_requeue", ["", "sweep/5", "op"], None),
    "cancel an element that is delayed": ("task_cancel", ["", "later/3", "op", 1, 1000, "", 0], None),
    "an element beyond the last": ("task_hold", ["", "sweep/10"], "task_not_found"),
    "a task gets the priority that it has": ("task_prioritize", ["", "p1", 1], None),
    "hold what is held": ("task_hold", ["", "h1"], None),
    "hold what has ended": ("task_hold", ["", "c1"], "task_final"),
    "hold what runs": ("task_hold", ["", "r1"], "wrong_state"),
    "unhold what waits": ("task_unhold", ["", "p1"], None),
    "requeue what waits": ("task_requeue", ["", "p1", "op"], None),
    "requeue what is held": ("task_requeue", ["", "h1", "op"], "wrong_state"),
    "cancel what has ended": ("task_cancel", ["", "c1", "op", 0, 1000, "", 0], None),
    "requeue by cancel what is held": ("task_cancel", ["", "h1", "op", 1, 1000, "", 0], None),
    "cancel what runs, if it waits": ("task_cancel", ["", "r1", "op", 0, 1000, "", 1], None),
    "forget what runs": ("task_forget", ["", "r1"], "task_not_final"),
    "forget nobody": ("task_forget", ["", "nobody"], "task_not_found"),
    "forget a part of an array that goes on": ("array_forget", ["", "sweep", 1, 9], "task_not_final"),
    "an id that is taken": ("task_submit", ["", "ab", 0, "", "p1", "1:1", "d", "run=m:f\nwith="], None),
    "an array with a taken id": ("array_submit", ["", "a", 0, "", 1, 9, "p1", "1:1", "d", "run=m:f\nwith="], None),
    "watch nobody": ("task_watch", ["", "me", "nobody", "sweep/99"], None),
    "no output": ("task_output", ["", "n1", "i1", "r1.token", ""], None),
    "starts of nobody": ("task_start", ["", "n1", "i1", "no.such.token"], None),
    "an old incarnation reports": ("task_finish", ["", "n1", "i0", 0, "ab", 4, 0.5, ""], "stale_incarnation"),
    "a node that is alive elsewhere": (
        "node_register",
        ["", "n1", "i9", 4, 4000, 600_000, "h", "", "+after+schedules", "", ""],
        "node_alive",
    ),
    "the same registration": (
        "node_register",
        ["", "n1", "i1", 4, 4000, 600_000, "", "", "+after+schedules", "", ""],
        None,
    ),
    "drain what is drained": ("node_drain", ["", "n2", "", 1, 0, 1000, "0"], None),
    "undrain what is up": ("node_undrain", ["", "n1"], None),
    "a node that has left leaves": ("node_leave", ["", "n3", "i3", 0], None),
    "reap what isn't lost": ("node_reap", ["", "n1:i1:left", 10], None),
    "nothing is due": ("task_promote", ["", 10], None),
    "nothing has expired": ("task_expire", ["", 10], None),
    "a schedule is due later": ("schedule_due", ["", 10], None),
    "somebody was faster": ("schedule_make", ["", "ab", 0, "yearly", 5, "yearly.1", 9, 0, ""], None),
    "resume what goes on": ("schedule_resume", ["", "yearly", 99], None),
    "pause nobody": ("schedule_pause", ["", "nobody"], "schedule_not_found"),
    "remove nobody": ("schedule_remove", ["", "nobody"], "schedule_not_found"),
    "run nobody": ("schedule_run", ["", "ab", 0, "nobody", "nobody.1"], "schedule_not_found"),
    "postpone nobody": ("schedule_postpone", ["", "nobody", "", 5, "why"], None),
    "a name that is taken": (
        "schedule_add",
        ["", "yearly", 1, "1:1", "d", "run=m:f\nwith=", "* * * * *", "UTC", "", "", "", "skip", "last"],
        None,
    ),
}


@pytest.fixture(scope="module")
def cell(redis_url: str) -> Iterator[Hostile]:
    with hostile_cell(redis_url) as cell:
        yield cell


@pytest.mark.parametrize("what", CALLS)
def test_nothing_is_written(cell: Hostile, what: str) -> None:
    name, arguments, refusal = CALLS[what]
    before = cell.everything()
    assert cell.refused(name, *arguments) == refusal
    assert cell.everything() == before
