"""CPU cores and megabytes: the amounts that everything here is about.

Both are whole numbers, so that adding and taking away never drifts.
"""

from __future__ import annotations

import re
from numbers import Number
from typing import NamedTuple

from rq_sched.errors import InvalidResources
from rq_sched.model.given import given

MAX_CPU = 2**20
MAX_MEMORY = 2**24 - 1
"""The index of nodes packs CPU and memory into one float: 24 bits are for memory (16 TB)."""
MEMORY_STEP = MAX_MEMORY + 1
"""That index packs CPU × this + memory into one score."""
KIND_STEP = 2**45
"""In the index of free nodes, those with more kinds of resources stand behind: so many × this on top."""

_UNITS = {
    "": 1,
    "m": 1,
    "mb": 1,
    "mib": 1,
    "g": 1024,
    "gb": 1024,
    "gib": 1024,
    "t": 1024**2,
    "tb": 1024**2,
    "tib": 1024**2,
}
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*$")


class Resources(NamedTuple):
    """An amount of CPU (cores) and memory (MB).

    >>> Resources(2, 512).fits(Resources(4, 1024))
    True
    """

    cpu: int
    memory: int

    def fits(self, free: Resources) -> bool:
        """Whether this need can be met from what is free."""
        return self.cpu <= free.cpu and self.memory <= free.memory

    def plus(self, other: Resources) -> Resources:
        return Resources(self.cpu + other.cpu, self.memory + other.memory)

    def minus(self, other: Resources) -> Resources:
        return Resources(self.cpu - other.cpu, self.memory - other.memory)

    def __str__(self) -> str:
        return f"{self.cpu} CPU, {format_memory(self.memory)}"


def parse_cpu(value: object, name: str = "cpu", least: int = 1) -> int:
    """A number of cores: a whole number from 1, or from ``least``.

    Raises:
        InvalidResources: anything else (also a bool, a float with a fraction, text that isn't a number).
    """
    if type(value) is int:
        cpu = value
    else:
        try:
            if isinstance(value, bool) or not isinstance(value, (int, float, str)) or float(value) != int(float(value)):
                raise ValueError
            cpu = int(float(value))
        except (ValueError, OverflowError):
            raise InvalidResources(f"{name} must be a whole number of cores, not {given(value)}") from None
    if not least <= cpu <= MAX_CPU:
        raise InvalidResources(f"{name} must be between {least} and {MAX_CPU} cores, not {given(value)}")
    return cpu


def parse_memory(value: object, name: str = "memory") -> int:
    """An amount of memory in MB: a number of MB, or text such as ``"512"``, ``"512M"``, ``"2G"``, ``"1.5G"``.

    Raises:
        InvalidResources: anything else, or an amount below 1 MB.

    >>> parse_memory("2G")
    2048
    """
    if type(value) is int:
        memory = value
    else:
        found = _SIZE.match(str(value)) if isinstance(value, (Number, str)) else None
        factor = _UNITS.get(found[2].lower()) if found else None
        if found is None or factor is None:
            raise InvalidResources(f"{name} must be a number of MB or a size such as 512M or 2G, not {given(value)}")
        amount = min(float(found[1]) * factor, 2.0 * MAX_MEMORY)
        memory = int(amount)
        if memory != amount:
            raise InvalidResources(f"{name} must come to whole MB, not {given(value)}")
    if not 1 <= memory <= MAX_MEMORY:
        raise InvalidResources(f"{name} must be between 1 MB and {MAX_MEMORY} MB, not {given(value)}")
    return memory


def format_memory(megabytes: int) -> str:
    """For people: ``512 MB``, ``2 GB``, ``1.5 GB``."""
    if megabytes < 1024:
        return f"{megabytes} MB"
    return f"{megabytes / 1024:.1f}".removesuffix(".0") + " GB"
