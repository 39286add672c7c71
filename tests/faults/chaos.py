"""Chaos with real processes: ``python -m tests.faults.chaos --seconds 600 --seed 1``.

Real workers and schedulers on a real, append-only Redis (``appendfsync always``), each node behind a TCP proxy of its
own. What is done to them is drawn from the seed, in numbers that grow with the time given (``ACTS``). What the tasks
do is counted outside Redis: each writes its begin and its end to its node's file. At the end every invariant must hold.

A problem tells its story: files with what was done, the decision log, the keys and the logs around it (``story.py``).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psutil

from rq_sched import audit
from rq_sched.errors import RqSchedError, UsageError
from rq_sched.link import Link, Op
from rq_sched.model.states import State
from rq_sched.model.task import TaskRequest
from rq_sched.process.embedded import EmbeddedServer
from rq_sched.store import Store
from tests.faults.proxy import Proxy
from tests.faults.story import Story

T = TypeVar("T")
Run = tuple[int, str, float, float | None]
"""Attempt, node, begun, ended."""
ROOT = Path(__file__).parents[2]
TTL = 3.0
CPU, MEMORY = 4, 4096
GIVEN_BACK = TTL + 10
"""Seconds after which what a killed node held counts as lost."""
AT_ONCE = 0.05
"""Seconds in which a registration that is on its way gets to Redis; no agent is started anew so soon."""
LIMIT, MOST = "api", 5
"""So much of it may be in use at once, on all nodes together."""
BACKLOG = 300
"""Tasks that wait, so that no node idles."""
ACTS = {  # how often in ten minutes
    "worker_killed": 36,  # parent, agent and children at once
    "agent_killed": 20,
    "parent_killed": 8,
    "child_killed": 15,
    "scheduler_killed": 32,
    "redis_killed": 11,
    "node_frozen": 20,  # beyond the time to live
    "node_partitioned": 10,
    "connections_vanish": 6,  # half-open
    "connections_cut": 8,
    "replies_dropped": 20,
    "scripts_flushed": 6,
    "clients_killed": 6,
    "notifications_off": 3,
}


@dataclass
class Node:
    """A worker, its proxy, and when something was done to it."""

    name: str
    proxy: Proxy
    ran: Path
    process: subprocess.Popen[bytes] | None = None
    disturbed: list[tuple[float, float]] = field(default_factory=list)  # from, until; seconds since 1970
    killed: list[float] = field(default_factory=list)  # seconds since 1970
    frozen: list[tuple[float, float]] = field(default_factory=list)  # on the monotonic clock


class Chaos:
    """One run."""

    def __init__(self, folder: Path, seconds: float, seed: int, nodes: int = 4, schedulers: int = 2) -> None:
        self.folder = folder
        self.seconds = seconds
        self.rng = random.Random(seed)
        self.server = EmbeddedServer(folder / "redis", settings={"appendfsync": "always"})
        self.server.start()
        # Of its own: a worker that is left of a run that was killed may find that the old port of its proxy is ours.
        self.namespace = f"chaos-{secrets.token_hex(4)}"
        self.store = Store(self.namespace)
        self.link = Link(self.server.url)
        self.lines = {name: Proxy(self.server.url, seed) for name in ("client", "schedulers")}
        self.nodes = [Node(f"n{i}", Proxy(self.server.url, seed), folder / f"n{i}.ran") for i in range(nodes)]
        self.schedulers: dict[str, subprocess.Popen[bytes] | None] = {f"s{i}": None for i in range(schedulers)}
        self.done: Counter[str] = Counter()
        self.requeued: dict[str, list[float]] = defaultdict(list)
        self.accepted: list[str] = []
        self.ended: dict[str, tuple[str, float]] = {}  # cancelled for good: the answer, and when it came
        self.outages: list[tuple[float, float]] = []  # of Redis: from, until; seconds since 1970
        self.problems: list[str] = []
        self.story = Story(folder, lambda *command: self.run(lambda: _plainly(*command)), self.store.keys.prefix)
        self._feeding = True
        self._feeder = threading.Thread(target=self._feed, daemon=True)

    # -- processes ----------------------------------------------------------------------------------

    def run(self, op: Callable[[], Op[T]]) -> T:
        """Straight to the server, once it is there."""
        deadline = time.monotonic() + 20
        while True:
            try:
                return self.link.run(op())
            except RqSchedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def start(self) -> None:
        for proxy in [*self.lines.values(), *(node.proxy for node in self.nodes)]:
            proxy.start()
        for name in self.schedulers:
            self._scheduler(name)
        for node in self.nodes:
            self._worker(node)
        self.run(lambda: self.store.limit_set(LIMIT, MOST))
        self._feeder.start()

    def _spawn(self, name: str, url: str, *command: str, **more: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(self.folder / "state"), **more}
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.faults.observed",
                    "--redis",
                    url,
                    "--namespace",
                    self.namespace,
                    *command,
                ],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _scheduler(self, name: str) -> None:
        self.schedulers[name] = self._spawn(name, self.lines["schedulers"].url, "scheduler")

    def _worker(self, node: Node) -> None:
        size = ["--cpu", str(CPU), "--memory", str(MEMORY), "--ttl", str(TTL)]
        allowed = ["--allow", "tests.faults.jobs:*", "--chdir", str(ROOT)]
        command = ["worker", "--node-id", node.name, *size, *allowed]
        node.process = self._spawn(node.name, node.proxy.url, *command, CHAOS_RAN=str(node.ran))

    def _tree(self, process: subprocess.Popen[bytes] | None) -> list[psutil.Process]:
        """A worker's parent, agent and children, in this order; what ends meanwhile isn't among them."""
        if process is None or process.poll() is not None:
            return []
        try:
            top = psutil.Process(process.pid)
            below = top.children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        agents = [one for one in below if _name(one) == "rqs-agent"]
        return [top, *agents, *(one for one in below if one not in agents)]

    def _agent(self, process: subprocess.Popen[bytes] | None) -> list[psutil.Process]:
        """A worker's agent, if it has one now."""
        return [one for one in self._tree(process)[1:2] if _name(one) == "rqs-agent"]

    def _watch_over(self) -> None:
        """What systemd would do: what has ended is started again."""
        self._watch_over_schedulers()
        for node in self.nodes:
            if node.process is None or node.process.poll() is not None:
                self._worker(node)

    def _watch_over_schedulers(self) -> None:
        """One that starts while Redis is away says so and ends."""
        for name, process in self.schedulers.items():
            if process is None or process.poll() is not None:
                self.story.act(f"  {name} had ended ({process and process.returncode}): it is started again")
                self._scheduler(name)

    # -- problems -----------------------------------------------------------------------------------

    def _problem(self, text: str, *names: str, at: float | None = None, ask: bool = False) -> None:
        """Something is wrong with these nodes or tasks; ``ask``: agents and schedulers tell where they stand."""
        self.problems.append(text)
        self.story.keep(text, at=at, names=names, processes=self._event_loops() if ask else ())

    def _event_loops(self) -> list[int]:
        """The processes that can be asked: schedulers and agents."""
        running = [one.pid for one in self.schedulers.values() if one is not None and one.poll() is None]
        return running + [one.pid for node in self.nodes for one in self._agent(node.process)]

    # -- what is done -------------------------------------------------------------------------------

    def play(self) -> None:
        """Everything, spread over the time there is."""
        acts = [name for name, n in ACTS.items() for _ in range(max(1, round(n * self.seconds / 600)))]
        self.rng.shuffle(acts)
        began = time.monotonic()
        for i, name in enumerate(acts):
            self._watch_over()
            self.story.act(name)
            getattr(self, name)()
            self.done[name] += 1
            time.sleep(max(0.0, began + (i + 1) * self.seconds / len(acts) - time.monotonic()))

    def _node(self) -> Node:
        """One that is up, if there is one."""
        up = {info.node_id for info in self.run(self.store.nodes) if info.state == "up"}
        return self.rng.choice([node for node in self.nodes if node.name in up] or self.nodes)

    @contextlib.contextmanager
    def _disturbing(self, node: Node) -> Any:
        began = time.time()
        self.story.act(f"  {node.name} is disturbed")
        try:
            yield
        finally:
            node.disturbed.append((began, time.time()))
            self.story.act(f"  {node.name} is left alone")

    def _kill(self, what: str, node: Node, choose: Callable[[], list[psutil.Process]]) -> None:
        """SIGKILL; how long until everything that the node held is given back?"""
        info = next((one for one in self.run(self.store.nodes) if one.node_id == node.name), None)
        victims = choose()  # now: while Redis was asked, an agent may have taken another's place
        if not victims:
            return  # between two lives: who kills nobody can't ask for what was held
        with self._disturbing(node):
            node.killed.append(time.time())
            for victim in victims:
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.kill()
            killed = time.monotonic()
            if info is None or info.state != "up":
                return
            ledger = self.store.keys.ledger(node.name, info.incarnation)
            held = self._length(ledger)
            while self._length(ledger) and time.monotonic() < killed + GIVEN_BACK:
                self._watch_over_schedulers()
                time.sleep(0.01)
            if held and not self._length(ledger):
                self.requeued[what].append(time.monotonic() - killed)
            elif self._length(ledger):
                text = f"I5: {node.name} was killed ({what}) and still holds tasks {GIVEN_BACK} s later"
                self._problem(text, node.name, ask=True)

    def _length(self, ledger: str) -> int:
        return int(self.run(lambda: _plainly("HLEN", ledger)))

    def worker_killed(self) -> None:
        node = self._node()
        self._kill("worker", node, lambda: self._tree(node.process))

    def agent_killed(self) -> None:
        node = self._node()
        self._kill("agent", node, lambda: self._agent(node.process))

    def parent_killed(self) -> None:
        node = self._node()
        self._kill("parent", node, lambda: self._tree(node.process)[:1])

    def child_killed(self) -> None:
        children = self._tree(self._node().process)[2:]
        if children:
            with contextlib.suppress(psutil.NoSuchProcess):
                self.rng.choice(children).kill()

    def scheduler_killed(self) -> None:
        process = self.schedulers[self.rng.choice(list(self.schedulers))]
        if process is not None:
            process.kill()
            process.wait()

    def redis_killed(self) -> None:
        pid = self.server.pid
        assert pid is not None
        began = time.time()
        os.kill(pid, signal.SIGKILL)
        time.sleep(self.rng.choice([0.1, 1.0, 4.0]))  # longer than the time to live, too
        self.server.start()
        self.outages.append((began, time.time()))

    def node_frozen(self) -> None:
        node = self._node()
        tree = self._tree(node.process)
        with self._disturbing(node):
            began = time.monotonic()
            for one in tree:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.suspend()
            time.sleep(TTL * self.rng.choice([1.1, 1.5]))
            for one in tree:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.resume()
            node.frozen.append((began, time.monotonic()))

    def node_partitioned(self) -> None:
        node = self._node()
        with self._disturbing(node):
            node.proxy.partition()
            time.sleep(TTL * self.rng.choice([0.5, 1.2]))
            node.proxy.heal()

    def connections_vanish(self) -> None:
        node = self._node()
        with self._disturbing(node):
            node.proxy.vanish()

    def connections_cut(self) -> None:
        for proxy in [*self.lines.values(), *(node.proxy for node in self.nodes)]:
            proxy.cut()

    def replies_dropped(self) -> None:
        for proxy in [*self.lines.values(), *(node.proxy for node in self.nodes)]:
            proxy.drop_replies(2, b"FCALL")

    def scripts_flushed(self) -> None:
        self.run(lambda: _plainly("FUNCTION", "FLUSH"))

    def clients_killed(self) -> None:
        self.run(lambda: _plainly("CLIENT", "KILL", "TYPE", "normal"))

    def notifications_off(self) -> None:
        self.run(lambda: _plainly("CONFIG", "SET", "notify-keyspace-events", ""))

    # -- work ---------------------------------------------------------------------------------------

    def _feed(self) -> None:
        try:
            self._submit_and_cancel()
        except Exception as error:  # a run without work would find nothing
            self.problems.append(f"nobody submits any more: {type(error).__name__}: {error}")
            raise

    def _submit_and_cancel(self) -> None:
        """Somebody keeps submitting, over a bad line, and now and then cancels a task for good."""
        rng = random.Random(self.rng.random())
        link = Link(self.lines["client"].url)
        n = 0
        while self._feeding:
            requests, ids = [], []
            for i in range(31):  # thirty tasks, and an array of ten
                seconds = rng.choice([0, 0, 0, 0.01, 0.05, 0.2, 0.5])
                options: dict[str, Any] = {
                    "cpu_needed": rng.choice([1, 1, 1, 2]),
                    "memory_needed": rng.choice([64, 200, 700]),
                    "limits": rng.choice([{}, {}, {LIMIT: 1}, {LIMIT: 2}]),
                }
                request = TaskRequest("tests.faults.jobs:effect", [seconds], task_id=f"c{n}", crash_limit=50, **options)
                request.array = None if i else "1-10"
                requests.append(request.check())
                ids += [f"c{n}"] if i else [f"c{n}/{index}" for index in range(1, 11)]
                n += 1
            if not self._insist(link, lambda r=requests: self.store.submit(r)):  # type: ignore[misc]
                return
            self.accepted += ids
            victim = rng.choice(ids)
            if rng.random() < 0.3:
                operation = f"o{victim.replace('/', '.')}"
                make = partial(self.store.cancel, victim, requeue=False, operation=operation)
                answer = self._insist(link, make)
                if answer is not None:
                    self.ended[victim] = (answer.outcome, time.monotonic())
            while self._feeding and (self._waiting(link) or BACKLOG) >= BACKLOG:
                time.sleep(0.05)
        link.close()

    def _insist(self, link: Link, make: Callable[[], Op[T]]) -> T | None:
        """The same again until there is an answer."""
        while self._feeding or threading.current_thread() is self._feeder:
            try:
                return link.run(make())
            except UsageError:
                raise
            except RqSchedError:
                time.sleep(0.1)
        return None

    def _waiting(self, link: Link) -> int | None:
        try:
            return int(link.run(self.store.info()).tasks["pending"])
        except RqSchedError:
            time.sleep(0.1)
            return None

    # -- the end ------------------------------------------------------------------------------------

    def finish(self) -> dict[str, Any]:
        """Nothing goes wrong any more: everything ends, and is looked at."""
        self._feeding = False
        for proxy in [*self.lines.values(), *(node.proxy for node in self.nodes)]:
            proxy.drop_replies(0)
            proxy.heal()
        self._feeder.join(60)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            self._watch_over()
            left = self._counts()
            if not any(left[state] for state in ("pending", "delayed", "assigned", "running")):
                break
            time.sleep(0.2)
        else:
            self._problem(f"I1: work is left two minutes later: {left}", *(n.name for n in self.nodes), ask=True)
        for finding in audit.problems(self.run(lambda: audit.check(self.namespace))):
            self._problem(str(finding), *([finding.subject] if finding.subject else []))
        self._judge_tasks()
        self._judge_deaths()
        for node in self.run(self.store.nodes):
            if node.running or (node.state != "dead" and node.free != node.total):
                text = f"I2: {node.node_id}: {node.running} running, {node.free} free of {node.total}"
                self._problem(text, node.node_id)
        return self._report()

    def _counts(self) -> dict[str, int]:
        counts: dict[str, int] = self.run(self.store.info)["tasks"]
        return counts

    def _runs(self) -> dict[str, list[Run]]:
        """What the files say: of each task its runs as (attempt, node, begun, ended)."""
        begun: dict[tuple[str, str, int], list[float | None]] = {}
        for node in self.nodes:
            if not node.ran.exists():
                continue
            for line in node.ran.read_text().splitlines():
                what, task_id, attempt, at = line.split()
                entry = begun.setdefault((node.name, task_id, int(attempt)), [None, None])
                if entry[what == "E"] is not None:
                    text = f"I3: attempt {attempt} of {task_id} ran twice on {node.name}"
                    self._problem(text, task_id, at=self._since_1970(float(at)))
                entry[what == "E"] = float(at)
        runs: dict[str, list[Run]] = defaultdict(list)
        for (name, task_id, number), (start, end) in begun.items():
            runs[task_id].append((number, name, start or 0.0, end))
        return runs

    def _judge_tasks(self) -> None:
        runs = self._runs()
        asked: dict[str, int] = {}
        ids = self.accepted
        for at in range(0, len(ids), 500):
            part = ids[at : at + 500]
            for task_id, info in zip(part, self.run(lambda p=part: self.store.status(p)), strict=True):  # type: ignore[misc]
                if info is None:
                    self._problem(f"I1: {task_id} was accepted and is gone", task_id)
                    continue
                done = [run for run in runs[task_id] if run[3] is not None]
                if info.state == State.COMPLETED and not any(run[0] == info.attempt for run in done):
                    text = f"I3: {task_id} is completed, attempt {info.attempt}; it ran {runs[task_id]}"
                    self._problem(text, task_id, at=info.finished_at)
                if info.state not in (State.COMPLETED, State.CANCELLED):
                    text = f"I4: {task_id} is {info.state} ({info.reason}, {info.error})"
                    self._problem(text, task_id, at=info.finished_at)
                if info.state == State.CANCELLED and task_id not in self.ended:
                    self._problem(f"I6: {task_id} is cancelled, and nobody wanted that", task_id, at=info.finished_at)
                self._judge_cancelled(task_id, info.state, runs[task_id])
                self.done["ran to the end again"] += max(0, len(done) - 1)
                self._judge_overlap(task_id, sorted(runs[task_id]))
                asked |= {task_id: info.limits[LIMIT]} if LIMIT in info.limits else {}
        self._judge_limit(asked, runs)

    def _judge_limit(self, asked: dict[str, int], runs: dict[str, list[Run]]) -> None:
        """Never more at once than there is, by what the tasks themselves have written. When one was killed nobody has
        written, and a frozen machine can't know better: these aren't counted."""
        changes: list[tuple[float, int, str]] = []
        for task_id, number in asked.items():
            for _, name, start, end in runs[task_id]:
                frozen = next(node.frozen for node in self.nodes if node.name == name)
                if end is None or any(began < end and start < thawed + 1 for began, thawed in frozen):
                    continue
                changes += [(start, number, task_id), (end, -number, task_id)]
        used = 0
        for at, number, task_id in sorted(changes):
            used += number
            self.done["of the limit in use at most"] = max(self.done["of the limit in use at most"], used)
            if used > MOST:
                self._problem(f"{used} of the limit {LIMIT} in use, of {MOST}", task_id, at=self._since_1970(at))
                return

    def _judge_cancelled(self, task_id: str, state: State, runs: list[Any]) -> None:
        answer, when = self.ended.get(task_id, ("", 0.0))
        if answer in ("cancelled", "stopping"):
            self.done["cancelled for good"] += 1
            if state != State.CANCELLED:
                text = f"I6: {task_id} was to end ({answer}) and is {state}"
                self._problem(text, task_id, at=self._since_1970(when))
            if answer == "cancelled" and any(begun > when for _, _, begun, _ in runs):
                self._problem(f"I6: {task_id} began after it was cancelled", task_id, at=self._since_1970(when))

    def _judge_overlap(self, task_id: str, runs: list[Run]) -> None:
        """A task runs in one place at a time, unless a frozen machine couldn't know better."""
        for one, other in itertools.pairwise(runs):
            if one[3] is None or one[3] <= other[2]:
                continue
            frozen = next(node.frozen for node in self.nodes if node.name == one[1])
            if any(began < one[3] and other[2] < thawed + 1 for began, thawed in frozen):
                self.done["ran on in a thawed machine"] += 1
            else:
                text = f"{task_id} ran twice at the same time: {one}, {other}"
                self._problem(text, task_id, at=self._since_1970(other[2]))

    @staticmethod
    def _since_1970(monotonic: float) -> float:
        return time.time() - time.monotonic() + monotonic

    def _judge_deaths(self) -> None:
        """Only nodes to which something was done may have been declared dead (I7)."""
        joined: dict[str, float] = {}
        for number, fields in self.run(lambda: _plainly("XRANGE", self.store.keys.events, "-", "+")):
            at = int(number.split(b"-")[0]) / 1000
            for kind, items in zip(fields[::2], fields[1::2], strict=True):
                for item in items.decode().split() if kind in (b"dead", b"joined") else ():
                    name = item.partition("@")[0]
                    if kind == b"joined":
                        joined[name] = at
                        continue
                    self.done["declared dead"] += 1
                    if not self._may_be_dead(next(node for node in self.nodes if node.name == name), joined[name], at):
                        text = f"I7: {name} was declared dead at {at}, and nothing was done to it"
                        self._problem(text, name, at=at)

    def _may_be_dead(self, node: Node, joined: float, at: float) -> bool:
        """Whether the registration that was made then may be declared dead now. One whose processes were killed can't
        but end so, however long that takes; who was cut off or frozen has some time, and more where Redis was away."""
        if any(joined - AT_ONCE <= killed <= at for killed in node.killed):
            return True
        for began, until in node.disturbed:
            away = sum(back - lost + TTL for lost, back in self.outages if back > began and lost < at)
            if began <= at <= until + TTL + 5 + away:
                return True
        return False

    def _report(self) -> dict[str, Any]:
        bounds = {"worker": TTL + 2, "agent": 1.0, "parent": 1.0}
        table: dict[str, Any] = {"done": dict(self.done), "accepted": len(self.accepted), "counts": self._counts()}
        for what, times in self.requeued.items():
            times.sort()
            p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
            table[f"requeued after a kill: {what}"] = {
                "n": len(times),
                "median": round(times[len(times) // 2], 3),
                "p99": round(p99, 3),
                "bound": bounds[what],
            }
        table["dropped replies"] = sum(p.dropped for p in [*self.lines.values(), *(n.proxy for n in self.nodes)])
        table["problems"] = self.problems
        table["stories"] = [str(file) for file in self.story.files]
        return table

    def leftovers(self) -> None:
        """Stop everything, forget everything: no process and no key may be left (I8)."""
        processes = [node.process for node in self.nodes] + list(self.schedulers.values())
        trees = [one for process in processes for one in self._tree(process)]
        for process in processes:
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in processes:
            if process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(30)
        alive = [one for one in trees if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        if alive:
            self._problem(f"I8: processes are left: {alive}", *(node.name for node in self.nodes))
        while self.run(lambda: self.store.forget(limit=64)):
            pass
        while any(self.run(lambda x=lost: self.store.reap(x))[1] for lost in self.run(self.store.sweep)[1]):  # type: ignore[misc]
            pass
        self.problems += [str(p) for p in audit.problems(self.run(lambda: audit.leftovers(self.namespace)))]

    def close(self) -> None:
        self._feeding = False
        for process in [*(node.process for node in self.nodes), *self.schedulers.values()]:
            for one in self._tree(process):
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            if process is not None:
                process.wait()
        for proxy in [*self.lines.values(), *(node.proxy for node in self.nodes)]:
            proxy.stop()
        self.link.close()
        self.server.stop()


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def _plainly(*command: Any) -> Op[Any]:
    return (yield [tuple(command)])[0]


def play(folder: Path, seconds: float, seed: int) -> dict[str, Any]:
    """One run; what was done, and what was found."""
    chaos = Chaos(folder, seconds, seed)
    try:
        chaos.start()
        chaos.play()
        report = chaos.finish()
        chaos.leftovers()
        return report
    finally:
        chaos.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and all that was started is ended
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{options.seed}-"))
    try:
        report = play(folder, options.seconds, options.seed)
    except BaseException:
        print(f"all that was logged is kept in {folder}", file=sys.stderr)
        raise
    print(json.dumps(report, indent=1))
    if report["problems"]:
        print(f"{len(report['problems'])} problems; all that was logged is kept in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
