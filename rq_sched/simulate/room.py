"""What is free on a node of a schedule, for the judge, and what a task requires there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from rq_sched.model.asked import UNIT
from rq_sched.model.held import read_held
from rq_sched.simulate.workload import Node, Row


class Required(NamedTuple):
    """What a task requires beside CPU and memory."""

    labels: tuple[str, ...] = ()
    resources: tuple[tuple[str, int], ...] = ()
    limits: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, row: Row) -> Required:
        return cls(row.require, row.resources, row.limits)


@dataclass(slots=True)
class Room:
    """What is free on a node. ``stocks``: of each resource, in thousandths: of its indexes, or in all (under '').
    ``left``: of each limit, as far as it is looked at."""

    cpu: int
    memory: int
    labels: frozenset[str]
    stocks: dict[str, dict[str, int]]
    left: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, node: Node) -> Room:
        stocks = {
            name: dict.fromkeys(offer, UNIT) if isinstance(offer, tuple) else {"": offer * UNIT}
            for name, offer in node.offers.items()
        }
        return cls(*node.total, frozenset(node.labels), stocks)

    def copy(self, left: Mapping[str, int]) -> Room:
        """The same, with what is left of limits."""
        stocks = {name: dict(stock) for name, stock in self.stocks.items()}
        return Room(self.cpu, self.memory, self.labels, stocks, dict(left))

    def meets(self, required: Required) -> bool:
        """Whether a task with enough CPU and memory could begin."""
        within = all(amount <= self.left[name] for name, amount in required.limits)
        return within and self.labels.issuperset(required.labels) and all(self._has(*one) for one in required.resources)

    def _has(self, name: str, amount: int) -> bool:
        stock = self.stocks.get(name, {})
        if "" in stock or amount < UNIT:
            return any(amount <= free for free in stock.values())
        return amount <= sum(UNIT for free in stock.values() if free >= UNIT)

    def add(self, cpu: int, memory: int, held: str, sign: int = 1) -> None:
        """Give back, or take, what a record had."""
        self.cpu, self.memory = self.cpu + sign * cpu, self.memory + sign * memory
        for name, one in read_held(held).items() if held else ():
            stock = self.stocks.setdefault(name, {})
            for index in one.indexes or ("",):
                amount = min(one.amount, 1) if one.indexes else one.amount
                stock[index] = stock.get(index, 0) + sign * round(amount * UNIT)

    def overdrawn(self) -> bool:
        """Whether more is given away than there is."""
        return min(self.cpu, self.memory, *(free for stock in self.stocks.values() for free in stock.values())) < 0

    def __str__(self) -> str:
        stocks = "".join(f", {name} {stock}" for name, stock in self.stocks.items())
        return f"{self.cpu} CPU, {self.memory} MB{stocks} free"


def holds(held: str, required: Required) -> bool:
    """Whether a task held what it needs of resources, and no more."""
    amounts = {name: round(one.amount * UNIT) for name, one in read_held(held).items()}
    return amounts == dict(required.resources)
