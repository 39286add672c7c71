"""The flows, with every answer given by hand: what is done when doorbells are lost and connections break."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from rq_sched.client.flows import Flows
from rq_sched.client.steps import (
    Emit,
    Flow,
    Hear,
    Listen,
    ListenAlready,
    ListenOn,
    Pause,
    Run,
    Step,
    TakeOver,
    Waiting,
    batches,
    last,
    read_notification,
)
from rq_sched.errors import (
    ClientBusy,
    RedisFull,
    RedisUnavailable,
    ServerTooOld,
    TaskFailed,
    TaskNotFound,
    UnreadableValue,
    WaitTimeout,
)
from rq_sched.model.states import CancelOutcome, State
from rq_sched.model.task import TaskRequest
from rq_sched.process.backoff import backoff
from rq_sched.store.answers import Cancelled
from rq_sched.store.keys import Keys

AWAY = RedisUnavailable("away")


class FakeStore:
    """Its operations are their own names and arguments: ``("states", ["t1"])``."""

    def __init__(self) -> None:
        self.keys = Keys("n")

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: (name, *args, *([kwargs] if kwargs else []))


class Play:
    """Plays a flow: ``expect`` looks at the step that the flow is at, and answers it. Steps without news are passed."""

    def __init__(self, make: Callable[[Flows], Flow[Any]], poll: float = 1.0, met: bool = True) -> None:
        self.now = 0.0
        flows = Flows(FakeStore(), clock=lambda: self.now, poll=poll)  # type: ignore[arg-type]
        flows.met = lambda: met
        self.emitted: list[Any] = []
        self.ended = False
        self._flow = last(make(flows))
        self._go(lambda: next(self._flow))

    def _go(self, advance: Callable[[], Step]) -> None:
        try:
            self.step = advance()
            while isinstance(self.step, Emit):
                if self.step.value:
                    self.emitted.append(self.step.value)
                self.step = next(self._flow)
        except StopIteration:
            self.ended = True

    def expect(self, kind: type[Step], what: Any = None, *, answer: Any = None, after: float = 0.0) -> Play:
        assert not self.ended, f"expected {kind.__name__}, but it has ended"
        assert isinstance(self.step, kind), self.step
        value: Any = next((getattr(self.step, name) for name in self.step.__slots__), None)
        if what is not None:
            assert value == what
        if isinstance(self.step, (Hear, Pause)):
            assert after <= value + 1e-9, "answered later than it waits"
        self.now += after
        if isinstance(answer, Exception):
            self._go(lambda: self._flow.throw(answer))
        else:
            self._go(lambda: self._flow.send(answer))
        return self


def test_what_has_ended_already_needs_no_listening() -> None:
    play = Play(lambda flows: flows.as_completed(["a", "b"], None))
    play.expect(Run, ("states", ["a", "b"]), answer=[State.COMPLETED, State.FAILED])
    assert play.ended
    assert play.emitted == [[("a", State.COMPLETED), ("b", State.FAILED)]]


def test_it_listens_before_it_asks_to_be_told() -> None:
    play = Play(lambda flows: flows.as_completed(["a", "b", "c"], None))
    play.expect(Run, ("states", ["a", "b", "c"]), answer=[State.PENDING, State.RUNNING, State.COMPLETED])
    play.expect(Listen, answer="c1")
    play.expect(Run, ("watch", ["a", "b"], "c1"), answer=[State.PENDING, State.COMPLETED])
    play.expect(Hear, answer=b"x completed a cancelled")
    assert play.ended
    assert play.emitted == [[("c", State.COMPLETED)], [("b", State.COMPLETED)], [("a", State.CANCELLED)]]


def asking(timeout: float | None = None, met: bool = True) -> Play:
    """A flow that asks for the result of ``t``, of whose end this client isn't told yet."""
    return Play(lambda flows: flows.result("t", timeout), met=met).expect(TakeOver, "t")


def told(timeout: float | None = None) -> Play:
    """A flow that asks for the result of ``t``, whose submit has told this client's channel."""
    return Play(lambda flows: flows.result("t", timeout)).expect(TakeOver, "t", answer=True)


def listening(task_ids: list[str], timeout: float | None = None) -> Play:
    """A flow that waits for these tasks, and hears."""
    pending = [State.PENDING] * len(task_ids)
    play = Play(lambda flows: flows.as_completed(task_ids, timeout))
    return play.expect(Run, answer=pending).expect(Listen).expect(Run, answer=pending)


def test_a_lost_doorbell_is_made_up_for() -> None:
    play = listening(["a"])
    play.expect(Hear, 1.0, after=1.0)
    play.expect(Run, ("states", ["a"]), answer=[State.RUNNING])
    play.expect(Hear, 1.0, after=1.0)
    play.expect(Run, ("states", ["a"]), answer=[State.COMPLETED])
    assert play.ended
    assert play.emitted == [[("a", State.COMPLETED)]]


def test_many_other_doorbells_dont_keep_it_from_looking() -> None:
    play = listening(["a", "b", "c"])
    play.expect(Hear, 1.0, answer=b"a completed", after=0.6)
    play.expect(Hear, 0.4, answer=b"b completed", after=0.4)
    play.expect(Run, ("states", ["c"]), answer=[State.COMPLETED])
    assert play.ended


def test_a_lost_connection_is_waited_out_and_everything_open_watched_again(caplog: pytest.LogCaptureFixture) -> None:
    play = listening(["a", "b"])
    play.expect(Hear, answer=b"a completed")
    play.expect(Hear, answer=AWAY)
    play.expect(Pause, backoff(0, most=1.0, jitter=False), after=backoff(0, most=1.0, jitter=False))
    play.expect(Listen, answer=AWAY)
    play.expect(Pause, backoff(1, most=1.0, jitter=False), after=backoff(1, most=1.0, jitter=False))
    play.expect(Listen)
    play.expect(Run, answer=AWAY)
    play.expect(Pause, backoff(2, most=1.0, jitter=False), after=backoff(2, most=1.0, jitter=False))
    play.expect(Listen)
    assert isinstance(play.step, Run)
    assert play.step.op[:2] == ("watch", ["b"])  # type: ignore[index]
    play.expect(Run, answer=[State.COMPLETED])
    assert play.ended
    assert [record.message for record in caplog.records] == ["waiting for Redis: away"]


def test_the_time_is_up_also_while_redis_is_away() -> None:
    play = listening(["a"], timeout=0.08)
    play.expect(Hear, 0.08, answer=AWAY)
    play.expect(Pause, 0.05, after=0.05)
    play.expect(Listen, answer=AWAY)
    with pytest.raises(WaitTimeout, match=r"not ended within 0.08 s: a"):
        play.expect(Pause, answer=None, after=0.03)


def test_what_wont_come_back_isnt_waited_for() -> None:
    for error in (ServerTooOld("old"), RedisFull("full")):
        with pytest.raises(type(error)):
            listening(["a"]).expect(Hear, answer=error)


def test_the_first_question_is_repeated_only_where_redis_was_there_before() -> None:
    def waiting(met: bool) -> Play:
        return Play(lambda flows: flows.as_completed(["a"], None), met=met)

    def resulting(met: bool) -> Play:
        return asking(10, met)

    for begin in (waiting, resulting):
        with pytest.raises(RedisUnavailable):
            begin(False).expect(Run, answer=AWAY)
        begin(True).expect(Run, answer=AWAY).expect(Pause).expect(Run, answer=AWAY).expect(Pause)


def test_a_busy_client_is_waited_for_as_long_as_the_caller_has_time() -> None:
    assert isinstance(step := asking(10).step, Run)
    assert step.within == 10
    with pytest.raises(WaitTimeout, match="all 3 connections"):
        asking(0).expect(Run, answer=ClientBusy("all 3 connections are in use"))


def test_what_has_ended_is_told_before_what_isnt_there() -> None:
    play = Play(lambda flows: flows.as_completed(["a", "b", "c"], None))
    with pytest.raises(TaskNotFound, match="no task b"):
        play.expect(Run, answer=[State.COMPLETED, None, State.FAILED])
    assert play.emitted == [[("a", State.COMPLETED), ("c", State.FAILED)]]


def test_a_result_that_is_dropped_before_it_was_read_says_what_to_set() -> None:
    play = asking().expect(Run, answer=info(State.RUNNING))
    play.expect(Listen).expect(Run, answer=[State.RUNNING]).expect(Hear, answer=b"t completed")
    with pytest.raises(TaskNotFound, match="rq-sched settings keep_tasks"):
        play.expect(Run, answer=TaskNotFound("no task t"))


def test_an_error_names_three_and_counts_the_others() -> None:
    play = listening(["a", "b", "c", "d", "e"], timeout=1)
    play.expect(Hear, 1.0, answer=b"b completed", after=0.5)
    play.expect(Hear, 0.5, after=0.5)
    with pytest.raises(WaitTimeout, match="not ended within 1 s: a, c, d and 1 more"):
        play.expect(Run, answer=[State.PENDING] * 4)


def test_a_task_that_is_forgotten_meanwhile_is_not_found() -> None:
    play = listening(["a"]).expect(Hear, after=1.0)
    with pytest.raises(TaskNotFound, match="task a ended and was forgotten .* keep_tasks"):
        play.expect(Run, answer=[None])


def info(state: State, **more: Any) -> SimpleNamespace:
    return SimpleNamespace(
        **{
            "task_id": "t",
            "state": state,
            "result": 42,
            "reason": "error",
            "error": "sad",
            "attempt": 1,
            "exit_code": None,
            "node_id": "n1",
        }
        | more
    )


def test_a_result_that_is_there_takes_one_question() -> None:
    play = asking().expect(Run, ("result", "t"), answer=info(State.COMPLETED))
    assert play.emitted == [42]


def test_a_task_that_was_requeued_before_we_looked_is_waited_for_again() -> None:
    play = asking().expect(Run, answer=info(State.RUNNING))
    play.expect(Listen).expect(Run, answer=[State.RUNNING]).expect(Hear, answer=b"t failed")
    play.expect(Run, ("result", "t"), answer=info(State.PENDING))
    play.expect(Listen).expect(Run, answer=[State.COMPLETED])
    play.expect(Run, answer=AWAY).expect(Pause).expect(Run, answer=info(State.COMPLETED))
    assert play.emitted[-1] == 42


def test_a_result_that_comes_with_the_news_takes_no_question() -> None:
    play = told().expect(Hear, 1.0, answer=b"other completed:1\n\x01", after=0.5)
    play.expect(Hear, 0.5, answer=b"t completed:2\n\xcc\xff")
    assert (play.ended, play.emitted[-1]) == (True, 255)
    play = asking().expect(Run, answer=info(State.RUNNING)).expect(Listen).expect(Run, answer=[State.RUNNING])
    play.expect(Hear, answer=b"t completed:1\n\xc0")
    assert play.ended
    with pytest.raises(UnreadableValue, match="the result of task t can't be read"):
        told().expect(Hear, answer=b"t completed:1\n\xc1")


def test_where_it_does_not_come_one_question_is_enough() -> None:
    play = told().expect(Hear, answer=b"t completed").expect(Run, ("result", "t"), answer=info(State.COMPLETED))
    assert play.emitted[-1] == 42
    with pytest.raises(TaskFailed, match="sad"):
        told().expect(Hear, answer=b"t failed").expect(Run, answer=info(State.FAILED))
    with pytest.raises(TaskNotFound, match="keep_tasks"):
        told().expect(Hear, answer=b"t completed").expect(Run, answer=TaskNotFound("no task t"))


def test_news_that_is_lost_is_made_up_for() -> None:
    play = told().expect(Hear, 1.0, after=1.0).expect(Run, ("states", ["t"]), answer=[State.COMPLETED])
    play.expect(Run, ("result", "t"), answer=info(State.COMPLETED))
    assert play.emitted[-1] == 42
    play = told().expect(Hear, answer=AWAY).expect(Run, ("result", "t"), answer=info(State.RUNNING))
    play.expect(Listen).expect(Run, answer=[State.RUNNING]).expect(Hear, answer=b"t completed:1\n\x07")
    assert play.emitted[-1] == 7


def test_who_only_looks_is_answered_at_once() -> None:
    assert told(0).expect(Run, ("result", "t"), answer=info(State.COMPLETED)).emitted == [42]
    with pytest.raises(WaitTimeout):
        told(0).expect(Run, ("result", "t"), answer=info(State.RUNNING))


def test_a_submit_is_told_where_this_client_listens_already() -> None:
    request = TaskRequest("m:f", task_id="t").check()
    submit = lambda flows: flows.submit(request)  # noqa: E731
    play = Play(submit).expect(ListenAlready, answer="c1")
    play.expect(Run, ("submit", [request], {"watch": "c1"}), answer=["new"]).expect(ListenOn, "t")
    assert play.emitted == ["t"]
    play = Play(submit).expect(ListenAlready, answer="c1").expect(Run, answer=["same"])
    assert (play.ended, play.emitted) == (True, ["t"])  # told is whoever submitted it first
    play = Play(submit).expect(ListenAlready).expect(Run, ("submit", [request], {"watch": None}), answer=["new"])
    assert (play.ended, play.emitted) == (True, ["t"])


def test_how_a_result_fails() -> None:
    for state, said in ((State.FAILED, r"task t failed \(error\): sad"), (State.CANCELLED, "task t was cancelled")):
        with pytest.raises(TaskFailed, match=said):
            asking().expect(Run, answer=info(state))


STOPPING = Cancelled(CancelOutcome.STOPPING, State.RUNNING, 3)


def cancelling(requeue: bool = False, grace: float = 2.0) -> Play:
    play = Play(lambda flows: flows.cancel("t", requeue, grace, None, True))
    return play.expect(Run, answer=[STOPPING])


@pytest.mark.parametrize(
    ("state", "attempt", "outcome"),
    [
        (State.CANCELLED, 3, "cancelled"),
        (State.PENDING, 3, "requeued"),
        (State.RUNNING, 4, "requeued"),
        (State.FAILED, 3, "already failed"),
    ],
)
def test_cancel_waits_until_the_processes_are_gone(state: State, attempt: int, outcome: str) -> None:
    play = cancelling()
    for _ in range(3):
        play.expect(Pause, after=0.01).expect(Run, ("status", ["t"]), answer=[info(State.RUNNING, attempt=3)])
    play.expect(Pause).expect(Run, answer=AWAY).expect(Pause)
    play.expect(Run, answer=[info(state, attempt=attempt)])
    assert play.emitted == [Cancelled(CancelOutcome(outcome), state, attempt=3)]


@pytest.mark.parametrize(("requeue", "outcome"), [(True, "requeued"), (False, "cancelled")])
def test_what_was_forgotten_since_the_cancel_has_ended(requeue: bool, outcome: str) -> None:
    play = cancelling(requeue).expect(Pause).expect(Run, answer=[None])
    assert play.emitted == [Cancelled(CancelOutcome(outcome), State.CANCELLED, 3)]


def test_many_are_cancelled_first_and_then_waited_for_together() -> None:
    array = Cancelled(CancelOutcome.REQUEUED, State.PENDING, 0, {"all/1": 2, "all/2": 1})
    absent = TaskNotFound.of("absent")
    play = Play(lambda flows: flows.cancel_many(["t", "all", "absent", "t", "all/2"], True, 2.0, None, True))
    play.expect(Run, answer=[STOPPING, array, absent, replace(STOPPING, attempt=1)])
    open_ids = ["t", "all/2", "all/1"]
    play.expect(Pause).expect(Run, ("status", open_ids), answer=[info(State.RUNNING, attempt=n) for n in (3, 1, 3)])
    play.expect(Pause).expect(Run, ("status", ["t", "all/2"]), answer=[info(State.PENDING, attempt=3), None])
    assert list(play.emitted[0].items()) == [
        ("t", Cancelled(CancelOutcome.REQUEUED, State.PENDING, 3)),
        ("all", array),
        ("absent", absent),
        ("all/2", Cancelled(CancelOutcome.REQUEUED, State.CANCELLED, 1)),
        ("all/1", Cancelled(CancelOutcome.REQUEUED, State.RUNNING, 2)),
    ]


def test_cancel_waits_for_the_grace_and_five_seconds() -> None:
    play = cancelling(grace=2.0)
    while not play.ended:
        assert isinstance(play.step, Pause)
        play.expect(Pause, after=play.step.seconds)
        if not play.ended:
            play.expect(Run, answer=[info(State.RUNNING, attempt=3)])
    assert play.now == pytest.approx(7.0)
    assert play.emitted == [STOPPING]


def test_cancel_without_waiting() -> None:
    play = Play(lambda flows: flows.cancel("t", True, 1, None, False)).expect(Run, answer=[STOPPING])
    assert play.emitted == [STOPPING]


def test_following_events_goes_on_after_a_lost_connection() -> None:
    def event(number: int, task_id: str = "t") -> SimpleNamespace:
        return SimpleNamespace(id=f"{number}-0", task_id=task_id, node_id=None)

    play = Play(lambda flows: flows.events("t", None, None, True))
    play.expect(Run, ("events", {"newest": True, "limit": 1}), answer=[event(7)])
    play.expect(Run, ("events_follow", "7-0", 1000), answer=[event(8), event(9, "other")])
    play.expect(Run, ("events_follow", "9-0", 1000), answer=[])
    play.expect(Run, ("events_follow", "9-0", 1000), answer=AWAY).expect(Pause)
    play.expect(Run, ("events_follow", "9-0", 1000), answer=[event(10)])
    assert [[e.id for e in batch] for batch in play.emitted] == [["8-0"], ["10-0"]]


# -- the parts --------------------------------------------------------------------------------------


def test_batches() -> None:
    assert list(batches(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(batches([], 2)) == []


def test_what_a_doorbell_says() -> None:
    ended = [("a", State.COMPLETED), ("b", State.FAILED)]
    assert read_notification(b"a completed b failed") == (ended, {})
    assert read_notification(b"a completed:3 b failed\n\x92\n\x07") == (ended, {"a": b"\x92\n\x07"})
    two = read_notification(b"a completed:1 c completed:2\n\x07\xcc\xff")
    assert two[1] == {"a": b"\x07", "c": b"\xcc\xff"}
    for nothing in (b"", b"a", b"a nowhere", b"a completed:x\n\x07", b"\xff completed", b"\n", b"a completed b"):
        assert read_notification(nothing) == ([], {}), nothing


def test_waiting_looks_at_all_in_turn() -> None:
    waiting = Waiting(f"t{n}" for n in range(2500))
    seen = [task_id for _ in range(3) for task_id in waiting.next_batch()]
    assert len(seen) == 3000
    assert set(seen) == {f"t{n}" for n in range(2500)}
    assert len(waiting) == 2500


def test_back_off_grows_to_a_second() -> None:
    assert [backoff(n, most=1.0, jitter=False) for n in (0, 1, 2, 5, 100)] == [0.05, 0.1, 0.2, 1.0, 1.0]
