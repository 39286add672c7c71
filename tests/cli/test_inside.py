"""Nodes, totals, the decision log, and looking inside."""

from __future__ import annotations

from pathlib import Path

import pytest

from rq_sched.cli import doctor, schema
from rq_sched.link import Link
from rq_sched.model.schema import SCHEMA
from rq_sched.model.settings import SETTINGS
from rq_sched.process.embedded import EmbeddedServer
from rq_sched.store.keys import Keys
from tests.cli.kit import Cli, HandCell, ask, beside, rows

NODE_FIELDS = [
    "node_id", "state", "total_cpu", "total_memory", "free_cpu", "free_memory", "running", "incarnation",
    "last_heartbeat", "labels", "total_resources", "free_resources", "free_indexes", "fault",
]  # fmt: skip


def test_nodes(cli: Cli, hand: HandCell):
    assert cli("nodes").out.startswith("no nodes: start a worker")
    assert cli.json("nodes").out == ""
    cli("submit", "m:f", "--id", "t1", "--cpu", "3", "-q")
    hand.begin("t1")
    hand.node("n2", cpu=2, memory=2048, ttl=600)
    table = rows(cli("nodes"))
    assert table["n1"][1:] == ["up", "3/4", "256", "MB/1", "GB", "1", *table["n1"][7:]]
    assert table["n2"][1:3] == ["up", "0/2"]
    found = cli.json("nodes").json
    assert [list(node) for node in found] == [NODE_FIELDS, NODE_FIELDS]
    assert (found[0]["free_cpu"], found[0]["running"], found[1]["free_memory"]) == (1, 1, 2048)


def test_drain_and_undrain(cli: Cli, hand: HandCell):
    hand.node("n1", ttl=600)
    typed = cli("drain", "n1")
    assert "gets no new tasks" in typed.out
    assert "rq-sched undrain n1" in typed.out
    assert cli.json("nodes").one["state"] == "draining"
    assert cli.json("drain", "n1", "nope", code=3).json == [{"node_id": "n1", "state": "draining"}]
    assert cli("undrain", "n1").out == "n1 takes tasks again\n"
    assert cli.json("undrain", "n1").one == {"node_id": "n1", "state": "up"}
    (line,) = cli("undrain", "nope", code=3).err.splitlines()
    assert "no node" in line
    cli("drain", "a b", code=2)


def test_reload(cli: Cli, hand: HandCell):
    hand.node("n1", ttl=600)
    assert cli("reload", "n1").out == "n1 begins tasks in new processes from now on\n"
    assert cli.json("reload", "n1", "nope", code=3).json == [{"node_id": "n1", "state": "up"}]
    assert [line.split()[2] for line in cli("events", "--node", "n1").out.splitlines()] == ["joined", "reloading"]
    hand.run(hand.store.node_leave("n1", "1"))
    typed = cli("reload", "n1", code=1)
    assert "node n1 is dead: its worker finds new code when it is started again" in typed.err
    cli("reload", "a b", code=2)


def test_how_long_a_process_is_used_is_said_once(cli: Cli):
    typed = cli("worker", "--fresh", "--max-tasks-per-child", "3", code=2)
    assert "give one of them" in typed.err
    cli("worker", "--max-tasks-per-child", "0", code=2)


def test_drain_with_requeue_stops_what_runs(cli: Cli, hand: HandCell):
    cli("submit", "m:f", "--id", "t1", "-q")
    hand.begin("t1")
    cli("drain", "n1", "--requeue", "--grace", "3")
    stop = hand.stops("n1")["t1"]
    assert stop.grace == 3
    assert "told to stop" in cli("explain", "t1").out
    hand.finish("n1", stop, "stopped")
    assert cli.json("status", "t1").one["state"] == "pending"


def test_info(cli: Cli, hand: HandCell):
    said = cli("info").out
    assert "tasks   none" in said
    assert "no scheduler has ever been at work here: start one (`rq-sched scheduler`)" in said
    assert cli.json("info").one["scheduler_seen"] is None
    hand.sweep()
    assert "scheduler" not in cli("info").out
    assert cli.json("info").one["scheduler_seen"] < 3
    for number in range(3):
        cli("submit", "m:f", "--id", f"t{number}", "-q")
    hand.node("n1", cpu=1, ttl=600)
    hand.run_one("t0")
    info = cli.json("info").one
    assert info["tasks"]["completed"] == 1
    assert info["tasks"]["pending"] + info["tasks"]["assigned"] == 2
    assert info["nodes"]["up"] == 1
    said = cli("info").out
    assert "1 completed" in said
    assert "1 of 1 allocated (100%)" in said


def test_events(cli: Cli, hand: HandCell):
    assert cli("events").out == "no such events\n"
    assert cli.json("events").out == ""
    for task_id in ("t1", "t2"):
        cli("submit", "m:f", "--id", task_id, "-q")
    hand.node("n1", cpu=1, ttl=600)
    hand.run_one("t1")
    found = cli.json("events", "--task", "t1").json
    types = [event["type"] for event in found]
    assert types[0] == "submitted"
    assert types.index("placed") < types.index("completed")
    assert {event["task_id"] for event in found} == {"t1"}
    assert {"id", "time", "type", "task_id", "node_id"} <= set(found[0])
    assert {event["node_id"] for event in cli.json("events", "--node", "n1").json} == {"n1"}
    assert len(cli("events", "-n", "2").lines) == 2
    assert cli("events", "-n", "2000").lines == cli("events").lines
    assert cli("events", "--task", "t1").lines[0].split()[2:] == ["submitted", "t1"]


def test_events_follow(cli: Cli, namespace: str, redis_url: str):
    cli("submit", "m:f", "--id", "old", "-q")
    with beside(redis_url, namespace, "events", "-f", "--task", "new") as child:
        assert child.stdout is not None
        cli("submit", "m:f", "--id", "new", "-q")
        assert child.stdout.readline().split()[2:] == ["submitted", "new"]
        cli("hold", "new")
        assert child.stdout.readline().split()[2:] == ["held", "new"]
        child.send_signal(2)
        _, err = child.communicate(timeout=20)
    assert child.returncode == 130
    assert "Traceback" not in err


def test_settings(cli: Cli):
    assert rows(cli("settings"))["keep_seconds"][1:3] == ["86400", "86400"]
    assert cli.json("settings", "keep_seconds", "60").one == {"keep_seconds": 60}
    assert cli.json("settings").one["keep_seconds"] == 60
    assert cli.json("settings", "keep_seconds", "default").one == {"keep_seconds": 86400}
    assert cli.json("settings", "reserve_after", "off").one == {"reserve_after": "off"}
    assert rows(cli("settings"))["reserve_after"][1:3] == ["off", "30"]
    assert cli.json("settings", "node_choice").one == {"node_choice": SETTINGS["node_choice"].default}
    assert "or off" in cli("settings", "reserve_after", "soon", code=2).err
    for words in (
        ["settings", "keep_tasks", "off"],
        ["settings", "node_choice", "worst"],
        ["settings", "nope"],
        ["settings", "aging", "much"],
        ["settings", "aging", "-1"],
    ):
        (line,) = cli(*words, code=2).err.splitlines()
        assert words[1] in line


@pytest.mark.no_audit("features that nobody knows")
def test_settings_say_what_the_data_are(cli: Cli, hand: HandCell):
    def last() -> str:
        return cli("settings").lines[-1].strip()

    assert last() == "data  none yet"
    hand.submit("t1")
    assert last() == f"data  version {SCHEMA}"
    hand.run(ask("HSET", hand.store.keys.settings, "features", "+more+other"))
    assert last() == f"data  version {SCHEMA}, with more, other"


# -- inspect --------------------------------------------------------------------------------------


def test_inspect_decodes_a_task(cli: Cli, hand: HandCell, namespace: str):
    cli("submit", "m:f", "x" * 100, "--id", "t1", "--cpu", "2", "-p", "5", "-q")
    prefix = Keys(namespace).prefix
    for what in ("t1", "task:t1", f"{prefix}task:t1"):
        typed = cli("inspect", what)
        assert f"{prefix}task:t1" in typed.out
        assert "2:256 CPU:MEMORY and what is required: +LABEL" in " ".join(typed.out.split())
    found = cli.json("inspect", "t1").one
    assert found["namespace"] == namespace
    assert [key["key"].removeprefix(prefix) for key in found["keys"]] == ["task:t1", "payload:t1"]
    entries = {entry["name"]: entry for entry in found["keys"][0]["entries"]}
    assert entries["priority"] == {"name": "priority", "value": "5", "meaning": "its priority (0)"}
    assert "x" * 100 in found["keys"][1]["entries"][0]["value"]


def test_inspect_decodes_the_parts_of_a_task(cli: Cli, hand: HandCell, namespace: str):
    hand.node("n1", ttl=600)
    hand.submit("t1")
    start = hand.begin("t1")
    keys = cli.json("inspect", "t1").one["keys"]
    prefix = Keys(namespace).prefix
    assert [key["key"].removeprefix(prefix) for key in keys] == ["task:t1", "placed"]
    attempt = {entry["name"]: entry["value"] for entry in keys[1]["entries"]}
    assert (attempt["token"], attempt["node"], attempt["attempt"]) == (start.token, "n1:1", "1")
    assert "started" in attempt
    assert start.token in cli("inspect", "placed").out
    hand.finish("n1", start, result=b"\x07")
    keys = cli.json("inspect", "t1").one["keys"]
    assert [key["key"].removeprefix(prefix) for key in keys] == ["task:t1", "ended:t1"]
    outcome = {entry["name"]: entry["value"] for entry in keys[1]["entries"]}
    assert (outcome["state"], outcome["result"]) == ("completed", "7")
    assert outcome["attempt"].startswith(start.token)


def test_inspect_decodes_a_node_and_a_queue(cli: Cli, hand: HandCell):
    cli("submit", "m:f", "--id", "t1", "-q")
    hand.begin("t1")
    for number in range(30):
        cli("submit", "m:f", "--id", f"w{number}", "--cpu", "9", "-q")
    said = cli("inspect", "n1").out
    for part in ("total_cpu", "cores not allocated", "t1 running with 1 CPU, 256 MB"):
        assert part in said
    queue = cli("inspect", "9:256", "-n", "5")
    assert "w0  priority 0  sequence" in queue.out
    assert "25 more" in queue.out
    assert "3 CPU, 768 MB free" in cli("inspect", "free").out
    assert "rqs:" in cli("inspect").out


def test_inspect_decodes_what_is_kept(cli: Cli, hand: HandCell):
    cli("submit", "m:f", "--id", "may", "--preemptible", "-p", "-3", "-q")
    hand.begin("may")
    cli("submit", "m:f", "--id", "big", "--cpu", "4", "-q")
    cli("settings", "reserve_after", "0")
    hand.run(hand.store.reserve())
    hand.run(hand.store.reserve())
    said = cli("inspect", "reservation").out
    for part in ("the task that a node is kept for", "cores that later tasks may still use there", "n1"):
        assert part in said
    assert "priority -3  on n1" in cli("inspect", "preemptible").out
    assert "4 CPU, 1 GB" in cli("inspect", "totals").out
    assert "reserved" in cli("inspect", "n1").out
    assert "Node n1 is kept for it" in cli("explain", "big").out
    assert "It is the first in order that waits for room, since 2" in cli("explain", "big").out
    kept = {entry["name"] for entry in cli.json("inspect", "reservation").one["keys"][0]["entries"]}
    assert kept - {"preempting"} <= set(schema.RESERVATION_FIELDS)


def test_inspect_names_foreign_and_wrong_keys(cli: Cli, link: Link, namespace: str):
    keys = Keys(namespace)
    link.run(ask("SET", keys.held, "text"))
    assert "WRONG TYPE, it should be a zset" in cli("inspect", "held").out
    link.run(ask("DEL", keys.held))
    link.run(ask("SET", keys.prefix + "strange", "\x1b[31m"))
    said = cli("inspect", "strange").out
    assert "not a key of rq-sched" in said
    assert "\x1b" not in said
    link.run(ask("DEL", keys.prefix + "strange"))
    assert "isn't of namespace" in cli("inspect", "rqs:{other}:seq", code=2).err


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("task:t1", "task:ID"), ("node:n1", "node:ID"), ("node:n1:alive", "node:ID:alive"), ("seq", "seq"),
        ("node:n1:abc:tasks", "node:ID:INCARNATION:tasks"), ("pending:1:256", "pending:CLASS"),
        ("classes:1:256", "classes:GROUP"), ("finished:failed", "finished:STATE"), ("strange", None), ("task:", None),
    ],
)  # fmt: skip
def test_every_key_is_known_by_its_name(name, kind):
    found = schema.kind_of(name)
    assert (found.name if found else None) == kind


def test_the_schema_is_read_from_the_keys_docstring():
    named = {name for name, value in vars(Keys("x")).items() if isinstance(value, str)} - {"namespace", "prefix"}
    assert named <= set(schema.kinds())
    assert all(kind.meaning and kind.type for kind in schema.kinds().values())


# -- doctor ---------------------------------------------------------------------------------------


def test_doctor_is_content_with_the_embedded_server(cli: Cli, hand: HandCell):
    cli("submit", "m:f", "--id", "t1", "-q")
    hand.begin("t1")
    hand.sweep()
    found = cli.json("doctor").one
    assert found["ok"] is True
    assert all(set(finding) == {"check", "ok", "message"} for finding in found["findings"])
    checks = {finding["check"] for finding in found["findings"]}
    assert {"version", "persistence", "eviction", "events", "security", "nodes", "ledgers"} <= checks
    hand.sweep()
    assert cli("doctor").lines[-1] == "all is well"


def test_doctor_finds_that_no_scheduler_is_at_work(cli: Cli, hand: HandCell):
    assert cli.json("doctor").one["ok"] is True  # nothing is there for one to do
    cli("submit", "m:f", "--id", "t1", "-q")
    wrong = [finding for finding in cli.json("doctor", code=1).one["findings"] if not finding["ok"]]
    assert [finding["check"] for finding in wrong] == ["scheduler"]


@pytest.mark.no_audit("a ledger is bent on purpose")
def test_doctor_finds_a_ledger_that_does_not_add_up(cli: Cli, hand: HandCell):
    hand.node("n1", ttl=600)
    hand.run(ask("HINCRBY", hand.store.keys.node("n1"), "free_cpu", -1))
    found = cli.json("doctor", code=1).one
    wrong = [finding for finding in found["findings"] if not finding["ok"]]
    assert found["ok"] is False
    assert any("n1" in finding["message"] for finding in wrong)
    assert "to look at" in cli("doctor", code=1).lines[-1]


def test_doctor_finds_a_careless_server(cli: Cli, tmp_path: Path, server_binary: Path | None):
    careless = {"appendonly": "no", "maxmemory-policy": "allkeys-lru", "notify-keyspace-events": ""}
    with EmbeddedServer(tmp_path, settings=careless, binary=server_binary) as server:
        found = cli.json("doctor", "--redis", server.url, code=1).one
    wrong = {finding["check"] for finding in found["findings"] if not finding["ok"]}
    assert wrong == {"persistence", "eviction", "events"}


def test_doctor_finds_an_open_door(cli: Cli, tmp_path: Path, server_binary: Path | None, free_port: int):
    settings = {"port": str(free_port), "bind": "127.0.0.1"}
    with EmbeddedServer(tmp_path, settings=settings, binary=server_binary):
        found = cli.json("doctor", "--redis", f"redis://127.0.0.1:{free_port}/0", code=1).one
    wrong = {finding["check"] for finding in found["findings"] if not finding["ok"]}
    assert wrong == {"password"}


@pytest.mark.parametrize(
    ("info", "ok"),
    [
        ({"redis_version": "7.0.15"}, False), ({"redis_version": "7.2.10"}, False), ({"redis_version": "7.2.11"}, True),
        ({"redis_version": "7.4.6"}, True), ({"redis_version": "8.2.2"}, True), ({"redis_version": "8.4.0"}, True),
        ({"redis_version": "8.2.1"}, False), ({"redis_version": "7.2.4", "valkey_version": "8.0.5"}, False),
        ({"redis_version": "7.2.4", "valkey_version": "8.1.4"}, True),
        ({"redis_version": "7.2.4", "valkey_version": "9.0.0"}, True),
    ],
)  # fmt: skip
def test_versions_with_a_known_hole(info, ok):
    assert doctor._version(info).ok is ok


@pytest.mark.no_audit("a ledger is bent on purpose")
def test_doctor_repairs(cli: Cli, hand: HandCell):
    cli("submit", "m:f", "--id", "t1", "--delay", "1h", "-q")
    hand.node("n1", ttl=600)
    hand.sweep()
    assert cli("doctor", "--repair").lines[0] == "nothing needed a repair"
    hand.run(ask("HINCRBY", hand.store.keys.node("n1"), "free_cpu", -1))
    hand.run(ask("ZREM", hand.store.keys.delayed, "t1"))
    assert "`rq-sched doctor --repair` mends" in cli("doctor", code=1).lines[-1]
    hand.sweep()
    found = cli.json("doctor", "--repair").one
    assert found["ok"] is True
    assert [(one["check"], one["subject"]) for one in found["repaired"]] == [("tasks", "t1"), ("nodes", "n1")]
    assert "free_cpu 3 -> 4" in found["repaired"][1]["message"]
    hand.run(ask("ZREM", hand.store.keys.delayed, "t1"))
    hand.sweep()
    said = cli("doctor", "--repair")
    assert said.lines[:2] == ["repaired: 1 thing", "  tasks: t1: delayed: entered"]
    assert said.lines[-1] == "all is well"
    hand.sweep()
    assert cli.json("doctor").one["ok"] is True
