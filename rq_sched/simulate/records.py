"""What happened, as raw records: which task held what, on which node, from when to when. Nothing is derived here.

A record is a stretch of a run with one allocation: a run whose allocation changed has several, one after the other.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rq_sched.errors import InvalidValue
from rq_sched.simulate.workload import Row, Workload

COMPLETED, BACK, RESIZED = 1, 2, 3
"""How a record ended: the task was done; it was stopped and waits again; it goes on with another allocation."""


class ReservedSpan(NamedTuple):
    """A node was kept for a task, from when to when (ms; the end is exclusive)."""

    node: int
    number: int
    start: int
    end: int


@dataclass(slots=True)
class Records:
    """Columns of equal length (arrays: there may be millions). Times in ms, memory in MB.

    ``number`` is the task's (``Workload``), ``node`` the node's place in the workload.
    """

    number: array[int] = field(default_factory=lambda: array("q"))
    node: array[int] = field(default_factory=lambda: array("l"))
    start: array[int] = field(default_factory=lambda: array("q"))
    end: array[int] = field(default_factory=lambda: array("q"))
    cpu: array[int] = field(default_factory=lambda: array("l"))
    memory: array[int] = field(default_factory=lambda: array("l"))
    ended: array[int] = field(default_factory=lambda: array("b"))
    held: dict[int, str] = field(default_factory=dict)
    """Of a record (by its place) the resources that its task held, where it held any: ``gpu=0*1000,2*1000``."""
    reserved: list[ReservedSpan] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.number)

    def add(
        self,
        number: int,
        node: int,
        start: int,
        end: int,
        cpu: int,
        memory: int,
        ended: int = COMPLETED,
        held: str = "",
    ) -> None:
        if held:
            self.held[len(self.number)] = held
        self.number.append(number)
        self.node.append(node)
        self.start.append(start)
        self.end.append(end)
        self.cpu.append(cpu)
        self.memory.append(memory)
        self.ended.append(ended)

    def rows(self) -> Iterator[tuple[int, int, int, int, int, int, int]]:
        """Number, node, start, end, CPU, memory and how it ended, record by record."""
        return zip(self.number, self.node, self.start, self.end, self.cpu, self.memory, self.ended, strict=True)


class Names:
    """The ids of tasks by their numbers: made when asked for, so that millions need no memory."""

    def __init__(self, workload: Workload) -> None:
        self._rows = [row for row in workload.by_number() if row.tasks]
        self._row_of = array("l")
        for i, row in enumerate(self._rows):
            self._row_of.extend([i] * row.tasks)

    def row(self, number: int) -> Row:
        return self._rows[self._row_of[number]]

    def name(self, number: int) -> str:
        row = self.row(number)
        return row.name(number - row.first)


def write_dump(path: Path, workload: Workload, records: Records) -> None:
    """JSON Lines: ``task_id node_id start end cpu memory``, with ``resources`` where it held any; seconds and MB."""
    names = Names(workload)
    nodes = [node.node_id for node in workload.nodes]
    with path.open("w", encoding="utf-8") as file:
        for place, (number, node, start, end, cpu, memory, _) in enumerate(records.rows()):
            held = f', "resources": "{records.held[place]}"' if place in records.held else ""
            file.write(  # ids need no escaping
                f'{{"task_id": "{names.name(number)}", "node_id": "{nodes[node]}", "start": {start / 1000}, '
                f'"end": {end / 1000}, "cpu": {cpu}, "memory": {memory}{held}}}\n'
            )


def read_dump(path: Path, workload: Workload) -> Records:
    """The records of a dump. How each ended isn't written there, it follows from what comes next of the same task.

    Raises:
        InvalidValue: a line that isn't such a record, or names a task or a node that the workload doesn't have.
    """
    with path.open(encoding="utf-8") as file:
        return records_of(_parsed(path, file), workload)


def _parsed(path: Path, lines: Iterable[str]) -> Iterator[Mapping[str, object]]:
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError("not an object")
        except ValueError as error:
            raise InvalidValue(f"{path}, line {number}: {error}") from None
        yield record


def records_of(lines: Iterable[Mapping[str, object]], workload: Workload) -> Records:
    """The records that a dump's objects are. See ``read_dump``."""
    numbers = {row.name(k): row.first + k for row in workload.rows for k in range(row.tasks)}
    nodes = {node.node_id: i for i, node in enumerate(workload.nodes)}
    found = []
    for line in lines:
        try:
            task, node = str(line["task_id"]), str(line["node_id"])
            start, end = round(float(str(line["start"])) * 1000), round(float(str(line["end"])) * 1000)
            held = str(line.get("resources", ""))
            cpu, memory = int(str(line["cpu"])), int(str(line["memory"]))
            found.append((numbers[task], start, end, nodes[node], cpu, memory, held))
        except (KeyError, ValueError) as error:
            raise InvalidValue(f"not a record of this workload: {dict(line)} ({error})") from None
    found.sort()
    records = Records()
    for i, (number, start, end, where, cpu, memory, held) in enumerate(found):
        after = found[i + 1] if i + 1 < len(found) and found[i + 1][0] == number else None
        ended = COMPLETED if after is None else RESIZED if after[1] == end and after[3] == where else BACK
        records.add(number, where, start, end, cpu, memory, ended, held)
    return records
