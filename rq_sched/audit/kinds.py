"""What keys a namespace may have: the type of each kind, which kinds have a name, and what is left at the end."""

from __future__ import annotations

KINDS = {
    **dict.fromkeys(
        ("placed", "array", "counts", "settings", "reservation", "schedule", "limits", "limits_used", "limits_kept"),
        b"hash",
    ),
    **dict.fromkeys(("task", "ended", "payload", "result", "log", "seq", "swept"), b"string"),
    **dict.fromkeys(
        ("pending", "classes", "groups", "fresh", "dirty", "delayed", "held", "waiting", "expiring", "releasing"),
        b"zset",
    ),
    **dict.fromkeys(
        (
            "finished",
            "nodes",
            "schedulers",
            "gone",
            "free",
            "totals",
            "ends",
            "preemptible",
            "apart",
            "schedules",
            "limited",
        ),
        b"zset",
    ),
    **dict.fromkeys(("lost", "suspects", "live", "arrays"), b"set"),
    **dict.fromkeys(("wake", "awaits", "before"), b"list"),
    "events": b"stream",
}
NODE_KINDS = {"": b"hash", "alive": b"string", "tasks": b"hash", "orders": b"list", "grown": b"hash"}
NAMED = frozenset({  # kind:NAME
    "task", "ended", "array", "payload", "result", "log", "live", "apart", "pending", "classes", "finished", "node",
    "schedule", "awaits", "before", "limited",
})  # fmt: skip
LABELLED = frozenset({"free", "totals"})  # kind, and kind:LABEL
STAYS = frozenset({
    "seq", "counts", "settings", "swept", "events", "wake", "nodes", "schedulers", "gone", "free", "totals", "dirty",
    "fresh", "schedule", "schedules", "limits",
})  # fmt: skip
"""What is left when every task is done and forgotten, beside the records of nodes and their heartbeats."""


def right_type(name: str) -> str | None:
    """The type of the key of that name (without the prefix); None: none of that name belongs here."""
    kind, colon, tail = name.partition(":")
    right = NODE_KINDS.get(tail.partition(":")[2].rpartition(":")[2]) if kind == "node" else KINDS.get(kind)
    if right is None or (bool(colon) != (kind in NAMED) and kind not in LABELLED):
        return None
    return right.decode()
