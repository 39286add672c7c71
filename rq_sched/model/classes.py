"""Names of classes: tasks with exactly the same needs, all that is required included, share one queue."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rq_sched.model.amounts import amounts_suffix, is_required
from rq_sched.model.labels import suffix
from rq_sched.model.reading import text
from rq_sched.model.resources import MAX_CPU, MAX_MEMORY, Resources

_NONE: Mapping[str, int] = {}
_SIZE = re.compile(r"[0-9]+:[0-9]+(?=[+*@!]|\Z)")


def class_of(
    need: Resources,
    require: Sequence[str] = (),
    resources: Mapping[str, int] = _NONE,
    limits: Mapping[str, int] = _NONE,
) -> str:
    """The name of the class: tasks with exactly these needs share one queue. ``resources`` are in thousandths.

    >>> class_of(Resources(2, 512), ["avx", "ssd"])
    '2:512+avx+ssd'
    >>> class_of(Resources(2, 512), ["ssd"], {"gpu": 2000}, {"api": 1})
    '2:512+ssd*gpu=2000@api=1'
    """
    return f"{need.cpu}:{need.memory}{suffix(require)}{amounts_suffix(resources, limits)}"


def need_of(task_class: str) -> Resources:
    """CPU and memory of a class, without what else it says (``labels.of_suffix``, ``amounts.resources_in`` …).

    >>> need_of("2:512+gpu")
    Resources(cpu=2, memory=512)
    """
    cpu, memory = task_class[: _size_of(task_class)].split(":")
    return Resources(int(cpu), int(memory))


def read_need(task_class: str) -> Resources | None:
    """The needs of what may be a class; None: it is none."""
    try:
        need = need_of(task_class)
    except ValueError:
        return None
    possible = 0 <= need.cpu <= MAX_CPU and 1 <= need.memory <= MAX_MEMORY
    return need if possible and is_required(task_class[_size_of(task_class) :]) else None


def group_name(task_class: str) -> str:
    """The coarse group of a class: the steps 0, 1, 2, 3, 4, 6, 8, 12, 16, 24 … that hold its CPU and memory, and what
    else it says (``_queue.lua`` has the same rule; a test holds them together).

    >>> group_name("5:300+gpu")
    '6:384+gpu'
    """
    need = need_of(task_class)
    return f"{_step(need.cpu)}:{_step(need.memory)}{task_class[_size_of(task_class) :]}"


def group_of(task_class: bytes | str) -> str:
    """The same of what may be a class; empty: it is none."""
    name = text(task_class) if isinstance(task_class, bytes) else task_class
    return group_name(name) if read_need(name) else ""


def _size_of(task_class: str) -> int:
    """So many characters of it say CPU and memory."""
    if not (found := _SIZE.match(task_class)):
        raise ValueError(f"no class: {task_class!r}")
    return found.end()


def _step(amount: int) -> int:
    if amount == 0:
        return 0
    power = 1 << (amount - 1).bit_length()
    three_quarters = power * 3 // 4
    return three_quarters if power >= 4 and amount <= three_quarters else power
