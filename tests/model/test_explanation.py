"""Answers with named parts, which were dicts once."""

from __future__ import annotations

import dataclasses

import pytest

from rq_sched.model.explanation import Explanation
from rq_sched.model.namespace import NamespaceInfo
from rq_sched.model.states import State

WHY = Explanation.of({"task_id": "t", "state": State.DELAYED, "reason": None, "due": "2026-01-01T00:00:00.000Z"})
TOTALS = NamespaceInfo(
    namespace="n", tasks={"pending": 3}, nodes={}, total_cpu=4, free_cpu=1, total_memory=2, free_memory=1, ever={},
    faults={}, scheduler_seen=None,
)  # fmt: skip


def test_only_what_applies_is_said() -> None:
    assert WHY.to_dict() == {"task_id": "t", "state": "delayed", "reason": None, "due": "2026-01-01T00:00:00.000Z"}
    assert list(WHY.to_dict()) == ["task_id", "state", "reason", "due"]
    assert WHY.fits_now is None
    assert Explanation(task_id="t", state=State.HELD).to_dict()["state"] == "held"


def test_they_dont_change() -> None:
    for answer in (WHY, TOTALS):
        with pytest.raises(dataclasses.FrozenInstanceError):
            answer.faults = {}  # type: ignore[misc]
    assert dataclasses.replace(WHY, task_id=None).to_dict() == WHY.to_dict() | {"task_id": None}
    assert TOTALS.to_dict()["tasks"] == {"pending": 3}


def test_what_nobody_knows_is_refused() -> None:
    with pytest.raises(TypeError, match="weather"):
        Explanation.of({"task_id": "t", "state": State.HELD, "weather": "fine"})


def test_what_worked_with_a_dict_works_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match=r"answer\['due'\] is answer.due now"):
        assert WHY["due"] == "2026-01-01T00:00:00.000Z"
    with pytest.warns(DeprecationWarning, match="answer.tasks now"):
        assert TOTALS["tasks"]["pending"] == 3
    with pytest.warns(DeprecationWarning, match="answer.node_id now"):
        assert WHY.get("node_id", "-") == "-"
    with pytest.warns(DeprecationWarning, match="look at"):
        assert "due" in WHY
    with pytest.warns(DeprecationWarning, match="to_dict"):
        assert dict(WHY) == WHY.to_dict()
    with pytest.warns(DeprecationWarning, match=r"answer\['fits_now'\]"), pytest.raises(KeyError):
        WHY["fits_now"]
