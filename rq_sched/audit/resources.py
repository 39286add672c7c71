"""What nodes have beside CPU and memory, and what attempts hold of it, as Redis says it: read anew here, not as the
scripts and the commands read it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

WHOLE = 1000
_WORD = re.compile(r"([a-z][a-z0-9_-]{0,31})=(?:#([0-9]{1,16})|(.+))")
_INDEX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Amounts = Counter[tuple[str, str]]
"""Thousandths of each index of each resource; of a sum the index is empty."""


class Malformed(ValueError):
    """It says nothing."""


def owned(text: str) -> Amounts:
    """The field ``resources``."""
    return _read(text.split(" ") if text else (), ",", "")


def free(text: str) -> Amounts:
    """The field ``free_resources``."""
    return _read(text.split(" ") if text else (), ",", ":")


def held(entries: Iterable[str]) -> Amounts:
    """What stands in the entries of attempts behind their marks, without limits: all together."""
    found: Amounts = Counter()
    for entry in entries:
        found += _read([part for part in entry.split(";") if part and not part.startswith("@")], ",", "*")
    return found


def names(text: str) -> tuple[str, ...]:
    """Of the field ``resources`` or ``free_resources``, as indexes of nodes name them."""
    return tuple("*" + word.partition("=")[0] for word in text.split(" ") if word)


def wrong(has: Amounts, left: Amounts, ledger: Amounts) -> str | None:
    """What doesn't add up: nothing is given twice, and what is free and what is held are all that the node has."""
    for one in sorted(has.keys() | left.keys() | ledger.keys()):
        name = " ".join(filter(None, one))
        if one not in has:
            return f"{name} isn't on the node, and {ledger[one] or left[one]} thousandths of it are held or free"
        if ledger[one] > has[one]:
            return f"{ledger[one]} thousandths of {name} are given away, it has {has[one]}"
        if left[one] + ledger[one] != has[one]:
            return f"of {name} {left[one]} thousandths are free and {ledger[one]} held, it has {has[one]}"
    return None


def _read(words: Iterable[str], between: str, sign: str) -> Amounts:
    found: Amounts = Counter()
    for word in words:
        if not (read := _WORD.fullmatch(word)) or any(name == read[1] for name, _ in found):
            raise Malformed(word)
        name, total, indexes = read.groups()
        if total:
            found[name, ""] = int(total)
            continue
        for part in indexes.split(between):
            index, _, amount = part.partition(sign) if sign else (part, "", str(WHOLE))
            if not _INDEX.fullmatch(index) or not re.fullmatch("[0-9]{1,4}", amount) or (name, index) in found:
                raise Malformed(word)
            found[name, index] = int(amount)
    return found


def fits(text: str, need: Mapping[str, int]) -> bool:
    """Whether what is free (``free_resources``) is enough for a task: whole indexes, or a share of one."""
    try:
        left = free(text)
    except Malformed:
        return not need
    for name, amount in need.items():
        own = {index: number for (one, index), number in left.items() if one == name}
        if "" in own or amount < WHOLE:
            enough = any(number >= amount for number in own.values())
        else:
            enough = sum(number == WHOLE for number in own.values()) >= amount // WHOLE
        if not enough:
            return False
    return True
