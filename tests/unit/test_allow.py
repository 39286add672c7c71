"""What a worker may run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from rq_sched import task
from rq_sched.errors import InvalidValue
from rq_sched.worker.allow import Allow, find_command

SOURCE = """
from json import dumps
from os import system
import os
from shop.goods import price
from functools import partial

def sell(): ...
def _secret(): ...
class Till:
    @staticmethod
    def open(): ...
alias = sell
half = partial(sell)
"""


def module(name: str, source: str) -> ModuleType:
    made = ModuleType(name)
    sys.modules[name] = made
    exec(source, vars(made))  # noqa: S102
    return made


@pytest.fixture(scope="module")
def shop() -> Iterator[dict[str, ModuleType]]:
    """A package with a module that imports from another of its modules, and from outside."""
    modules = {
        "shop": module("shop", "def main(): ..."),
        "shop.goods": module("shop.goods", "def price(): ..."),
    }
    modules["shop.desk"] = module("shop.desk", SOURCE)
    vars(modules["shop.desk"])["marked"] = task(modules["shop.goods"].price)
    yield modules
    for name in modules:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("pattern", "target", "allowed"),
    [
        ("shop.desk:sell", "shop.desk:sell", True),
        ("shop.desk:sell", "shop.desk:alias", False),
        ("shop.desk:dumps", "shop.desk:dumps", True),  # named exactly: wherever it comes from
        ("shop.desk:Till.open", "shop.desk:Till.open", True),
        ("shop.desk:*", "shop.desk:sell", True),
        ("shop.desk:*", "shop.desk:alias", True),
        ("shop.desk:*", "shop.desk:_secret", True),
        ("shop.desk:*", "shop.desk:Till.open", True),
        ("shop.desk:*", "shop.desk:Till", False),  # a class isn't a function
        ("shop.desk:*", "shop.desk:half", False),
        ("shop.desk:*", "shop.desk:dumps", False),  # only imported there
        ("shop.desk:*", "shop.desk:system", False),
        ("shop.desk:*", "shop.desk:os.system", False),
        ("shop.desk:*", "shop.desk:sell.__globals__.clear", False),
        ("shop.desk:*", "shop.desk:price", False),
        ("shop.desk:*", "shop.desk:marked", True),  # imported, but marked as a task
        ("shop.desk:*", "shop.goods:price", False),
        ("shop.*", "shop.desk:sell", True),
        ("shop.*", "shop:main", True),
        ("shop.*", "shop.desk:price", True),  # defined in the same package
        ("shop.*", "shop.desk:dumps", False),
        ("shop.*", "shop.desk:os.system", False),
        ("sho.*", "shop.desk:sell", False),
        ("shop.desk.*", "shop.goods:price", False),
        ("*", "shop.desk:os.system", True),
        ("exec:*", "shop.desk:sell", False),
    ],
)
def test_functions(shop: dict[str, ModuleType], pattern: str, target: str, allowed: bool) -> None:
    name, _, path = target.partition(":")
    found: object = shop[name]
    for part in path.split("."):
        found = getattr(found, part)
    allow = Allow([pattern])
    assert (allow.may_import(name, path) and allow.may_call(name, path, found)) is allowed


def test_nothing_is_imported_that_cannot_be_allowed() -> None:
    allow = Allow(["pkg.mod:func", "other.*"])
    assert allow.may_import("pkg.mod", "func")
    assert allow.may_import("other.deep.down", "anything")
    assert not allow.may_import("pkg.mod", "other")
    assert not allow.may_import("os", "system")
    assert not allow.may_import("others", "func")


def test_an_object_that_answers_to_any_name_is_not_a_task() -> None:
    class Proxy:
        def __getattr__(self, name: str) -> object:
            return self

        def __call__(self) -> None: ...

    assert not Allow(["pkg.mod:*"]).may_call("pkg.mod", "proxy", Proxy())


def test_no_pattern_allows_nothing() -> None:
    allow = Allow([])
    assert not allow.may_import("json", "dumps")
    assert not allow.may_call("json", "dumps", json.dumps)
    assert not allow.may_run("/bin/true")


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """One program under several names, as busybox or Debian's alternatives have it."""
    (tmp_path / "real").mkdir()
    program = tmp_path / "real" / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "bin").mkdir()
    for name in ("list", "remove"):
        (tmp_path / "bin" / name).symlink_to(program)
    (tmp_path / "usr").symlink_to(tmp_path / "bin")
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "path", "allowed"),
    [
        ("real/program", "real/program", True),
        ("real/program", "bin/list", True),  # the program itself is named: any link to it
        ("bin/list", "bin/list", True),
        ("bin/list", "usr/list", True),
        ("usr/list", "bin/list", True),
        ("bin/list", "bin/remove", False),  # the same program, but not under this name
        ("bin/list", "real/program", False),
    ],
)
def test_commands(tools: Path, pattern: str, path: str, allowed: bool) -> None:
    assert Allow([f"exec:{tools / pattern}"]).may_run(str(tools / path)) is allowed


def test_any_command(tools: Path) -> None:
    assert Allow(["exec:*"]).may_run(str(tools / "bin/list"))
    assert Allow(["*"]).may_run(str(tools / "bin/list"))
    assert not Allow(["shop.*"]).may_run(str(tools / "bin/list"))


def test_a_command_is_found_by_path_and_on_path(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tools / 'bin'}{os.pathsep}/nonexistent")
    monkeypatch.chdir(tools)
    assert find_command("list") == str(tools / "bin/list")
    assert find_command("./real/program") == str(tools / "real/program")
    assert find_command("program") is None
    (tools / "real/program").chmod(0o644)
    assert find_command("./real/program") is None


@pytest.mark.parametrize(
    "pattern", ["", ":", "pkg", "pkg:", ":func", "pkg.*:func", "pkg.*:*", "*:*", "exec:", "exec:name", "a b:c"]
)
def test_what_is_not_a_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidValue, match="--allow"):
        Allow([pattern])
