"""The invariant checker: does what is in Redis add up?

It reads the raw records and indexes by plain commands, in bounded batches, and shares no logic with the scripts that it
checks. ``check()`` looks at everything, whatever goes on meanwhile: what seems wrong is read again, all at one instant,
and only what is still wrong then is reported. Each check (``checks.py``) is a small op about one subject: a task, an
entry of an index, a node; many are taken in step, so that their reads share round trips (``reads.py``).

While nothing moves (a test between two steps) it is exact. While tasks move, ``counts`` isn't compared, and a pending
task is tried against the nodes' room of a moment ago.

>>> link.run(check("default"))  # doctest: +SKIP
[Finding(check='tasks', ok=True, message='each task is whole … (2041 looked at)', subject=None), ...]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from rq_sched.audit import arrays
from rq_sched.audit.checks import Checks
from rq_sched.audit.kinds import LABELLED, STAYS, right_type
from rq_sched.audit.limits import Limits
from rq_sched.audit.reads import BATCH, Check, at_once, decoded, encoded, in_step, pairs, rows
from rq_sched.audit.records import LAST_SEQUENCE, Offer, largest
from rq_sched.audit.reserved import ReservedChecks
from rq_sched.audit.schedules import Schedules
from rq_sched.link import Command, Op
from rq_sched.model import schema
from rq_sched.model.arrays import SEQUENCE
from rq_sched.model.classes import group_of
from rq_sched.model.reading import as_dict, whole
from rq_sched.model.resources import Resources
from rq_sched.model.settings import SETTINGS
from rq_sched.model.states import State
from rq_sched.store.keys import Keys

CHECKS = {
    "tasks": "each task is whole and in the index of its state",  # I1
    "after": "each task that waits is known to those that it waits for, and who has ended has told",
    "indexes": "each entry of an index has its task",  # I1
    "heads": "the indexes of heads agree with the queues",  # I1
    "nodes": "on each node free + allocations = total, and the indexes agree",  # I2
    "ledgers": "each allocation has its attempt, and somebody answers for it",  # I1, I2
    "room": "no pending task fits on a node, unless a scheduler is about to look",  # I11
    "kept": "what is reserved, preemptible and surplus agrees with records and ledgers",
    "limits": "as much of each limit is in use as the ledgers hold, and those that ask for it stand in its index",
    "schedules": "each schedule stands where it is to be looked at",
    "counts": "the count of pending tasks is right, and the next place in the order is behind all",
    "settings": "each setting is one, and can be what it is set to",
    "keys": "no key has a wrong type, is unknown, or has lost its owner",  # I8
}


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
    """
    audit = _Audit(Keys(namespace), limit)
    yield from encoded(audit.everything())
    return audit.report(CHECKS)


def leftovers(namespace: str, *, limit: int = 20) -> Op[list[Finding]]:
    """What is there beyond the constant keys and the nodes' own, once every task is done and forgotten (I8)."""
    audit = _Audit(Keys(namespace), limit)
    yield from encoded(audit.each_key(audit.left_over))
    return audit.report(["keys"])


def problems(findings: Iterable[Finding]) -> list[Finding]:
    """Those that aren't ok."""
    return [finding for finding in findings if not finding.ok]


@dataclass(frozen=True, slots=True)
class _Subject:
    group: str
    name: str
    check: Check


@dataclass(frozen=True, slots=True)
class _Walk:
    """The members of one key, batch by batch."""

    command: str  # ZSCAN, HSCAN or SSCAN
    key: str
    subject: Callable[[str], _Subject]
    cursor: int = 0


class _Audit:
    """One run: it goes through the keys, has each subject looked at, and keeps what is wrong."""

    def __init__(self, keys: Keys, limit: int) -> None:
        self.keys = keys
        self.limit = limit
        self.checks = Checks(keys)
        self.reserved = ReservedChecks(keys)
        self.schedules = Schedules(keys)
        self.limits = Limits(keys)
        self.findings: list[Finding] = []
        self.wrong: Counter[str] = Counter()
        self.right: Counter[str] = Counter()
        self.queues: set[str] = set()  # keys of the classes' queues

    def wrong_is(self, check: str, subject: str, message: str) -> None:
        if any(finding.subject == subject and finding.check == check for finding in self.findings):
            return  # SCAN may show a key twice, and a node stands in several indexes
        self.wrong[check] += 1
        if self.wrong[check] <= self.limit:
            self.findings.append(Finding(check, False, message, subject))

    def report(self, checks: Iterable[str]) -> list[Finding]:
        out: list[Finding] = []
        for name in checks:
            if not self.wrong[name]:
                out.append(Finding(name, True, f"{CHECKS[name]} ({self.right[name]} looked at)"))
            out += [finding for finding in self.findings if finding.check == name]
            if self.wrong[name] > self.limit:
                out.append(Finding(name, False, f"{self.wrong[name] - self.limit} more seem to be wrong"))
        return out

    # -- the order of a check -----------------------------------------------------------------------

    def everything(self) -> Op[None]:
        counts, settings = yield from rows([("HGETALL", self.keys.counts), ("HGETALL", self.keys.settings)])
        self.settings_read(as_dict(settings or ()))
        yield from self.offered_rooms()
        yield from self.each_key(self.subjects)
        yield from self.pending_count(dict(pairs(counts or ())))
        yield from self.last_sequence()
        if (refused := dict(pairs(counts or ())).get("overbooked")) is not None:
            what = "allocations were refused because they didn't fit on their node (events overbooked): report it"
            self.wrong_is("counts", "overbooked", f"{decoded(refused)} {what}")

    def settings_read(self, settings: dict[bytes, bytes]) -> None:
        """Each setting is one: what can't be read counts as its default."""
        for raw, value in settings.items():
            name = decoded(raw)
            setting = SETTINGS.get(name)
            if name in schema.ENTRIES:
                if (why := schema.wrong_entry(name, decoded(value))) is not None:
                    self.wrong_is("settings", name, why)
                else:
                    self.right["settings"] += 1
            elif setting is None:
                self.wrong_is("settings", name, "there is no such setting")
            elif not setting.may_be(decoded(value)):
                self.wrong_is(
                    "settings", name, f"can't be {decoded(value)!r}: it counts as {setting.show(setting.default)}"
                )
            else:
                self.right["settings"] += 1
        known = settings.get(b"aging")
        self.checks.aging = self.checks.arrays.aging = float(SETTINGS["aging"].read(decoded(known) if known else None))

    def offered_rooms(self) -> Op[None]:
        """What is free where a scheduler or a fill has looked last: pending tasks that fit there are wrong (I11)."""
        found = yield from rows([("ZRANGE", k, 0, -1) for k in (self.keys.fresh, self.keys.dirty, self.keys.free)])
        fresh, dirty, nodes = (one or () for one in found)
        self.checks.fresh = {decoded(entry)[SEQUENCE:] for entry in fresh}
        offered = [decoded(node) for node in nodes if node not in set(dirty)]
        rooms: list[Offer] = []
        for start in range(0, len(offered), BATCH):
            batch = offered[start : start + BATCH]
            fields = ("free_cpu", "surplus", "free_memory", "labels", "incarnation", "free_resources")
            free = yield from rows([("HMGET", self.keys.node(node), *fields) for node in batch])
            for node, row in zip(batch, free, strict=True):
                record = dict(zip(fields, map(decoded, row or (None,) * len(fields)), strict=True))
                room = Resources(whole(record["free_cpu"]) + whole(record["surplus"]), whole(record["free_memory"]))
                rooms.append(Offer.of(node, record, room))
        self.checks.rooms, self.checks.all_rooms = largest(rooms), rooms

    def pending_count(self, before: dict[str, bytes]) -> Op[None]:
        """Only where nothing was counted since ``before``: a sum over many keys can't be read at one instant."""
        queued = 0
        queues = sorted(self.queues)
        for start in range(0, len(queues), BATCH):
            sizes = yield from rows([("ZCARD", queue) for queue in queues[start : start + BATCH]])
            queued += sum(size or 0 for size in sizes)
        queued += yield from arrays.resting(self.keys)
        (after,) = yield from rows([("HGETALL", self.keys.counts)])
        if dict(pairs(after or ())) != before:
            return
        counted = whole(before.get("pending"))
        if counted != queued:
            self.wrong_is("counts", "pending", f"{counted} are counted, {queued} stand in the queues")
        self.right["counts"] += 1

    def last_sequence(self) -> Op[None]:
        """New tasks get their places behind those that have one."""
        (last,) = yield from rows([("GET", self.keys.seq)])
        if self.checks.last and whole(last, -1, 0, LAST_SEQUENCE) < self.checks.last:
            self.wrong_is(
                "counts", "seq", f"is {decoded(last) or 'missing'}, and the place {self.checks.last} is taken"
            )
        self.right["counts"] += 1

    # -- going through the keys ---------------------------------------------------------------------

    def each_key(self, handle: Callable[[str, str], Iterable[_Subject | _Walk]]) -> Op[None]:
        """Every key of the namespace, a batch at a time."""
        cursor = -1
        while cursor:
            scan: Command = ("SCAN", max(cursor, 0), "MATCH", self.keys.prefix + "*", "COUNT", BATCH)
            cursor, found = (yield [scan])[0]
            cursor = int(cursor)
            if not found:
                continue
            types = yield [("TYPE", key) for key in found]
            expiries = yield [("PTTL", key) for key in found]
            todo: list[_Subject | _Walk] = []
            for key, kind, expires in zip(found, types, expiries, strict=True):
                name = decoded(key).removeprefix(self.keys.prefix)
                if expires >= 0 and not (name.startswith("node:") and name.endswith(":alive")):
                    self.wrong_is("keys", name, "expires, and must not")
                todo += self.one_key(name, kind, handle)
            yield from self.look_at([item for item in todo if isinstance(item, _Subject)])
            yield from self.walk([item for item in todo if isinstance(item, _Walk)])

    def one_key(
        self, key: str, found: bytes, handle: Callable[[str, str], Iterable[_Subject | _Walk]]
    ) -> Iterable[_Subject | _Walk]:
        kind, _, name = key.partition(":")
        right = right_type(key)
        if right is None:
            self.wrong_is("keys", key, "nothing of this name belongs here")
        elif decoded(found) not in ("none", right):  # none: it went meanwhile
            self.wrong_is("keys", key, f"is a {decoded(found)}, not a {right}")
        else:
            self.right["keys"] += 1
            return handle(kind, name)
        return ()

    def walk(self, walks: list[_Walk]) -> Op[None]:
        """The members of several keys at once."""
        while walks:
            now, walks = walks[:BATCH], walks[BATCH:]
            replies = yield from rows([(walk.command, walk.key, walk.cursor, "COUNT", BATCH) for walk in now])
            subjects: list[_Subject] = []
            for walk, reply in zip(now, replies, strict=True):
                cursor, found = reply or (0, ())  # its type has changed meanwhile
                names = map(decoded, found) if walk.command == "SSCAN" else (name for name, _ in pairs(found))
                subjects += [walk.subject(name) for name in names]
                if int(cursor):
                    walks.append(_Walk(walk.command, walk.key, walk.subject, int(cursor)))
            yield from self.look_at(subjects)

    def look_at(self, subjects: list[_Subject]) -> Op[None]:
        for start in range(0, len(subjects), BATCH):
            batch = subjects[start : start + BATCH]
            results = yield from in_step(subject.check for subject in batch)
            for subject, problem in zip(batch, results, strict=True):
                yield from self.settle(subject, problem)
            unplaced, self.checks.unplaced = self.checks.unplaced, []
            for task_id in unplaced:
                yield from self.settle(_Subject("room", task_id, partial(self.checks.room, task_id)), "seems to fit")

    def settle(self, subject: _Subject, problem: str | None) -> Op[None]:
        """A suspicion is looked into at one instant; once enough was found it is only counted."""
        if problem and self.wrong[subject.group] < self.limit:
            problem = yield from at_once(subject.check)
        if problem:
            self.wrong_is(subject.group, subject.name, problem)
        else:
            self.right[subject.group] += 1

    # -- what to look at ----------------------------------------------------------------------------

    def subjects(self, kind: str, name: str) -> Iterable[_Subject | _Walk]:
        """What a key gives to look at."""
        keys, checks = self.keys, self.checks
        if kind == "task":
            yield _Subject("tasks", name, partial(checks.task, name))
            yield _Subject("after", name, partial(checks.dependencies.told, name))
        elif kind in ("before", "awaits"):
            yield _Subject("keys", f"{kind}:{name}", partial(checks.dependencies.listed, kind, name))
        elif kind == "waiting":
            yield self.entries(keys.waiting, kind)
            yield _Walk("ZSCAN", keys.waiting, self.awaiting)
        elif kind == "placed":
            yield _Walk("HSCAN", keys.placed, self.placed)
        elif kind in ("live", "apart", "array"):
            yield _Subject("keys", f"{kind}:{name}", partial(checks.arrays.owned, kind, name))
            if kind == "live":
                yield _Walk("SSCAN", keys.live(name), partial(self.live, name))
        elif kind == "arrays":
            yield _Walk("SSCAN", keys.arrays, self.listed)
        elif kind in ("ended", "payload", "result", "log"):
            yield _Subject("keys", f"{kind}:{name}", partial(checks.beside, kind, name))
        elif kind == "pending":
            queue, index = keys.pending(name), keys.classes(group_of(name))
            self.queues.add(queue)
            yield _Subject("heads", f"pending:{name}", partial(checks.head, queue, index, name))
            yield self.entries(queue, State.PENDING)
            if "@" in name:
                yield _Subject("limits", f"pending:{name}", partial(self.limits.asked, name))
        elif kind in ("delayed", "held"):
            yield self.entries(getattr(keys, kind), kind)
        elif kind == "expiring":
            yield _Walk("ZSCAN", keys.expiring, self.deadline)
        elif kind == "finished":
            yield self.entries(keys.finished(name), name)
        elif kind == "classes":
            yield _Subject("heads", f"classes:{name}", partial(checks.head, keys.classes(name), keys.groups, ""))
            yield _Walk("ZSCAN", keys.classes(name), partial(self.class_head, keys.classes(name)))
        elif kind == "groups":
            yield _Walk("ZSCAN", keys.groups, self.group_head)
        elif kind in LABELLED and name:
            yield _Walk("ZSCAN", keys.labelled(kind, name), partial(self.labelled, name))
        elif kind in ("nodes", "gone", "free", "totals", "ends", "dirty"):
            yield _Walk("ZSCAN", getattr(keys, kind), self.node)
        elif kind == "reservation":
            yield _Subject("kept", "reservation", self.reserved.reservation)
        elif kind == "preemptible":
            yield _Walk("ZSCAN", keys.preemptible, self.preemptible)
        elif kind in ("limits", "limits_used", "limits_kept"):
            yield _Walk("HSCAN", self.keys.prefix + kind, self.one_limit)
        elif kind == "limited":
            yield _Walk("ZSCAN", keys.limited(name), partial(self.asking, name))
        elif kind == "schedules":
            yield _Walk("ZSCAN", keys.schedules, self.schedule)
        elif kind == "schedule":
            yield self.schedule(name)
        elif kind == "node":
            parts = name.split(":")
            if len(parts) in (1, 2, 3):
                yield from self.of_node(*parts)

    def entries(self, index: str, state: str) -> _Walk:
        def subject(member: str) -> _Subject:
            name = f"{index.removeprefix(self.keys.prefix)} {member}"
            return _Subject("indexes", name, partial(self.checks.entry, index, state, member))

        return _Walk("ZSCAN", index, subject)

    def deadline(self, task_id: str) -> _Subject:
        return _Subject("indexes", f"expiring {task_id}", partial(self.checks.deadline, task_id))

    def live(self, array_id: str, index: str) -> _Subject:
        return _Subject("indexes", f"live:{array_id} {index}", partial(self.checks.arrays.live, array_id, index))

    def placed(self, task_id: str) -> _Subject:
        return _Subject("indexes", f"placed {task_id}", partial(self.checks.placed, task_id))

    def listed(self, array_id: str) -> _Subject:
        return _Subject("indexes", f"arrays {array_id}", partial(self.checks.arrays.listed, array_id))

    def class_head(self, index: str, member: str) -> _Subject:
        name = member[SEQUENCE:]
        check = partial(self.checks.indexed_head, index, member, self.keys.pending(name), name)
        return _Subject("heads", f"{index.removeprefix(self.keys.prefix)} {member}", check)

    def group_head(self, member: str) -> _Subject:
        queue = self.keys.classes(group_of(member[SEQUENCE:]))
        return _Subject(
            "heads", f"groups {member}", partial(self.checks.indexed_head, self.keys.groups, member, queue, "")
        )

    def node(self, node_id: str) -> _Subject:
        return _Subject("nodes", node_id, partial(self.checks.node, node_id))

    def labelled(self, label: str, node_id: str) -> _Subject:
        return _Subject("nodes", f"{node_id} {label}", partial(self.checks.labelled, node_id, label))

    def awaiting(self, task_id: str) -> _Subject:
        return _Subject("after", task_id, partial(self.checks.dependencies.known, task_id))

    def preemptible(self, member: str) -> _Subject:
        return _Subject("kept", f"preemptible {member}", partial(self.reserved.entry, member))

    def one_limit(self, name: str) -> _Subject:
        return _Subject("limits", name, partial(self.limits.limit, name))

    def asking(self, name: str, member: str) -> _Subject:
        return _Subject("limits", f"limited:{name} {member}", partial(self.limits.asking, name, member))

    def schedule(self, name: str) -> _Subject:
        return _Subject("schedules", name, partial(self.schedules.schedule, name))

    def of_node(self, node_id: str, incarnation: str = "", part: str = "") -> Iterable[_Subject | _Walk]:
        """``node:ID``, ``node:ID:alive``, ``node:ID:INCARNATION:tasks``, ``node:ID:INCARNATION:orders``."""
        if not incarnation:
            yield self.node(node_id)
            yield _Subject("kept", node_id, partial(self.reserved.node, node_id))
        if not part:
            return
        key = f"{self.keys.node(node_id)}:{incarnation}:{part}"
        check = partial(self.checks.answered, node_id, incarnation, key)
        yield _Subject("ledgers" if part == "tasks" else "keys", f"node:{node_id}:{incarnation}:{part}", check)
        if part == "tasks":

            def subject(token: str) -> _Subject:
                check = partial(self.checks.allocation, node_id, incarnation, token)
                return _Subject("ledgers", f"{node_id}:{incarnation} {token}", check)

            yield _Walk("HSCAN", key, subject)

            def attempt(token: str) -> _Subject:
                return _Subject(
                    "kept",
                    f"preemptible {token} {node_id}",
                    partial(self.reserved.attempt, node_id, incarnation, token),
                )

            yield _Walk("HSCAN", key, attempt)

    def left_over(self, kind: str, name: str) -> Iterable[_Subject | _Walk]:
        """``each_key``, for ``leftovers``. A node that lives keeps its last orders."""
        node_id, _, part = name.partition(":")
        incarnation, _, last = part.partition(":")
        if kind == "node" and last == "orders":
            check = partial(self.checks.answered, node_id, incarnation, f"{self.keys.node(node_id)}:{part}")
            return [_Subject("keys", f"node:{name}", check)]
        if not (kind in STAYS or (kind == "node" and part in ("", "alive"))):
            self.wrong_is("keys", f"{kind}:{name}" if name else kind, "is left over")
        return ()
