"""The life of attempts, with children that the test plays."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
from dataclasses import replace
from typing import Any

import pytest

from rq_sched.model.orders import Resize
from rq_sched.model.output import LIMIT as OUTPUT_LIMIT
from rq_sched.model.resources import Resources
from rq_sched.model.signing import Signer
from rq_sched.model.values import MAX_PAYLOAD
from rq_sched.worker.agent.attempts import MOST_ASKED, Attempts, Ending
from rq_sched.worker.agent.faults import RECHECK
from rq_sched.worker.agent.pool import FAT, IDLE_SECONDS, Pool
from rq_sched.worker.frames import Word, pack
from tests.client.stepped import play
from tests.worker.played_children import (
    FakeChild,
    FakeWatcher,
    Scene,
    completed,
    in_loop,
)


@in_loop
async def test_a_child_is_used_again() -> None:
    s = Scene()
    s.start("k1")
    child = s.child("k1")
    s.says("k1", completed("k1"))
    s.start("k2")
    assert s.child("k2") is child
    assert s.outbox.outcomes == [("k1", "completed")]
    assert [frame[1] for frame in child.channel.sent] == ["k1", "k2"]


@in_loop
async def test_a_child_that_keeps_much_is_not_used_again() -> None:
    """Nobody pays for what others have left: 64 MB, or an eighth of what a large task was allowed."""
    s = Scene(idle=2)
    for kept, memory, again in ((FAT, 64, True), (FAT + 1, 64, False), (500, 4000, True), (501, 4000, False)):
        token = f"{kept}-{memory}"
        s.start(token, memory=memory)
        child = s.child(token)
        s.says(token, completed(token, kept=kept))
        assert (child in s.pool.idle) is again
        assert child.channel.closed is not again
        assert child.base == kept
        s.pool.idle = [FakeChild()]


@in_loop
async def test_the_same_order_twice_is_one_attempt() -> None:
    s = Scene(idle=2)
    s.attempts.start(order := s.start("k1"))
    s.says("k1", completed("k1"))
    s.attempts.start(order)
    assert s.outbox.outcomes == [("k1", "completed")]
    assert not s.attempts.all


@in_loop
async def test_what_has_ended_is_not_run_again_while_its_end_cannot_be_told() -> None:
    s = Scene()
    s.outbox.put_off.add("k1")
    s.start("k1")
    assert not s.attempts.all


@in_loop
async def test_who_waits_for_a_child_takes_the_first() -> None:
    s = Scene(idle=1)
    for token in ("k1", "k2", "k3"):
        s.start(token)
    assert s.pool.starting == 2
    s.says("k1", completed("k1"))
    assert s.child("k2")
    s.pool.starting -= 1
    late = FakeChild()
    s.attempts.ready(late)  # type: ignore[arg-type]
    assert s.child("k3") is late


@in_loop
async def test_a_child_that_died_idle_harms_nobody() -> None:
    s = Scene(idle=2)
    first, dead = s.pool.idle
    dead.channel.closed = True
    s.start()
    assert s.child() is first
    s.dies(dead)
    s.says("k1", completed("k1"))
    assert s.outbox.outcomes == [("k1", "completed")]


@in_loop
async def test_children_that_have_nothing_to_do_for_long_may_go() -> None:
    told: list[Any] = []
    loop = asyncio.get_running_loop()
    pool = Pool(loop, told.append, keep=1)
    s = Scene()
    Attempts(loop, pool, s.outbox, s.errands, 10.0)  # type: ignore[arg-type]
    theirs = []
    for number in (1, 2, 3):
        ours, other = socket.socketpair()
        other.setblocking(False)
        theirs.append(other)
        output, into = os.pipe()
        os.close(into)
        pool.forked(number, number, number, ours, output)
        pool.children[number].rested = loop.time() - IDLE_SECONDS + (-1 if number < 3 else 10)
    pool.trim()
    assert [theirs[0].recv(1), theirs[1].recv(1)] == [b"", b""]  # they notice, and end
    with pytest.raises(BlockingIOError):
        theirs[2].recv(1)
    for number in (1, 2):
        assert pool.exited(number, 0)
    child = pool.take()
    assert child is not None
    assert child.number == 3
    assert pool.take() is None
    assert pool.exited(3, 0)
    for sock in theirs:
        sock.close()


@in_loop
async def test_a_stop_is_confirmed_when_the_processes_are_gone() -> None:
    s = Scene()
    s.start()
    child = s.child()
    s.stop()
    assert child.signals == [signal.SIGTERM]
    s.says("k1", completed("k1"))  # it has heard, or was about to end anyway: its outcome is fenced
    assert child.signals == [signal.SIGTERM, signal.SIGKILL]
    assert not s.outbox.reports
    s.dies(child)
    assert s.outbox.outcomes == [("k1", "stopped")]


@in_loop
async def test_a_stop_without_grace() -> None:
    s = Scene()
    s.start()
    child = s.child()
    s.stop(grace=0)
    assert child.signals == [signal.SIGKILL]


@in_loop
async def test_a_stop_for_what_never_ran_here_is_confirmed_at_once() -> None:
    s = Scene(idle=0)
    s.stop("unknown")
    s.start("waits")
    s.stop("waits")
    s.start("fetches", payload=100)
    s.stop("fetches")
    assert s.outbox.outcomes == [("unknown", "stopped"), ("waits", "stopped"), ("fetches", "stopped")]
    assert [report.ran for report in s.outbox.reports] == [None] * 3
    s.attempts.launch(s.errands.fetched[0])  # its arguments come too late
    assert not s.attempts.all
    s.attempts.ready(child := FakeChild())  # type: ignore[arg-type]
    assert s.pool.idle == [child]


@in_loop
async def test_a_stop_for_what_was_reported_is_not_answered_again() -> None:
    s = Scene()
    s.start()
    s.says("k1", completed("k1"))
    s.stop()
    assert s.outbox.outcomes == [("k1", "completed")]


@in_loop
async def test_what_leaves_processes_behind_is_reported_when_they_are_gone() -> None:
    s = Scene()
    s.start()
    child = s.child()
    s.says("k1", completed("k1", "processes go on"))
    assert (child.signals, s.outbox.reports) == ([signal.SIGKILL], [])
    s.dies(child)
    assert s.outbox.outcomes == [("k1", "completed")]


@in_loop
async def test_a_death_that_we_did_not_cause_is_a_crash() -> None:
    s = Scene()
    s.start()
    s.dies(s.child(), signal.SIGSEGV)
    assert s.outbox.outcomes == [("k1", "crashed")]
    assert s.outbox.reports[0].error == "its process was killed by SIGSEGV"


@in_loop
async def test_everything_is_dropped_with_the_incarnation() -> None:
    s = Scene(idle=1)
    s.start("runs")
    s.start("waits")
    s.start("stops", payload=1)
    child = s.child("runs")
    s.stop("runs")
    s.attempts.stop_all(Ending.DROPPED, 0)
    assert list(s.attempts.all) == ["runs"]
    s.dies(child)
    assert s.attempts.empty.is_set()
    assert s.outbox.outcomes == []


@in_loop
async def test_an_agent_that_ends_begins_nothing() -> None:
    """What hasn't begun goes back once Redis knows that the node closes: before that, it would come again."""
    s = Scene(idle=1)
    s.start("runs")
    s.start("waits")
    s.attempts.closing = True
    s.start("comes")
    s.says("runs", completed("runs"))
    assert s.outbox.outcomes == [("runs", "completed")]
    s.attempts.return_waiting()
    s.start("late")
    assert s.outbox.outcomes[1:] == [("waits", "returned"), ("comes", "returned"), ("late", "returned")]
    assert s.attempts.empty.is_set()


@pytest.mark.parametrize("end", ["done", "exited"])
def test_what_was_printed_last_belongs_to_the_task(end: str) -> None:
    """Though the agent hasn't had time to look at the pipe."""

    async def scene() -> None:
        s = Scene()
        told: list[Any] = []
        pool = Pool(asyncio.get_running_loop(), told.append, keep=1)
        s.attempts = Attempts(asyncio.get_running_loop(), pool, s.outbox, s.errands, 10.0)  # type: ignore[arg-type]
        s.start()
        assert told == [(Word.FORK, 1)]
        ours, theirs = socket.socketpair()
        output, into = os.pipe()
        pool.forked(1, 1, 1, ours, output)
        os.write(into, b"x" * 50_000)
        pool.children[1].drain()
        os.write(into, b"x" * 20_000 + b"last words")
        if end == "done":
            s.attempts.said(pool.children[1], completed())
        else:
            pool.exited(1, signal.SIGKILL)
        (report,) = s.outbox.reports
        assert report.output.endswith(b"xlast words")
        mark, _, kept = report.output.partition(b"\n")
        assert mark.startswith(b"\x1erqs cut=")
        assert len(kept) == OUTPUT_LIMIT
        for child in pool.children.values():
            child.close()
        os.close(into)
        theirs.close()

    asyncio.run(scene())


@in_loop
async def test_a_stop_order_outweighs_our_own_reasons() -> None:
    s = Scene()
    s.start()
    child = s.child()
    s.stop()
    s.attempts.stop_all(Ending.RETURNED, 0)
    s.dies(child)
    assert s.outbox.outcomes == [("k1", "stopped")]


@in_loop
async def test_lost_arguments_are_a_failure() -> None:
    s = Scene()
    s.start(payload=100)
    s.attempts.cannot_launch(s.errands.fetched[0], "gone")
    assert s.outbox.outcomes == [("k1", "failed")]


@in_loop
async def test_results_of_others_come_before_it_begins_and_again_where_it_begins_again() -> None:
    s = Scene(idle=2)
    order = s.start(uses=True)
    results = {"prep": b"\x07"}
    for times in (1, 2):
        (attempt,) = s.attempts.all.values()
        assert (len(s.errands.fetched), attempt.child) == (times, None)
        attempt.results = dict(results)
        s.attempts.launch(attempt)
        assert s.child().channel.sent[-1][5] == (order.arguments, results)
        if times == 1:
            s.says("k1", [Word.NOT_BEGUN, "k1", ""])
    s.says("k1", completed())
    assert s.outbox.outcomes == [("k1", "completed")]


@in_loop
async def test_results_are_fetched_for_what_is_signed() -> None:
    s = Scene()
    s.attempts.signer = Signer("a key of at least 16 characters", "default")
    s.start(uses=True)
    assert s.errands.fetched == []
    assert s.outbox.outcomes == [("k1", "failed")]


@pytest.mark.parametrize(
    "frame",
    [
        [Word.DONE],
        [Word.DONE, "k1"],
        [Word.DONE, None, None, b"", None, None, "", 0],
        [Word.DONE, "k1", "poisonous", None, "text", None, "", 0],
        [Word.DONE, "k1", "oom", None, "text", None, "", 0],
        [Word.DONE, "k1", None, "text", None, None, "", 0],
        [Word.DONE, "k1", "error", None, None, None, "", 0],
        [Word.DONE, "k1", "exit_code", None, "text", True, "", 0],
        [Word.DONE, "k1", "exit_code", None, "text", 2**63, "", 0],
        [Word.DONE, "k1", "error", None, "x" * 100_000, None, "", 0],
        [Word.DONE, "k1", None, b"x" * (MAX_PAYLOAD + 1), None, None, "", 0],
        [Word.DONE, "k1", None, b"", None, 5, "", 0],
        [Word.DONE, "k1", None, b"", None, False, "", 0],
        [Word.DONE, "k1", None, b"", None, None, False, 0],
        [Word.DONE, "k1", None, b"", None, None, "", True],
        [Word.DONE, "k1", None, b"", None, None, "", -5],
        [Word.DONE, "k1", "error", None, "text", None, "", 2**40],
        [Word.PROGRESS, "k1", 2.0],
        [Word.PROGRESS, "k1", math.nan],
        [Word.PROGRESS, "k1", True],
        [Word.PROGRESS, "k1", "half"],
        [Word.RESIZE, "k1", 1.5, None],
        [Word.RESIZE, "k1", True, False],
        [Word.RESIZE, "k1", 0, None],
        [Word.RESIZE, "k1", None, -1],
        [Word.RESIZE, "k1", 2**63, None],
        [Word.RESIZE, "k1", None, 2**32],
        [Word.NOT_BEGUN],
        [Word.NOT_BEGUN, "k1", 5],
        [Word.SIGNAL, 1, 9],
        [Word.SIZE, 1, 64, True],
        [Word.RUN, "k1"],
        [99],
        [[]],
        # sound, but of another attempt
        [Word.DONE, "k0", None, b"\xc0", None, None, "", 0],
        [Word.PROGRESS, "k0", 0.5],
        [Word.RESIZE, "k0", 1, None],
        [Word.NOT_BEGUN, "k0", ""],
    ],
)
def test_forged_frames_end_the_child(frame: list[Any]) -> None:
    async def scene() -> None:
        s = Scene()
        s.start()
        child = s.child()
        s.says("k1", frame)
        assert child.signals == [signal.SIGKILL]
        s.dies(child)
        assert s.outbox.outcomes == [("k1", "crashed")]
        assert not s.outbox.progress
        assert not s.errands.resized

    asyncio.run(scene())


# -- who speaks for whom --------------------------------------------------------------------------


@in_loop
async def test_who_is_spoken_for_by_an_earlier_attempt_is_not_charged() -> None:
    """Something of that one has outlived it. Once: else a task that makes this up would be run for ever."""
    s = Scene(idle=1)
    s.start("k1")
    s.says("k1", completed("k1"))
    innocent = s.start("k2")
    child = s.child("k2")
    s.says("k2", completed("k1"))
    assert child.signals == [signal.SIGKILL]
    s.dies(child)
    assert s.outbox.outcomes == [("k1", "completed"), ("k2", "returned")]
    s.pool.put_back(FakeChild())
    s.attempts.start(again := replace(innocent, token="k3"))
    child = s.child("k3")
    s.says("k3", completed("k1"))
    s.dies(child)
    assert again.task_id == innocent.task_id
    assert s.outbox.outcomes[2:] == [("k3", "crashed")]


@in_loop
async def test_whoever_speaks_while_nothing_runs_is_ended() -> None:
    s = Scene(idle=1)
    (child,) = s.pool.idle
    s.attempts.said(child, completed("k1"))  # type: ignore[arg-type]
    assert child.signals == [signal.SIGKILL]
    assert s.pool.idle == []
    assert s.outbox.outcomes == []


@in_loop
async def test_wishes_without_end_are_a_forgery() -> None:
    s = Scene()
    s.start()
    for _ in range(MOST_ASKED):
        s.says("k1", [Word.RESIZE, "k1", 1, None])
    assert s.child().signals == []
    s.says("k1", [Word.RESIZE, "k1", 1, None])
    assert s.child().signals == [signal.SIGKILL]
    assert len(s.errands.resized) == MOST_ASKED


@in_loop
async def test_an_answer_makes_room_for_another_wish() -> None:
    s = Scene()
    s.start()
    for _ in range(3 * MOST_ASKED):
        s.says("k1", [Word.RESIZE, "k1", 1, None])
        attempt = s.attempts.all["k1"]
        s.attempts.allocations.changed(attempt, attempt.allocation, attempt.ordered, answer=True)
    assert s.child().signals == []


@in_loop
async def test_watchers_hear_of_whoever_has_fewer_cores() -> None:
    """Those that came after the attempts were set up."""
    s, watcher = Scene(), FakeWatcher()
    s.attempts.watchers.append(watcher)
    s.start()
    attempt = s.attempts.all["k1"]
    for number, cpu in ((2, 4), (3, 4), (4, 2), (1, 1)):
        s.attempts.resize(Resize(number, "k1", "task-k1", Resources(cpu, 64)))
    assert (attempt.allocation, watcher.heard) == (Resources(2, 64), ["shrunk"])
    assert [frame[1] for frame in s.child().channel.sent[1:]] == [4, 2]
    s.says("k1", completed())
    assert watcher.heard == ["shrunk", "over"]


# -- children that end before they begin ----------------------------------------------------------


@in_loop
async def test_a_child_that_was_told_to_stop_before_it_began_costs_nothing() -> None:
    s = Scene(idle=2)
    s.start()
    child = s.child()
    s.says("k1", [Word.NOT_BEGUN, "k1", ""])
    assert s.child() is not child
    assert child.signals == [signal.SIGKILL]
    s.dies(child)
    s.says("k1", completed())
    assert s.outbox.outcomes == [("k1", "completed")]


@in_loop
async def test_a_child_that_died_before_it_read_its_order_costs_nothing() -> None:
    s = Scene(idle=1)
    s.start()
    child = s.child()
    child.channel.unread = True
    s.dies(child)
    assert s.outbox.outcomes == []
    s.attempts.ready(FakeChild())  # type: ignore[arg-type]
    s.says("k1", completed())
    assert s.outbox.outcomes == [("k1", "completed")]


@in_loop
async def test_a_death_with_news_unread_is_a_crash_all_the_same() -> None:
    """What it hasn't read is that it got more, or less: few tasks look."""
    s = Scene(idle=1)
    s.start()
    s.attempts.resize(Resize(2, "k1", "task-k1", Resources(2, 64)))
    child = s.child()
    child.channel.unread = True
    s.dies(child, signal.SIGSEGV)
    assert s.outbox.outcomes == [("k1", "crashed")]


@pytest.mark.parametrize("token", ["", "k1"])
def test_a_node_that_cannot_run_tasks_looks_again_now_and_then(token: str) -> None:
    async def scene() -> None:
        s = Scene(idle=1)
        s.start()
        child = s.child()
        s.says("k1", [Word.NOT_BEGUN, token, "no such folder"])
        s.dies(child)
        assert (s.attempts.faults.text, s.pool.starting) == ("no such folder", 0)
        for delay in (RECHECK, 2 * RECHECK, 4 * RECHECK):
            await asyncio.sleep(0.7 * delay)
            assert s.pool.starting == 0, "not at once, or it would ask again and again"
            await asyncio.sleep(0.4 * delay)
            assert s.pool.starting == 1
            looks = s.comes(s.pool.asked)
            assert looks.channel.sent == [(Word.LOOK,)]
            s.attempts.said(looks, [Word.LOOKED, "", "still none"])  # type: ignore[arg-type]
            assert looks.channel.closed
        await asyncio.sleep(8 * RECHECK)
        s.attempts.said(looks := s.comes(s.pool.asked), [Word.LOOKED, "", ""])  # type: ignore[arg-type]
        assert s.child() is looks
        s.says("k1", completed())
        assert s.outbox.outcomes == [("k1", "completed")]
        assert s.attempts.faults.text == ""

    play(scene())


@in_loop
async def test_while_there_is_a_fault_nothing_begins_and_all_can_be_given_back() -> None:
    s = Scene(idle=3)
    s.start("k1")
    s.start("k2")
    s.says("k1", [Word.NOT_BEGUN, "k1", "no such folder"])
    s.start("k3")
    assert [s.attempts.all[token].child is None for token in ("k1", "k2", "k3")] == [True, False, True]
    s.says("k2", completed("k2"))
    assert s.attempts.all["k3"].child is None, "also when a child comes free"
    s.attempts.give_back()
    assert s.outbox.outcomes == [("k2", "completed"), ("k1", "returned"), ("k3", "returned")]
    s.start("k4")
    assert s.attempts.all["k4"].child is None


def test_a_child_that_can_t_be_had_and_one_that_dies_as_it_looks() -> None:
    async def scene() -> None:
        s = Scene(idle=0)
        s.start()
        s.attempts.fork_failed(s.pool.asked, "no processes")
        assert s.attempts.faults.text == "no processes"
        s.pool.starting = 0
        await asyncio.sleep(RECHECK)
        s.attempts.fork_failed(s.pool.asked, "no processes")
        s.pool.starting = 0
        await asyncio.sleep(2 * RECHECK)
        s.dies(s.comes(s.pool.asked))
        assert s.attempts.faults.text == "a child was killed by SIGKILL before it could begin a task"
        await asyncio.sleep(4 * RECHECK)
        assert s.pool.starting == 1

    play(scene())


@in_loop
async def test_children_that_die_before_they_begin_are_chance_and_then_a_fault() -> None:
    s = Scene(idle=4)
    s.start()
    for _ in range(2):
        s.child().channel.unread = True
        s.dies(s.child())
    assert s.attempts.faults.text == ""
    s.child().channel.unread = True
    s.dies(s.child())
    assert s.attempts.faults.text.startswith("children die before they begin a task")
    assert s.attempts.all["k1"].child is None


@pytest.mark.parametrize("begun", [True, False])
def test_last_words_count(begun: bool) -> None:
    """A child's death is heard of before what it has said: it had ended its task, or never read the order."""

    async def scene() -> None:
        s = Scene()
        pool = Pool(asyncio.get_running_loop(), lambda _: None, keep=1)
        s.attempts = Attempts(asyncio.get_running_loop(), pool, s.outbox, s.errands, 10.0)  # type: ignore[arg-type]
        s.start()
        ours, theirs = socket.socketpair()
        output, into = os.pipe()
        pool.forked(1, 1, 1, ours, output)
        if begun:
            assert theirs.recv(1000)
            theirs.sendall(pack(completed()))
        theirs.close()
        os.close(into)
        assert pool.exited(1, signal.SIGKILL)
        if begun:
            assert s.outbox.outcomes == [("k1", "completed")]
        else:
            assert s.outbox.outcomes == []
            assert list(s.attempts.all) == ["k1"]

    asyncio.run(scene())
