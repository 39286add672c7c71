"""The version of the data: said by what is written first; whoever finds another one refuses, and can write nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from rq_sched import AsyncClient, Client, audit
from rq_sched.audit.mend import repair
from rq_sched.errors import OtherSchema
from rq_sched.link import Link, Op
from rq_sched.model.resources import Resources
from rq_sched.model.schema import SCHEMA, other_schema
from rq_sched.model.task import TaskRequest
from rq_sched.store import Store

OTHER = [str(SCHEMA + 1), f"{SCHEMA}>{SCHEMA + 1}", *map(str, range(1, SCHEMA))]


def said(link: Link, store: Store) -> Any:
    def ask() -> Op[Any]:
        return (yield [("HGET", store.keys.settings, "schema")])[0]

    return link.run(ask())


def say(link: Link, store: Store, version: str | None) -> None:
    """Write the version as another code's upgrade would; None: as there was none once."""
    command = (
        ("HDEL", store.keys.settings, "schema") if version is None else ("HSET", store.keys.settings, "schema", version)
    )

    def write() -> Op[None]:
        yield [command]

    link.run(write())


def submit(store: Store, task_id: str = "t1", **fields: Any) -> Op[list[str]]:
    return store.submit([TaskRequest("m:f", task_id=task_id, **fields).check()])


@pytest.mark.parametrize(
    "first",
    [
        submit,
        lambda store: submit(store, array="1-3"),
        lambda store: store.node_register("n1", "i1", Resources(1, 100)),
        lambda store: store.sweep(),
    ],
    ids=["submit", "array", "register", "sweep"],
)
def test_what_is_written_first_says_the_version(link: Link, store: Store, first: Any) -> None:
    link.run(store.check_schema())
    assert said(link, store) is None
    link.run(first(store))
    assert said(link, store) == str(SCHEMA).encode()
    link.run(store.check_schema())


def test_what_only_reads_or_is_refused_says_nothing(link: Link, store: Store) -> None:
    link.run(store.place())
    assert link.run(store.rooms_of(["n1"])) == []
    assert said(link, store) is None


@pytest.mark.no_audit
@pytest.mark.parametrize("found", OTHER)
def test_every_version_but_ours_is_refused_by_name(link: Link, store: Store, found: str) -> None:
    link.run(submit(store))
    say(link, store, found)
    for op in (store.check_schema(), submit(store, "t2"), store.place(), store.rooms_of(["n1"])):
        with pytest.raises(OtherSchema) as refused:
            link.run(op)
        assert str(refused.value) == str(other_schema(store.keys.namespace, found))
    assert refused.value.exit_status == 69
    say(link, store, str(SCHEMA))
    assert link.run(store.states(["t1", "t2"]))[1] is None


def test_what_is_to_be_done_is_said() -> None:
    newer, converting, older = (str(other_schema("ns", found)) for found in (*OTHER[:2], str(SCHEMA - 1)))
    versions = f"namespace ns has data of version {SCHEMA + 1}, and this process works with version {SCHEMA}"
    assert newer == f"{versions}: install a newer rq-sched here"
    assert "wait until `rq-sched upgrade --namespace ns` has ended; if it was stopped, run it again" in converting
    assert older.endswith("stop all its processes, then run `rq-sched upgrade --namespace ns`")


@pytest.mark.no_audit
def test_who_connects_is_told_at_the_first_call_and_works_when_it_is_right(
    link: Link, store: Store, redis_url: str
) -> None:
    """Also by what only reads, without a round trip of its own."""
    link.run(submit(store))
    say(link, store, OTHER[0])
    with Client(redis_url, store.keys.namespace) as client:
        with pytest.raises(OtherSchema):
            client.status("t1")
        say(link, store, str(SCHEMA))
        assert client.status("t1").task_id == "t1"

    async def awaited() -> None:
        async with AsyncClient(redis_url, store.keys.namespace) as client:
            await client.status("t1")

    asyncio.run(awaited())
    say(link, store, OTHER[0])
    with pytest.raises(OtherSchema):
        asyncio.run(awaited())


def test_the_greeting_takes_no_round_trip_of_its_own(store: Store, redis_url: str) -> None:
    link = Link(redis_url, greeting=store.check_schema)
    trips = link.round_trips(store.counts())
    greeting = next(trips)
    assert [command[0] for command in greeting] == ["INFO", "HGET", "EXISTS"]
    assert trips.send([b"redis_version:7.0.0", None, 0])[0][0] == "HGETALL"
    link.close()


@pytest.mark.parametrize("junk", ["", "x", "1>2>3", "-1", "0", "2 ", "123", "9" * 30])
def test_what_is_no_version_says_nothing(link: Link, store: Store, junk: str) -> None:
    """Whoever can write to Redis can write anything there: that stops nobody."""
    link.run(submit(store))
    say(link, store, junk)
    link.run(store.check_schema())
    problems = audit.problems(link.run(audit.check(store.keys.namespace)))
    assert [(found.check, found.subject) for found in problems] == [("settings", "schema")]
    link.run(repair(store.keys.namespace))
    assert said(link, store) == str(SCHEMA).encode()


def test_settings_of_another_type_stop_nobody(link: Link, store: Store) -> None:
    link.run(submit(store))

    def spoil() -> Op[None]:
        yield [("DEL", store.keys.settings), ("SET", store.keys.settings, "x")]

    link.run(spoil())
    link.run(store.check_schema())
    assert link.run(submit(store, "t2")) == ["new"]
    link.run(repair(store.keys.namespace))


def _placed(link: Link, store: Store) -> None:
    link.run(store.node_register("n1", "i1", Resources(4, 4000), ttl=600))
    link.run(store.place())


def _behind_strays(link: Link, store: Store) -> None:
    link.run(store.cancel("t1", requeue=False))

    def stray() -> Op[None]:
        yield [("ZADD", store.keys.finished("cancelled"), i, f"stray{i}") for i in range(5)]

    link.run(stray())


def _only_a_node(link: Link, store: Store) -> None:
    link.run(store.cancel("t1", requeue=False))
    link.run(store.forget_ids(["t1"]))
    link.run(store.node_register("n1", "i1", Resources(4, 4000), ttl=600))


def _only_a_scheduler(link: Link, store: Store) -> None:
    link.run(store.cancel("t1", requeue=False))
    link.run(store.forget_ids(["t1"]))
    link.run(store.sweep(scheduler="s1"))


@pytest.mark.parametrize(
    "state",
    [
        lambda link, store: None,
        lambda link, store: link.run(store.hold("t1")),
        lambda link, store: link.run(store.cancel("t1", requeue=False)),
        _placed,
        _behind_strays,
        _only_a_node,
        _only_a_scheduler,
    ],
    ids=["pending", "held", "cancelled", "assigned", "behind strays", "only a node", "only a scheduler"],
)
def test_data_that_lost_their_entry_are_known_by_their_tasks_and_processes(
    link: Link, store: Store, redis_url: str, state: Callable[[Link, Store], object]
) -> None:
    """Nobody has to run an upgrade: what is written next says the version again."""
    link.run(submit(store, memory_needed=100))
    state(link, store)
    say(link, store, None)
    with Client(redis_url, store.keys.namespace) as client:
        client.states(["t1"])
    link.run(submit(store, "t2", delay=600))
    assert said(link, store) == str(SCHEMA).encode()
    link.run(repair(store.keys.namespace))
