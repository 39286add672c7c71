"""Names of classes: tasks with exactly the same needs, labels and refusals included, share one queue."""

from __future__ import annotations

from collections.abc import Sequence

from rq_sched.model.labels import of_suffix, refused_in, suffix
from rq_sched.model.reading import text
from rq_sched.model.resources import MAX_CPU, MAX_MEMORY, Resources


def class_of(need: Resources, require: Sequence[str] = ()) -> str:
    """The name of the class: tasks with exactly these needs, labels included, share one queue.

    >>> class_of(Resources(2, 512), ["gpu", "ssd"])
    '2:512+gpu+ssd'
    """
    return f"{need.cpu}:{need.memory}{suffix(require)}"


def need_of(task_class: str) -> Resources:
    """The needs of a class, without what else it says (``labels.of_suffix``, ``labels.refused_in``).

    >>> need_of("2:512+gpu")
    Resources(cpu=2, memory=512)
    """
    cpu, memory = task_class.partition("!")[0].partition("+")[0].split(":")
    return Resources(int(cpu), int(memory))


def read_need(task_class: str) -> Resources | None:
    """The needs of what may be a class; None: it is none."""
    try:
        need = need_of(task_class)
    except ValueError:
        return None
    return need if 1 <= need.cpu <= MAX_CPU and 1 <= need.memory <= MAX_MEMORY else None


def group_name(task_class: str) -> str:
    """The coarse group of a class: the steps 1, 2, 3, 4, 6, 8, 12, 16, 24 … that hold its CPU and memory, its labels
    (``_queue.lua`` has the same rule; a test holds them together).

    >>> group_name("5:300+gpu")
    '6:384+gpu'
    """
    need = need_of(task_class)
    refused = "".join(f"!{place}" for place in refused_in(task_class))
    return f"{_step(need.cpu)}:{_step(need.memory)}{suffix(of_suffix(task_class))}{refused}"


def group_of(task_class: bytes | str) -> str:
    """The same of what may be a class; empty: it is none."""
    name = text(task_class) if isinstance(task_class, bytes) else task_class
    return group_name(name) if read_need(name) else ""


def _step(amount: int) -> int:
    power = 1 << (amount - 1).bit_length()
    three_quarters = power * 3 // 4
    return three_quarters if power >= 4 and amount <= three_quarters else power
