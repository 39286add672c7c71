"""``rq-sched top``: what it shows, in a pipe and on a terminal."""

from __future__ import annotations

import io
import itertools
import os
import pty
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Self

import pytest
from rich.console import Console

from rq_sched.cli import top, top_frame
from rq_sched.cli.options import Invocation
from rq_sched.process.embedded import EmbeddedServer
from tests.cli.kit import Cli, HandCell
from tests.support import wait_for

RUN = [sys.executable, str(Path(__file__).parents[2] / "cli.py")]


@pytest.fixture
def busy(hand: HandCell) -> HandCell:
    """Two nodes, of which one is full; a task runs, two wait, one of them for ever."""
    hand.node("idle", cpu=2, memory=1024, ttl=600)
    hand.node("n1", cpu=4, memory=2048, ttl=600)
    hand.submit("runs", cpu=4, memory=512, priority=7)
    hand.begin("runs")
    hand.submit("waits", cpu=3, memory=100)
    hand.submit("never", cpu=99, memory=100)
    return hand


def test_in_a_pipe_it_prints_one_frame(cli: Cli, busy: HandCell, namespace: str):
    lines = cli("top").lines
    assert namespace in lines[0]
    assert "  cpu     4 of 6 allocated (67%)" in lines
    table = {line.split()[0]: line.split() for line in lines if line and not line.startswith(" ")}
    assert table["n1"][:5] == ["n1", "up", "4/4", "512", "MB/2"]
    assert list(table).index("n1") < list(table).index("idle")  # the busiest first
    assert table["runs"][1:4] == ["n1", "7", "4"]
    assert table["waits"][:3] == ["waits", "pending", "(no_fit_now)"]
    assert table["never"][:3] == ["never", "pending", "(infeasible)"]


def test_nothing_there_yet(cli: Cli):
    said = cli("top").out
    assert "0 of 0 allocated (0%)" in said
    assert "NODE" not in said


def test_rates_are_those_between_two_refreshes(cli: Cli, busy: HandCell, monkeypatch: pytest.MonkeyPatch):
    names, clock = itertools.count(), iter([100.0, 102.0, 106.0])
    moved = SimpleNamespace(
        time=time.time,
        monotonic=lambda: next(clock),
        sleep=lambda seconds: busy.submit(*(f"t{next(names)}" for _ in range(10))),
    )
    for module in (top, top_frame):
        monkeypatch.setattr(module, "time", moved)
    first, second, third = cli.json("top", "--count", "3", "--interval", "2s").json
    assert "submitted_per_second" not in first
    assert (second["submitted_per_second"], third["submitted_per_second"]) == (5, 2.5)
    assert second["completed_per_second"] == 0
    assert first["ever"]["submitted"] + 20 == third["ever"]["submitted"]
    assert first["time"] < third["time"]


def seen(redis_url: str, namespace: str, height: int) -> top_frame.Frame:
    session = Invocation()
    session.redis, session.namespace = redis_url, namespace
    frame = top_frame.look(session, None, height)
    session.close()
    return frame


def drawn(frame: top_frame.Frame, width: int, height: int, problem: str = "") -> list[str]:
    """The lines of a screen of this size."""
    console = Console(width=width, height=height, file=io.StringIO(), highlight=False)
    lines = console.render_lines(top.screen(frame, width, height, problem), pad=False)
    return ["".join(segment.text for segment in line) for line in lines]


@pytest.mark.parametrize("height", [5, 12, 24, 50])
def test_a_frame_fits_the_screen(busy: HandCell, redis_url: str, namespace: str, height: int):
    for i in range(30):
        busy.node(f"node-{i:02}", cpu=1, memory=100, ttl=600)
    busy.submit(*(f"more-{i:02}" for i in range(40)), cpu=3, memory=100)
    frame = seen(redis_url, namespace, height)
    for problem in ("", "Redis can't be reached"):
        texts = drawn(frame, 80, height, problem)
        assert max(map(len, texts)) <= 80
        if height >= 12:
            assert len(texts) <= height
            assert problem in texts[1]
        if height >= 24:
            assert {"NODE", "RUNNING", "NEXT"} <= {text.split(" ")[0] for text in texts}
            assert len(texts) >= height - 3  # the room is used


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_bar_takes_no_column_s_room(
    busy: HandCell, redis_url: str, namespace: str, width: int, monkeypatch: pytest.MonkeyPatch
):
    busy.node("a-node-with-a-long-name", cpu=1, memory=100_000, ttl=600, labels=("a100", "gpu"))
    frame = seen(redis_url, namespace, 24)

    def columns() -> list[str]:
        return next(text.split() for text in drawn(frame, width, 24) if text.startswith("NODE"))

    shown = columns()
    assert all(text.rstrip() == text.rstrip().rstrip("…") for text in drawn(frame, width, 24))
    monkeypatch.setattr(top, "WIDE", 1000)  # no bars at all
    assert columns() == shown
    assert ("LABELS" in shown) == (width > 60)


def test_rows_go_where_there_is_something_to_show():
    assert top.shares([2, 50, 50], 20) == [2, 9, 9]
    assert top.shares([50, 0, 3], 20) == [17, 0, 3]
    assert top.shares([5, 5, 5], 30) == [5, 5, 5]
    assert top.shares([5, 5, 5], -4) == [0, 0, 0]


class Terminal:
    """A command at a terminal of its own, and what it has shown so far. It is gone when the block is left."""

    def __init__(self, *words: str) -> None:
        self.ours, theirs = pty.openpty()
        env = {**os.environ, "COLUMNS": "100", "LINES": "30", "TERM": "xterm"}
        self.process = subprocess.Popen([*RUN, *words], stdin=theirs, stdout=theirs, stderr=theirs, env=env)
        os.close(theirs)
        self.raw = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while piece := os.read(self.ours, 65536):
                self.raw += piece
        except OSError:  # the other end is closed
            pass

    @property
    def said(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.raw.decode(errors="replace"))

    def press(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def ended(self) -> int:
        code = self.process.wait(20)
        self._reader.join(5)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.ended()
        os.close(self.ours)


def test_on_a_terminal_it_ends_after_so_many_refreshes(busy: HandCell, redis_url: str, namespace: str):
    with Terminal("--redis", redis_url, "--namespace", namespace, "top", "-n", "2", "-d", "50ms") as terminal:
        assert terminal.ended() == 0, terminal.said
        assert terminal.said.count("q: quit") == 2
        for text in ("━", "per second", "n1", "runs", "pending (infeasible)"):
            assert text in terminal.said
        assert b"\x1b[?1049l" in terminal.raw  # the screen from before is back


def test_q_ends_it_and_another_key_refreshes(busy: HandCell, redis_url: str, namespace: str):
    with Terminal("--redis", redis_url, "--namespace", namespace, "top", "-d", "1h") as terminal:
        wait_for(lambda: "q: quit" in terminal.said, 20)
        terminal.press(" ")
        wait_for(lambda: terminal.said.count("q: quit") == 2, 20)
        terminal.press("q")
        assert terminal.ended() == 0


def test_redis_may_be_away_for_a_while(tmp_path: Path, server_binary: Path | None):
    with EmbeddedServer(tmp_path, binary=server_binary) as server:
        url = server.url
        terminal = Terminal("--redis", url, "top", "-d", "50ms")
        wait_for(lambda: "q: quit" in terminal.said, 20)
    with terminal:
        wait_for(lambda: "start one with" in terminal.said, 20, lambda: terminal.said)
        assert terminal.process.poll() is None
        with EmbeddedServer(tmp_path, binary=server_binary) as server:
            assert server.url == url
            wait_for(
                lambda: "start one with" not in terminal.said.rpartition("namespace")[2], 20, lambda: terminal.said
            )
            terminal.press("q")
            assert terminal.ended() == 0
