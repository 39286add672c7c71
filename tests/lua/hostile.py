"""A cell with something in every state, and calls of its scripts as anybody may send them: any bytes, any number."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from redis import Redis
from redis.exceptions import ResponseError

from rq_sched import audit, errors
from rq_sched.audit.mend import repair
from rq_sched.link import Link, scripts
from rq_sched.store import Store
from tests.conftest import drop
from tests.faults.scene import Scene, build, request

Value = str | bytes | int | float
JUNK: list[Value] = [
    "", " ", "a b", "x" * 5000, "a/1", "a/1/2", "/", "a:b", "a@b#1", b"\xff\xfe", "\x00", "\x1b[2J\x07", "a\nb", "{}",
    "-1", "0", "1", "1.5", "-0", "+1", " 1", "1 ", "0x10", "1e3", "1e999", "-1e999", "nan", "inf", "9" * 15, "9" * 16,
    "9" * 400, str(2**31 + 1), str(2**52 + 1), str(2**63), "1:1", "0:1", "1:1+", "1:1+gpu+gpu", "1:16777216", "true",
    "-", "+", "(", "completed", "pending:1:1", "é", b"\xed\xa0\x80", "sweep/5", "sweep/05", "sweep/999999999999",
]  # fmt: skip


@dataclass
class Hostile:
    """The scene (``tests/faults/scene.py``) with an array, and a plain connection to its server."""

    scene: Scene
    redis: Redis
    seen: tuple[int, dict[bytes, bytes]] = (-1, {})

    @property
    def prefix(self) -> str:
        return self.scene.store.keys.prefix

    def call(self, name: str, *arguments: Value, keys: Sequence[Value] | None = None) -> str | None:
        """Calls a script; its refusal as the server sends it, None where it was carried out."""
        given = [self.prefix] if keys is None else keys
        script = scripts.load(name)
        verb = "FCALL_RO" if script.reads_only else "FCALL"
        try:
            self.redis.execute_command(verb, script.function, len(given), *given, *arguments)  # type: ignore[no-untyped-call]
        except ResponseError as error:
            return str(error)
        return None

    def everything(self) -> dict[bytes, bytes]:
        """What stands in Redis, of whatever namespace; read anew only when something was written."""
        writes = self.redis.info("persistence")["rdb_changes_since_last_save"]
        if writes != self.seen[0]:
            self.seen = (writes, self._read())
        return self.seen[1]

    def _read(self) -> dict[bytes, bytes]:
        keys: list[bytes] = sorted(self.redis.keys("*"))  # type: ignore[arg-type]
        pipeline = self.redis.pipeline(transaction=False)
        for key in keys:
            pipeline.dump(key)
        return dict(zip(keys, pipeline.execute(), strict=True))

    def refused(self, name: str, *arguments: Value, keys: Sequence[Value] | None = None) -> str | None:
        """The code of the refusal, if it was refused; then nothing may have been written."""
        before = self.everything()
        said = self.call(name, *arguments, keys=keys)
        if said is None:
            return None
        what = f"{name} {[str(a)[:60] for a in arguments]} said {said}"
        code = said.partition(" ")[0].removeprefix("RQS_").lower()
        assert said.startswith("RQS_"), what
        assert code in errors.by_code(), what
        assert said.isprintable(), what
        assert said.isascii(), what
        after = self.everything()
        changed = {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)}
        assert not changed, f"{what} and wrote {changed}"
        return code

    def sound(self, after: str) -> None:
        """The audit is clean after this script was called; giving a task up is a step of a repair, which goes on."""
        if after == "repair_give_up":
            self.scene.link.run(repair(self.scene.store.keys.namespace))
        problems = audit.problems(self.scene.link.run(audit.check(self.scene.store.keys.namespace)))
        assert not problems, "\n".join(map(str, problems))


@contextmanager
def hostile_cell(redis_url: str) -> Iterator[Hostile]:
    """In a namespace of its own, of which nothing stays."""
    link = Link(redis_url)
    store = Store(f"t-{uuid.uuid4().hex[:12]}", placings=0)
    link.load(scripts.names())
    scene = build(link, store)
    link.run(store.submit([request("sweep", cpu=2, array="1-9"), request("later", array="1-9", delay=600)]))
    link.run(store.submit([request("w1", after=["r1", "sweep:any"]), request("w2", after=["w1"], array="1-9")]))
    with Redis(unix_socket_path=redis_url.removeprefix("unix://")) as redis:
        yield Hostile(scene, redis)
    link.run(drop(store.keys.namespace))
    link.close()


def valid_calls(cell: Hostile) -> dict[str, list[Value]]:
    """One call of each script that it takes."""
    token = cell.scene.tokens["r1"]
    due = int(cell.redis.hget(f"{cell.prefix}schedule:yearly", "due") or 0)
    return {**_of_tasks(), **_of_nodes(token), **_of_schedules(due), **_of_repairs(token)}


def _of_tasks() -> dict[str, list[Value]]:
    asked: list[Value] = ["1:256", "digest", "run=m:f\nwith="]
    return {
        "task_submit": ["", "ab", 0, "me", "new", *asked],
        "array_submit": ["", "ab", 0, "", 1, 9, "many", *asked],
        "graph_submit": ["", "me", "graph", *asked, "", 2, "r1,p1:any"],
        "task_await": ["", "w1", 0, "p1"],
        "task_release": [""],
        "place": ["", "ab", 4],
        "reserve": ["", 1000],
        "task_cancel": ["", "p1", "op1", 1, 1000, "note", 0],
        "task_hold": ["", "p2"],
        "task_unhold": ["", "h1"],
        "task_requeue": ["", "c1", "op2"],
        "task_prioritize": ["", "p3", 7],
        "task_promote": ["", 10],
        "task_expire": ["", 10],
        "task_watch": ["", "me", "p1", "sweep/3"],
        "task_forget": ["", "f1"],
        "task_trim": ["", 3600_000, 1000, 10, "completed", "array"],
        "array_forget": ["", "many", 1, 9],
        "task_ahead": ["", 0, "", "2:1024", 0, 10],
        "feature_use": ["", "later"],
        "upgrade_begin": [""],
        "event_find": ["", "p1", "-", "+", 10],
        "limit_set": ["", "api", 20],
    }


def _of_nodes(token: str) -> dict[str, list[Value]]:
    node: list[Value] = ["", "n1", "i1"]
    return {
        "task_start": [*node, token],
        "task_finish": [*node, 0, "ab", 4, 0.5, "no.such.token", "no.such.token r1 completed 10", "r", "out"],
        "task_resize": ["", "ab", "n1", "i1", token, 1, 1, 900, 4],
        "task_grow": [*node, 5000, token],
        "task_output": [*node, token, "printed"],
        "task_progress": [*node, token, 0.5],
        "node_register": [
            "",
            "n8",
            "i8",
            4,
            4000,
            600_000,
            "host",
            "+gpu",
            "+schedules",
            "/",
            "gpu=0,1 scratch=#5000",
        ],
        "node_heartbeat": [*node, 0, ""],
        "node_fault": [*node, "its disk is full"],
        "node_poll": [*node, 0, 10],
        "node_ledger": [*node, "0"],
        "node_rooms": ["", "n1", "n2"],
        "node_drain": ["", "n2", "", 1, 0, 1000, "0"],
        "node_undrain": ["", "n2"],
        "node_reload": ["", "n2"],
        "node_leave": ["", "n8", "i8", 0],
        "node_sweep": ["", 1500, 10, "h:1", "+schedules"],
        "node_reap": ["", "n8:i8:left", 10],
        "node_trim": ["", 3600_000, 10],
    }


def _of_schedules(due: int) -> dict[str, list[Value]]:
    asked: list[Value] = ["1:256", "digest", "run=m:f\nwith="]
    return {
        "schedule_add": ["", "fresh", 1, *asked, "* * * * *", "UTC", "", "", "", "skip", "last"],
        "schedule_due": ["", 10],
        "schedule_make": ["", "ab", 0, "yearly", due, "", due, 0, ""],
        "schedule_run": ["", "ab", 0, "yearly", "yearly.now"],
        "schedule_pause": ["", "nobody"],
        "schedule_resume": ["", "yearly", due],
        "schedule_remove": ["", "fresh"],
        "schedule_postpone": ["", "yearly", due, due, "why"],
    }


def _of_repairs(token: str) -> dict[str, list[Value]]:
    return {
        "repair_task": ["", "p1"],
        "repair_after": ["", "w1"],
        "repair_entry": ["", "held", "h1"],
        "repair_head": ["", "2:1024", "2:1000"],
        "repair_ledger": ["", "n1", "i1", token],
        "repair_node": ["", "n1", "gpu"],
        "repair_key": ["", "log", "c1"],
        "repair_room": ["", "p1"],
        "repair_kept": ["", token, "n1"],
        "repair_count": ["", "0-1", 3],
        "repair_seq": ["", 3],
        "repair_type": ["", "groups"],
        "repair_stray": ["", "nodes", "n1"],
        "repair_give_up": ["", "nobody"],
        "repair_limit": ["", "api", "2:1024@api=1"],
        "repair_schedule": ["", "yearly", "", ""],
    }
