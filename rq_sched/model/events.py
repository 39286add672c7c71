"""The decision log: what an entry of the ``events`` stream says (``_events.lua`` writes it)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rq_sched.model.reading import LAST_MS, text, whole


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the decision log. ``time``: seconds since 1970. ``data`` holds attempt and reason where known."""

    id: str
    time: float
    type: str
    task_id: str | None
    node_id: str | None
    data: dict[str, Any]


def events_of(raw_id: bytes, entry: Mapping[bytes, bytes]) -> list[Event]:
    """The events of one entry of the stream: one script call may have done many things."""
    entry_id = text(raw_id)
    when = whole(entry_id.split("-")[0], 0, 0, LAST_MS) / 1000
    found = []
    for kind, items in entry.items():
        for item in text(items).split(" "):
            found.append(_event(entry_id, when, text(kind), item))
    return found


def _event(entry_id: str, when: float, kind: str, item: str) -> Event:
    """``ID[@NODE][#ATTEMPT][=REASON]``."""
    rest, _, reason = item.partition("=")
    rest, _, attempt = rest.partition("#")
    task_id, _, node_id = rest.partition("@")
    data: dict[str, Any] = {}
    if kind.startswith("schedule_"):
        return Event(entry_id, when, kind, None, None, {"schedule": item})
    if kind == "limit":
        return Event(entry_id, when, kind, None, None, {"limit": task_id, "most": reason})
    if attempt:
        data["attempt"] = whole(attempt)
    if reason:
        data["reason"] = reason
    about_node = kind in (
        "joined",
        "left",
        "dead",
        "draining",
        "undrained",
        "overbooked",
        "reloading",
        "faulty",
        "recovered",
    )
    return Event(entry_id, when, kind, None if about_node else task_id, node_id or None, data)
