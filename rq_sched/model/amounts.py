"""Amounts that aren't CPU or memory, and limits, as they stand in the name of a class: ``*gpu=2000``, ``@api=2``.

Amounts of resources are counted in thousandths: whole ones (``2000``), or less than one (``500``: half of one index).
Limits are whole numbers. In Redis each name stands once, sorted (``lua/_required.lua``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

MAX_AMOUNTS = 16
"""Resources, and limits, that a task requires at most."""
MAX_AMOUNT = 10**15
"""Of one resource, in thousandths."""
MAX_LIMIT = 10**9
MAX_NAME = 32
NAME_FORM = re.compile(rf"[a-z][a-z0-9_-]{{0,{MAX_NAME - 1}}}")
"""A resource's or a limit's name."""

# labels, amounts, limits, refusals: each may be empty
_REQUIRED = re.compile(r"(?:\+[a-z0-9._+-]+)?((?:\*[^*@!]*)*)((?:@[^@!]*)*)(?:![A-Za-z0-9!:._-]+)?")
_AMOUNT, _LIMIT = re.compile(r"\*([^*@!=]+)=([0-9]{1,16})"), re.compile(r"@([^@!=]+)=([0-9]{1,16})")


def amounts_suffix(resources: Mapping[str, int], limits: Mapping[str, int]) -> str:
    """As they stand in the name of a class; ``resources`` in thousandths.

    >>> amounts_suffix({"scratch": 5000000, "gpu": 500}, {"api": 2})
    '*gpu=500*scratch=5000000@api=2'
    """
    amounts = "".join(f"*{name}={resources[name]}" for name in sorted(resources))
    return amounts + "".join(f"@{name}={limits[name]}" for name in sorted(limits))


def resources_in(task_class: str) -> dict[str, int]:
    """The amounts of resources, in thousandths, that tasks of this class require.

    >>> resources_in("2:512+ssd*gpu=500@api=2!n1:5f")
    {'gpu': 500}
    """
    return {name: int(number) for name, number in _AMOUNT.findall(task_class.partition("!")[0])}


def limits_in(task_class: str) -> dict[str, int]:
    """What tasks of this class take of limits.

    >>> limits_in("2:512+ssd*gpu=500@api=2!n1:5f")
    {'api': 2}
    """
    return {name: int(number) for name, number in _LIMIT.findall(task_class.partition("!")[0])}


def is_required(text: str) -> bool:
    """Whether that may stand behind CPU and memory in the name of a class (``_queue.lua`` says the same).

    >>> is_required("+ssd*gpu=500@api=2!n1:5f"), is_required("*gpu=1500"), is_required("*gpu=1*gpu=2")
    (True, False, False)
    """
    if not text:
        return True
    if not (found := _REQUIRED.fullmatch(text)):
        return False
    amounts, limits = found.groups()
    numbers = _numbers(amounts, _AMOUNT, MAX_AMOUNT)
    return _numbers(limits, _LIMIT, MAX_LIMIT) is not None and numbers is not None and all(map(is_amount, numbers))


def is_amount(thousandths: int) -> bool:
    """Whether it is less than one, or whole."""
    return 0 < thousandths <= MAX_AMOUNT and (thousandths < 1000 or thousandths % 1000 == 0)


def _numbers(text: str, form: re.Pattern[str], most: int) -> list[int] | None:
    """The numbers of such a part; None: it says something else."""
    found: list[tuple[str, str]] = form.findall(text)
    names = {name for name, _ in found if NAME_FORM.fullmatch(name)}
    numbers = [int(digits) for _, digits in found if digits[0] != "0" and int(digits) <= most]
    whole = sum(2 + len(name) + len(digits) for name, digits in found) == len(text)
    return numbers if whole and len(names) == len(numbers) == len(found) <= MAX_AMOUNTS else None
