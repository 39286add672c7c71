"""What a worker may run."""

from __future__ import annotations

import importlib
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
from collections import OrderedDict
from functools import cache, partial, wraps

def kept(function):
    @wraps(function)
    def around(*given): ...
    return around

def lost(function):
    return partial(os.system, "true")

class Drawer:
    def __call__(self): ...
    def pull(self): ...

def sell(): ...
def _secret(): ...
class Till(OrderedDict):
    @staticmethod
    def open(): ...
    @classmethod
    def make(cls): ...
    class Key:
        @staticmethod
        def turn(): ...
    run = os.system
    pickle = staticmethod(dumps)
alias = sell
half = partial(sell)
quarter = partial(half)
foreign = partial(system, "true")
drawer = Drawer()
pull = drawer.pull
bag = OrderedDict()
@kept
def wrapped(): ...
@lost
def replaced(): ...
@cache
def cached(): ...
later = lambda: None
"""
GOODS = """
from os import system
def price(): ...
def secret(): ...
class Box:
    @staticmethod
    def pack(): ...
    send = staticmethod(system)
"""
LISTED = """
from os import system
from shop.goods import price, Box, secret
import os
__all__ = ["price", "Box", "os", "own", "system"]
def own(): ...
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
        "shop.goods": module("shop.goods", GOODS),
    }
    modules["shop.desk"] = module("shop.desk", SOURCE)
    modules["shop.listed"] = module("shop.listed", LISTED)
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
        ("shop.desk:*", "shop.desk:Till", True),
        ("shop.desk:*", "shop.desk:Till.make", True),
        ("shop.desk:*", "shop.desk:Till.Key", True),
        ("shop.desk:*", "shop.desk:Till.Key.turn", True),
        ("shop.desk:*", "shop.desk:Till.run", False),  # stands there, and was imported
        ("shop.desk:*", "shop.desk:Till.pickle", False),
        ("shop.desk:*", "shop.desk:Till.fromkeys", False),  # of the class below
        ("shop.desk:*", "shop.desk:Till.__class__", False),
        ("shop.desk:*", "shop.desk:Till.__subclasses__", False),
        ("shop.desk:*", "shop.desk:Till.mro", False),
        ("shop.desk:*", "shop.desk:Till.open.__globals__.clear", False),
        ("shop.desk:*", "shop.desk:half", True),
        ("shop.desk:*", "shop.desk:quarter", True),
        ("shop.desk:*", "shop.desk:foreign", False),
        ("shop.desk:*", "shop.desk:partial", False),
        ("shop.desk:*", "shop.desk:OrderedDict", False),
        ("shop.desk:*", "shop.desk:drawer", True),
        ("shop.desk:*", "shop.desk:pull", True),
        ("shop.desk:*", "shop.desk:drawer.pull", False),  # through an object: name it exactly
        ("shop.desk:drawer.pull", "shop.desk:drawer.pull", True),
        ("shop.desk:*", "shop.desk:bag", False),
        ("shop.desk:*", "shop.desk:wrapped", True),
        ("shop.desk:*", "shop.desk:replaced", False),
        ("shop.desk:*", "shop.desk:cached", True),
        ("shop.desk:*", "shop.desk:cached.cache_clear", False),
        ("shop.desk:*", "shop.desk:later", True),
        ("shop.listed:*", "shop.listed:price", True),  # the module lists it as its own
        ("shop.listed:*", "shop.listed:Box", True),
        ("shop.listed:*", "shop.listed:Box.pack", True),
        ("shop.listed:*", "shop.listed:Box.send", False),
        ("shop.listed:*", "shop.listed:Box.__class__", False),
        ("shop.listed:*", "shop.listed:system", True),  # by its own word
        ("shop.listed:*", "shop.listed:os.system", False),
        ("shop.listed:*", "shop.listed:secret", False),
        ("shop.listed:*", "shop.listed:own", True),
        ("shop.*", "shop.listed:secret", True),
        ("math:*", "math:sqrt", True),
        ("operator:*", "operator:add", True),
        ("operator:*", "operator:itemgetter", True),
        ("random:*", "random:choice", True),
        ("random:*", "random:random", True),
        ("datetime:*", "datetime:datetime.now", True),
        ("datetime:*", "datetime:date", True),
        ("datetime:*", "datetime:sys.exit", False),
        ("functools:*", "functools:reduce", True),
        ("builtins:*", "builtins:len", True),
        ("builtins:*", "builtins:str.upper", True),
        ("builtins:*", "builtins:dict.fromkeys", True),
        ("json:*", "json:dumps", True),
        ("json:*", "json:loads", True),
        ("json:*", "json:codecs.open", False),
        ("json:*", "json:JSONDecoder", True),
        ("os.path:*", "os.path:os.system", False),
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
    found: object = shop.get(name) or importlib.import_module(name)
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


def test_an_object_that_answers_to_any_name_is_not_a_task(shop: dict[str, ModuleType]) -> None:
    class Proxy:
        def __getattr__(self, name: str) -> object:
            return self

        def __call__(self) -> None: ...

    assert not Allow(["shop.desk:*"]).may_call("shop.desk", "proxy", Proxy())


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
