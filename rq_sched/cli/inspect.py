"""``rq-sched inspect``: the keys in Redis, decoded, with what each means. Reads only, and never much of a large key."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from rq_sched.cli import schema, show
from rq_sched.cli.options import TEXT, Invocation, Limit, command
from rq_sched.cli.schema import KeyEntry
from rq_sched.cli.table import Column, table
from rq_sched.errors import InvalidValue, NotFound
from rq_sched.model.arrays import owner
from rq_sched.model.states import FINAL
from rq_sched.store.node_records import FIELDS

if TYPE_CHECKING:
    from rq_sched.link import Op

FIRST = 20
"""Entries shown of a key that holds many; ``--limit`` changes it."""
STRING_BYTES = 4096
_SIZES = {"string": "STRLEN", "hash": "HLEN", "zset": "ZCARD", "set": "SCARD", "list": "LLEN", "stream": "XLEN"}


@dataclass
class Found:
    """One key as it is: how much it holds (entries; of a string, bytes), and the first entries."""

    key: str
    type: str
    meaning: str
    size: int
    expires_in: float | None  # seconds
    entries: list[KeyEntry] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        entries = [entry._asdict() for entry in self.entries]
        return {"key": self.key, "type": self.type, "meaning": self.meaning, "size": self.size,
                "expires_in": self.expires_in, "entries": entries}  # fmt: skip


@command("inspect")
@click.argument("what", metavar="[KEY or ID]", required=False, type=TEXT)
@click.option("-n", "--limit", type=Limit(1), default=FIRST, show_default=True, help="Entries of a key.")
@click.pass_obj
def inspect_command(session: Invocation, what: str | None, limit: int) -> None:
    """Show keys in Redis, decoded, with what each means.

    Without an argument: the keys that every namespace has. With one: the keys behind a task or node (its ID), a
    queue (CPU:MEMORY, such as 1:256 or 1:256+gpu), or one KEY (with or without its prefix).
    """
    prefix = session.store.keys.prefix
    if what is not None and what.startswith("rqs:") and not what.startswith(prefix):
        raise InvalidValue(f"{what!r} isn't of namespace {session.space}, whose keys begin with {prefix} (--namespace)")
    names = _names(session, None if what is None else what.removeprefix(prefix))
    keys = [found for name in names if (found := session.run(_look(prefix, name, limit))) is not None]
    if what is not None and (attempt := session.run(_attempt(session.store.keys.placed, what))) is not None:
        keys.insert(1, attempt)
    if what is not None and not keys:
        raise NotFound(_nothing(session, what))
    if session.json:
        show.json_line({"namespace": session.space, "keys": [found.to_dict() for found in keys]})
    elif what is None:
        _print_overview(prefix, keys)
    else:
        for number, found in enumerate(keys):
            if number:
                show.line()
            _print(found)


def _names(session: Invocation, name: str | None) -> list[str]:
    """The keys (without the prefix) that an argument may mean."""
    if name is None:
        constant = [kind for kind in schema.kinds() if kind.islower()]
        return constant + [f"finished:{state}" for state in sorted(FINAL)]
    if re.fullmatch(r"\d+:\d+(\+[a-z0-9._-]+)*", name):
        return [f"pending:{name}"]
    names = [name]
    if ":" not in name:
        kinds = ("task", "ended", "payload", "result", "log", "array", "live", "apart", "schedule", "node")
        names += [f"{kind}:{name}" for kind in kinds] + [f"node:{name}:alive"]
        incarnation = session.run(_field(session.store.keys.node(name), "incarnation"))
        if incarnation:
            names += [f"node:{name}:{schema.text(incarnation)}:{part}" for part in ("tasks", "grown", "orders")]
    return names


def _nothing(session: Invocation, what: str) -> str:
    if session.run(session.store.states([what])) != [None]:
        return f"{what} isn't made yet: until it is placed its array stands for it (`rq-sched inspect {owner(what)}`)"
    return f"nothing named {what!r} in namespace {session.space}: no task, node, queue or key"


def _ask(*words: str | int) -> Op[Any]:
    return (yield [words])[0]


def _field(key: str, name: str) -> Op[bytes | None]:
    """A field of what should be a hash; None where it isn't."""
    from rq_sched.link import Row

    found = (yield [Row(("HGET", key, name))])[0]
    return found if isinstance(found, bytes) else None


def _attempt(key: str, task_id: str) -> Op[Found | None]:
    """The entry of a task among those that are placed."""
    entry = yield from _field(key, task_id)
    if entry is None:
        return None
    found = Found(key, "hash", f"of that the entry {task_id}: its attempt", 1, None)
    found.entries = schema.lines("attempt", entry) or [KeyEntry(task_id, schema.text(entry), "")]
    return found


def _look(prefix: str, name: str, limit: int) -> Op[Found | None]:
    """One key, or None where there is none."""
    key = prefix + name
    raw_type, expires = yield [("TYPE", key), ("PTTL", key)]
    type_ = raw_type.decode()
    if type_ == "none":
        return None
    kind = schema.kind_of(name)
    size = (yield [(_SIZES[type_], key)])[0] if type_ in _SIZES else 0
    found = Found(key, type_, "", size, expires / 1000 if expires > 0 else None)
    if kind is None:
        found.meaning = "not a key of rq-sched"
    elif kind.type != type_ and (kind.type, type_) != ("counter", "string"):
        found.meaning = f"WRONG TYPE, it should be a {kind.type}: {kind.meaning}"
    else:
        found.meaning = kind.meaning
        found.entries = yield from _entries(key, type_, kind.name, limit)
    return found


def _entries(key: str, type_: str, kind: str, limit: int) -> Op[list[KeyEntry]]:
    """The first entries of a key (of a stream: the last), as they read."""
    if type_ == "hash":
        flat = (yield [("HSCAN", key, 0, "COUNT", limit)])[0][1]
        return schema.fields(kind, dict(zip(flat[::2], flat[1::2], strict=True)))[: max(limit, len(FIELDS))]
    if type_ == "zset":
        flat = (yield [("ZRANGE", key, 0, limit - 1, "WITHSCORES")])[0]
        return [schema.member(kind, schema.text(m), float(s)) for m, s in zip(flat[::2], flat[1::2], strict=True)]
    if type_ == "string":
        value = (yield [("GETRANGE", key, 0, STRING_BYTES - 1)])[0]
        if kind in schema.OF_LINES:
            return schema.lines(kind, value)
        return [KeyEntry("", schema.string(kind, value), "")]
    if type_ == "list":
        items = (yield [("LRANGE", key, 0, limit - 1)])[0]
        return [KeyEntry(str(number), schema.text(item), "") for number, item in enumerate(items)]
    if type_ == "set":
        items = (yield [("SSCAN", key, 0, "COUNT", limit)])[0][1]
        return [KeyEntry(schema.text(item), "", "") for item in sorted(items)[:limit]]
    entries = (yield [("XREVRANGE", key, "+", "-", "COUNT", limit)])[0]
    return [KeyEntry(entry_id.decode(), schema.text(b" ".join(flat)), "") for entry_id, flat in reversed(entries)]


def _print_overview(prefix: str, keys: list[Found]) -> None:
    if not keys:
        show.paragraph(f"nothing yet: no key begins with {prefix}")
        return
    show.paragraph(f"keys of every namespace; here each begins with {prefix}")
    columns = [Column("KEY"), Column("TYPE", rank=1), Column("SIZE", right=True), Column("HOLDS", rank=2, fold=True)]
    table(columns, ((k.key.removeprefix(prefix), k.type, f"{k.size:,}", k.meaning) for k in keys))
    show.line()
    show.paragraph("more: `rq-sched inspect` with a KEY, a task's or node's ID, or a queue such as 1:256")


def _print(found: Found) -> None:
    unit = "byte" if found.type == "string" else "entry"
    size = show.count(found.size, unit, "entries" if unit == "entry" else None)
    expires = f", expires in {show.duration(found.expires_in)}" if found.expires_in is not None else ""
    show.heading(found.key)
    show.paragraph(f"{found.type}, {size}{expires}: {found.meaning}", indent=2)
    if found.type == "string" and not any(entry.name for entry in found.entries):
        show.pairs((("holds", entry.value) for entry in found.entries), indent=4)
    else:
        _print_entries(found)


def _print_entries(found: Found) -> None:
    width = max((len(entry.name) for entry in found.entries), default=0)
    values = max((len(entry.value) for entry in found.entries if len(entry.value) <= 40), default=0)
    screen = show.terminal_width()
    margin = " " * (4 + width + 2)
    for entry in found.entries:
        name, value, meaning = (show.safe(text) for text in entry)
        name = f"    {name.ljust(width)}  "
        whole = f"{name}{value.ljust(values)}{f'  {meaning}' if meaning else ''}"
        if screen is None or show.cells(whole) <= screen:
            lines = [whole.rstrip()]
        else:  # the meaning stands under the value
            lines = show.fold(value, screen, name, margin)
            lines += show.fold(meaning, screen, margin, margin) if meaning else []
        for one in lines:
            show.line(one)
    if found.type != "string" and found.size > len(found.entries):
        show.line(f"    ... {found.size - len(found.entries):,} more (--limit shows more)")
