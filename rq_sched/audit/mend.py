"""Mending what the checker has found: a small script for each finding, which looks again before it writes.

Order matters: first the tasks (by their records and the ledgers), then allocations and nodes, then entries of indexes,
heads, what is kept beside records, at last the count. One mend may bring the next to light, so that check and mend
take turns until nothing is left that can be mended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rq_sched import audit
from rq_sched.arrays import SEQUENCE
from rq_sched.fit import group_of
from rq_sched.keys import Keys
from rq_sched.link import Command, Op
from rq_sched.queries import Queries

BITE = 32
"""Scripts sent together."""
LIMIT = 1000
"""Findings of a check that one turn mends."""
TURNS = 50
TRIES = 5
ORDER = ("tasks", "ledgers", "kept", "nodes", "indexes", "heads", "keys", "room", "counts")


@dataclass(frozen=True, slots=True)
class Mended:
    """One thing that was put right: the check that found it, about what, and what was done."""

    check: str
    subject: str
    message: str

    def __str__(self) -> str:
        return f"{self.check}: {self.subject}: {self.message}"


class Mends(Queries):
    """The mending scripts, one method each. Each answers what was done, '' where nothing was wrong (any more)."""

    def task(self, task_id: str) -> Op[str]:
        return (yield from self._ask("repair_task", task_id))

    def entry(self, index: str, member: str) -> Op[str]:
        return (yield from self._ask("repair_entry", index, member))

    def head(self, group: str, entries: Sequence[str]) -> Op[str]:
        return (yield from self._ask("repair_head", group, *entries))

    def ledger(self, node_id: str, incarnation: str, token: str = "") -> Op[str]:
        return (yield from self._ask("repair_ledger", node_id, incarnation, token))

    def node_of(self, node_id: str, *labels: str) -> Op[str]:
        return (yield from self._ask("repair_node", node_id, *labels))

    def key(self, kind: str, task_id: str) -> Op[str]:
        return (yield from self._ask("repair_key", kind, task_id))

    def room(self, task_id: str) -> Op[str]:
        return (yield from self._ask("repair_room", task_id))

    def kept(self, token: str = "", node_id: str = "") -> Op[str]:
        return (yield from self._ask("repair_kept", token, node_id))

    def count_is(self, last_event: str, pending: int) -> Op[str]:
        return (yield from self._ask("repair_count", last_event, pending))

    def count(self) -> Op[str]:
        """Counts the pending tasks; again, if something happened meanwhile."""
        newest: Command = ("XREVRANGE", self.keys.events, "+", "-", "COUNT", 1)
        for _ in range(TRIES):
            last = (yield [newest])[0]
            queues = yield from self._queues()
            pending = sum((yield from self._paged([("ZCARD", queue) for queue in queues])))
            pending += yield from audit.resting(self.keys)
            done = yield from self.count_is(last[0][0].decode() if last else "", pending)
            if done != "moved":
                return done
        return ""

    def _queues(self) -> Op[list[bytes]]:
        found: set[bytes] = set()
        cursor = -1
        while cursor:
            scan: Command = ("SCAN", max(cursor, 0), "MATCH", self.keys.pending("*"), "COUNT", 1000)
            cursor, some = (yield [scan])[0]
            cursor = int(cursor)
            found.update(some)
        return sorted(found)

    def _ask(self, script: str, *arguments: str | int) -> Op[str]:
        reply: bytes = (yield [self.call(script, *arguments)])[0]
        return reply.decode()

    # -- which script mends what ----------------------------------------------------------------------

    def of(self, finding: audit.Finding) -> Iterator[Op[str]]:
        """What mends a finding; nothing where only a person can tell what is right."""
        subject = finding.subject or ""
        match finding.check:
            case "tasks":
                yield self.task(subject)
            case "room":
                yield self.room(subject)
            case "nodes":  # NODE, or NODE LABEL
                yield self.node_of(*subject.split(" "))
            case "indexes":
                yield self.entry(*subject.split(" ", 1))
            case "heads":
                yield from self._of_head(*subject.partition(" ")[::2])
            case "ledgers":
                yield self._of_ledger(*subject.partition(" ")[::2])
            case "keys":
                yield from self._of_key(subject)
            case "kept" if subject == "reservation":
                yield self.kept()
            case "kept" if subject.startswith("preemptible "):
                yield self.kept(*subject.split(" ")[1:])
            case "kept":
                yield self.node_of(subject)
            case "counts":
                yield self.count()

    def _of_head(self, index: str, member: str) -> Iterator[Op[str]]:
        """``pending:CLASS``, ``classes:GROUP``, ``classes:GROUP MEMBER``, ``groups MEMBER``."""
        kind, _, name = index.partition(":")
        own = group_of(member[SEQUENCE:]) if member else ""
        if kind == "pending":
            yield self.head(group_of(name), [name])
        elif kind == "classes":
            yield self.head(name, [member] if member else [])
        if own:
            yield self.head(own, [member, member[SEQUENCE:]])

    def _of_ledger(self, where: str, token: str) -> Op[str]:
        """``node:ID:INCARNATION:tasks``, ``ID:INCARNATION TOKEN``."""
        parts = where.split(":")
        return self.ledger(parts[0], parts[1], token) if token else self.ledger(parts[1], parts[2])

    def _of_key(self, name: str) -> Iterator[Op[str]]:
        kind, *parts = name.split(":")
        if kind in ("payload", "result", "log", "live", "apart") and len(parts) == 1:
            yield self.key(kind, parts[0])
        elif kind == "node" and len(parts) == 3 and parts[2] in ("orders", "grown"):
            yield self.ledger(parts[0], parts[1])


def repair(namespace: str, now_ms: Callable[[], Any] | None = None) -> Op[list[Mended]]:
    """Mend what the checker finds; answers what was done. On a healthy namespace it only reads.

    What it can't mend (keys that don't belong here or have a wrong type, arguments lost under a running task) is found
    by the next ``check`` again.

    Raises:
        WrongType: from the link: a key that is needed on the way holds something else.
    """
    mends = Mends(Keys(namespace), now_ms)
    done: list[Mended] = []
    for _ in range(TURNS):
        found = audit.problems((yield from audit.check(namespace, limit=LIMIT)))
        before = len(done)
        for check in ORDER:
            done += yield from _mend(mends, [f for f in found if f.check == check and f.subject is not None])
        if len(done) == before:
            break
    return done


def _mend(mends: Mends, findings: Sequence[audit.Finding]) -> Op[list[Mended]]:
    done: list[Mended] = []
    todo = [(finding, op) for finding in findings for op in mends.of(finding)]
    for start in range(0, len(todo), BITE):
        bite = todo[start : start + BITE]
        said = yield from _in_step(op for _, op in bite)
        for (finding, _), text in zip(bite, said, strict=True):
            if text and not text.startswith("NOT MENDED"):
                done.append(Mended(finding.check, finding.subject or "", text))
    return done


def _in_step(ops: Iterable[Op[str]]) -> Op[list[str]]:
    """The answers of several operations, whose steps share round trips."""
    running: dict[int, tuple[Op[str], Sequence[Any]]] = {}
    answers: dict[int, str] = {}

    def take(number: int, op: Op[str], replies: list[Any] | None) -> None:
        try:
            running[number] = (op, next(op) if replies is None else op.send(replies))
        except StopIteration as stop:
            running.pop(number, None)
            answers[number] = stop.value

    for number, op in enumerate(ops):
        take(number, op, None)
    while running:
        now = list(running.items())
        replies = iter((yield [request for _, (_, requests) in now for request in requests]))
        for number, (op, requests) in now:
            take(number, op, [next(replies) for _ in requests])
    return [answers[number] for number in sorted(answers)]
