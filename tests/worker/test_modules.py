"""What a child notices of a deploy: files of modules that have changed since they were imported."""

from __future__ import annotations

import importlib
import os
import py_compile
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rq_sched.worker.child import modules
from rq_sched.worker.child.modules import Modules

Run = Callable[..., tuple[bool, Any]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """First on the path of imports; what a test imports from there is forgotten after it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """What a child does with a target; whether it had changed, and what the function said. The clock stands still, and
    agrees with the file system's."""
    now = [0.0]
    monkeypatch.setattr(modules, "_COARSE", 0)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    known = Modules()

    def run(target: str, later: float = 0.0) -> tuple[bool, Any]:
        now[0] += later
        if known.changed(target):
            return True, None
        module, _, name = target.partition(":")
        importlib.invalidate_caches()
        function = getattr(importlib.import_module(module), name)
        known.learn(target, module, function)
        return False, function()

    return run


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def says(text: str) -> str:
    return f"def f():\n    return {text!r}\n"


def test_a_module_is_run_until_it_changes(folder: Path, run: Run) -> None:
    write(folder / "m1.py", says("old"))
    assert run("m1:f") == run("m1:f") == (False, "old")
    write(folder / "m1.py", says("new"))
    assert run("m1:f") == (True, None)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: os.utime(path, ns=(1, 1)),
        lambda path: path.unlink(),
        lambda path: (path.with_suffix(".tmp").write_text(path.read_text()), path.with_suffix(".tmp").replace(path)),
    ],
    ids=["touched", "gone", "replaced by the same"],
)
def test_all_that_is_a_change(folder: Path, run: Run, change: Callable[[Path], object]) -> None:
    write(folder / "m2.py", says("old"))
    assert run("m2:f") == run("m2:f") == (False, "old")
    change(folder / "m2.py")
    assert run("m2:f") == (True, None)


def test_a_module_that_was_imported_by_another_is_known_as_it_was_then(folder: Path, run: Run) -> None:
    write(folder / "helper.py", says("old"))
    write(folder / "m3.py", "import helper\nf = helper.f\ndef g():\n    return helper.f()\n")
    assert run("m3:g") == run("m3:g") == (False, "old")
    write(folder / "helper.py", says("new"))
    assert run("m3:g") == (False, "old")  # not its own file: looked at once a second
    assert run("helper:f") == (True, None)  # before anything is imported
    assert run("m3:g", later=1.1) == (True, None)


def test_a_function_is_at_home_where_it_is_defined(folder: Path, run: Run) -> None:
    """However it is reached: re-exported by a package, decorated by another module, an object of a class."""
    wrap = (
        "import functools\ndef w(f):\n    @functools.wraps(f)\n    def inner():\n        return f()\n    return inner\n"
    )
    write(folder / "wrapping.py", wrap)
    write(folder / "inside.py", "import wrapping\nfrom inside2 import g\nf = wrapping.w(g)\n")
    write(folder / "inside2.py", "def g():\n    return 'old'\n")
    write(folder / "pack" / "__init__.py", "from inside import f\n")
    assert run("pack:f") == run("pack:f") == (False, "old")
    write(folder / "inside2.py", "def g():\n    return 'new'\n")
    assert run("pack:f") == (True, None)


def test_the_package_that_re_exports_it_counts_too(folder: Path, run: Run) -> None:
    write(folder / "inside3.py", says("old"))
    write(folder / "pack3" / "__init__.py", "from inside3 import f\n")
    assert run("pack3:f") == run("pack3:f") == (False, "old")
    write(folder / "pack3" / "__init__.py", says("another"))
    assert run("pack3:f") == (True, None)


def test_what_changes_while_it_is_imported_is_in_doubt(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be the old or the new one that is here: the next task doesn't run it."""
    monkeypatch.setattr(modules, "_COARSE", 20_000_000)
    change = "from pathlib import Path\nPath(__file__).touch()\n"
    write(folder / "m4.py", change + says("?"))
    assert run("m4:f") == (False, "?")
    assert run("m4:f") == (True, None)


def test_a_compiled_module_without_its_source(folder: Path, run: Run) -> None:
    write(folder / "m5.py", says("old"))
    py_compile.compile(str(folder / "m5.py"), str(folder / "m5.pyc"))
    (folder / "m5.py").unlink()
    assert run("m5:f") == run("m5:f") == (False, "old")
    os.utime(folder / "m5.pyc", ns=(1, 1))
    assert run("m5:f") == (True, None)


def test_a_module_in_an_archive(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        archive.writestr("m6.py", says("old"))
    monkeypatch.syspath_prepend(str(folder / "all.zip"))
    assert run("m6:f") == run("m6:f") == (False, "old")
    os.utime(folder / "all.zip", ns=(1, 1))
    assert run("m6:f") == (True, None)


def test_an_installed_module_is_looked_at_for_its_own_tasks(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when all modules of the application are looked at, which it isn't one of."""
    write(folder / "site-packages" / "m7.py", says("old"))
    monkeypatch.syspath_prepend(str(folder / "site-packages"))
    assert run("m7:f") == run("m7:f") == (False, "old")
    write(folder / "site-packages" / "m7.py", says("new"))
    assert run("m7:f", later=1.1) == (True, None)


def test_what_the_parent_has_imported_is_not_looked_at(run: Run) -> None:
    assert run("os:getpid") == run("os:getpid", later=2) == (False, os.getpid())
    assert run("abc:get_cache_token")[0] is False


def test_on_a_slow_file_system_there_are_fewer_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most a hundredth of the time goes into looks at all modules."""
    now, looks = [0.0], [0]

    def look(file: str, before: int | None = None) -> tuple[int, int, int]:
        looks[0] += 1
        now[0] += 0.5
        return 0, 0, 0

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(modules, "_stamp", look)
    known = Modules()
    known._application, known._stamps, known._of = ["a"], {"a": (0, 0, 0)}, {"m:f": ()}
    for _ in range(1000):
        assert not known.changed("m:f")
        now[0] += 0.1
    assert looks[0] <= 3
