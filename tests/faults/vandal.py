"""The vandal: somebody who can write to Redis changes whatever he finds there to something else.

Beside him innocents are submitted and run: tasks whose records he doesn't touch. Schedulers and agents are real, in the
stepped simulation (``sim``). At the first level (``records``) he changes what belongs to other tasks, and adds entries
that mean nothing to every index: then each innocent must end rightly, once and in time, without anybody's help. At the
second (``shared``) he changes what all share as well: indexes, nodes, ledgers, counters, settings; the innocents must
end once ``doctor --repair`` has run. At either no process may end, no command may say "internal error" or let anything
act on a terminal, and after a repair the audit must be clean, with nothing invented.

Everything is drawn from one seed, and a seed that fails says what was changed::

    python -m tests.faults.vandal --seed 17 --verbose
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import uuid4

from redis.exceptions import ResponseError

from rq_sched import audit
from rq_sched.cli import main as command_line
from rq_sched.link.answers import translate
from rq_sched.link.scripts import Call
from rq_sched.model.resources import Resources
from rq_sched.model.states import FINAL, State
from rq_sched.model.task import TaskRequest
from rq_sched.process.embedded import EmbeddedServer
from rq_sched.store import Store, reads
from rq_sched.worker.config import WorkerConfig
from tests.faults.sim.clockwork import Process, Violated, World
from tests.faults.sim.machines import Behaviour, Machine, Run
from tests.faults.sim.network import Faults, Network
from tests.faults.sim.play import simulated
from tests.faults.sim.trouble import Scheduler

SECONDS = 4.0
"""Simulated seconds in which things are changed."""
IN_TIME = 20.0
"""Simulated seconds within which innocents must have ended after the last change (at ``shared``: after a repair)."""
TTL = 2.0
INNOCENT, GUILTY = "i", "x"
MENTIONS = re.compile(rb"(?<![A-Za-z0-9._-])i\d+(?![A-Za-z0-9._-])")
"""An innocent in the name of a key, or in an entry. (Members of queues begin with the sequence.)"""
QUEUED = re.compile(rb"^[0-9a-f]{13}i\d+/?$")
ESCAPES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")


_WORDS = (
    "|0|-1|1|7|inf|-inf|nan|1e308|0x10|x1|x2|x3/1|x99|x1/x|n0|n1|n9|1:100|1:100+gpu|999:1|0:0|-1:100|x:y|1:1:1:1|x1:1:100:r|"
    "x1:1:100:z|n0:1:crashed|n9:zz:crashed|:|/|arr/|running|completed|pending|delayed|held|assigned|failed|up|dead|k.1.1|1-9|"
    "9-1|0-999999999|00000000000011:100|end|off|1.5|%s%n|$(id)|a b"
)
ODD = [word.encode() for word in _WORDS.split("|")]
"""What things are changed to."""
ODD += [b"9" * 30, b"-" + b"9" * 20, b"\xff\xfe", b"\x1b[31mred\x1b[0m\x07", b"a\nb", b"y" * 3000]
ODD += [b"\x81\xa1a" * 50, b"\x91" * 200, b"\x92\x90\x80"]
NODES = ("n0", "n1")
ODD_OF_NOBODY = [word for word in ODD if word.decode("latin-1") not in NODES]
"""As an entry of an index the name of a node isn't one task's own: it says where the node stands there."""


class RoughNetwork(Network):
    """The network without faults of its own: what fails here fails because of what was changed."""

    def execute(self, request: Any, process: Process | None = None) -> Any:
        command = getattr(request, "command", request)
        if not isinstance(request, Call):
            return self._server.ask(command)[0]
        self.calls += 1
        script = request.script
        call = ("FCALL", script.function, 1, request.prefix, self.clock, *request.arguments[1:])
        (reply,) = self._server.ask(call)
        if isinstance(reply, Exception) and "Function not found" in str(reply):
            self._server.ask(("FUNCTION", "LOAD", script.library))
            (reply,) = self._server.ask(call)
        self._ring()
        return reply

    def _ring(self) -> None:
        try:
            super()._ring()
        except (ValueError, TypeError, AttributeError, LookupError):
            pass  # a message that can't be read is one that isn't heard

    def _answer(self, process: Process, future: Any, value: Any) -> None:
        if isinstance(value, ResponseError):  # the doorbell is no list
            self.world.at(self._latency(), lambda: future.done() or future.set_exception(translate(value)))
        else:
            super()._answer(process, future, value)


class WatchedScheduler(Scheduler):
    """A scheduler that isn't started again: it must not end."""

    def start(self) -> None:
        super().start()
        process = self.process
        assert process is not None

        def check() -> None:
            if not process.alive:
                self.world.crashed.append(self.name)

        self.world.at(0.5, check)
        self.check: Callable[[], None] = check


class Vandal:
    """Changes things.

    Parameters:
        shared: whether also what isn't one task's own.
    """

    def __init__(self, world: World, network: Network, shared: bool) -> None:
        self.rng = random.Random(f"vandal {world.seed}")
        self.world = world
        self.network = network
        self.shared = shared
        self.prefix = network.keys.prefix.encode()
        self.count: Counter[str] = Counter()
        self.touched: set[str] = set()
        """Tasks whose state he may have written."""

    def act(self) -> None:
        """Change one thing."""
        rng = self.rng
        keys: list[bytes] = sorted(self.network.plainly(("KEYS", self.prefix.decode() + "*"))[0])
        for _ in range(50):
            key = rng.choice(keys)
            name = key.removeprefix(self.prefix)
            if MENTIONS.search(name):
                continue
            own = re.match(rb"(task|payload|result|log|live|apart):x", name) is not None
            kind = self.network.plainly(("TYPE", key))[0].decode()
            if self.shared and rng.random() < 0.02:
                self._do("library", ("FUNCTION", "FLUSH"))
                return
            if (own or self.shared) and rng.random() < 0.15:
                self._whole(name, key, kind, keys)
                return
            if self._part(name, key, kind, own):
                return

    def _do(self, what: str, *commands: tuple[Any, ...]) -> None:
        self.count[what.split(" ")[0]] += 1
        self.network.plainly(*commands)
        words = b" ".join(_bytes(part).removeprefix(self.prefix)[:60] for part in commands[-1])
        self.world.tell(f"vandal: {what}: {words!r}")

    def _note(self, name: bytes) -> None:
        self.touched.add(name.partition(b":")[2].decode("latin-1"))

    def _whole(self, name: bytes, key: bytes, kind: str, keys: Sequence[bytes]) -> None:
        """A key as a whole."""
        rng = self.rng
        self._note(name)
        choice = rng.choice(["gone", "type", "type", "expires", "other"])
        if choice == "gone":
            self._do("key-gone", ("DEL", key))
        elif choice == "expires":
            self._do("key-expires", ("PEXPIRE", key, rng.choice([1, 50])))
        elif choice == "other":
            others = [one for one in keys if not MENTIONS.search(one) and one != key]
            self._do("key-of-another", ("COPY", rng.choice(others), key, "REPLACE"))
        else:
            make: list[tuple[Any, ...]] = [
                ("SET", key, self._odd()),
                ("HSET", key, self._odd(), self._odd()),
                ("RPUSH", key, self._odd()),
                ("ZADD", key, self._score(), self._odd()),
                ("SADD", key, self._odd()),
                ("XADD", key, "*", self._odd(), self._odd()),
            ]
            self._do("key-type", ("DEL", key), rng.choice(make))

    def _part(self, name: bytes, key: bytes, kind: str, own: bool) -> bool:
        """A field, an entry or a score of a key; False: nothing here may be changed."""
        rng = self.rng
        ask = self.network.plainly
        entries: list[bytes] = []
        if kind == "hash":
            entries = ask(("HKEYS", key))[0]
            values = dict(zip(entries, ask(("HVALS", key))[0], strict=True))
            entries = [one for one in entries if not MENTIONS.search(one) and not MENTIONS.search(values[one])]
            if not own and not self.shared:
                entries = [one for one in entries if values[one].startswith(b"x")]
        elif kind == "zset":
            entries = ask(("ZRANGE", key, 0, -1))[0]
        elif kind == "set":
            entries = ask(("SMEMBERS", key))[0]
        elif kind == "list":
            entries = ask(("LRANGE", key, 0, -1))[0]
        entries = sorted(one for one in entries if not MENTIONS.search(one) and not QUEUED.match(one))
        if not own and not self.shared and kind != "hash":
            entries = [one for one in entries if re.search(rb"(^|[ :]|^[0-9a-f]{13})x\d+", one)]
        if own:
            self._note(name)
        entry = rng.choice(entries) if entries else None
        return self._change(name, key, kind, entry, own)

    def _change(self, name: bytes, key: bytes, kind: str, entry: bytes | None, own: bool) -> bool:
        rng = self.rng
        index = name.partition(b":")[0] in (b"classes", b"groups", b"fresh")
        if kind == "hash":
            if entry is None:
                if not own and not self.shared and not name.endswith((b":tasks", b":grown")):
                    return False
                self._do("field-new", ("HSET", key, self._odd(), self._odd()))
            elif rng.random() < 0.25:
                self._do(f"field-gone {name.decode('latin-1')}", ("HDEL", key, entry))
            else:
                self._do(f"field-odd {name.decode('latin-1')}", ("HSET", key, entry, self._odd()))
        elif kind == "zset":
            if entry is None or rng.random() < 0.3:
                member = (b"%013x" % rng.randrange(50) if rng.random() < 0.5 else b"") + self._odd()
                self._do(f"entry-new {name.decode('latin-1')}", ("ZADD", key, self._score(), member))
            elif index and not self.shared:
                return False  # the heads of a class are everybody's
            elif rng.random() < 0.5:
                self._do(f"score-odd {name.decode('latin-1')}", ("ZADD", key, self._score(), entry))
            else:
                score = self.network.plainly(("ZSCORE", key, entry))[0]
                other = rng.choice([self._odd(), entry[:13] + self._odd(), b""])
                self._do(f"entry-odd {name.decode('latin-1')}", ("ZREM", key, entry), ("ZADD", key, score, other))
        elif kind == "set":
            if entry is None or rng.random() < 0.5:
                self._do(f"entry-new {name.decode('latin-1')}", ("SADD", key, self._odd()))
            else:
                self._do(f"entry-gone {name.decode('latin-1')}", ("SREM", key, entry))
        elif kind == "list":
            if name == b"wake":
                self._do("entry-odd wake", ("RPUSH", key, self._odd()))
            elif entry is not None:
                self._do(f"entry-odd {name.decode('latin-1')}", ("LREM", key, 1, entry), ("RPUSH", key, self._odd()))
            else:
                return False
        elif kind == "string":
            if not own and not self.shared:
                return False
            self._do(f"string-odd {name.decode('latin-1')}", ("SET", key, self._odd()))
        elif kind == "stream":
            self._do("entry-new events", ("XADD", key, "*", self._odd(), self._odd()))
        else:
            return False
        return True

    def _odd(self) -> bytes:
        return self.rng.choice(ODD if self.shared else ODD_OF_NOBODY)

    def _score(self) -> str:
        rng = self.rng
        return rng.choice(["inf", "-inf", "0", "-1", "1e308", "-1e308", "1.5", "9007199254740993", "1000000000", "5"])


def _bytes(part: Any) -> bytes:
    return part if isinstance(part, bytes) else str(part).encode()


class Scene:
    """One seed."""

    def __init__(self, seed: int, url: str, *, seconds: float = SECONDS) -> None:
        self.world = world = World(seed)
        self.url = url
        self.rng = random.Random(f"scene {seed}")
        self.shared = seed % 2 == 1
        self.namespace = f"v{seed}-{uuid4().hex[:8]}"
        self.network = RoughNetwork(world, url, self.namespace)
        self.network.faults = Faults(0.02, 0, 0, 0, 0.05, 0)
        self.store = Store(self.namespace, placings=self.rng.choice([0, 8]))
        self.seconds = seconds
        self.behaviours: dict[str, Behaviour] = {}
        self.innocents: list[str] = []
        self.runs: dict[str, list[Run]] = {}
        self.schedulers = [WatchedScheduler(world, f"s{i}", self.namespace) for i in range(2)]
        self.machines = [self._machine(name) for name in NODES]
        self.vandal = Vandal(world, self.network, self.shared)
        self.said: Counter[str] = Counter()
        self.err = ""  # what the last command said on standard error

    def _machine(self, name: str) -> Machine:
        total = Resources(self.rng.choice([3, 4]), 1000)
        labels = ("gpu",) if name == "n1" else ()
        config = WorkerConfig("unix:///simulated", self.namespace, name, total, (), ttl=TTL, grace=0.5, labels=labels)
        return Machine(self.world, config, self._behaviour, self._ran)

    def _behaviour(self, task_id: str) -> Behaviour:
        return self.behaviours.get(task_id, Behaviour("ok", 0.05))

    def _ran(self, run: Run) -> None:
        self.runs.setdefault(run.task_id, []).append(run)

    # -- what goes on -------------------------------------------------------------------------------

    def play(self) -> None:
        """From the first submit to the last look.

        Raises:
            Violated: something isn't as it must be; the notes say which seed, and what was changed.
        """
        world = self.world
        try:
            with simulated(world, self.network):
                self._play()
        except BaseException as error:
            error.add_note(f"seed {world.seed}; again: python -m tests.faults.vandal --seed {world.seed} --verbose")
            error.add_note("\n".join([line for line in world.story if "vandal" in line][-80:]))
            raise
        finally:
            names = self.network.plainly(("KEYS", self.network.keys.prefix + "*"))[0]
            if names:
                self.network.plainly(("UNLINK", *names))
            self.network.close()

    def _play(self) -> None:
        world = self.world
        for scheduler in self.schedulers:
            scheduler.start()
        for machine in self.machines:
            machine.start()
        world.run(world.now + 0.5)
        for number in range(8):
            self._submit(GUILTY, number)
        end = world.now + self.seconds
        number = 0
        while world.now < end:
            world.run(world.now + self.rng.uniform(0.02, 0.3))
            if self.rng.random() < 0.4:
                self._submit(self.rng.choice([INNOCENT, INNOCENT, GUILTY]), 8 + number)
                number += 1
            if world.now < end:
                self.vandal.act()
            if self.rng.random() < 0.25:
                self._command(self.rng.choice(self._commands()))
        if self.shared:
            world.run(world.now + 1)
            self._repair()
        self._until_innocents_ended()
        for words in self.rng.sample(self._commands(), 8):
            self._command(words)
        self._at_the_end()

    def _submit(self, kind: str, number: int) -> None:
        rng = self.rng
        task_id = f"{kind}{number}"
        size = rng.choice([1, 1, 2])
        array = "0-3" if rng.random() < 0.2 else None
        request = TaskRequest(
            "m:f",
            ["y" * rng.choice([0, 0, 100])],
            task_id=task_id,
            cpu_needed=size,
            memory_needed=rng.choice([100, 100, 300]),
            max_cpu_needed=size + rng.choice([0, 2]),
            priority=rng.choice([0, 0, 1]),
            delay=rng.choice([0, 0, 0, 0.7]),
            retries=rng.choice([0, 1]),
            preemptible=rng.random() < 0.2,
            require=("gpu",) if rng.random() < 0.1 else (),
            array=array,
            time_limit=rng.choice([None, None, 30]),
        ).check()
        names = [task_id] if array is None else [f"{task_id}/{i}" for i in range(4)]
        for name in names:
            self.behaviours[name] = Behaviour("ok", rng.choice([0.02, 0.1, 0.4, 1.0]), resizes=rng.random() < 0.2)
        try:
            answers = self.network.run_plainly(self.store.submit([request]))
        except Exception as error:  # refused, because of what was changed: nobody was told that it is accepted
            self.world.tell(f"{task_id} was refused: {error}")
            self.said["refused"] += 1
            return
        if kind == INNOCENT and answers == ["new"]:
            self.innocents += names
            self.world.tell(f"accepted {task_id}")

    # -- what is looked at --------------------------------------------------------------------------

    def _until_innocents_ended(self) -> None:
        world = self.world
        end = world.now + IN_TIME
        while (left := self._open()) and world.now < end:
            world.run(min(end, world.now + 0.5))
            self._check_processes()
        if left:
            found = audit.problems(self.network.run_plainly(audit.check(self.namespace)))
            raise Violated(f"innocents have not ended: {left}; " + "; ".join(map(str, found)))
        keys = self.network.keys
        ran = {task_id: [run for run in self.runs.get(task_id, ()) if run.how == "done"] for task_id in self.innocents}
        for task_id in self.innocents:
            state, result, reason = self.network.plainly(("HMGET", keys.task(task_id), "s", "R", "m"))[0]
            if state != b"completed":
                raise Violated(f"{task_id} is innocent and ended {state!r} ({reason!r})")
            if not any(run.token.encode() in (result or b"") for run in ran[task_id]):
                raise Violated(f"{task_id} is completed with {result!r}, and never was: {self.runs.get(task_id)}")
            if not self.shared and len(self.runs[task_id]) != 1:
                raise Violated(f"{task_id} is innocent and ran {len(self.runs[task_id])} times")
        self.said["innocents"] += len(self.innocents)

    def _open(self) -> list[str]:
        keys = self.network.keys
        states = self.network.plainly(*(("HGET", keys.task(task_id), "s") for task_id in self.innocents), ("PING",))
        final = {state.encode() for state in FINAL}
        return [task_id for task_id, state in zip(self.innocents, states, strict=False) if state not in final]

    def _check_processes(self) -> None:
        processes = [(one.name, one.process) for one in self.schedulers]
        processes += [(one.node_id, one.process) for one in self.machines]
        self.world.crashed += [name for name, process in processes if process is None or not process.alive]
        if self.world.crashed:
            raise Violated(f"processes have ended: {self.world.crashed}")

    def _repair(self) -> list[dict[str, Any]]:
        self._check_processes()
        out = self._command(["doctor", "--repair"], as_json=True)
        try:
            done: list[dict[str, Any]] = json.loads(out)["repaired"]
        except (ValueError, KeyError):
            raise Violated(f"doctor --repair said {out!r} {self.err}") from None
        for one in done:
            self.world.tell(f"vandal: repaired {one['check']}: {one['subject']}: {one['message']}"[:300])
        return done

    def _at_the_end(self) -> None:
        """When all has come to rest: a repair leaves nothing to look at, and has invented nothing."""
        world = self.world
        world.run(world.now + 3 * TTL)
        self._check_processes()
        self._repair()
        world.run(world.now + 15)
        self._repair()
        left = audit.problems(self.network.run_plainly(audit.check(self.namespace)))
        if left:
            raise Violated("after a repair: " + "; ".join(map(str, left)))
        world.run(world.now + 5)
        self._check_processes()
        keys = self.network.keys
        for machine in self.machines:
            fields = ("total_cpu", "total_memory")
            (has,) = self.network.plainly(("HMGET", keys.node(machine.node_id), *fields))
            if has != [b"%d" % machine.total.cpu, b"%d" % machine.total.memory]:
                raise Violated(f"{machine.node_id} has {has}, not {machine.total}")
        for task_id, info in zip(
            self.behaviours, self.network.run_plainly(self.store.status(list(self.behaviours))), strict=True
        ):
            if info is None or info.state is not State.COMPLETED or task_id.startswith(INNOCENT):
                continue
            if not any(run.how == "done" for run in self.runs.get(task_id, ())) and task_id not in self.vandal.touched:
                raise Violated(f"{task_id} is completed, and never ran: {info.result}")

    # -- commands -----------------------------------------------------------------------------------

    def _commands(self) -> list[list[str]]:
        one = self.rng.choice([f"{GUILTY}{self.rng.randrange(12)}", "x3/1", "x99"])
        innocent = self.rng.choice(self.innocents) if self.innocents else "i0"
        lines = (
            f"list|list --state pending|list --state failed|status {one} {innocent}|explain {one}|explain {innocent}|"
            f"top -n 1|info|nodes|events|events --task {one}|inspect|inspect {one}|inspect n0|inspect groups|"
            f"inspect free|doctor|settings|logs {one}|result {one}|wait --timeout 0.01 {one}|cancel {one}|hold {one}|"
            f"cancel --no-requeue {one}|unhold {one}|requeue {one}|prioritize {one} 3|forget {one}|health|"
            f"submit m:f --dry-run|drain n9"
        )
        return [line.split() for line in lines.split("|")]

    def _command(self, words: list[str], as_json: bool | None = None) -> str:
        """A command line, typed in this process; what it prints."""
        if as_json is None:
            as_json = self.rng.random() < 0.3
        words = [*(["--json"] if as_json else []), *words]
        out, err = io.StringIO(), io.StringIO()
        where = {"RQ_SCHED_REDIS_URL": self.url, "RQ_SCHED_NAMESPACE": self.namespace, "RQ_SCHED_DEBUG": "1"}
        with contextlib.ExitStack() as around:
            for one in (self._outside(), mock.patch.dict("os.environ", where)):
                around.enter_context(one)
            around.enter_context(contextlib.redirect_stdout(out))
            around.enter_context(contextlib.redirect_stderr(err))
            command_line(words)
        self.err = err.getvalue()[-2000:]
        text = out.getvalue() + err.getvalue()
        self.said[words[-1] if len(words) < 2 else " ".join(words[:2])] += 1
        if "internal error" in text or '"internal"' in text:
            raise Violated(f"rq-sched {' '.join(words)} said: {text[-3000:]}")
        if found := ESCAPES.search(out.getvalue()):
            around_it = text[max(0, found.start() - 100) :][:300]
            raise Violated(f"rq-sched {' '.join(words)} let {found[0]!r} through: {around_it!r}")
        return out.getvalue()

    @contextlib.contextmanager
    def _outside(self) -> Iterator[None]:
        """Commands go by the clock of the simulation, and have the event loops of this process for themselves."""
        call, clock = reads.Reads.call, self.network

        def called(store: Any, name: str, *arguments: Any) -> Call:
            made = call(store, name, *arguments)
            return Call(made.script, made.prefix, (clock.clock, *arguments))

        with mock.patch.object(reads.Reads, "call", called):
            yield


def play(seeds: Iterable[int], url: str) -> Counter[str]:
    """Play these; what was changed, and how many ``innocents`` have ended.

    Raises:
        Violated: by the first that fails.
    """
    seen: Counter[str] = Counter()
    for seed in seeds:
        scene = Scene(seed, url)
        scene.play()
        seen.update(scene.vandal.count, innocents=scene.said["innocents"])
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.vandal", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first one")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--seconds", type=float, default=0, help="stop after so many seconds of real time")
    parser.add_argument("--verbose", action="store_true", help="print what happened")
    options = parser.parse_args()
    seeds = [options.seed] if options.seed is not None else range(options.first, options.first + options.seeds)
    began = time.monotonic()
    sums: Counter[str] = Counter()
    failed: list[int] = []
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder), settings={"appendonly": "no"}) as server:
        for seed in seeds:
            if options.seconds and time.monotonic() - began > options.seconds:
                break
            scene = Scene(seed, server.url)
            try:
                scene.play()
            except Exception as error:
                failed.append(seed)
                print(f"seed {seed}: {type(error).__name__}: {error}", flush=True)
                if options.verbose:
                    import traceback

                    traceback.print_exc()
            if options.verbose:
                print("\n".join(scene.world.story))
            sums.update(scene.vandal.count, seeds=1, innocents=scene.said["innocents"])
    print(f"{sums['seeds']} seeds in {time.monotonic() - began:.0f} s, failed: {failed}; {dict(sums)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
