"""Words that the sentences of ``explain`` have in common."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rq_sched.cli import show


def need(found: Mapping[str, Any]) -> str:
    return show.needs(
        found["cpu_needed"], found["memory_needed"], found["require"], found["resources"], found["limits"]
    )


def of(some: int, nodes: int) -> str:
    return f"{some:,} of {show.count(nodes, 'node')}"


def do(found: Mapping[str, Any], command_line: str) -> str:
    return f"`rq-sched {command_line} {found['task_id']}`"


def clock(text: str | None, otherwise: str = "-") -> str:
    return show.clock(datetime.fromisoformat(text).timestamp()) if text else otherwise
