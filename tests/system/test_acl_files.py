"""The users of deploy/acl may do what the scripts do, which run with the rights of who calls them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rq_sched.link.scripts import FOLDER, load, names

ACL = Path(__file__).parents[2] / "deploy" / "acl"
WRITERS = ("scheduler", "worker", "client", "operator")
CALL = re.compile(r"\b(?:call|pcall)\(([^,)]*)")
COMMAND = re.compile(r"'([A-Z]+)'")


def rights(role: str) -> list[str]:
    return [word for word in (ACL / f"{role}.acl").read_text().split() if word[0] in "+-"]


def commands(source: str) -> set[str]:
    return {f"+{name.lower()}" for called in CALL.findall(source) for name in COMMAND.findall(called)}


def test_there_is_a_file_a_role() -> None:
    assert {path.stem for path in ACL.iterdir()} == {*WRITERS, "observer"}


@pytest.mark.parametrize("role", WRITERS)
def test_who_may_call_scripts_may_do_what_they_do(role: str) -> None:
    needed = set().union(*(commands(path.read_text()) for path in FOLDER.glob("*.lua")))
    assert len(needed) > 30
    assert needed - set(rights(role)) == set()


def test_observers_may_do_what_scripts_do_that_only_read() -> None:
    found = {name: commands((FOLDER / f"{name}.lua").read_text()) for name in names() if load(name).reads_only}
    assert len(found) >= 4
    assert set().union(*found.values()) - set(rights("observer")) == set()


@pytest.mark.parametrize("role", [*WRITERS, "observer"])
def test_nothing_is_given_by_category_beyond_the_connection(role: str) -> None:
    given = rights(role)
    assert [word for word in given if "@" in word] == ["-@all", "+@connection", "-@dangerous"]
    assert len(given) == len(set(given))
