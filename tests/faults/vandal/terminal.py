"""Commands, typed while the vandal changes things: none may say "internal error" or let anything act on a terminal."""

from __future__ import annotations

import contextlib
import io
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

from rq_sched.cli import main as command_line
from rq_sched.link.scripts import Call
from rq_sched.store import reads
from tests.faults.sim.clockwork import Violated
from tests.faults.sim.network import Network
from tests.faults.vandal.changes import GUILTY

ESCAPES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")


class Terminal:
    """Where commands are typed, in this process."""

    def __init__(self, rng: random.Random, network: Network, url: str, namespace: str) -> None:
        self._rng = rng
        self._network = network
        self._url = url
        self._namespace = namespace
        self.said: Counter[str] = Counter()
        """How often each command was typed."""
        self.err = ""
        """What the last one said on standard error."""

    def commands(self, innocents: Sequence[str]) -> list[list[str]]:
        """What may be typed."""
        one = self._rng.choice([f"{GUILTY}{self._rng.randrange(12)}", "x3/1", "x99"])
        innocent = self._rng.choice(innocents) if innocents else "i0"
        lines = (
            f"list|list --state pending|list --state failed|status {one} {innocent}|explain {one}|explain {innocent}|"
            f"top -n 1|info|nodes|events|events --task {one}|inspect|inspect {one}|inspect n0|inspect groups|"
            f"inspect free|doctor|settings|logs {one}|result {one}|wait --timeout 0.01 {one}|cancel {one}|hold {one}|"
            f"cancel --no-requeue {one}|unhold {one}|requeue {one}|prioritize {one} 3|forget {one}|health|"
            f"submit m:f --dry-run|drain n9|schedules|schedules pause x91|schedules resume x91|"
            f"schedules run x91|schedules remove x91|limits|limit api 3"
        )
        return [line.split() for line in lines.split("|")]

    def type(self, words: list[str], as_json: bool | None = None) -> str:
        """A command line, typed in this process; what it prints."""
        if as_json is None:
            as_json = self._rng.random() < 0.3
        words = [*(["--json"] if as_json else []), *words]
        out, err = io.StringIO(), io.StringIO()
        where = {"RQ_SCHED_REDIS_URL": self._url, "RQ_SCHED_NAMESPACE": self._namespace, "RQ_SCHED_DEBUG": "1"}
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
        call, clock = reads.Reads.call, self._network

        def called(store: Any, name: str, *arguments: Any) -> Call:
            made = call(store, name, *arguments)
            return Call(made.script, made.prefix, (clock.clock, *arguments))

        with mock.patch.object(reads.Reads, "call", called):
            yield
