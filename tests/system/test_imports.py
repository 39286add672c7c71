"""The picture of the house: which package may import which. Imports run one way, and nothing goes in circles.

``python -m tests.system.test_imports`` prints the picture as it is.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "rq_sched"

# A package, and what it may import besides itself. In this order each imports only from those above it.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "model": {"errors"},
    "context": {"errors", "model"},
    "process": {"errors", "model"},
    "link": {"errors", "model", "process"},
    "store": {"errors", "model", "link"},
    "audit": {"errors", "model", "link", "store"},
    "upgrade": {"errors", "model", "link", "store"},
    "scheduler": {"errors", "model", "process", "link", "store"},
    "worker": {"errors", "model", "context", "process", "link", "store"},
    "client": {"errors", "model", "process", "link", "store"},
    "rq_sched": {"errors", "model", "context", "client"},
    "testing": {"errors", "model", "context", "link", "store", "client"},
    "simulate": {"errors", "model", "process", "link", "store"},
    "cli": {
        "errors",
        "model",
        "process",
        "link",
        "store",
        "audit",
        "upgrade",
        "scheduler",
        "worker",
        "client",
        "simulate",
    },
    "__main__": {"cli"},
}
# Within the worker: its processes, and what they share. The parent forks the other two; the agent names signals as the
# child does.
WORKER_MAY_IMPORT = {"shared": set(), "child": {"shared"}, "agent": {"shared", "child"},
                     "parent": {"shared", "child", "agent"}}  # fmt: skip
ROOT = {"__init__", "__main__", "errors", "context"}
"""The modules that stand at the root: what users import by these names."""
DRIVER_NAMES = {"redis", "hiredis", "fakeredis"}
KNOW_THE_DRIVER = {"link", "testing"}


def modules() -> dict[str, ast.Module]:
    """``model.task`` → its source, parsed. A package stands for its ``__init__.py``."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name or "rq_sched"] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a module imports: also inside functions, also only for types."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative imports are hard to follow"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def edges(found: dict[str, ast.Module]) -> Iterator[tuple[str, int, str]]:
    """A module of ours, the line, and the module of ours that it imports."""
    for module, tree in found.items():
        for line, name in imported(tree):
            package, _, rest = name.partition(".")
            if package != "rq_sched":
                continue
            while rest and rest not in found:
                rest = rest.rpartition(".")[0]
            yield module, line, rest or package


def package_of(module: str) -> str:
    return module.partition(".")[0]


def worker_room(module: str) -> str:
    room = module.split(".")[1] if module.count(".") else "shared"
    return room if room in WORKER_MAY_IMPORT else "shared"


def complaint(module: str, target: str) -> str | None:
    """What is wrong with one module importing another, if anything."""
    here, there = package_of(module), package_of(target)
    if here != there:
        return None if there in MAY_IMPORT[here] else f"{here} must not import {there}"
    if here == "worker" and module != "worker":
        mine, its = worker_room(module), worker_room(target)
        if mine != its and its not in WORKER_MAY_IMPORT[mine]:
            return f"worker/{mine} must not import worker/{its}"
    return None


def circles(graph: dict[str, set[str]]) -> list[str]:
    """One path for each way to come back to a module."""
    done: set[str] = set()
    found: list[str] = []

    def walk(module: str, path: tuple[str, ...]) -> None:
        if module in path:
            found.append(" → ".join((*path[path.index(module) :], module)))
        elif module not in done:
            for target in sorted(graph.get(module, ())):
                walk(target, (*path, module))
            done.add(module)

    for module in sorted(graph):
        walk(module, ())
    return found


def graph_of(found: dict[str, ast.Module]) -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {module: set() for module in found}
    for module, _, target in edges(found):
        if module != target:
            graph[module].add(target)
    return graph


def test_the_root_has_only_what_users_import() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == ROOT
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages | ROOT - {"__init__"} | {"rq_sched"} == set(MAY_IMPORT)


def test_the_table_runs_one_way() -> None:
    for table in (MAY_IMPORT, WORKER_MAY_IMPORT):
        names = list(table)
        for name, targets in table.items():
            assert targets <= set(names[: names.index(name)]), f"{name} is to import what stands below it"


def test_imports_run_one_way() -> None:
    found = [f"{m}:{line}: {said}" for m, line, target in edges(modules()) if (said := complaint(m, target))]
    assert not found, "\n".join(found)


def test_nothing_goes_in_circles() -> None:
    """Not only for types, and not inside functions either."""
    found = circles(graph_of(modules()))
    assert not found, "\n".join(found)


def test_actors_never_import_each_other() -> None:
    actors = {f"scheduler.{name}" for name in ("placer", "promoter", "reserver", "reaper", "janitor", "rescue")}
    assert actors <= modules().keys()
    assert not [(m, target) for m, _, target in edges(modules()) if {m, target} <= actors]


def test_only_some_know_the_driver() -> None:
    found = [
        f"{module}:{line} imports {name}"
        for module, tree in modules().items()
        for line, name in imported(tree)
        if name.split(".")[0] in DRIVER_NAMES and package_of(module) not in KNOW_THE_DRIVER
    ]
    assert not found, "\n".join(found)


def test_keys_are_spelled_in_one_place() -> None:
    """``rqs:{NAMESPACE}:`` stands in store/keys.py, and nowhere else in Python."""
    found = [
        f"{module}:{node.lineno}"
        for module, tree in modules().items()
        if module != "store.keys"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("rqs:{")
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("model.task", "store.keys"),
        ("process.health", "link"),
        ("link.blocking", "store"),
        ("store.reads", "audit"),
        ("scheduler.placer", "client.blocking"),
        ("worker.agent.process", "scheduler.loop"),
        ("worker.child.process", "worker.agent.pool"),
        ("worker.agent.process", "worker.parent.process"),
        ("client.flows", "worker.config"),
        ("client.flows", "cli"),
    ],
)
def test_a_wrong_way_is_noticed(module: str, target: str) -> None:
    assert complaint(module, target)


def test_circles_are_noticed() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b → c → b"]


def test_imports_in_functions_are_seen() -> None:
    source = "def f():\n    from rq_sched.cli import x\n    import a.b"
    assert list(imported(ast.parse(source))) == [(2, "rq_sched.cli.x"), (3, "a.b")]


def picture() -> Iterator[str]:
    """The house as it is: a line for each package, with what it imports."""
    graph: dict[str, set[str]] = {name: set() for name in MAY_IMPORT}
    for module, _, target in edges(modules()):
        if package_of(module) != package_of(target):
            graph[package_of(module)].add(package_of(target))
    for name, targets in graph.items():
        yield f"{name:<10} ← {' '.join(t for t in MAY_IMPORT if t in targets)}"


if __name__ == "__main__":
    print("\n".join(picture()))
