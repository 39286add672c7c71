"""Checks at limits: as much is in use as the ledgers hold, and who asks for one stands in its index."""

from __future__ import annotations

from collections import Counter

from rq_sched.audit.reads import decoded, number, pairs, peek
from rq_sched.link import Command, Op
from rq_sched.model.amounts import NAME_FORM, limits_in
from rq_sched.model.arrays import SEQUENCE
from rq_sched.model.limits import OFF
from rq_sched.model.reading import whole
from rq_sched.store.keys import Keys

KINDS = ("first", "kept")


class Limits:
    """The checks of one run."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys

    def limit(self, name: str) -> Op[str | None]:
        """It says how much there is; as much of it is in use as all ledgers hold."""
        places = yield from self._places()
        most, used, kept, *ledgers = yield [
            ("HGET", self.keys.limits, name),
            ("HGET", self.keys.limits_used, name),
            ("HGET", self.keys.limits_kept, name),
            *(("HVALS", self.keys.ledger(*place.split(":", 1))) for place in places),
        ]
        again = yield from self._places()
        if again != places:
            return None
        if not NAME_FORM.fullmatch(name):
            return None if (most, used, kept) == (None, None, None) else "its name is none"
        if most is not None and most != OFF.encode() and whole(most, -1, 0) < 0:
            return f"it is {decoded(most)!r}"
        held = sum(held_by(decoded(entry))[name] for ledger in ledgers for entry in ledger)
        if used is not None and whole(used, -1, 0) < 1:
            return f"in use is {decoded(used)!r}"
        if whole(used) != held:
            return f"{whole(used)} are said to be in use, the ledgers hold {held}"
        if kept is not None and not kept_is_sound(decoded(kept), name):
            return f"what is kept of it is {decoded(kept)!r}"
        return None

    def _places(self) -> Op[list[str]]:
        """The registrations that may hold something."""
        (nodes, lost) = yield [("ZRANGE", self.keys.nodes, 0, -1), ("SMEMBERS", self.keys.lost)]
        found = {decoded(one).rpartition(":")[0] for one in lost}
        if nodes:
            rows = yield [("HGET", self.keys.node(decoded(node)), "incarnation") for node in nodes]
            found |= {f"{decoded(node)}:{decoded(row)}" for node, row in zip(nodes, rows, strict=True) if row}
        return sorted(place for place in found if ":" in place)

    def asking(self, name: str, member: str) -> Op[str | None]:
        """An entry of ``limited:NAME`` is the head of a class that asks for it."""
        task_class = member[SEQUENCE:]
        if name not in limits_in(task_class):
            return "its class doesn't ask for that limit"
        found, reply = yield [("ZSCORE", self.keys.limited(name), member), peek(self.keys.pending(task_class))]
        if found is None:
            return None
        head = next(iter(pairs(reply)), None)
        if head is None or (head[0][:SEQUENCE], number(head[1])) != (member[:SEQUENCE], number(found)):
            return f"it has score {number(found)}; the head of its queue is {head}"
        return None

    def asked(self, task_class: str) -> Op[str | None]:
        """The head of a queue stands in the index of each limit that its class asks for."""
        queue, names = self.keys.pending(task_class), list(limits_in(task_class))
        (reply,) = yield [peek(queue)]
        head = next(iter(pairs(reply)), None)
        if head is None:
            return None
        entry = head[0][:SEQUENCE] + task_class
        again, *scores = yield [peek(queue), *(("ZSCORE", self.keys.limited(name), entry) for name in names)]
        missing = [name for name, score in zip(names, scores, strict=True) if number(score) != number(head[1])]
        if again == reply and missing:
            return f"its head {entry} isn't, or elsewhere, in limited:{missing[0]}"
        return None


def held_by(entry: str) -> Counter[str]:
    """What an entry of a ledger holds of limits."""
    parts = entry.split(":", 4)
    return Counter(limits_in("".join(part for part in parts[4].split(";") if part[:1] == "@")) if parts[4:] else {})


def kept_is_sound(text: str, name: str) -> bool:
    """Whether it says who is the first, and since when."""
    kind, since, score, entry = [*text.split(" ", 3), "", "", "", ""][:4]
    try:
        float(score)
    except ValueError:
        return False
    return kind in KINDS and whole(since, -1, 0) >= 0 and name in limits_in(entry[SEQUENCE:])


def reads_of(keys: Keys, task_class: str) -> list[Command]:
    """What ``blocked`` needs to know."""
    names = list(limits_in(task_class))
    return [("HMGET", key, *names) for key in (keys.limits, keys.limits_used, keys.limits_kept) if names]


def blocked(task_class: str, replies: list[list[bytes | None]], member: str, score: float) -> bool:
    """Whether a limit doesn't let a task be placed now. (Schedulers see when one for which room was kept has left.)"""
    for (name, asked), *found in zip(limits_in(task_class).items(), *replies, strict=True):
        most, used, kept = map(decoded, found)
        if most == OFF:
            continue
        free = whole(most, -1, 0) - whole(used)
        if asked > free:
            return True
        if kept.startswith("kept "):
            _, _, kept_score, entry = kept.split(" ", 3)
            own = entry[:SEQUENCE] == member[:SEQUENCE] and float(kept_score) == score
            if not own and asked + limits_in(entry[SEQUENCE:])[name] > free:
                return True
    return False
