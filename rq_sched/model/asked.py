"""What a task asks for beside CPU and memory: amounts of resources of its node, and of limits that hold across nodes.

Users give them in units, by name: ``{"gpu": 2}``, ``{"gpu": 0.5}``, ``{"api": 1}``. (In Redis: ``amounts.py``.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import cast

from rq_sched.errors import InvalidResources
from rq_sched.model.amounts import MAX_AMOUNT, MAX_AMOUNTS, MAX_LIMIT, NAME_FORM, amounts_suffix
from rq_sched.model.given import given

UNIT = 1000
"""Thousandths of one."""
MOST = MAX_AMOUNT // UNIT
"""Of one resource, in units."""
Amounts = Mapping[str, float]
"""By name, in units."""
AmountsGiven = Mapping[str, float] | Sequence[str]
NOTHING: Amounts = MappingProxyType({})
AmountItems = tuple[tuple[str, float], ...]


def parse_resources(value: object, name: str) -> dict[str, float]:
    """Amounts of resources, sorted by name: of a mapping, or of words ``NAME=AMOUNT``.

    Raises:
        InvalidResources: it is neither, or a name or an amount can't be one.

    >>> parse_resources({"scratch": 5000, "gpu": 0.5}, "resources")
    {'gpu': 0.5, 'scratch': 5000}
    """
    return _parse(value, name, "resource", _resource)


def parse_limits(value: object, name: str) -> dict[str, float]:
    """The same of limits: whole amounts. A word without an amount is for one.

    >>> parse_limits(["api", "db=2"], "limits")
    {'api': 1, 'db': 2}
    """
    return _parse(value, name, "limit", _limit)


def _parse(value: object, name: str, what: str, amount: Callable[[object, str], float]) -> dict[str, float]:
    found: dict[object, object] = {}
    if isinstance(value, Mapping):
        found.update(value)
    elif isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        for word in value:
            key, given_amount = _word(word, name, what)
            if key in found:
                raise InvalidResources(f"{name} names {key} twice: give it once")
            found[key] = given_amount
    else:
        raise InvalidResources(
            f'{name} must be names with amounts, such as {{"{_EXAMPLE[what]}": 2}}, not {given(value)}'
        )
    if len(found) > MAX_AMOUNTS:
        raise InvalidResources(f"{name} names {len(found)} {what}s, at most {MAX_AMOUNTS} are taken")
    amounts = {check_name(key, name): amount(one, f"{name}: {key}") for key, one in found.items()}
    return dict(sorted(amounts.items()))


_EXAMPLE = {"resource": "gpu", "limit": "api"}


def _word(word: object, name: str, what: str) -> tuple[str, object]:
    """Name and amount of ``gpu=2``.  Raises: InvalidResources."""
    if not isinstance(word, str):
        raise InvalidResources(f"{name} must be words such as {_EXAMPLE[what]}=2, not {given(word)}")
    key, is_given, text = word.partition("=")
    if not is_given and what == "limit":
        return key, 1
    try:
        return key, int(text) if text.isascii() and text.isdigit() else float(text)
    except ValueError:
        raise InvalidResources(f"{name} must be NAME=AMOUNT, such as {_EXAMPLE[what]}=2, not {given(word)}") from None


def check_name(value: object, name: str) -> str:
    """The name of a resource or limit.  Raises: InvalidResources."""
    if isinstance(value, str) and NAME_FORM.fullmatch(value):
        return value
    raise InvalidResources(
        f"{name}: bad name {given(value)}: use 1 to 32 lower-case letters, digits, '_' or '-', the first a letter"
    )


def _number(value: object, name: str, most: int) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InvalidResources(f"{name} must be a number, not {given(value)}")
    if value > most:
        raise InvalidResources(f"{name} is {given(value)}, at most {most:,} are taken: count in larger units")
    return int(value) if value == int(value) else value


def _resource(value: object, name: str) -> float:
    amount = _number(value, name, MOST)
    if amount <= 0:
        raise InvalidResources(f"{name} must be above 0, not {given(value)}: leave it away to ask for none")
    if amount > 1 and amount != int(amount):
        raise InvalidResources(f"{name} must be whole, or below 1 for a share of one, not {given(value)}")
    thousandths = round(amount * UNIT)
    if not math.isclose(amount * UNIT, thousandths, abs_tol=1e-6) or not thousandths:
        raise InvalidResources(f"{name} must come to whole thousandths, such as 0.5 or 0.125, not {given(value)}")
    return amount


def _limit(value: object, name: str) -> float:
    amount = _number(value, name, MAX_LIMIT)
    if amount < 1 or amount != int(amount):
        raise InvalidResources(f"{name} must be a whole number from 1, not {given(value)}")
    return amount


def thousandths(resources: AmountItems) -> dict[str, int]:
    """Amounts of resources, counted in thousandths.

    >>> thousandths((("gpu", 0.5), ("scratch", 5000)))
    {'gpu': 500, 'scratch': 5000000}
    """
    return {name: round(amount * UNIT) for name, amount in resources}


def required(resources: AmountsGiven | None, limits: AmountsGiven | None) -> str:
    """What a checked request asks for, as in the name of its class.

    >>> required({"gpu": 0.5, "scratch": 5000}, {"api": 2})
    '*gpu=500*scratch=5000000@api=2'
    """
    return amounts_suffix(thousandths(items(resources)), {name: int(amount) for name, amount in items(limits)})


def sums(amounts: Iterable[Amounts]) -> dict[str, float]:
    """The sum of each, sorted by name.

    >>> sums([{"gpu": 0.1}, {"gpu": 0.2, "fpga": 1}])
    {'fpga': 1, 'gpu': 0.3}
    """
    found: dict[str, int] = {}
    for one in amounts:
        for name, amount in thousandths(items(one)).items():
            found[name] = found.get(name, 0) + amount
    return {name: units(found[name]) for name in sorted(found)}


def items(amounts: AmountsGiven | None) -> AmountItems:
    """Amounts that were checked, as what can be compared and remembered."""
    return tuple(cast(Amounts, amounts).items()) if amounts else ()


def units(thousandths: int) -> float:
    """What so many are: a whole number where it is one.

    >>> units(2000), units(500)
    (2, 0.5)
    """
    whole, rest = divmod(thousandths, UNIT)
    return thousandths / UNIT if rest else whole
