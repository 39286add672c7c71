"""A worker with a signing key runs what is signed, and nothing else, whoever has written it to Redis."""

from __future__ import annotations

import pytest

from rq_sched.model.states import State
from rq_sched.model.task import TaskInfo, TaskRequest
from rq_sched.store import Store
from tests.support.records import alter, request
from tests.worker.kit import FUNCTIONS, Desk

KEY = "a secret of the submitters and the workers"


def submit(desk: Desk, task_id: str, *args: object, key: str | None = KEY) -> None:
    store = Store(desk.store.keys.namespace, signing_key=key, placings=0)
    desk.link.run(store.submit([TaskRequest(f"{FUNCTIONS}:add", args, task_id=task_id).check()]))


def write(desk: Desk, task_id: str, **fields: str | bytes | int | None) -> None:
    """What somebody does who can write to Redis."""
    alter(desk.link.run, desk.store.keys, request(task_id, **fields))


def assert_refused(info: TaskInfo) -> None:
    assert (info.state, info.reason) == (State.FAILED, "not_allowed")
    assert "signature of this one is missing or wrong" in str(info.error)
    assert info.started_at is None


def test_only_what_is_signed_is_run(desk: Desk) -> None:
    desk.node(signing_key=KEY)
    submit(desk, "short", 1, 2)
    submit(desk, "long", "x" * 3000, "y")
    submit(desk, "unsigned", 1, 2, key=None)
    submit(desk, "other-key", 1, 2, key="another secret, as long")
    assert desk.end("short").result == 3
    assert desk.end("long").result == "x" * 3000 + "y"
    assert_refused(desk.end("unsigned"))
    assert_refused(desk.end("other-key"))


def test_what_was_changed_after_it_was_signed_is_not_run(desk: Desk) -> None:
    submit(desk, "function", 1, 2)
    submit(desk, "arguments", 1, 2)
    submit(desk, "donor", 3, 4)
    write(desk, "function", run=f"{FUNCTIONS}:other")
    (donor,) = desk.link.run(desk.store.records(["donor"]))
    assert donor
    write(desk, "arguments", **{"with": donor[b"with"]})  # signed, but for another id
    desk.node(signing_key=KEY)
    assert_refused(desk.end("function"))
    assert_refused(desk.end("arguments"))
    assert desk.end("donor").result == 7


@pytest.mark.no_audit("the record is forged")
def test_arguments_beyond_the_limit_are_not_fetched(desk: Desk) -> None:
    """Whatever somebody has written to Redis."""
    submit(desk, "huge", "x" * 3000, "y")
    write(desk, "huge", payload=300 * 1024)
    desk.node()
    info = desk.end("huge")
    assert (info.state, info.reason) == (State.FAILED, "error")
    assert "its arguments have 307200 bytes" in str(info.error)


def test_a_worker_without_a_key_runs_signed_requests_too(desk: Desk) -> None:
    desk.node()
    submit(desk, "t", 1, 2)
    assert desk.end("t").result == 3
