"""``rq-sched doctor``: is the server fit for this, is it safe, and does everything add up?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from rq_sched.cli import show
from rq_sched.cli.doctor_safety import safety
from rq_sched.cli.missing import no_scheduler
from rq_sched.cli.options import Invocation, command
from rq_sched.cli.table import Column, table
from rq_sched.errors import RedisNotReady, RedisRefused, WrongType
from rq_sched.model.states import State

if TYPE_CHECKING:
    from rq_sched.audit.mend import Mended
    from rq_sched.link import Op

LUA_HOLE = "CVE-2025-49844"
"""A script could break out of Lua's sandbox; the first versions without it:"""
LUA_HOLE_CLOSED: dict[str, dict[tuple[int, ...], tuple[int, ...]]] = {
    "redis": {(6, 2): (6, 2, 20), (7, 2): (7, 2, 11), (7, 4): (7, 4, 6), (8, 0): (8, 0, 4), (8, 2): (8, 2, 2)},
    "valkey": {(7, 2): (7, 2, 11), (8, 0): (8, 0, 6), (8, 1): (8, 1, 4)},
}
CLOSED_SINCE = {"redis": (8, 2, 2), "valkey": (8, 1, 4)}
FULL = 0.9


class CheckLine(NamedTuple):
    """One line of the report."""

    check: str
    ok: bool
    message: str


@command("doctor")
@click.option(
    "--repair", is_flag=True, help="Mend ledgers, indexes and counts that don't add up, and say what was done."
)
@click.pass_obj
def doctor_command(session: Invocation, repair: bool) -> int:
    """Check the server, its security, and that every ledger adds up. Exit code 1: something is wrong.

    With --repair what doesn't add up is put right first, by its records and ledgers; what is in order isn't touched,
    so that it may run on a live system at any time. The server's configuration is left to you.
    """
    repaired = _repair(session) if repair else []
    findings = [*_server_findings(session), *_node_findings(session), *_audit_findings(session)]
    ok = all(finding.ok for finding in findings)
    if session.json:
        mended = {"repaired": [asdict(one) for one in repaired]} if repair else {}
        show.json_line({"ok": ok, "findings": [finding._asdict() for finding in findings], **mended})
        return 0 if ok else 1
    if repair:
        show.line(f"repaired: {show.count(len(repaired), 'thing')}" if repaired else "nothing needed a repair")
        for one in repaired:
            show.paragraph(f"{one.check}: {one.subject}: {one.message}", indent=2)
        show.line()
    columns = [Column("", state=True), Column("CHECK"), Column("FOUND", rank=1, fold=True)]
    rows = (("ok" if one.ok else "wrong", one.check, one.message) for one in sorted(findings, key=lambda one: one.ok))
    table(columns, rows)
    wrong = sum(not finding.ok for finding in findings)
    show.line()
    hint = " (`rq-sched doctor --repair` mends what doesn't add up)" if not repair and _mendable(findings) else ""
    show.paragraph("all is well" if ok else f"{show.count(wrong, 'thing')} to look at{hint}")
    return 0 if ok else 1


def _mendable(findings: Sequence[CheckLine]) -> bool:
    from rq_sched.audit import CHECKS

    return any(not finding.ok and finding.check in CHECKS for finding in findings)


def _repair(session: Invocation) -> list[Mended]:
    from rq_sched.audit.mend import repair

    try:
        return session.run(repair(session.space))
    except WrongType:
        return []  # the check that follows tells of it


def _ask(*words: str) -> Op[Any]:
    replies = yield [words]
    return replies[0]


def _config(session: Invocation, name: str) -> str | None:
    """A setting of the server; None where this user may not look."""
    try:
        reply = session.run(_ask("CONFIG", "GET", name))
    except RedisRefused:
        return None
    return str(reply[1], "utf-8", "replace") if reply else None


def _info(session: Invocation) -> dict[str, str]:
    """What the server says of itself."""
    text = str(session.run(_ask("INFO")), "utf-8", "replace")
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def _server_findings(session: Invocation) -> Iterator[CheckLine]:
    info = _info(session)
    yield _version(info)
    yield _role(info)
    yield _persistence(info, _config(session, "appendfsync"))
    yield _eviction(info)
    yield _memory(info)
    yield _events(_config(session, "notify-keyspace-events"))
    yield from (CheckLine(*said) for said in safety(session.url, info, lambda: _users(session)))


def _version(info: Mapping[str, str]) -> CheckLine:
    kind = "valkey" if "valkey_version" in info else "redis"
    text = str(info.get(f"{kind}_version", "0"))
    version = tuple(int(part) for part in re.findall(r"\d+", text)[:3])
    named = f"{kind.capitalize()} {text}"
    if version >= LUA_HOLE_CLOSED[kind].get(version[:2], CLOSED_SINCE[kind]):
        return CheckLine("version", True, named)
    return CheckLine(
        "version", False,
        f"{named} has a hole by which a script can take over the server ({LUA_HOLE}), unless your distribution has "
        f"mended it: upgrade",
    )  # fmt: skip


def _role(info: Mapping[str, str]) -> CheckLine:
    if info.get("role") == "master":
        return CheckLine("role", True, f"master, with {show.count(int(info.get('connected_slaves', 0)), 'replica')}")
    return CheckLine("role", False, "this is a read-only replica: give the address of the master")


def _persistence(info: Mapping[str, str], fsync: str | None) -> CheckLine:
    if info.get("aof_enabled") != "1":
        return CheckLine(
            "persistence", False,
            "the append-only file is off: a restart of the server loses tasks (appendonly yes in its configuration)",
        )  # fmt: skip
    if info.get("aof_last_write_status", "ok") != "ok":
        return CheckLine(
            "persistence", False, "the append-only file can't be written: look at the server's log and disk"
        )
    lost = {
        "always": "nothing acknowledged is lost",
        "everysec": "a crash loses the last second or so",
        "no": "a crash loses what the system hasn't written yet",
    }.get(fsync or "", "how often it is synced isn't shown to this user")
    return CheckLine("persistence", True, f"append-only file is on{f', {fsync}' if fsync else ''}: {lost}")


def _eviction(info: Mapping[str, str]) -> CheckLine:
    policy = info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return CheckLine("eviction", True, "noeviction")
    return CheckLine("eviction", False, f"{policy}: Redis may drop keys of tasks (maxmemory-policy noeviction)")


def _memory(info: Mapping[str, str]) -> CheckLine:
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    megabytes = show.format_memory(used // 1024**2)
    if not most:
        return CheckLine("memory", True, f"{megabytes} used, no limit")
    text = f"{megabytes} of {show.format_memory(most // 1024**2)} used"
    if used > FULL * most:
        return CheckLine(
            "memory", False, f"{text}: submits are refused when it is full; drain, forget, or raise maxmemory"
        )
    return CheckLine("memory", True, text)


def _events(flags: str | None) -> CheckLine:
    if flags is None:
        return CheckLine(
            "events", True, "this user can't see the flag; without Ex dead nodes are noticed up to 1 s later"
        )
    if "E" in flags and ("x" in flags or "A" in flags):
        return CheckLine("events", True, f"on ({flags}): a dead node is noticed at once")
    return CheckLine(
        "events", False,
        "off: dead nodes are noticed only by the sweep (notify-keyspace-events Ex in its configuration)",
    )  # fmt: skip


def _users(session: Invocation) -> list[str] | None:
    """The server's ACL users; None where this user may not look."""
    try:
        return [user.decode("utf-8", "replace") for user in session.run(_ask("ACL", "LIST"))]
    except RedisRefused:
        return None


def _node_findings(session: Invocation) -> Iterator[CheckLine]:
    info = session.run(session.store.info()).to_dict()
    absent = no_scheduler(info["scheduler_seen"])
    idle = not any(n for state, n in info["tasks"].items() if not State(state).final) and not info["total_cpu"]
    if absent and not idle:
        yield CheckLine("scheduler", False, absent)
    else:
        yield CheckLine("scheduler", True, "nothing is there for one to do" if absent else "one is at work")
    faults = [node for node in session.run(session.store.nodes()) if node.fault]
    for node in faults:
        yield CheckLine("faults", False, f"{node.node_id} takes no tasks: {node.fault} (it looks again by itself)")
    if not faults:
        yield CheckLine("faults", True, "no node has a fault of its machine")
    for schedule in session.run(session.store.schedules()):
        if schedule.trouble:
            yield CheckLine("schedules", False, f"{schedule.name} makes no tasks: {schedule.trouble}")


def _audit_findings(session: Invocation) -> Iterator[CheckLine]:
    from rq_sched import audit

    try:
        found = session.run(audit.check(session.space))
    except WrongType as error:
        yield CheckLine("keys", False, str(error))
        return
    except RedisNotReady:
        raise
    except RedisRefused:
        yield CheckLine(
            "keys", False,
            "nothing of what follows was checked: this user may not list keys (SCAN); ask as rqs-operator (deploy/acl)",
        )  # fmt: skip
        return
    for finding in found:
        subject = f"{finding.subject}: " if finding.subject else ""
        yield CheckLine(finding.check, finding.ok, subject + finding.message)
