"""The parts of the worker that need neither processes nor Redis."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rq_sched.errors import NodeAlive, RedisUnavailable, StaleIncarnation
from rq_sched.link.together import together
from rq_sched.model.node import NodeState
from rq_sched.model.orders import Garbled, Order, Start, Stop, Void
from rq_sched.model.resources import Resources
from rq_sched.store import Store
from rq_sched.store.answers import Heartbeat, Ledger
from rq_sched.worker import WorkerConfig, system
from rq_sched.worker.agent.lease import Lease
from rq_sched.worker.agent.orders import Orders
from rq_sched.worker.agent.reconcile import Reconciler
from rq_sched.worker.agent.remembered import Remembered
from rq_sched.worker.agent.session import Session, Superseded
from rq_sched.worker.child import errors_text
from rq_sched.worker.frames import BadFrame, Frame, Frames, Word, pack
from rq_sched.worker.parent.run_record import Left, RunRecord, kill_groups, path_of
from rq_sched.worker.switchboard import Switchboard
from tests.support import wait_for, wait_for_async

# -- frames ---------------------------------------------------------------------------------------


def test_frames_come_in_any_pieces() -> None:
    sent: list[Frame] = [
        [Word.DONE, "k1", None, b"x" * 1000, None, None, "", 0],
        [Word.PROGRESS, "k1", 0.5],
        [Word.ALIVE],
    ]
    data = b"".join(map(pack, sent))
    for size in (1, 2, 7, 500, len(data)):
        frames = Frames()
        found = [f for at in range(0, len(data), size) for f in frames.feed(data[at : at + size])]
        assert found == sent
        assert list(frames.feed(pack(sent[1]))) == [sent[1]], "and the next one whole"


@pytest.mark.parametrize("data", [b"\xc1", b"hello", b"\x90", b"\x80", b"\x81\x90\x01", b"\xdd\xff\xff\xff\xff"])
def test_what_is_no_frame_is_noticed(data: bytes) -> None:
    with pytest.raises(BadFrame):
        list(Frames().feed(data))


# -- what children say and print ------------------------------------------------------------------


def test_outputs_are_heard_before_words() -> None:
    """So that what was printed before a frame was sent is there when the frame is heard, without looking again."""
    heard: list[bytes] = []
    pipes = [os.pipe() for _ in range(3)]
    words, _, removed = pipes

    async def hear() -> None:
        board = Switchboard(asyncio.get_running_loop())
        for end, _ in pipes:
            board.add(end, functools.partial(lambda end: heard.append(os.read(end, 9)), end), early=end != words[0])
        board.remove(removed[0])
        board.remove(removed[0])  # harmless
        for text, (_, end) in zip((b"words", b"output", b"removed"), pipes, strict=True):
            os.write(end, text)
        await wait_for_async(lambda: len(heard) == 2)
        board.close()

    asyncio.run(hear())
    for end in (end for pipe in pipes for end in pipe):
        os.close(end)
    assert (heard if system.LINUX else sorted(heard, key=len, reverse=True)) == [b"output", b"words"]


def test_the_last_tokens_are_remembered() -> None:
    remembered = Remembered(10)
    for i in range(35):
        remembered.add(f"t{i}")
    assert all(f"t{i}" in remembered for i in range(25, 35))
    assert "t0" not in remembered
    remembered.clear()
    assert "t34" not in remembered


# -- sessions -------------------------------------------------------------------------------------


def op(*replies: str) -> Generator[list[Any], list[Any], list[Any]]:
    """An operation that asks so many times, for two things each time."""
    heard = []
    for reply in replies:
        heard += yield [(reply, 1), (reply, 2)]
    return heard


def test_operations_travel_together() -> None:
    """In as many round trips as the longest takes; each gets its own replies."""
    whole = together(op("a"), op("b", "c"))
    asked = next(whole)
    assert asked == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    asked = whole.send(["a1", "a2", "b1", "b2"])
    assert asked == [("c", 1), ("c", 2)]
    with pytest.raises(StopIteration) as stop:
        whole.send(["c1", "c2"])
    assert stop.value.value == [["a1", "a2"], ["b1", "b2", "c1", "c2"]]


class FakeLink:
    """Answers each operation with the next of the given answers; an exception is raised."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[Any] = []

    async def run(self, operation: Any) -> Any:
        self.asked.append(operation)
        await asyncio.sleep(0)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class FakeStore:
    """Operations as tuples: the method's name and its arguments."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: (name, *args, kwargs)


def session_of(link: FakeLink, announced: list[str] | None = None) -> Session:
    config = WorkerConfig("unix:///none", "ns", "n1", Resources(4, 1024), ())
    announce = [] if announced is None else announced
    return Session(config, link, FakeStore(), announce.append)  # type: ignore[arg-type]


def ask(session: Session, name: str = "anything") -> Any:
    return session.ask(lambda node, incarnation: (name, node, incarnation))  # type: ignore[arg-type, return-value]


def test_the_parent_knows_an_incarnation_before_redis_does() -> None:
    async def scene() -> None:
        announced: list[str] = []
        link = FakeLink(RedisUnavailable("away"), NodeState.UP)
        session = session_of(link, announced)
        with pytest.raises(RedisUnavailable):
            await session.join()
        assert [link.asked[0][2]] == announced
        await session.join()  # Redis may have heard the first time: it must be the same
        assert [operation[2] for operation in link.asked] == 2 * announced

    asyncio.run(scene())


def test_a_refused_incarnation_needs_no_cleaning_up() -> None:
    async def scene() -> None:
        announced: list[str] = []
        with pytest.raises(NodeAlive):
            await session_of(FakeLink(NodeAlive("elsewhere")), announced).join()
        assert announced[-1] == ""

    asyncio.run(scene())


def test_answers_for_an_old_incarnation_mean_nothing() -> None:
    async def scene() -> None:
        link = FakeLink(NodeState.UP, "first", StaleIncarnation("gone"), "too late", NodeState.UP, "second")
        session = session_of(link)
        await session.join()
        assert await ask(session) == "first"
        late = asyncio.ensure_future(ask(session))
        later = asyncio.ensure_future(ask(session))
        for call in (late, later):
            with pytest.raises(Superseded):
                await call
        assert session.lost.is_set()
        waits = asyncio.ensure_future(ask(session))
        await asyncio.sleep(0)
        assert not waits.done()
        old = session.incarnation
        await session.join()
        assert session.incarnation != old
        with pytest.raises(Superseded):  # what it was about to say was of the old one
            await waits
        assert await ask(session) == "second"
        assert link.asked[-1] == ("anything", "n1", session.incarnation)

    asyncio.run(scene())


# -- orders ---------------------------------------------------------------------------------------


def start(number: int, token: str = "") -> Start:
    need = Resources(1, 64)
    return Start(number, token or f"k{number}", f"t{number}", 1, "m:f", b"", 0, need, need, None, "cpu")


def orders_of(taken: list[Order], may: list[bool]) -> Orders:
    add = taken.append
    return Orders(session_of(FakeLink()), FakeStore(), add, add, add, lambda: may[0], print, print)  # type: ignore[arg-type]


def test_an_order_that_cannot_be_read_or_worked_off_fails_by_itself() -> None:
    """Those before and behind it are others' orders."""

    async def scene() -> None:
        taken: list[Order] = []
        failed: list[Garbled] = []

        def begin(order: Start) -> None:
            if order.number == 2:
                raise TypeError("its arguments")
            taken.append(order)

        orders = Orders(
            session_of(FakeLink()),
            FakeStore(),  # type: ignore[arg-type]
            begin,
            taken.append,
            taken.append,
            lambda: True,
            failed.append,
            print,
        )
        orders.take([start(1), start(2), Garbled(3, "k3", "t3", "no number"), start(4)])
        assert [order.number for order in taken] == [1, 4]
        assert [(order.token, order.task_id, order.why) for order in failed] == [
            ("k2", "t2", "TypeError: its arguments"),
            ("k3", "t3", "no number"),
        ]
        assert orders.seen == 4

    asyncio.run(scene())


def test_orders_are_worked_off_once_each() -> None:
    async def scene() -> None:
        taken: list[Order] = []
        orders = orders_of(taken, [True])
        one, two, three, five = start(1), Stop(2, "k1", "t1", 1.0), Void(3), start(5)
        orders.take([one, two])
        orders.take([one, two, three])
        orders.take([two, three, start(4), five])
        orders.take([one, two, three, start(4), five])
        assert [order.number for order in taken] == [1, 2, 4, 5]
        assert orders.seen == 5

    asyncio.run(scene())


def test_the_order_that_comes_with_the_doorbell_is_worked_off_where_it_is_the_next_one() -> None:
    async def scene() -> None:
        taken: list[Order] = []
        session = session_of(FakeLink(NodeState.UP))
        orders = Orders(session, FakeStore(), taken.append, taken.append, taken.append, lambda: True, print, print)  # type: ignore[arg-type]

        def ring(number: int, incarnation: str) -> None:
            request = b"class=1:64\nturn=1\ndigest=x\nat=5\nrun=m:f\nwith="
            orders.rung(f"{incarnation} {number} start k{number} t{number} 1\n".encode() + request)

        ring(1, "")
        assert (taken, orders.behind is None) == ([], False)  # not joined yet: there is an order, that is all
        await session.join()
        orders.reset()
        ring(1, "another")
        assert (taken, orders.behind is None) == ([], False)
        ring(1, session.incarnation)
        assert (taken, orders.behind) == ([start(1)], None)
        ring(1, session.incarnation)
        ring(3, session.incarnation)
        assert (taken, orders.seen, orders.behind is None) == ([start(1)], 1, False)  # there is one before it
        orders.take([start(2), start(3)])
        for nonsense in (b"", b" ", b"x", b"\xff \xff", b"9" * 5000, f"{session.incarnation} start k4".encode()):
            orders.rung(nonsense)
        assert (orders.seen, orders.behind) == (3, None)
        orders.rung(f"{session.incarnation} 4 start k4".encode())  # none that can be read: the list tells
        assert (orders.seen, orders.behind is None) == (3, False)
        orders.rung(b"999999999")  # of what isn't there, nobody has to be told
        orders._none_left(orders._known)
        orders.take([start(4)])
        assert orders.seen == 4

    asyncio.run(scene())


def test_without_a_lease_orders_stay_in_redis() -> None:
    async def scene() -> None:
        taken: list[Order] = []
        may = [False]
        orders = orders_of(taken, may)
        orders.take([start(1)])
        assert (taken, orders.seen) == ([], 0)
        may[0] = True
        orders.take([start(1)])
        assert orders.seen == 1

    asyncio.run(scene())


def test_an_order_that_comes_while_orders_are_fetched_is_not_taken_for_lost() -> None:
    """The doorbell rings between Redis' answer that there are none and the answer's arrival."""

    async def scene() -> None:
        taken: list[Order] = []

        class Link(FakeLink):
            async def run(self, operation: Any) -> Any:
                if len(self.asked) == 1:
                    orders.notify(1)
                return await super().run(operation)

        link = Link(NodeState.UP, [], [start(1)], [])
        session = session_of(link)
        orders = Orders(session, FakeStore(), taken.append, taken.append, taken.append, lambda: True, print, print)  # type: ignore[arg-type]
        await session.join()
        orders.reset()
        fetching = asyncio.ensure_future(orders.fetch())
        await wait_for_async(lambda: len(link.asked) > 2)
        fetching.cancel()
        assert [operation[-1]["acked"] for operation in link.asked[1:3]] == [0, 0]
        assert [order.number for order in taken] == [1]
        assert (orders.seen, orders.behind) == (1, None)

    asyncio.run(scene())


def test_orders_that_redis_no_longer_has_are_given_up() -> None:
    """They were heard of before Redis was asked: a call from before it lost its last writes acknowledged them."""

    async def scene() -> None:
        link = FakeLink(NodeState.UP, [])
        session = session_of(link)
        orders = Orders(session, FakeStore(), print, print, print, lambda: True, print, print)  # type: ignore[arg-type]
        await session.join()
        orders.reset()
        orders.notify(3)
        fetching = asyncio.ensure_future(orders.fetch())
        await wait_for_async(lambda: orders.seen == 3)
        fetching.cancel()
        assert orders.behind is None

    asyncio.run(scene())


# -- the lease ------------------------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_tasks_are_ended_before_the_lease_runs_out() -> None:
    """Counted from when the last heartbeat that got through was sent, also over a suspension."""

    async def scene() -> None:
        clock = Clock()
        fenced: list[float] = []
        orders = orders_of([], [True])
        session, store = session_of(FakeLink()), Store("ns")
        reconciler = reconciler_of(session, orders)
        lease = Lease(session, store, orders, reconciler, 0.1, True, lambda: fenced.append(clock.now), clock=clock)
        lease.renew(1000.0)
        watching = asyncio.ensure_future(lease.watch())
        clock.now = 1000.07
        await asyncio.sleep(0.03)
        assert lease.valid
        assert not fenced
        clock.now = 1500.0  # the machine slept
        await wait_for_async(lambda: fenced)
        held = [lease.valid]
        await asyncio.sleep(0.03)
        assert fenced == [1500.0]  # once
        lease.renew(1499.99)
        held.append(lease.valid)
        assert held == [False, True]
        await asyncio.sleep(0.03)
        clock.now = 1600.0
        await wait_for_async(lambda: len(fenced) == 2)
        watching.cancel()

    asyncio.run(scene())


def test_a_lease_that_is_kept() -> None:
    async def scene() -> None:
        clock = Clock()
        session, orders = session_of(FakeLink()), orders_of([], [True])
        reconciler = reconciler_of(session, orders)
        lease = Lease(session, Store("ns"), orders, reconciler, 1.0, False, lambda: None, clock=clock)
        clock.now += 1000
        assert lease.valid

    asyncio.run(scene())


def reconciler_of(session: Session, orders: Orders, held: dict[str, Any] | None = None) -> Reconciler:
    attempts: Any = SimpleNamespace(all=held or {})
    outbox: Any = SimpleNamespace(on_its_way=False)
    return Reconciler(session, FakeStore(), orders, outbox, lambda: attempts, 1.0)  # type: ignore[arg-type]


def test_a_redis_that_has_forgotten_orders_is_read_and_numbers_go_on_from_there() -> None:
    async def scene() -> None:
        link = FakeLink(NodeState.UP, Heartbeat(NodeState.UP, 3), Ledger("0", 3, []))
        session = session_of(link)
        await session.join()
        taken: list[Order] = []
        orders = orders_of(taken, [True])
        orders.take([start(n) for n in range(1, 6)])
        reconciler = reconciler_of(session, orders)
        lease = Lease(session, FakeStore(), orders, reconciler, 10.0, True, lambda: None)  # type: ignore[arg-type]
        services = [asyncio.ensure_future(service) for service in (lease.beat(), reconciler.run())]
        await wait_for_async(lambda: len(link.asked) == 3)
        assert link.asked[2][0] == "node_ledger"
        assert not session.lost.is_set()
        orders.take([start(3), start(4)])
        assert [order.number for order in taken] == [1, 2, 3, 4, 5, 4]
        for service in services:
            service.cancel()

    asyncio.run(scene())


def test_a_node_that_is_never_quiet_reads_the_ledger_now_and_then() -> None:
    async def scene() -> None:
        link = FakeLink(NodeState.UP, *[Ledger("0", 0, [])] * 2)
        session = session_of(link)
        await session.join()
        reconciler = reconciler_of(session, orders_of([], [True]))
        running = asyncio.ensure_future(reconciler.run())
        for agrees, read in ((None, 1), (None, 1), (True, 1), (None, 1), (None, 1), (None, 1), (None, 2), (False, 3)):
            reconciler.on_heartbeat(Heartbeat(NodeState.UP, 0, agrees), 0)
            await asyncio.sleep(0.01)
            assert len(link.asked) == read
        running.cancel()

    asyncio.run(scene())


# -- the record -----------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "workers" / "ns+n1+abc"


def test_a_record_is_read_by_the_next_start(path: Path) -> None:
    record = RunRecord(path)
    assert record.left is None
    record.write("i1", [(11, "5"), (12, "6")])
    record.write("i1", [(11, "5")])
    record.close()
    again = RunRecord(path)
    assert again.left == Left("i1", ((11, "5"),))
    again.remove()
    assert not path.exists()


def test_a_record_of_a_living_worker_is_left_alone(path: Path) -> None:
    source = "import sys; from pathlib import Path; from rq_sched.worker.parent.run_record import RunRecord; \
        r = RunRecord(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", source, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(NodeAlive, match="node n1 is already run by another worker on this machine"):
            RunRecord(path)
        other.kill()
    RunRecord(path).remove()


@pytest.mark.parametrize(
    "content",
    ["", '{"boot": "', "[]", "null", '{"boot": 1}', json.dumps({"boot": "another", "incarnation": "i", "groups": []})],
)
def test_a_record_that_says_nothing_of_now(path: Path, content: str) -> None:
    """Half written, or of an earlier start of the machine."""
    path.parent.mkdir()
    path.write_text(content)
    record = RunRecord(path)
    assert record.left is None
    record.remove()


def test_nodes_have_records_of_their_own() -> None:
    paths = {path_of("unix:///a", "ns", "n1"), path_of("unix:///b", "ns", "n1"), path_of("unix:///a", "ns", "n2")}
    assert len(paths) == 3


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "66"], start_new_session=True) as process:
        yield process
        process.kill()


def test_recorded_groups_are_killed(sleeper: subprocess.Popen[bytes]) -> None:
    kill_groups([(sleeper.pid, system.birth_of(sleeper.pid))], seconds=0)
    assert wait_for(sleeper.poll) == -9


@pytest.mark.skipif(not system.LINUX, reason="births of processes are not known")
def test_a_stranger_with_a_recorded_id_is_not(sleeper: subprocess.Popen[bytes]) -> None:
    assert kill_groups([(sleeper.pid, "123")]) == []
    assert sleeper.poll() is None


# -- texts ----------------------------------------------------------------------------------------


def test_a_long_error_keeps_its_beginning_and_its_end() -> None:
    text = errors_text.shorten("a" * 10_000 + "b" * 100_000 + "c" * 10_000)
    assert len(text) < errors_text.LIMIT + 100
    assert text.startswith("a" * 4000)
    assert text.endswith("c" * 10_000)
    assert "characters left out" in text
