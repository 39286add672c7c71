"""The invariant checker: does what is in Redis add up?

It reads the raw records and indexes by plain commands, in bounded bites, and shares no logic with the scripts that it
checks. ``check()`` looks at everything, whatever goes on meanwhile: what seems wrong is read again, all at one instant,
and only what is still wrong then is reported. Each look is a small op about one subject (a task, an entry of an index,
a node); ``_together`` runs many in step, so that their reads share round trips.

While nothing moves (a test between two steps) it is exact. While tasks move, ``counts`` isn't compared, and a pending
task is tried against the nodes' room of a moment ago.

>>> link.run(check("default"))  # doctest: +SKIP
[Finding(check='tasks', ok=True, message='2041 checked', subject=None), ...]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from rq_sched.keys import Keys
from rq_sched.resources import Resources
from rq_sched.task import DEFAULT_CRASH_LIMIT, FINAL, State, need_of

T = TypeVar("T")
Command = tuple[str | bytes | int | float, ...]
Op = Generator[Sequence[Command], list[Any], T]
Look = Callable[[], Op["str | None"]]  # what is wrong with one subject, or None; its last read is what it judges by

CHECKS = {
    "tasks": "each task is whole, and in the index of its state (I1)",
    "indexes": "each entry of an index has its task (I1)",
    "heads": "the indexes of heads agree with the queues (I1)",
    "nodes": "on each node free + allocations = total, and its indexes agree (I2)",
    "ledgers": "each allocation has its attempt, and somebody answers for it (I1, I2)",
    "room": "no pending task fits on a node, unless a scheduler is about to look (I11)",
    "counts": "the count of pending tasks is right",
    "keys": "no key has a wrong type, is unknown, or has lost its owner (I8)",
}
BITE = 250  # subjects a round trip
MEMORY_STEP = 2**24  # `free` packs CPU × this + memory
SEQUENCE = 10  # hex digits that the members of queues begin with
TASK_FIELDS = ("s", "c", "n", "p", "t", "k", "i", "A", "d", "F", "r", "y", "z", "C", "ax", "rx")
TYPES = {
    **dict.fromkeys(("task", "counts", "settings"), b"hash"),
    **dict.fromkeys(("payload", "result", "log", "seq", "swept"), b"string"),
    **dict.fromkeys(("pending", "classes", "groups", "fresh", "dirty", "delayed", "held"), b"zset"),
    **dict.fromkeys(("finished", "nodes", "gone", "free"), b"zset"),
    **{"lost": b"set", "wake": b"list", "events": b"stream"},
}
NODE_TYPES = {"": b"hash", "alive": b"string", "tasks": b"hash", "orders": b"list"}
STAYS = frozenset({"seq", "counts", "settings", "swept", "events", "wake", "nodes", "gone", "free", "dirty", "fresh"})

AT_ONCE = """
local replies, i = {}, 1
while ARGV[i] do
  local n = tonumber(ARGV[i])
  replies[#replies + 1] = redis.call(unpack(ARGV, i + 1, i + n))
  i = i + 1 + n
end
return replies
"""  # several reads at one instant; MULTI would do, but its replies lose their form inside a pipeline


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check has found: once with ``ok`` where all is well, else once for each subject that isn't."""

    check: str
    ok: bool
    message: str
    subject: str | None = None

    def __str__(self) -> str:
        return f"{self.check}: {self.subject + ': ' if self.subject else ''}{self.message}"


def check(namespace: str, *, limit: int = 20) -> Op[list[Finding]]:
    """Check everything in a namespace. Memory and steps are bounded, however many tasks there are.

    Parameters:
        limit: how many findings a check names before it only counts.

    Raises:
        WrongType: from the link: a key that is needed on the way holds something else.
    """
    audit = _Audit(Keys(namespace), limit)
    yield from audit.check()
    return audit.report(CHECKS)


def leftovers(namespace: str, *, limit: int = 20) -> Op[list[Finding]]:
    """What is there beyond the constant keys and the nodes' own, once every task is done and forgotten (I8)."""
    audit = _Audit(Keys(namespace), limit)
    yield from audit.each_key(audit.look_left_over)
    return audit.report(["keys"])


def problems(findings: Iterable[Finding]) -> list[Finding]:
    """Those that aren't ok."""
    return [finding for finding in findings if not finding.ok]


# -- reading --------------------------------------------------------------------------------------


def _together(looks: Iterable[Look]) -> Op[list[str | None]]:
    """The results of many looks, taken in step: what they want to read at a step shares one round trip."""
    ops = [look() for look in looks]
    results: list[str | None] = [None] * len(ops)
    replies: dict[int, list[Any] | None] = dict.fromkeys(range(len(ops)))
    while replies:
        wanted: dict[int, Sequence[Command]] = {}
        for i, given in replies.items():
            try:
                wanted[i] = next(ops[i]) if given is None else ops[i].send(given)
            except StopIteration as stop:
                results[i] = stop.value
        if not wanted:
            break
        got = iter((yield [command for commands in wanted.values() for command in commands]))
        replies = {i: [next(got) for _ in commands] for i, commands in wanted.items()}
    return results


def _at_once(look: Look, prefix: str) -> Op[str | None]:
    """One look, each of whose reads happens at one instant."""
    op = look()
    replies: list[Any] | None = None
    while True:
        try:
            wanted = next(op) if replies is None else op.send(replies)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        flat = [argument for command in wanted for argument in (len(command), *command)]
        replies = (yield [("EVAL", AT_ONCE, 1, prefix, *flat)])[0]


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _pairs(reply: Any) -> list[tuple[str, Any]]:
    """Fields with values, or members with scores, in any of the forms that they arrive in."""
    if isinstance(reply, Mapping):
        return [(_text(name), value) for name, value in reply.items()]
    if reply and isinstance(reply[0], (list, tuple)):
        return [(_text(name), value) for name, value in reply]
    return [(_text(name), value) for name, value in zip(reply[::2], reply[1::2], strict=True)]


def _record(reply: Sequence[Any]) -> dict[str, str]:
    """The fields of a task that are there; empty: no such task."""
    return {name: _text(value) for name, value in zip(TASK_FIELDS, reply, strict=True) if value is not None}


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


# -- what should be -------------------------------------------------------------------------------


def _step(amount: int) -> int:
    """The bound of the coarse step that holds an amount: 1, 2, 3, 4, 6, 8, 12, 16, …"""
    power = 1 << (amount - 1).bit_length()
    return power * 3 // 4 if power >= 4 and amount <= power * 3 // 4 else power


def _group_of(task_class: str) -> str:
    need = need_of(task_class)
    labels = "".join(f":{part}" for part in task_class.split(":")[2:])
    return f"{_step(need.cpu)}:{_step(need.memory)}{labels}"


def _state_of(record: Mapping[str, str]) -> State:
    return State(record.get("s", State.PENDING))


def _allocation_of(entry: str) -> tuple[str, Resources, str]:
    """An entry of a ledger: task id, allocation, mark."""
    task_id, cpu, memory, mark = entry.split(":")
    return task_id, Resources(int(cpu), int(memory)), mark


def _malformed(record: Mapping[str, str]) -> str | None:
    """What is wrong with a record by itself."""
    missing = [name for name in ("c", "n", "t") if name not in record]
    if missing:
        return f"its record lacks {', '.join(missing)}"
    if record.get("s", "pending") not in list(State):
        return f"its state is {record['s']!r}"
    if int(record.get("y", 0)) > int(record.get("r", 0)):
        return f"{record['y']} retries used of {record.get('r', 0)}"
    crashes, most = int(record.get("z", 0)), int(record.get("C", DEFAULT_CRASH_LIMIT))
    if crashes > most or (crashes == most and _state_of(record) not in FINAL):
        return f"{crashes} crashes with a limit of {most}"
    return None


@dataclass(slots=True)
class _Node:
    """A node's record and ledger, as read at one instant."""

    record: dict[str, Any]
    entries: list[tuple[Resources, str]]  # allocation, mark

    def number(self, name: str) -> int:
        return int(self.record.get(name, 0))

    @property
    def total(self) -> Resources:
        return Resources(self.number("total_cpu"), self.number("total_memory"))

    @property
    def free(self) -> Resources:
        return Resources(self.number("free_cpu"), self.number("free_memory"))

    @property
    def state(self) -> str:
        return _text(self.record.get("state", ""))

    def sums(self) -> str | None:
        """What doesn't add up."""
        allocated = Resources(0, 0)
        for allocation, _ in self.entries:
            allocated = allocated.plus(allocation)
        if self.free.cpu < 0 or self.free.memory < 0:
            return f"free is below 0: {tuple(self.free)}"
        if self.free.plus(allocated) != self.total:
            return f"free {tuple(self.free)} + allocations {tuple(allocated)} isn't the total {tuple(self.total)}"
        marks = Counter(mark for _, mark in self.entries)
        if self.number("running") != len(self.entries):
            return f"running is {self.number('running')}, the ledger has {len(self.entries)} entries"
        if not marks["r"] <= self.number("started") <= marks["r"] + marks["s"]:
            return f"started is {self.number('started')}, the ledger's marks are {dict(marks)}"
        return None

    def indexes(self, heartbeat: Any, gone: Any, free: Any, orders: int) -> str | None:
        """Which index doesn't agree; given the node's scores there."""
        if self.state not in ("up", "draining", "dead"):
            return f"its state is {self.state!r}"
        alive = self.state != "dead"
        if (heartbeat is not None) != alive or (gone is None) != alive:
            return f"it is {self.state}: in nodes {heartbeat is not None}, in gone {gone is not None}"
        right = self.free.cpu * MEMORY_STEP + self.free.memory if self.state == "up" else None
        if _number(free) != right:
            return f"it is {self.state} with {tuple(self.free)} free: its score in free is {free}, not {right}"
        if alive and orders != self.number("ordered") - self.number("acked"):
            return f"{orders} orders are kept of {self.number('acked')} to {self.number('ordered')}"
        return None


class _Audit:
    """One run of the checker: what it has found so far, and the looks."""

    def __init__(self, keys: Keys, limit: int) -> None:
        self.keys = keys
        self.limit = limit
        self.found: list[Finding] = []
        self.wrong: Counter[str] = Counter()
        self.right: Counter[str] = Counter()
        self.queues: set[str] = set()  # classes seen
        self.room: list[tuple[Resources, str]] = []  # nodes that could take something
        self.fresh: dict[str, tuple[float, str]] = {}  # class → its earliest fresh entry
