"""Commands that wait or follow ride out an outage of Redis, say so once, and end as they would have ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rq_sched.link import Link
from rq_sched.process.embedded import EmbeddedServer
from tests.cli.kit import HandCell
from tests.support import wait_for
from tests.support.records import record_of

RUN = [sys.executable, str(Path(__file__).parents[2] / "cli.py")]
PATIENCE = 30.0


class Place:
    """A server that is taken away and brought back, and the commands that wait at it."""

    def __init__(self, folder: Path, binary: Path | None) -> None:
        self._folder, self._binary = folder, binary
        self.processes: list[subprocess.Popen[str]] = []
        self._start()
        self.hand = HandCell(Link(self.server.url), "default")

    def _start(self) -> None:
        self.server = EmbeddedServer(self._folder, binary=self._binary)
        self.server.start()

    def command(self, *words: str) -> subprocess.Popen[str]:
        env = {**os.environ, "RQ_SCHED_REDIS_URL": self.server.url, "RQ_SCHED_NAMESPACE": "default"}
        process = subprocess.Popen(
            [*RUN, *words], env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.processes.append(process)
        return process

    def restart(self) -> None:
        """The server goes, and is back when everybody has noticed."""
        self.server.stop()
        for process in self.processes:
            assert process.stderr is not None
            os.set_blocking(process.stderr.fileno(), True)
            while "waiting for Redis" not in (line := process.stderr.readline()):
                assert line, f"{process.args!r} ended with {process.wait(PATIENCE)}"
        self._start()

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()
        self.server.stop()


@pytest.fixture
def place(tmp_path: Path, server_binary: Path | None) -> Iterator[Place]:
    place = Place(tmp_path / "redis", server_binary)
    yield place
    place.close()


def watched(hand: HandCell, task_id: str) -> bool:
    return "watch" in hand.link.run(record_of(hand.store.keys, task_id))


def test_followers_ride_out_a_restart(place: Place):
    hand = place.hand
    hand.node("n1", ttl=600)
    hand.submit("t1", "t2")
    first, second = hand.begin("t1"), hand.begin("t2")
    wait = place.command("wait", "t1")
    logs = place.command("--json", "logs", "-f", "t1")
    cancel = place.command("cancel", "--no-requeue", "t2", "--grace", "30")
    alone = place.command("submit", "m:f", "--id", "t3", "--cpu", "4", "--wait")
    feed = place.command("submit", "--from-file", "-", "--wait")
    assert feed.stdin is not None
    feed.stdin.write('{"function": "m:f", "task_id": "t4", "cpu_needed": 4}\n')
    feed.stdin.flush()
    wait_for(lambda: all(hand.state(t) for t in ("t3", "t4")) and all(watched(hand, t) for t in ("t1", "t3")), PATIENCE)
    wait_for(lambda: hand.info("t2").reason == "cancelling", PATIENCE)
    hand.run(hand.store.task_output("n1", "1", first.token, b"begun\n"))
    assert logs.stdout is not None
    assert json.loads(logs.stdout.readline())["line"] == "begun"
    place.processes.remove(feed)  # it has nothing to ask just now
    place.restart()
    feed.stdin.write('{"function": "m:f", "task_id": "t5", "cpu_needed": 4}\n')
    feed.stdin.close()
    feed.stdin = None
    place.processes.append(feed)
    wait_for(lambda: hand.state("t5"), PATIENCE)
    hand.assigned |= hand.finish("n1", first, output=b"said\n")[1]
    hand.assigned |= hand.finish("n1", second, "stopped")[1]
    for task_id in ("t3", "t4", "t5"):
        hand.run_one(task_id, result=b"\x07")
    ended = {name: process.communicate(timeout=PATIENCE) for name, process in
             (("wait", wait), ("logs", logs), ("cancel", cancel), ("alone", alone), ("feed", feed))}  # fmt: skip
    assert [process.returncode for process in (wait, logs, cancel, alone, feed)] == [0] * 5, ended
    assert ended["wait"][0] == "1 completed\n"
    assert [json.loads(line)["line"] for line in ended["logs"][0].splitlines()] == ["said"]
    assert ended["cancel"][0] == "t2 cancelled\n"
    assert ended["alone"][0] == "7\n"
    assert ended["feed"][0] == "submitted 2 tasks\n2 completed\n"
    assert not any("waiting for Redis" in err for _, err in ended.values())  # it was told once, to restart()


def test_a_server_that_never_answered_is_no_outage(place: Place):
    place.server.stop()
    processes = [place.command(*words) for words in (("wait", "t1"), ("logs", "-f", "t1"), ("cancel", "t1"))]
    for process in processes:
        _, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, len(err.splitlines())) == (69, 1), err


def test_the_timeout_counts_while_redis_is_away(place: Place):
    place.hand.submit("t1")
    wait = place.command("wait", "t1", "--timeout", "4")
    wait_for(lambda: watched(place.hand, "t1"), PATIENCE)
    place.server.stop()
    _, err = wait.communicate(timeout=PATIENCE)
    assert (wait.returncode, "timed out" in err) == (4, True)
