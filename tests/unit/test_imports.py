"""Imports run one way: each module stands in a room, and imports from its own room and from those before it only."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "rq_sched"

# In order: what a room imports stands further up. A package counts as one module.
ROOMS: dict[str, list[str]] = {
    "values": [
        "errors",
        "given",
        "reading",
        "resources",
        "address",
        "durability",
        "arrays",
        "keys",
        "labels",
        "remedies",
        "values",
        "task",
        "signing",
        "record",
        "event",
        "node",
        "fit",
        "target",
        "clock",
        "streams",
        "private",
        "output",
        "server",
        "health",
        "config",
        "logs",
        "context",
        "elastic",
    ],
    "redis": [
        "library",
        "scripts",
        "link",
        "queries",
        "indexes",
        "lists",
        "ahead",
        "explain",
        "safekeeping",
        "submits",
        "store",
    ],
    "checker": ["audit"],
    "actors": ["placer", "promoter", "reserver", "reaper", "janitor", "rescue"],
    "scheduler": ["loop", "scheduler"],
    "worker": ["worker"],
    "client": [
        "outcomes",
        "steps",
        "stepper",
        "flows",
        "connection",
        "handles",
        "client",
        "aio",
        "executor",
        "decorator",
        "inline",
        "testing",
        "rq_sched",
    ],
    "simulate": ["simulate"],
    "cli": ["cli", "__main__"],
}
ROOM_OF = {module: room for room, modules in ROOMS.items() for module in modules}
STRANGERS = {("scheduler", "worker"), ("actors", "worker"), ("scheduler", "client"), ("worker", "client")}
"""Rooms that never import each other, whatever their order."""
REDIS_DRIVERS = {"scripts", "link", "queries", "indexes", "lists", "ahead", "explain", "store", "keys", "testing"}
DRIVER_NAMES = {"redis", "hiredis", "fakeredis"}


def module_of(path: Path) -> str:
    """``rq_sched/cli/look.py`` belongs to ``cli``; ``rq_sched/__init__.py`` is ``rq_sched``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "rq_sched" if parts == ("__init__",) else parts[0]


def imported(source: str) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a source imports, wherever in it: also inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative imports are hard to follow"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def needed_at_once(source: str) -> Iterator[tuple[int, str]]:
    """As ``imported``, but only what is needed for the module itself to be imported."""
    for node in ast.parse(source).body:
        yield from imported(ast.unparse(node)) if isinstance(node, ast.Import | ast.ImportFrom) else ()


def sources() -> dict[Path, str]:
    return {path: path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}


def edges(find: Callable[[str], Iterator[tuple[int, str]]] = imported) -> Iterator[tuple[str, str, str]]:
    """Where, from which module, to which module of ours."""
    for path, source in sources().items():
        for line, name in find(source):
            package, _, rest = name.partition(".")
            if package == "rq_sched":
                target = rest.split(".")[0]
                yield (
                    f"{path.relative_to(PACKAGE)}:{line}",
                    module_of(path),
                    target if target and is_module(target) else package,
                )


def is_module(name: str) -> bool:
    return (PACKAGE / f"{name}.py").is_file() or (PACKAGE / name / "__init__.py").is_file()


def complaint(module: str, target: str) -> str | None:
    """What is wrong with ``module`` importing ``target``, if anything."""
    here, there = ROOM_OF[module], ROOM_OF[target]
    if module == target:
        return None
    if here == there == "actors":
        return f"actors never import each other, but {module} imports {target}"
    order = list(ROOMS)
    if order.index(there) > order.index(here) or {(here, there), (there, here)} & STRANGERS:
        return f"{module} ({here}) must not import {target} ({there})"
    return None


def test_every_module_has_a_room() -> None:
    homeless = {module_of(path) for path in sources()} - ROOM_OF.keys()
    assert not homeless, f"say in ROOMS where they belong: {sorted(homeless)}"


def test_imports_run_one_way() -> None:
    found = [f"{where}: {said}" for where, module, target in edges() if (said := complaint(module, target))]
    assert not found, "\n".join(found)


def test_nothing_goes_in_circles() -> None:
    """Not within a room either. (A twin that only names the other's type, or imports it when called, is fine there.)"""
    graph: dict[str, set[str]] = {}
    for _, module, target in edges(needed_at_once):
        if module != target:
            graph.setdefault(module, set()).add(target)
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " → ".join((*path, module))
        if module not in done:
            for target in sorted(graph.get(module, ())):
                walk(target, (*path, module))
            done.add(module)

    for module in sorted(graph):
        walk(module, ())


def test_only_the_redis_room_knows_the_driver() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line} imports {name}"
        for path, source in sources().items()
        for line, name in imported(source)
        if name.split(".")[0] in DRIVER_NAMES and module_of(path) not in REDIS_DRIVERS
    ]
    assert not found, "\n".join(found)


def test_keys_are_spelled_in_one_place() -> None:
    """``rqs:{NAMESPACE}:`` stands in keys.py, and nowhere else in Python."""
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path, source in sources().items()
        if module_of(path) != "keys"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("rqs:{")
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("task", "store"),
        ("config", "link"),
        ("store", "audit"),
        ("store", "placer"),
        ("placer", "reaper"),
        ("scheduler", "client"),
        ("worker", "scheduler"),
        ("worker", "client"),
        ("client", "worker"),
        ("client", "cli"),
    ],
)
def test_a_wrong_way_is_noticed(module: str, target: str) -> None:
    assert complaint(module, target)


@pytest.mark.parametrize(
    ("module", "target"), [("cli", "worker"), ("store", "task"), ("placer", "store"), ("scheduler", "placer")]
)
def test_a_right_way_is_not(module: str, target: str) -> None:
    assert complaint(module, target) is None


def test_imports_in_functions_are_seen() -> None:
    assert list(imported("def f():\n    from rq_sched.cli import x\n    import a.b")) == [
        (2, "rq_sched.cli.x"),
        (3, "a.b"),
    ]
