"""Labels: what nodes carry (``gpu``, ``ssd``, a zone) and tasks require. Short identifiers, sorted, each once.

In Redis they stand as at the end of a class's name: ``+gpu+ssd``, empty where there are none (``lua/_labels.lua``).
Behind them stand amounts and limits (``amounts.py``), then registrations that have refused a task:
``+ssd!n1:5f!n3:a0``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from rq_sched.errors import InvalidLabel
from rq_sched.model.given import given

MAX_LABELS = 8
"""Labels that a node carries, or a task requires, at most."""
_LABEL = re.compile(r"[a-z0-9._-]{1,32}")
_LABELS_END = re.compile(r"[*@!]")
"""What follows them in the name of a class begins so."""


def parse_labels(value: object, name: str = "labels") -> tuple[str, ...]:
    """Labels from a list, or from text with ``+`` between them; sorted, each once.

    Raises:
        InvalidLabel: one isn't 1 to 32 of ``a-z 0-9 . _ -``, or there are more than eight.

    >>> parse_labels(["ssd", "gpu"])
    ('gpu', 'ssd')
    >>> parse_labels("ssd+gpu")
    ('gpu', 'ssd')
    """
    if isinstance(value, str):
        value = value.split("+") if value else ()
    if not isinstance(value, Iterable) or isinstance(value, (bytes, dict)):
        raise InvalidLabel(f"{name} must be a list of labels, not {given(value)}")
    found: set[str] = set()
    for label in value:
        if not isinstance(label, str) or not _LABEL.fullmatch(label):
            raise InvalidLabel(
                f"{name}: bad label {given(label)}: use 1 to 32 lower-case letters, digits, '.', '_' or '-'"
            )
        found.add(label)
    if len(found) > MAX_LABELS:
        raise InvalidLabel(f"{name}: {len(found)} labels, at most {MAX_LABELS} are taken")
    return tuple(sorted(found))


def suffix(labels: Iterable[str]) -> str:
    """As they stand in Redis.

    >>> suffix(("gpu", "ssd"))
    '+gpu+ssd'
    """
    return "".join(f"+{label}" for label in labels)


def of_suffix(text: str) -> tuple[str, ...]:
    """The labels of what ``suffix`` wrote, or of the name of a class.

    >>> of_suffix("2:512+avx+ssd*gpu=1000")
    ('avx', 'ssd')
    """
    return tuple(label for label in _LABELS_END.split(text, 1)[0].split("+")[1:] if label)


def refused_in(task_class: str) -> tuple[str, ...]:
    """The registrations, as NODE:INCARNATION, that have refused a task of this class.

    >>> refused_in("2:512+gpu!n1:5f!n3:a0")
    ('n1:5f', 'n3:a0')
    """
    return tuple(task_class.split("!")[1:])
