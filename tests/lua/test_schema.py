"""No script works on data of another version: a process that outlives an upgrade can neither write nor misread."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from rq_sched.link import Link, scripts
from rq_sched.model.schema import SCHEMA
from tests.conftest import drop
from tests.lua.hostile import Hostile, hostile_cell, valid_calls


@pytest.fixture(scope="module")
def cell(redis_url: str) -> Iterator[Hostile]:
    namespace = f"t-{uuid.uuid4().hex[:12]}"
    with hostile_cell(redis_url, namespace) as cell:
        yield cell
    link = Link(redis_url)
    link.run(drop(namespace))
    link.close()


@pytest.mark.parametrize("name", scripts.names())
def test_it_is_refused_before_anything_else(cell: Hostile, name: str) -> None:
    settings = cell.scene.store.keys.settings
    for found in (str(SCHEMA + 1), f"{SCHEMA}>{SCHEMA + 1}", str(SCHEMA - 1)):
        cell.redis.hset(settings, "schema", found)
        assert cell.refused(name, *valid_calls(cell)[name]) == "other_schema"
    cell.redis.hset(settings, "schema", SCHEMA)
    assert cell.refused(name, *valid_calls(cell)[name]) != "other_schema"
