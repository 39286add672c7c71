"""Mending what the checker has found: a small script for each finding, which looks again before it writes.

Order matters: first the tasks (by their records and the ledgers), then allocations and nodes, then entries of indexes,
heads, what is kept beside records, at last the count. One mend may bring the next to light, so that check and mend
take turns until nothing is left that can be mended.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rq_sched import audit
from rq_sched.audit import arrays
from rq_sched.audit.kinds import right_type
from rq_sched.audit.reads import decoded, encoded
from rq_sched.audit.schedules import wrong_due
from rq_sched.errors import InvalidValue
from rq_sched.link import Command, Op
from rq_sched.model.amounts import limits_in
from rq_sched.model.arrays import SEQUENCE
from rq_sched.model.classes import group_of
from rq_sched.model.reading import as_dict
from rq_sched.model.schema import SCHEMA
from rq_sched.store.keys import Keys
from rq_sched.store.reads import Reads
from rq_sched.store.schedule_records import NEVER, times_of

LABEL = re.compile(r"[a-z0-9._-]{1,32}")
BATCH = 32
"""Scripts sent together."""
LIMIT = 1000
"""Findings of a check that one turn mends."""
WHY = 250
"""Characters that are kept of why a schedule is paused."""
TURNS = 50
TRIES = 5
PATIENCE = 2
"""Turns after which a task that is still wrong is failed."""
ORDER = (
    "settings", "tasks", "after", "ledgers", "kept", "nodes", "indexes", "heads", "limits", "keys", "room", "schedules",
    "counts",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mended:
    """One thing that was put right: the check that found it, about what, and what was done."""

    check: str
    subject: str
    message: str

    def __str__(self) -> str:
        return f"{self.check}: {self.subject}: {self.message}"


class Mends(Reads):
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

    def after(self, task_id: str) -> Op[str]:
        return (yield from self._ask("repair_after", task_id))

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
            last = (yield from self.rows([newest]))[0]
            queues = yield from self._queues()
            pending = sum(size or 0 for size in (yield from self.rows([("ZCARD", queue) for queue in queues])))
            pending += yield from arrays.resting(self.keys)
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

    def type_of(self, name: str) -> Op[str]:
        return (yield from self._ask("repair_type", name))

    def stray(self, index: str, member: str) -> Op[str]:
        return (yield from self._ask("repair_stray", index, member))

    def give_up(self, task_id: str) -> Op[str]:
        return (yield from self._ask("repair_give_up", task_id))

    def schedule(self, name: str) -> Op[str]:
        """Where when it is due is lost it goes on from now; if that can't be told it is paused, and says why."""
        (row,) = yield from self.rows([("HGETALL", self.keys.schedule(name))])
        record = as_dict(row or ())
        due, why = "", ""
        if record and wrong_due(record) is not None:
            try:
                following = times_of(record).next_after((yield from self.now()))
                due = NEVER if following is None else str(following)
            except InvalidValue as error:
                due, why = NEVER, str(error)[:WHY]
        return (yield from self._ask("repair_schedule", name, due, why))

    def limit(self, name: str, *entries: str) -> Op[str]:
        return (yield from self._ask("repair_limit", name, *entries))

    def sequence(self, last: int) -> Op[str]:
        return (yield from self._ask("repair_seq", last))

    def setting(self, name: str) -> Op[str]:
        """Back to its default. These data are of our version: others aren't looked at."""
        if name == "schema":
            yield [("HSET", self.keys.settings, name, SCHEMA)]
            return f"it is {SCHEMA}"
        dropped = (yield [("HDEL", self.keys.settings, name)])[0]
        return "it is its default again" if dropped else ""

    def _ask(self, script: str, *arguments: str | int) -> Op[str]:
        """What a script has done; nothing where it fails: the next check finds the same again."""
        reply = (yield [replace(self.call(script, *arguments), may_refuse=True)])[0]
        return "" if isinstance(reply, Exception) else decoded(reply)

    # -- which script mends what ----------------------------------------------------------------------

    def of(self, finding: audit.Finding, turns: int = 0) -> Iterator[Op[str]]:
        """What mends a finding; nothing where only a person can tell what is right.

        Parameters:
            turns: how often that was tried in vain.
        """
        subject = finding.subject or ""
        match finding.check:
            case "tasks" if turns >= PATIENCE:
                yield self.give_up(subject)
            case "tasks":
                yield self.task(subject)
            case "after":
                yield self.after(subject)
            case "room":
                yield self.room(subject)
            case "nodes":  # NODE, or NODE LABEL
                yield from self._of_node(subject)
            case "indexes":
                yield self.entry(*subject.split(" ", 1))
            case "heads":
                yield from self._of_head(*subject.partition(" "))
            case "ledgers":
                yield from self._of_ledger(*subject.partition(" "))
            case "keys":
                yield from self._of_key(subject)
            case "kept" if subject == "reservation":
                yield self.kept()
            case "kept" if subject.startswith("preemptible "):
                member = subject.partition(" ")[2]
                yield self.stray("preemptible", member)
                token, _, node_id = member.partition(" ")
                if token and node_id:
                    yield self.kept(token, node_id)
            case "kept":
                yield self.node_of(subject)
            case "limits" if subject.startswith("pending:"):
                task_class = subject.removeprefix("pending:")
                for name in limits_in(task_class):
                    yield self.limit(name, task_class)
            case "limits" if subject.startswith("limited:"):
                yield self.limit(*subject.removeprefix("limited:").split(" ", 1))
            case "limits":
                yield self.limit(subject)
            case "schedules":
                yield self.schedule(subject)
            case "settings":
                yield self.setting(subject)
            case "counts" if subject == "seq":
                yield self.sequence(int(finding.message.rpartition("place ")[2].split(" ")[0]))
            case "counts":
                yield self.count()

    def _of_node(self, subject: str) -> Iterator[Op[str]]:
        node_id, _, label = subject.rpartition(" ")
        for index in ("nodes", "gone", "free", "totals", "ends", "dirty"):
            yield self.stray(index, subject)
        if label and LABEL.fullmatch(label.removeprefix("*")):
            for index in ("free", "totals"):
                yield self.stray(f"{index}:{label}", node_id)
        if " " not in node_id:
            yield self.node_of(*subject.split(" "))

    def _of_head(self, index: str, space: str, member: str) -> Iterator[Op[str]]:
        """``pending:CLASS``, ``classes:GROUP``, ``classes:GROUP MEMBER``, ``groups MEMBER``."""
        if space:
            yield self.stray(index, member)
        kind, _, name = index.partition(":")
        own = group_of(member[SEQUENCE:]) if member else ""
        if kind == "pending":
            yield self.head(group_of(name), [name])
        elif kind == "classes":
            yield self.head(name, [member] if member else [])
        if own:
            yield self.head(own, [member, member[SEQUENCE:]])

    def _of_ledger(self, where: str, space: str, token: str) -> Iterator[Op[str]]:
        """``node:ID:INCARNATION:tasks``, ``ID:INCARNATION TOKEN``."""
        parts = where.split(":")
        if token:
            yield self.ledger(parts[0], parts[1], token)
        elif space:  # an entry without a name: the sum of the ledger drops it
            yield self.node_of(parts[0])
        else:
            yield self.ledger(parts[1], parts[2])

    def _of_key(self, name: str) -> Iterator[Op[str]]:
        kind, *parts = name.split(":")
        yield self.type_of(name)
        if (
            kind in ("ended", "array", "payload", "result", "log", "live", "apart", "awaits", "before")
            and len(parts) == 1
        ):
            yield self.key(kind, parts[0])
        elif kind == "node" and len(parts) == 3 and parts[2] in ("orders", "grown"):
            yield self.ledger(parts[0], parts[1])


def repair(namespace: str, now_ms: Callable[[], Any] | None = None) -> Op[list[Mended]]:
    """Mend what the checker finds; answers what was done. On a healthy namespace it only reads.

    A key of another type than belongs there is dropped; a task whose record can't be mended is failed. What it can't
    mend (keys whose names don't belong here, arguments lost under a running task) is found by the next ``check`` again.
    """
    return (yield from encoded(_repair(Mends(Keys(namespace), now_ms), namespace)))


def _repair(mends: Mends, namespace: str) -> Op[list[Mended]]:
    done: list[Mended] = []
    turns: Counter[tuple[str, str | None]] = Counter()
    for _ in range(TURNS):
        found = audit.problems((yield from audit.check(namespace, limit=LIMIT)))
        before, again = len(done), False
        # First keys of a wrong type: nothing else about them can be mended.
        types = [f for f in found if f.check == "keys" and right_type(f.subject or "") is not None]
        done += yield from _mend(mends, types, turns)
        for check in ORDER if len(done) == before else ():
            done += yield from _mend(mends, [f for f in found if f.check == check and f.subject is not None], turns)
        for finding in found:
            turns[finding.check, finding.subject] += 1
            again = again or (finding.check == "tasks" and turns[finding.check, finding.subject] <= PATIENCE)
        if len(done) == before and not again:
            break
    return done


def _mend(
    mends: Mends, findings: Sequence[audit.Finding], turns: Mapping[tuple[str, str | None], int]
) -> Op[list[Mended]]:
    done: list[Mended] = []
    todo = [(finding, op) for finding in findings for op in mends.of(finding, turns[finding.check, finding.subject])]
    for start in range(0, len(todo), BATCH):
        batch = todo[start : start + BATCH]
        said = yield from _in_step(op for _, op in batch)
        for (finding, _), words in zip(batch, said, strict=True):
            if words and not words.startswith("NOT MENDED"):
                done.append(Mended(finding.check, finding.subject or "", words))
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
