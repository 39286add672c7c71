"""What a node offers beside CPU and memory: resources with indexes, or mere sums; and what of it is free.

They stand in two fields of its record: ``resources``, ``gpu=0,1,2,3 scratch=#200000000`` (the indexes, or ``#`` and a
sum in thousandths), and ``free_resources``, ``gpu=0:1000,1:500,2:0,3:0 scratch=#150000000``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from rq_sched.errors import InvalidResources
from rq_sched.model.amounts import MAX_AMOUNTS
from rq_sched.model.asked import MOST, UNIT, check_name
from rq_sched.model.given import given

MOST_INDEXES = 256
"""Of one resource of a node. More of it is a mere sum."""
INDEX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Offer = tuple[str, ...] | int
"""Of one resource: its indexes, or a sum in units."""
Offers = Mapping[str, Offer]
NONE: Offers = MappingProxyType({})


def parse_offers(value: object, name: str = "resources") -> dict[str, Offer]:
    """What a node offers, sorted by name: of words such as ``gpu=4``, ``gpu=[0,2]``, ``scratch=200000``, of text with
    spaces between them, or of a mapping.

    Raises:
        InvalidResources: it can't be read; the message says what to write.

    >>> parse_offers(["scratch=200000", "gpu=[GPU-1a,GPU-2b]", "fpga=2"])
    {'fpga': ('0', '1'), 'gpu': ('GPU-1a', 'GPU-2b'), 'scratch': 200000}
    >>> parse_offers({"gpu": [0, 2]})
    {'gpu': ('0', '2')}
    """
    if isinstance(value, Mapping):
        value = [f"{key}={_as_word(offer)}" for key, offer in value.items()]
    elif isinstance(value, str):
        value = value.split()
    if not isinstance(value, Iterable) or isinstance(value, bytes):
        raise InvalidResources(f"{name} must be words such as gpu=4, not {given(value)}")
    found: dict[str, Offer] = {}
    for word in value:
        key, is_given, text = word.partition("=") if isinstance(word, str) else ("", "", "")
        if not is_given:
            raise InvalidResources(f"{name} must be NAME=AMOUNT or NAME=[INDEX,...], such as gpu=4, not {given(word)}")
        if check_name(key, name) in found:
            raise InvalidResources(f"{name} names {key} twice: give it once")
        found[key] = _offer(text.strip(), f"{name}: {key}")
    if len(found) > MAX_AMOUNTS:
        raise InvalidResources(f"{name} names {len(found)} resources, at most {MAX_AMOUNTS} are taken")
    return dict(sorted(found.items()))


def _as_word(offer: object) -> str:
    return f"[{','.join(map(str, offer))}]" if isinstance(offer, (list, tuple)) else str(offer)


def _offer(text: str, name: str) -> Offer:
    if text.startswith("[") and text.endswith("]"):
        return check_indexes([index.strip() for index in text[1:-1].split(",")], name)
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:16]) <= MOST:
        raise InvalidResources(
            f"{name} must be a whole number from 1 to {MOST:,}, or indexes such as [0,1,2], not {given(text)}"
        )
    amount = int(text)
    return tuple(map(str, range(amount))) if amount <= MOST_INDEXES else amount


def check_indexes(indexes: Sequence[str], name: str) -> tuple[str, ...]:
    """The indexes of a resource, as they are.  Raises: InvalidResources."""
    for index in indexes:
        if not INDEX.fullmatch(index):
            raise InvalidResources(
                f"{name}: bad index {given(index)}: use 1 to 64 letters, digits, '.', '_' or '-', such as 0 or GPU-1a"
            )
    if len(set(indexes)) < len(indexes):
        raise InvalidResources(f"{name} names an index twice: {given(','.join(indexes))}")
    if len(indexes) > MOST_INDEXES:
        raise InvalidResources(f"{name} has {len(indexes)} indexes, at most {MOST_INDEXES} are taken")
    return tuple(indexes)


def offered(offers: Offers) -> str:
    """What a node offers, as its record has it.

    >>> offered({"gpu": ("0", "1"), "scratch": 200000})
    'gpu=0,1 scratch=#200000000'
    """
    return " ".join(
        f"{name}={','.join(offer) if isinstance(offer, tuple) else f'#{offer * UNIT}'}"
        for name, offer in offers.items()
    )


def words_of(offers: Offers) -> list[str]:
    """The words that ``parse_offers`` reads.

    >>> words_of({"gpu": ("0", "2"), "scratch": 200000})
    ['gpu=[0,2]', 'scratch=200000']
    """
    return [
        f"{name}={'[' + ','.join(offer) + ']' if isinstance(offer, tuple) else offer}" for name, offer in offers.items()
    ]


class Stock(NamedTuple):
    """One resource of a node, in thousandths: what is free of it in all and, where it has indexes, of each."""

    total: int
    free: int
    indexes: dict[str, int] | None = None

    def most(self) -> int:
        """The most of it that one task can have now: whole indexes, or a share of the one of which most is free."""
        if self.indexes is None:
            return self.free
        whole = sum(UNIT for free in self.indexes.values() if free >= UNIT)
        return whole or max(self.indexes.values(), default=0)

    def fits(self, thousandths: int) -> bool:
        """Whether a task can have so much of it now."""
        if self.indexes is None or thousandths >= UNIT:
            return thousandths <= self.most()
        return any(thousandths <= free for free in self.indexes.values())


def read_stocks(total: str, free: str) -> dict[str, Stock]:
    """Of the fields ``resources`` and ``free_resources`` of a node; of none that can't be read.

    >>> read_stocks("gpu=0,1 scratch=#9000", "gpu=0:1000,1:500 scratch=#4000")["gpu"]
    Stock(total=2000, free=1500, indexes={'0': 1000, '1': 500})
    """
    left = dict(word.split("=", 1) for word in free.split() if "=" in word)
    found: dict[str, Stock] = {}
    for name, _, offer in (word.partition("=") for word in total.split()):
        try:
            if offer.startswith("#"):
                found[name] = Stock(int(offer[1:]), int(left.get(name, "#0")[1:]))
            else:
                parts = dict(part.rsplit(":", 1) for part in left.get(name, "").split(",") if part)
                indexes = {index: int(parts.get(index, 0)) for index in offer.split(",")}
                found[name] = Stock(UNIT * len(indexes), sum(indexes.values()), indexes)
        except ValueError:
            continue
    return found
