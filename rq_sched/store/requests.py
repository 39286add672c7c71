"""What is asked for, as a submit sends it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from operator import attrgetter
from typing import Any, NamedTuple

from rq_sched.model import tags
from rq_sched.model.after import uses_results
from rq_sched.model.asked import required
from rq_sched.model.classes import class_of
from rq_sched.model.output import LIMIT
from rq_sched.model.resources import Resources
from rq_sched.model.signing import Signer
from rq_sched.model.task import DEFAULT_CRASH_LIMIT, TaskRequest

SHAPES = 1000
"""Kinds of requests that are remembered: who submits many tasks mostly asks for few."""
Encoded = tuple[str, str, bytes, bytes]
NAMED = 256
"""Tasks that one waits for, of which one call names so many."""


class _Shape(NamedTuple):
    """What requests have in common that differ by id and arguments: fields of ``TaskRequest``."""

    function: str
    cpu_needed: int
    memory_needed: int
    max_cpu_needed: int | None
    max_memory_needed: int | None
    require: Sequence[str]
    priority: int
    delay: float
    deadline: float | None
    infeasible: str
    retries: int
    crash_limit: int
    time_limit: float | None
    elastic: str
    preemptible: bool
    array: str | None
    on_failure: str


_shape_of = attrgetter(*_Shape._fields)


def encode(request: TaskRequest, signer: Signer | None = None, signed_id: str | None = None) -> Encoded:
    """Id, class, digest and text of a checked request, as ``task_submit.lua`` takes them.

    The digest is the same whether the request is signed or not, with which key, and whatever its hints. ``signed_id``:
    the id that is signed, where that isn't the task's.

    Raises:
        Unsendable: its arguments can't be sent.
    """
    amounts = required(request.resources, request.limits) if request.resources or request.limits else ""
    task_class, text, covered = _texts(_shape_of(request), amounts)
    if described := _description(request):
        text = text.replace(b"run=", described + b"run=", 1)
        covered = covered_by(task_class, request.array, text.decode())
    if request.after:
        covered += f"{','.join(request.after)}\n".encode()
    arguments = request.pack_arguments()
    digest = digest_of(covered, arguments)
    if request.hints:
        arguments = request.pack_arguments(request.hints)
    if signer is not None:
        arguments = signer.sign(signed_id or str(request.task_id), request.function, arguments, request.time_limit)
    return request.task_id or "", task_class, digest, text + arguments


def _description(request: TaskRequest) -> bytes:
    """The lines of a request that are seldom there, and differ where they are."""
    if request.name is None and not request.tags and request.log_limit == LIMIT and not request.after:
        return b""
    lines = {
        "log_limit": request.log_limit if request.log_limit != LIMIT else None,
        "name": request.name,
        "tags": tags.written(tags.parse_tags(request.tags)) if request.tags else None,
        "uses": 1 if uses_results(request.after) else None,
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items() if value is not None).encode()


def digest_of(covered: bytes, arguments: bytes) -> bytes:
    """By which the same request is known again: of what stands before the packed arguments, and of these, unsigned."""
    return base64.b64encode(blake2b(covered + arguments, digest_size=8).digest())[:11]


def covered_by(task_class: str, array: str | range | None, text: str) -> bytes:
    """What the digest covers before the arguments: the class, the array's extent, and the text up to there."""
    return f"{task_class} {array}\n{text}".encode()


@lru_cache(maxsize=SHAPES)
def _texts(shape: tuple[Any, ...], amounts: str) -> tuple[str, bytes, bytes]:
    """Of a kind of requests the class, the text up to the arguments, and what the digest covers before them. What it
    asks for of resources and limits stands apart: few do."""
    asked = _Shape._make(shape)
    cpu, memory = asked.cpu_needed, asked.memory_needed
    lines = {
        "priority": asked.priority,
        "delay": _milliseconds(asked.delay),
        "deadline": _milliseconds(asked.deadline),
        "infeasible": asked.infeasible if asked.infeasible != "wait" else 0,
        "retries": asked.retries,
        "crash_limit": asked.crash_limit if asked.crash_limit != DEFAULT_CRASH_LIMIT else 0,
        "time_limit": _milliseconds(asked.time_limit),
        "elastic": asked.elastic if asked.elastic != "cpu" else 0,
        "preemptible": int(asked.preemptible),
        "max_cpu": asked.max_cpu_needed if asked.max_cpu_needed != cpu else 0,
        "max_memory": asked.max_memory_needed if asked.max_memory_needed != memory else 0,
        "on_failure": asked.on_failure if asked.on_failure != "cancel" else 0,
    }
    rare = "".join(f"{name}={value}\n" for name, value in lines.items() if value)
    task_class, text = class_of(Resources(cpu, memory), asked.require) + amounts, f"{rare}run={asked.function}\nwith="
    return task_class, text.encode(), covered_by(task_class, asked.array, text)


def _milliseconds(seconds: float | None) -> int:
    return round(seconds * 1000) if seconds is not None else 0
