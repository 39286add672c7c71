"""The decision log: what an entry of the ``events`` stream says (``_events.lua`` writes it)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
    entry_id = raw_id.decode()
    when = int(entry_id.split("-")[0]) / 1000
    found = []
    for kind, items in entry.items():
        for item in items.decode("utf-8", "replace").split(" "):
            found.append(_event(entry_id, when, kind.decode(), item))
    return found


def _event(entry_id: str, when: float, kind: str, item: str) -> Event:
    """``ID[@NODE][#ATTEMPT][=REASON]``."""
    rest, _, reason = item.partition("=")
    rest, _, attempt = rest.partition("#")
    task_id, _, node_id = rest.partition("@")
    data: dict[str, Any] = {}
    if attempt:
        data["attempt"] = int(attempt)
    if reason:
        data["reason"] = reason
    about_node = kind in ("joined", "left", "dead", "draining", "undrained", "faulty", "recovered")
    return Event(entry_id, when, kind, None if about_node else task_id, node_id or None, data)
