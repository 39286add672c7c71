"""Whether a need fits: the nodes' room, the reservation, and what follows for a task that waits. Values only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from rq_sched.model.asked import items, thousandths
from rq_sched.model.labels import of_suffix
from rq_sched.model.offers import Stock, read_stocks
from rq_sched.model.reading import LAST_MS, real, whole
from rq_sched.model.resources import Resources
from rq_sched.model.states import Reason

if TYPE_CHECKING:
    from rq_sched.model.task import TaskInfo, TaskRequest


class Place(NamedTuple):
    """A place in the order of all pending tasks (promise 4): places compare as tasks do."""

    score: float
    sequence: str


class Wish(NamedTuple):
    """What a task needs, as far as it says on which nodes it fits. ``resources``: in thousandths."""

    need: Resources
    require: tuple[str, ...] = ()
    resources: tuple[tuple[str, int], ...] = ()
    refused: tuple[str, ...] = ()

    @classmethod
    def of(cls, task: TaskInfo | TaskRequest) -> Wish:
        """That of a task, or of a checked request."""
        return cls(
            Resources(task.cpu_needed, int(task.memory_needed)),
            tuple(task.require),
            tuple(thousandths(items(task.resources)).items()),
            tuple(getattr(task, "refused", ())),
        )


class Room(NamedTuple):
    """What a node that is up has. ``surplus``: cores that elastic tasks hold beyond their need; whoever needs them gets
    them at once, so that they count as free. ``reserved``: the id of the task that it is kept for. ``resources``,
    ``free_resources``: as its record has them."""

    node_id: str
    free: Resources
    surplus: int
    total: Resources
    reserved: str | None
    labels: tuple[str, ...] = ()
    resources: str = ""
    free_resources: str = ""
    incarnation: str = ""

    @property
    def room(self) -> Resources:
        return Resources(self.free.cpu + self.surplus, self.free.memory)

    @property
    def stocks(self) -> Mapping[str, Stock]:
        return _stocks(self.resources, self.free_resources)

    def carries(self, require: Sequence[str]) -> bool:
        """Whether it has all labels required."""
        return set(require) <= set(self.labels)

    def refuses(self, refused: Sequence[str]) -> bool:
        """Whether it is among those (NODE:INCARNATION) that have refused."""
        return f"{self.node_id}:{self.incarnation}" in refused

    def fits(self, wish: Wish) -> bool:
        """Whether that fits there now."""
        return wish.need.fits(self.room) and all(self.has(*one) for one in wish.resources)

    def could_fit(self, wish: Wish) -> bool:
        """Whether it would, were it empty."""
        return wish.need.fits(self.total) and all(self.offers(*one) for one in wish.resources)

    def has(self, name: str, thousandths: int) -> bool:
        """Whether a task can have so much of a resource now."""
        stock = self.stocks.get(name)
        return stock is not None and stock.fits(thousandths)

    def offers(self, name: str, thousandths: int) -> bool:
        """Whether it could, were the node empty."""
        stock = self.stocks.get(name)
        return stock is not None and thousandths <= stock.total

    @classmethod
    def parse(cls, line: str) -> Room | None:
        """A line of ``node_rooms.lua``; None: it can't be read.

        >>> Room.parse("n1 2 1 512 8 4096 big +gpu 5f").room
        Resources(cpu=3, memory=512)
        """
        try:
            words, *amounts = line.split("\t")
            node_id, cpu, surplus, memory, total_cpu, total_memory, reserved, labels, incarnation = words.split(" ")
            total = Resources(int(total_cpu), int(total_memory))
        except ValueError:
            return None
        resources, free_resources, *_ = *amounts, "", ""
        free = Resources(whole(cpu), whole(memory))
        return cls(
            node_id,
            free,
            whole(surplus),
            total,
            reserved or None,
            of_suffix(labels),
            resources,
            free_resources,
            incarnation,
        )


@lru_cache(maxsize=1000)
def _stocks(resources: str, free_resources: str) -> Mapping[str, Stock]:
    return read_stocks(resources, free_resources)


class Reservation(NamedTuple):
    """What is kept for whom (hash ``reservation``; times in ms).

    ``first``: the first blocked task that some node could hold when empty, ``since`` when it has been that. After
    ``reserve_after`` a node is kept for it: then ``task_id`` is it (or one that was the first before it), and later
    tasks may use ``spare`` on that node, or end before ``until``, when it is expected to start.
    """

    first: str | None
    since: int | None
    task_id: str | None
    place: Place
    node_id: str | None
    at: int | None
    until: int | None
    spare: Resources

    @classmethod
    def of(cls, record: Mapping[str, str]) -> Reservation | None:
        """From the fields of the hash; None where there is none."""
        if not record:
            return None

        def number(name: str) -> int | None:
            value = real(record.get(name), math.nan)
            return round(value) if 0 <= value <= LAST_MS else None

        return cls(
            first=record.get("first"),
            since=number("since"),
            task_id=record.get("task"),
            place=Place(real(record.get("score")), record.get("sequence", "")),
            node_id=record.get("node"),
            at=number("at"),
            until=number("until"),
            spare=Resources(number("spare_cpu") or 0, number("spare_memory") or 0),
        )

    def bars(self, task_id: str, place: Place, need: Resources, ends: float | None) -> bool:
        """Whether a task may not use the reserved node. ``ends``: when (ms) it would have ended at the latest."""
        if self.node_id is None or task_id == self.task_id or place <= self.place:
            return False
        in_time = ends is not None and self.until is not None and ends <= self.until
        return not (need.fits(self.spare) or in_time)


def fit_counts(wish: Wish, rooms: Sequence[Room], barred: str | None = None) -> dict[str, Any]:
    """On how many of the nodes that are up a need fits now, what is short on how many, on how many it fits empty.

    ``short_labels``: on how many a label is missing that is required; ``refusing``: how many of the others have
    refused it; CPU, memory and resources (``short_resources``, by name) are looked at on the rest;
    ``fits_surplus``: on how many of those where it fits now this takes back cores from elastic tasks;
    ``fits_reserved``: where it would fit, were they not kept for an earlier task (``barred``, a node's id).
    """
    need = wish.need
    labelled = [room for room in rooms if room.carries(wish.require)] if wish.require else rooms
    carrying = [room for room in labelled if not room.refuses(wish.refused)] if wish.refused else labelled
    fits = [room for room in carrying if room.fits(wish)]
    mine = [room for room in fits if room.node_id != barred]
    return {
        "fits_now": len(mine),
        "nodes": len(rooms),
        "short_cpu": sum(need.cpu > room.room.cpu for room in carrying),
        "short_memory": sum(need.memory > room.free.memory for room in carrying),
        "short_labels": len(rooms) - len(labelled),
        "short_resources": {one[0]: sum(not room.has(*one) for room in carrying) for one in wish.resources},
        "refusing": len(labelled) - len(carrying),
        "fits_empty": sum(room.could_fit(wish) for room in carrying),
        "fits_surplus": sum(need.cpu > room.free.cpu for room in mine),
        "fits_reserved": len(fits) - len(mine),
    }


def pending_reason(counts: Mapping[str, Any]) -> Reason:
    """Why a task waits, given its ``fit_counts``."""
    if counts["nodes"] == 0:
        return Reason.NO_NODES
    if counts["fits_empty"] == 0:
        return Reason.INFEASIBLE
    if counts["fits_now"]:
        return Reason.BEHIND
    return Reason.RESERVED if counts["fits_reserved"] else Reason.NO_FIT_NOW
