"""A workload: the nodes there are, and the tasks that arrive. Read from two CSV files.

``nodes.csv``: ``node_id,total_cpu,total_memory`` and ``labels``, such as ``gpu+ssd``.
``tasks.csv``: ``task_id,priority,cpu_needed,memory_needed,max_cpu_needed,max_memory_needed,submit_at,duration,count``,
``preemptible`` (0 or 1), ``require`` (labels, such as ``gpu+ssd``), ``deadline`` (seconds), ``after`` (rows that come
before, such as ``prep+clean``: it waits for all of their tasks) and, where it is known what
the tasks really used, ``cpu_used,memory_used``. Memory in MB, times in seconds. Needed are ``task_id`` and
``duration``; a column that is missing, or a cell that is empty, is the default of ``rq-sched submit`` (``submit_at``
0). Where ``count`` is given, the row stands for the tasks ``task_id.0`` to ``task_id.n-1``, for a count of 1 too;
where it isn't, for one task that is named ``task_id``.

A row stays one object: the tasks of a count are made into requests when they arrive, not before.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from rq_sched.errors import InvalidValue, UsageError
from rq_sched.model.after import MOST as MOST_AFTER
from rq_sched.model.asked import UNIT, items, parse_limits, parse_resources, thousandths
from rq_sched.model.ids import check_id
from rq_sched.model.labels import parse_labels
from rq_sched.model.offers import NONE, Offers, parse_offers
from rq_sched.model.resources import Resources, parse_cpu, parse_memory
from rq_sched.model.task import DEFAULT_MEMORY, PRIORITY_LIMIT

T = TypeVar("T")

LIMIT = "limit_"
"""How the name of a column of tasks begins that is about a limit."""
RESOURCE = "resource_"
"""How the name of a column begins that is about a resource, in both files."""
NODE_COLUMNS = ("node_id", "total_cpu", "total_memory", "labels")
TASK_COLUMNS = (
    "task_id",
    "priority",
    "cpu_needed",
    "memory_needed",
    "max_cpu_needed",
    "max_memory_needed",
    "submit_at",
    "duration",
    "count",
    "cpu_used",
    "memory_used",
    "preemptible",
    "require",
    "deadline",
    "after",
)


class Node(NamedTuple):
    """A node of the workload."""

    node_id: str
    total: Resources
    labels: tuple[str, ...] = ()
    offers: Offers = NONE

    def could_hold(self, row: Row) -> bool:
        """Whether a task of the row could run there, were the node empty."""
        has = all(self.most(name) >= amount for name, amount in row.resources)
        return has and row.need.fits(self.total) and self.carries(row)

    def carries(self, row: Row) -> bool:
        """Whether it has all labels that a task of the row requires."""
        return set(row.require) <= set(self.labels)

    def most(self, name: str) -> int:
        """What it has of a resource, in thousandths."""
        offer = self.offers.get(name, ())
        return (len(offer) if isinstance(offer, tuple) else offer) * UNIT


@dataclass(slots=True)
class Row:
    """One row of ``tasks.csv``: ``count`` tasks that are alike and arrive together. Times in ms."""

    task_id: str
    need: Resources
    duration: int
    priority: int = 0
    most: Resources | None = None
    """Up to which it may grow; None: its need."""
    submit_at: int = 0
    count: int | None = None
    cpu_used: float | None = None
    memory_used: int | None = None
    preemptible: bool = False
    require: tuple[str, ...] = ()
    deadline: int | None = None
    """After its arrival: a task that hasn't started by then fails."""
    after: tuple[str, ...] = ()
    """The rows whose tasks must have completed before."""
    resources: tuple[tuple[str, int], ...] = ()
    """In thousandths."""
    limits: tuple[tuple[str, int], ...] = ()
    first: int = 0
    """The number of its first task: tasks are numbered in promise 4's order (see ``Workload``)."""

    @property
    def expires(self) -> int | None:
        """When the deadline passes."""
        return None if self.deadline is None else self.submit_at + self.deadline

    @property
    def tasks(self) -> int:
        return 1 if self.count is None else self.count

    def name(self, k: int) -> str:
        """The id of its k-th task, from 0."""
        return self.task_id if self.count is None else f"{self.task_id}.{k}"


@dataclass
class Workload:
    """Nodes, and rows in the order of arrival.

    Each task has a number, from 0: its place in promise 4's order, by priority (with ``aging``: less what waiting
    gains), then by arrival. So comparing two numbers tells which of two tasks comes first.

    Parameters:
        nodes: the nodes.  rows: the rows, as they stand in the file.
        limits: how much of each limit may be in use at once.
        aging: the setting of that name: priority that a waiting task gains an hour.
    """

    nodes: Sequence[Node]
    rows: Sequence[Row]
    aging: float = 0.0
    limits: Mapping[str, int] = field(default_factory=dict)
    tasks: int = field(init=False)
    named: dict[str, Row] = field(init=False)
    """The rows by their names."""

    def __post_init__(self) -> None:
        for name in sorted({name for row in self.rows for name, _ in row.limits}):
            if name not in self.limits:
                raise InvalidValue(
                    f"tasks ask for the limit {name}: say how much of it there is, with --limit {name}=20"
                )
        self.rows = sorted(self.rows, key=lambda row: row.submit_at)  # stable: equal ones as in the file
        self.named = {row.task_id: row for row in self.rows}
        number = 0
        for row in self.by_number():
            row.first = number
            number += row.tasks
        self.tasks = number

    def by_number(self) -> list[Row]:
        """The rows in the order of their tasks' numbers."""
        return sorted(self.rows, key=lambda row: -row.priority + self.aging * row.submit_at / 3_600_000)

    def feasible(self, row: Row) -> bool:
        """Whether some node could hold a task of the row when empty, within its limits, and those that it waits for."""
        within = all(amount <= self.limits[name] for name, amount in row.limits)
        if not within or not any(node.could_hold(row) for node in self.nodes):
            return False
        return not row.after or all(self.feasible(one) for one in self.parents(row))

    def parents(self, row: Row) -> list[Row]:
        """The rows that it waits for."""
        return [self.named[name] for name in row.after]


def read_nodes(path: Path) -> list[Node]:
    """The nodes of a file.

    Raises:
        InvalidValue: names the file, the line, and what is wrong there.
    """
    nodes: dict[str, Node] = {}

    def node(cell: Cells) -> None:
        one = Node(
            check_id(cell.text("node_id"), "node id"),
            Resources(cell.get("total_cpu", parse_cpu), cell.get("total_memory", parse_memory)),
            cell.get("labels", parse_labels, ()),
            parse_offers(cell.named(RESOURCE)),
        )
        if one.node_id in nodes:
            raise InvalidValue(f"the node {one.node_id} stands there twice")
        nodes[one.node_id] = one

    for number, cells in _records(path, NODE_COLUMNS, needed=NODE_COLUMNS[:3]):
        _on_line(path, number, node, cells)
    if not nodes:
        raise InvalidValue(f"{path}: no nodes in it")
    return list(nodes.values())


def read_tasks(path: Path) -> list[Row]:
    """The rows of a file of tasks.

    Raises:
        InvalidValue: names the file, the line, and what is wrong there.
    """
    rows: list[Row] = []
    seen: set[str] = set()
    for number, cells in _records(path, TASK_COLUMNS, needed=("task_id", "duration")):
        row = _on_line(path, number, _row, cells)
        if row.task_id in seen:
            raise InvalidValue(f"{path}, line {number}: the task {row.task_id} stands there twice")
        seen.add(row.task_id)
        rows.append(row)
    if not rows:
        raise InvalidValue(f"{path}: no tasks in it")
    _check_after(path, rows)
    return rows


def _check_after(path: Path, rows: Sequence[Row]) -> None:
    """What is waited for arrives before, or at the same time and stands before: so nothing waits for itself."""
    before: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: row.submit_at):
        for name in row.after:
            if name not in before:
                raise InvalidValue(f"{path}: {row.task_id} is after {name}, and no such row arrives before it")
            if before[name].deadline is not None:
                raise InvalidValue(f"{path}: {row.task_id} is after {name}, which has a deadline: that isn't replayed")
        if (number := sum(before[name].tasks for name in row.after)) > MOST_AFTER:
            raise InvalidValue(f"{path}: {row.task_id} is after {number:,} tasks, at most {MOST_AFTER:,} may be")
        before[row.task_id] = row


class Cells:
    """The cells of one line, by column; an error names the column."""

    def __init__(self, cells: Mapping[str, str]) -> None:
        self._cells = cells

    def text(self, name: str) -> str:
        """The cell; an empty one is an error."""
        if text := self._cells.get(name):
            return text
        raise InvalidValue(f"{name} is missing")

    def named(self, prefix: str) -> dict[str, str]:
        """The cells with something in them of columns whose names begin so, by the rest of the name."""
        return {
            name.removeprefix(prefix): text for name, text in self._cells.items() if name.startswith(prefix) and text
        }

    def get(self, name: str, parse: Callable[[str, str], T], default: T | None = None) -> T:
        """The cell, parsed; the default where it is empty or there is no such column."""
        if default is not None and not self._cells.get(name):
            return default
        return parse(self.text(name), name)


def _row(cell: Cells) -> Row:
    need = Resources(cell.get("cpu_needed", parse_cpu, 1), cell.get("memory_needed", parse_memory, DEFAULT_MEMORY))
    most = Resources(
        cell.get("max_cpu_needed", parse_cpu, need.cpu), cell.get("max_memory_needed", parse_memory, need.memory)
    )
    if not need.fits(most):
        what = "cpu" if most.cpu < need.cpu else "memory"
        raise InvalidValue(f"max_{what}_needed is below {what}_needed")
    count = cell.get("count", _whole, -1)
    task_id = check_id(cell.text("task_id"))
    if count > 0:
        check_id(f"{task_id}.{count - 1}")
    return Row(
        task_id=task_id,
        need=need,
        duration=max(1, cell.get("duration", _ms)),
        priority=cell.get("priority", _priority, 0),
        most=most,
        submit_at=cell.get("submit_at", _ms, 0),
        count=None if count < 0 else count,
        cpu_used=_or_none(cell.get("cpu_used", _number, -1.0)),
        memory_used=_or_none(math.ceil(cell.get("memory_used", _number, -1.0))),
        preemptible=bool(cell.get("preemptible", _whole, 0)),
        require=cell.get("require", parse_labels, ()),
        after=cell.get("after", _names, ()),
        deadline=cell.get("deadline", _ms, -1) if cell.get("deadline", _ms, -1) > 0 else None,
        resources=_resources(cell),
        limits=_limits(cell),
    )


def _names(text: str, name: str) -> tuple[str, ...]:
    """Names of rows.  Raises: InvalidId."""
    return tuple(dict.fromkeys(check_id(one, name) for one in text.split("+")))


def _resources(cell: Cells) -> tuple[tuple[str, int], ...]:
    words = [f"{name}={amount}" for name, amount in cell.named(RESOURCE).items()]
    return tuple(thousandths(items(parse_resources(words, "resource"))).items()) if words else ()


def _limits(cell: Cells) -> tuple[tuple[str, int], ...]:
    words = [f"{name}={amount}" for name, amount in cell.named(LIMIT).items()]
    return tuple((name, int(amount)) for name, amount in parse_limits(words, "limit").items()) if words else ()


Number = TypeVar("Number", int, float)


def _or_none(value: Number) -> Number | None:
    return None if value < 0 else value


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 10**9:
        raise InvalidValue(f"{name} must be a number from 0, not {text!r}")
    return value


def _ms(text: str, name: str) -> int:
    return round(_number(text, name) * 1000)


def _whole(text: str, name: str) -> int:
    value = _number(text, name)
    if value != int(value):
        raise InvalidValue(f"{name} must be a whole number, not {text!r}")
    return int(value)


def _priority(text: str, name: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = PRIORITY_LIMIT + 1
    if abs(value) > PRIORITY_LIMIT:
        raise InvalidValue(f"{name} must be a whole number in ±2147483648, not {text!r}")
    return value


def _records(path: Path, known: Sequence[str], needed: Sequence[str]) -> Iterator[tuple[int, Cells]]:
    """The lines of a CSV file with a heading, each with its number."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, skipinitialspace=True)
            names = [name.strip() for name in next(reader, [])]
            _check_heading(path, names, known, needed)
            for cells in reader:
                if not any(cells):
                    continue
                if len(cells) > len(names):
                    raise InvalidValue(
                        f"{path}, line {reader.line_num}: {len(cells)} cells, the heading has {len(names)}"
                    )
                yield reader.line_num, Cells(dict(zip(names, (cell.strip() for cell in cells), strict=False)))
    except UnicodeDecodeError:
        raise InvalidValue(f"{path}: not UTF-8") from None
    except csv.Error as error:
        raise InvalidValue(f"{path}: {error}") from None
    except OSError as error:
        raise InvalidValue(f"{path}: {error.strerror}") from None


def _check_heading(path: Path, names: Sequence[str], known: Sequence[str], needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in names]
    if missing:
        raise InvalidValue(f"{path}: the heading lacks {', '.join(missing)} (known are {', '.join(known)})")
    strange = [name for name in names if name not in known and not name.startswith((RESOURCE, LIMIT))]
    if strange:
        raise InvalidValue(f"{path}: unknown column {strange[0]!r} in the heading (known are {', '.join(known)})")
    if len(set(names)) < len(names):
        raise InvalidValue(f"{path}: a column stands twice in the heading")


def _on_line(path: Path, number: int, read: Callable[[Cells], T], cells: Cells) -> T:
    try:
        return read(cells)
    except UsageError as error:
        raise InvalidValue(f"{path}, line {number}: {error}") from None
