"""What the tests of the command line share: commands typed in this process, nodes played by hand."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rq_sched.cli import main
from rq_sched.link import Link, Op
from rq_sched.model.orders import Start
from rq_sched.store import Store
from tests.lua.cell import Cell

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Typed:
    """What one command line did."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> list[dict[str, Any]]:
        """Standard output as JSON Lines."""
        return [json.loads(line) for line in self.lines]

    @property
    def one(self) -> dict[str, Any]:
        """Standard output as one JSON object."""
        (found,) = self.json
        return found

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The errors among the JSON Lines of standard error (warnings are there too)."""
        found = [json.loads(line) for line in self.err.splitlines()]
        return [line["error"] for line in found if "error" in line]


class Cli:
    """Types command lines: ``cli("status", "t1")``, ``cli.json("status", "t1")``."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys = capsys
        self.monkeypatch = monkeypatch

    def __call__(self, *words: str, code: int = 0, stdin: str | None = None) -> Typed:
        """Run it; its exit code must be ``code``."""
        if stdin is not None:
            self.monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        self.capsys.readouterr()
        got = main(words)
        typed = Typed(got, *self.capsys.readouterr())
        assert got == code, f"exit code {got}, not {code}\n{typed.out}\n{typed.err}"
        return typed

    def json(self, *words: str, code: int = 0) -> Typed:
        return self("--json", *words, code=code)


@contextmanager
def beside(redis_url: str, namespace: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A command in a process of its own, gone when the block is left, whatever became of the test and its server."""
    command = [sys.executable, str(ROOT / "cli.py"), *words, "--redis", redis_url, "--namespace", namespace]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


class HandCell(Cell):
    """A namespace whose nodes the test plays, on Redis' own clock."""

    def __init__(self, link: Link, namespace: str) -> None:
        super().__init__(link, namespace)
        self.store = Store(namespace)
        self.assigned: dict[str, Start] = {}

    def begin(self, task_id: str, node_id: str = "n1") -> Start:
        """Place a task and report its start; its order."""
        if node_id not in self.acked:
            self.node(node_id, ttl=600)
        self.place()
        self.assigned |= self.starts(node_id)
        start = self.assigned.pop(task_id)
        self.started(node_id, start)
        return start

    def sweep(self) -> None:
        """A scheduler is at work."""
        self.run(self.store.sweep())

    def run_one(self, task_id: str, node_id: str = "n1", **report: Any) -> None:
        """The next attempt of a task, from its placing to its end."""
        start = self.begin(task_id, node_id)
        _, refill = self.finish(node_id, start, **report)
        self.assigned |= refill


def ask(*words: str | int) -> Op[Any]:
    """One plain command to the server."""
    return (yield [words])[0]


def rows(typed: Typed) -> dict[str, Sequence[str]]:
    """The rows of a plain table, by their first cell."""
    return {line.split()[0]: line.split() for line in typed.lines[1:]}


def pairs(typed: Typed) -> Iterator[tuple[str, str]]:
    """The names and values that ``status`` and the like print."""
    for line in typed.lines:
        name, _, value = line.strip().partition("  ")
        yield name, value.strip()
