"""No script works on data of another version: a process that outlives an upgrade can neither write nor misread."""

from __future__ import annotations

import re
from collections.abc import Iterator

import fakeredis
import pytest

from rq_sched.link import Link, scripts
from rq_sched.model.schema import SCHEMA
from tests.lua.cell import Cell
from tests.lua.hostile import Hostile, hostile_cell, valid_calls

OF_AGENTS = {
    "task_start", "task_finish", "task_resize", "task_grow", "node_heartbeat", "node_poll", "node_ledger", "node_fault",
}  # fmt: skip
"""What a worker calls in the name of its registration."""
CONVERTS = {"upgrade_begin"}


@pytest.fixture(scope="module")
def cell(redis_url: str) -> Iterator[Hostile]:
    with hostile_cell(redis_url) as cell:
        yield cell


@pytest.mark.parametrize("name", sorted({*scripts.names()} - CONVERTS))
def test_it_is_refused_before_anything_else(cell: Hostile, name: str) -> None:
    settings, right = cell.scene.store.keys.settings, valid_calls(cell)[name]
    of_agent = name in OF_AGENTS
    if of_agent:  # whoever converts the data gives all registrations up
        right[2] = "i0"
    for found in (str(SCHEMA + 1), f"{SCHEMA}>{SCHEMA + 1}", *map(str, range(1, SCHEMA))):
        cell.redis.hset(settings, "schema", found)
        assert cell.refused(name, *right) == ("stale_incarnation" if of_agent else "other_schema")
    cell.redis.hset(settings, "schema", SCHEMA)
    assert cell.refused(name, *right) != "other_schema"


def test_only_what_looks_at_its_registration_may_do_without() -> None:
    """What every task needs costs no look at the settings."""
    for name in scripts.names():
        text = (scripts.FOLDER / f"{name}.lua").read_text()
        assert ("\narguments_given(" in text) is (name not in OF_AGENTS | CONVERTS)
        assert ("\nagents_arguments_given(" in text) is (name in OF_AGENTS | CONVERTS)
        if name in OF_AGENTS:
            assert re.search(
                r"^local node, stale = node_of\(\w+, incarnation\)\nif stale then return stale end$", text, re.M
            ), name


def test_a_test_cluster_says_its_version_too() -> None:
    fake = fakeredis.FakeRedis(version=(7,), protocol=2)
    Cell(Link("redis://fakeredis", client=fake), "x").submit("t1")
    assert fake.hget("rqs:{x}:settings", "schema") == str(SCHEMA).encode()
