"""People: they submit, and change their minds. Each is a process of its own, with a line that may fail."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field, replace
from typing import Any

from rq_sched.errors import RedisUnavailable, RqSchedError
from rq_sched.model.task import TaskRequest
from rq_sched.store import Store
from tests.faults.sim.clockwork import Process, World
from tests.faults.sim.limits import Limits
from tests.faults.sim.machines import Behaviour
from tests.faults.sim.network import SimLink
from tests.faults.sim.schedules import Schedules

ENDLESS = 1e6
"""Seconds that a task runs which only ends when it is told to."""


@dataclass(slots=True)
class Known:
    """What is known of a task outside Redis."""

    request: TaskRequest
    behaviour: Behaviour
    acked: bool = False  # somebody was told that it is accepted
    to_end: bool = False  # somebody wants it to end for good
    end_answer: str | None = None  # what they were told, if they were
    end_acked: float = 0.0
    requeued: int = 0  # how often somebody asked for another run after its end
    tried: list[str] = field(default_factory=list)


@dataclass(slots=True)
class KnownArray:
    """What is known of an array; its elements are known as tasks."""

    request: TaskRequest
    elements: list[str]
    acked: bool = False
    to_end: bool = False
    end_acked: float = 0.0  # when somebody was told that it is cancelled for good


class Person:
    """Somebody with a client."""

    def __init__(
        self,
        world: World,
        store: Store,
        name: str,
        known: dict[str, Known],
        arrays: dict[str, KnownArray],
        nodes: list[str],
        schedules: Schedules | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.world = world
        self.store = store
        self.name = name
        self.known = known
        self.arrays = arrays
        self.nodes = nodes
        self.schedules = schedules
        self.limits = limits
        self.process = Process(world, name)
        self.process.owner = self
        self.cut_off = False
        self.done = False
        self._operations = 0

    def agent_ended(self, process: Process) -> None: ...

    def begin(self, acts: int) -> None:
        async def main() -> None:
            self.link = SimLink("")
            for _ in range(acts):
                await asyncio.sleep(self.world.rng.expovariate(2.5))
                await self._act()

        def ended(task: asyncio.Task[Any]) -> None:
            self.done = True
            if not task.cancelled() and task.exception() is not None:
                self.world.crashed.append(f"{self.name}: {task.exception()!r}")

        self.process.begin(main(), ended)

    async def _act(self) -> None:
        rng = self.world.rng
        if self.schedules is not None and self.schedules.rng.random() < 0.3:
            await self._ask(self.schedules.act())
        elif self.limits is not None and self.limits.rng.random() < 0.1:
            await self._ask(lambda: self.limits.act())
        elif self.world.arrays is not None and self.world.arrays.random() < 0.3:
            await self._act_on_arrays(self.world.arrays)
        elif rng.random() < 0.35 or not self.known:
            await self._submit(rng.choice([1, 2, 3, 6]))
        elif rng.random() < 0.1:
            await self._drain()
        else:
            task_id = rng.choice(list(self.known))
            verbs = [self._cancel, self._hold, self._unhold, self._prioritize, self._requeue, self._cancel]
            await rng.choice(verbs)(task_id)

    async def _ask(self, make: Any) -> Any:
        """Ask until there is an answer, or give up; the same operation each time."""
        for _ in range(self.world.rng.choice([1, 3, 10])):
            try:
                return await self.link.run(make())
            except RedisUnavailable:
                await asyncio.sleep(self.world.rng.uniform(0.05, 0.5))
            except RqSchedError as error:
                return error
        return None

    async def _submit(self, n: int) -> None:
        requests: list[TaskRequest] = []
        for i in range(n):
            requests.append(self._request(len(self.known) + i))
            if self.world.graphs is not None:
                self._wait_for_others(self.world.graphs, requests)
        for request in requests:
            assert request.task_id is not None
            self.known[request.task_id] = Known(request, self._behaviour())
        answers = await self._ask(lambda: self.store.submit(requests))
        if isinstance(answers, list):
            for request, answer in zip(requests, answers, strict=True):
                assert answer in ("new", "same") or (answer.startswith("orphan") and request.after), answers
                self.known[request.task_id or ""].acked = not answer.startswith("orphan")
            self.world.tell(f"{self.name}: accepted {', '.join(r.task_id or '' for r in requests)}")

    def _wait_for_others(self, rng: random.Random, requests: list[TaskRequest]) -> None:
        """The last of these waits for some that were submitted before it, or are about to be."""
        others = [*self.known, *(str(one.task_id) for one in requests[:-1])]
        if not others or rng.random() < 0.3:
            return
        chosen = rng.sample(others[-12:], min(len(others[-12:]), rng.choice([1, 1, 2, 3, 10])))
        kinds = rng.choices(["", ":any", ":failed"], [6, 3, 1], k=len(chosen))
        requests[-1].after = [one + kind for one, kind in zip(chosen, kinds, strict=True)]
        requests[-1].check()

    def _behaviour(self) -> Behaviour:
        rng = self.world.rng
        kind = rng.choices(["ok", "error", "dies", "poison"], [85, 8, 4, 3])[0]
        seconds = rng.choice([0.01, 0.03, 0.06, 0.3, 1.0, 4.0] if kind != "poison" else [0.01, 0.3, 1.0])
        if kind == "ok" and rng.random() < 0.04:
            seconds = ENDLESS
        return Behaviour(kind, seconds, rng.random() < 0.8, rng.random() < 0.2)

    async def _act_on_arrays(self, rng: random.Random) -> None:
        if rng.random() < 0.5 or not self.arrays:
            await self._submit_array(rng)
            return
        array_id = rng.choice(list(self.arrays))
        verb = rng.choice([self._cancel_array, self._cancel_array, self._hold, self._unhold, self._prioritize])
        await verb(array_id)

    async def _submit_array(self, rng: random.Random) -> None:
        first, size = rng.choice([0, 1, 7]), rng.choice([1, 2, 5, 9])
        request = replace(self._request(0), task_id=f"a{len(self.arrays)}", array=f"{first}-{first + size - 1}").check()
        array_id = str(request.task_id)
        elements = [f"{array_id}/{index}" for index in range(first, first + size)]
        self.arrays[array_id] = array = KnownArray(request, elements)
        for element in elements:
            self.known[element] = Known(replace(request, task_id=element, array=None), self._behaviour())
        answers = await self._ask(lambda: self.store.submit([request]))
        if isinstance(answers, list):
            assert answers[0] in ("new", "same"), answers
            array.acked = True
            for element in elements:
                self.known[element].acked = True
            self.world.tell(f"{self.name}: accepted {array_id} ({request.array})")

    async def _cancel_array(self, array_id: str) -> None:
        array = self.arrays[array_id]
        elements = [self.known[element] for element in array.elements]
        end = not array.to_end and not any(one.requeued for one in elements) and self.world.chance(0.4)
        if end:
            array.to_end = True
            for one in elements:
                one.to_end = True
        operation = self._operation()
        answer = await self._ask(lambda: self.store.cancel(array_id, requeue=not end, grace=0.2, operation=operation))
        if end and answer is not None and not isinstance(answer, RqSchedError):
            array.end_acked = self.world.now
        self.world.tell(f"{self.name}: cancel {array_id} end={end}: {getattr(answer, 'outcome', answer)}")

    def _request(self, number: int) -> TaskRequest:
        rng = self.world.rng
        labels = self.world.labels
        need = rng.choice([1, 1, 1, 2, 3])
        request = TaskRequest(
            "m:f",
            ["x" * 200] if rng.random() < 0.1 else [],
            task_id=f"t{number}",
            priority=rng.choice([0, 0, 0, 1, 2]),
            cpu_needed=need,
            memory_needed=rng.choice([100, 100, 128, 300, 700]),
            max_cpu_needed=need + rng.choice([0, 0, 2]),
            retries=rng.choice([0, 1, 2]),
            crash_limit=rng.choice([2, 3, 3, 4]),
            delay=rng.choice([0, 0, 0, 0, 1.5]),
            require=labels.choice([(), (), (), ("gpu",), ("gpu", "ssd")]) if labels else (),
        )
        if (hurry := self.world.hurry) is not None:
            request.deadline = hurry.choice([None, None, 1.6, 3.0, 20.0])
            request.infeasible = hurry.choice(["wait", "wait", "fail"])
            request.chdir = hurry.choice([None, None, "/srv/%t"])
            request.env = hurry.choice([None, {"RUN": str(number)}])
            request.output_path = hurry.choice([None, "%t.%a.%n.out"])
        if self.limits is not None:
            request.limits = self.limits.asked()
        return request.check()

    async def _cancel(self, task_id: str) -> None:
        known = self.known[task_id]
        end = not known.to_end and not known.requeued and self.world.chance(0.4)
        known.to_end = known.to_end or end
        operation = self._operation()
        grace = self.world.rng.choice([0.0, 0.2, 1.0])
        answer = await self._ask(lambda: self.store.cancel(task_id, requeue=not end, grace=grace, operation=operation))
        if end and answer is not None and not isinstance(answer, RqSchedError):
            known.end_answer, known.end_acked = answer.outcome, self.world.now
        self.world.tell(f"{self.name}: cancel {task_id} end={end}: {getattr(answer, 'outcome', answer)}")

    def _operation(self) -> str:
        self._operations += 1
        return f"{self.name}.{self._operations}"

    async def _hold(self, task_id: str) -> None:
        await self._ask(lambda: self.store.hold(task_id))

    async def _unhold(self, task_id: str) -> None:
        await self._ask(lambda: self.store.unhold(task_id))

    async def _prioritize(self, task_id: str) -> None:
        priority = self.world.rng.choice([-1, 0, 1, 3])
        await self._ask(lambda: self.store.prioritize(task_id, priority))

    async def _requeue(self, task_id: str) -> None:
        if self.known[task_id].to_end:
            return
        self.known[task_id].requeued += 1
        operation = self._operation()
        await self._ask(lambda: self.store.requeue(task_id, operation))

    async def _drain(self) -> None:
        node = self.world.rng.choice(self.nodes)
        requeue = self.world.chance(0.5)
        self.world.tell(f"{self.name}: drains {node}, requeue={requeue}")
        await self._ask(lambda: self.store.node_drain(node, requeue=requeue, grace=0.2))
        await asyncio.sleep(self.world.rng.uniform(0.1, 2.0))
        while (answer := await self._ask(lambda: self.store.node_undrain(node))) is None:
            pass
        assert answer is not None
