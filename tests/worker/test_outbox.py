"""What the agent tells Redis, and what becomes of what Redis refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from rq_sched.errors import InvalidValue, RedisRefused, RedisUnavailable, RqSchedError, Unreadable, WrongType
from rq_sched.store.answers import EndReport, Finished
from rq_sched.worker.agent.outbox import BATCH, BATCH_BYTES, START_AFTER, START_WITH, TRIES, Outbox
from tests.support import wait_for_async
from tests.worker.test_parts import FakeStore, start


class FakeSession:
    """Stands in for the session in front of a store: keeps reports, answers as told."""

    def __init__(self) -> None:
        self.batches: list[list[EndReport]] = []
        self.failures = 0
        self.starts: list[list[str]] | None = None
        """Those of each call; None: they are refused."""
        self.refuses: Callable[[EndReport], bool] = lambda report: False
        self.refusal: RqSchedError = InvalidValue("this report isn't one")
        self.go = asyncio.Event()
        self.go.set()

    async def ask(self, make: Any) -> Any:
        name, *positional, arguments = make("n1", "i1")
        starts = positional[-1] if name == "task_start" else arguments["starts"]
        if starts:
            if self.starts is None:
                raise WrongType("this record isn't ours")
            self.starts.append(starts)
        if name == "task_start":
            return len(starts)
        assert name == "task_finish"
        await self.go.wait()
        self.batches.append(arguments["reports"])
        if self.failures:
            self.failures -= 1
            raise RedisUnavailable("away")
        if any(map(self.refuses, arguments["reports"])):
            raise self.refusal
        return Finished(["recorded"] * len(arguments["reports"]), [])


def outbox_of(session: FakeSession) -> Outbox:
    return Outbox(session, FakeStore(), lambda: 0, lambda orders: None, lambda: ())  # type: ignore[arg-type]


def test_what_ends_while_a_report_is_under_way_forms_the_next() -> None:
    async def scene() -> None:
        session = FakeSession()
        outbox = outbox_of(session)
        running = asyncio.ensure_future(outbox.run())
        session.go.clear()
        outbox.add(EndReport("k0", "t0", "completed"))
        await asyncio.sleep(0.01)
        for n in range(1, 2 * BATCH):
            outbox.add(EndReport(f"k{n}", f"t{n}", "completed"))
        assert not outbox.empty.is_set()
        session.go.set()
        await asyncio.wait_for(outbox.empty.wait(), 5)
        running.cancel()
        assert [len(batch) for batch in session.batches] == [1, BATCH, BATCH - 1]
        tokens = [report.token for batch in session.batches for report in batch]
        assert tokens == [f"k{n}" for n in range(2 * BATCH)]

    asyncio.run(scene())


def test_what_could_not_be_sent_is_sent_again() -> None:
    async def scene() -> None:
        session = FakeSession()
        session.failures = 2
        outbox = outbox_of(session)
        running = asyncio.ensure_future(outbox.run())
        outbox.add(EndReport("k0", "t0", "completed"))
        await asyncio.wait_for(outbox.empty.wait(), 5)
        running.cancel()
        assert [[report.token for report in batch] for batch in session.batches] == [["k0"]] * 3

    asyncio.run(scene())


def told_by(session: FakeSession, *reports: EndReport, patience: float = 20) -> Outbox:
    """Tell these; the pauses between tries are short."""

    async def scene() -> Outbox:
        outbox = outbox_of(session)
        for report in reports:
            outbox.add(report)
        running = asyncio.ensure_future(outbox.run())
        await asyncio.wait_for(outbox.empty.wait(), patience)
        running.cancel()
        return outbox

    with mock.patch("rq_sched.worker.agent.outbox.backoff", return_value=0.001):
        return asyncio.run(scene())


def test_an_end_that_is_always_refused_is_told_without_its_result() -> None:
    session = FakeSession()
    session.refuses = lambda report: report.result == b"bad"
    reports = [EndReport(f"k{n}", f"t{n}", "completed", 0.1, result=b"bad" if n == 2 else b"ok") for n in range(5)]
    told_by(session, *reports)
    tried = [[report.token for report in batch] for batch in session.batches]
    assert tried[:TRIES] == [["k0", "k1", "k2", "k3", "k4"]] * TRIES
    one_by_one = [["k0"], ["k1"], *[["k2"]] * TRIES, [], ["k2"], ["k2"], ["k3"], ["k4"]]  # []: are ends taken?
    assert tried[TRIES:] == one_by_one
    cut = session.batches[-3][0]
    assert (cut.outcome, cut.reason, cut.result, cut.ran) == ("failed", "error", None, 0.1)
    assert cut.error == "it completed; Redis refused the report of this: this report isn't one"


@pytest.mark.parametrize("refusal", [Unreadable("x"), WrongType("x")])
def test_an_end_is_never_told_as_another_because_something_stored_cannot_be_read(refusal: RqSchedError) -> None:
    session = FakeSession()
    session.refusal = refusal
    session.refuses = lambda report: report.token == "k0"
    outbox = told_by(
        session, EndReport("k0", "t0", "completed", result=b"r", output=b"o"), EndReport("k1", "t1", "completed")
    )
    told = [report for batch in session.batches for report in batch]
    assert {(report.outcome, report.result) for report in told if report.token == "k0"} == {("completed", b"r")}
    assert [report.output for report in told if report.token == "k0"][-1] == b""
    assert told[-1].token == "k1"
    assert outbox.holds("k0")
    assert "k0" not in outbox.reported


def test_output_that_is_always_refused_costs_no_result() -> None:
    session = FakeSession()
    session.refuses = lambda report: report.output == b"bad"
    told_by(session, EndReport("k0", "t0", "completed", result=b"r", output=b"bad"))
    last = session.batches[-1][0]
    assert (last.outcome, last.result, last.output) == ("completed", b"r", b"")


def test_an_end_that_is_refused_in_any_form_keeps_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    session = FakeSession()
    session.refuses = lambda report: report.task_id == "t0"
    outbox = told_by(
        session, EndReport("k0", "t0", "stopped"), *(EndReport(f"k{n}", f"t{n}", "completed") for n in range(1, 4))
    )
    assert [report.token for batch in session.batches[-3:] for report in batch] == ["k1", "k2", "k3"]
    assert "until it can, the task counts as running" in caplog.text
    assert "k0" not in outbox.reported  # a stop order will be answered
    assert "k1" in outbox.reported
    assert outbox.holds("k0")  # it isn't given back at once, to be refused again
    assert not outbox.holds("k1")


def test_what_is_mended_between_two_tries_is_no_reason_to_put_off_an_end() -> None:
    """Refused again and again, and taken when it is looked whether Redis takes ends at all."""
    session = FakeSession()
    session.refusal = WrongType("the list of orders is a hash")
    session.refuses = lambda report: [] not in session.batches
    outbox = told_by(session, EndReport("k0", "t0", "completed", result=b"r", output=b"o"))
    assert (session.batches[-1][0].result, session.batches[-1][0].output) == (b"r", b"o")
    assert not outbox.gave_up("k0")
    assert "k0" in outbox.reported


def put_off(session: FakeSession, then: Callable[[Outbox], Awaitable[object]]) -> None:
    """An end that can't be told for now, and what happens then."""

    async def scene() -> None:
        outbox = outbox_of(session)
        running = asyncio.ensure_future(outbox.run())
        session.refuses = lambda report: report.token == "k0"
        session.refusal = Unreadable("a record")
        outbox.add(EndReport("k0", "t0", "completed", result=b"r"))
        await asyncio.wait_for(outbox.empty.wait(), 20)
        assert outbox.gave_up("k0")
        await then(outbox)
        running.cancel()

    with (
        mock.patch("rq_sched.worker.agent.outbox.backoff", return_value=0.001),
        mock.patch("rq_sched.worker.agent.outbox.AGAIN_FIRST", 0.01),
    ):
        asyncio.run(scene())


def test_an_end_that_was_put_off_is_told_when_redis_takes_it() -> None:
    session = FakeSession()

    async def then(outbox: Outbox) -> None:
        tried = len(session.batches)
        await wait_for_async(lambda: len(session.batches) >= tried + 2)  # nothing else has to be told for that
        session.refuses = lambda report: False
        await wait_for_async(lambda: not outbox.gave_up("k0"))
        assert "k0" in outbox.reported  # the same order again wouldn't run it again
        told = len(session.batches)
        await asyncio.sleep(0.1)
        assert len(session.batches) == told

    put_off(session, then)
    assert session.batches[-1] == [EndReport("k0", "t0", "completed", result=b"r")]


def test_a_stop_takes_the_place_of_an_end_that_was_put_off() -> None:
    session = FakeSession()

    async def then(outbox: Outbox) -> None:
        session.refuses = lambda report: report.outcome == "completed"
        outbox.add(EndReport("k0", "t0", "stopped"))
        await asyncio.wait_for(outbox.empty.wait(), 20)
        assert not outbox.gave_up("k0")

    put_off(session, then)
    assert session.batches[-1] == [EndReport("k0", "t0", "stopped")]


def test_ends_that_are_put_off_are_bounded() -> None:
    session = FakeSession()
    session.refusal = Unreadable("a record")
    session.refuses = lambda report: True
    with mock.patch("rq_sched.worker.agent.outbox.MOST_PUT_OFF", 2):
        outbox = told_by(session, *(EndReport(f"k{n}", f"t{n}", "completed") for n in range(4)))
    assert [outbox.gave_up(f"k{n}") for n in range(4)] == [False, False, True, True]


def test_while_redis_takes_no_ends_at_all_they_are_kept() -> None:
    session = FakeSession()
    left = [7 * TRIES]

    def refuses(report: EndReport) -> bool:
        left[0] -= 1
        return left[0] > 0

    session.refuses = refuses
    failed_before = session.failures
    ask = session.ask

    async def nothing_either(make: Any) -> Any:
        if left[0] > 0 and not make("n1", "i1")[-1].get("reports", True):
            raise RedisRefused("no permission")
        return await ask(make)

    session.ask = nothing_either  # type: ignore[method-assign]
    told_by(session, EndReport("k0", "t0", "completed", result=b"r"))
    assert session.failures == failed_before
    assert session.batches[-1][0].result == b"r"


def test_starts_that_are_always_refused_keep_nothing_from_going_on() -> None:
    session = FakeSession()
    launched: list[Any] = []
    attempt = SimpleNamespace(order=start(1), start_reported=False, begun=0.0)

    async def scene() -> None:
        outbox = Outbox(session, FakeStore(), lambda: 0, lambda orders: None, lambda: (), launch=launched.append)  # type: ignore
        running = asyncio.ensure_future(outbox.run())
        outbox.tell_start(attempt)  # type: ignore[arg-type]
        outbox.add(EndReport("k9", "t9", "completed"))
        await asyncio.wait_for(outbox.empty.wait(), 20)
        running.cancel()
        assert outbox.gave_up(attempt.order.token)  # it isn't told again at once

    with mock.patch("rq_sched.worker.agent.outbox.backoff", return_value=0.001):
        asyncio.run(scene())
    assert [report.token for batch in session.batches for report in batch] == ["k9"]
    assert launched == [attempt]


def test_starts_go_with_ends_and_wait_for_them_where_ends_come_often() -> None:
    session = FakeSession()
    told: list[list[str]] = []
    session.starts = told

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time() - 2 * START_AFTER
        attempts = [
            SimpleNamespace(order=start(n), start_reported=False, begun=begun, child=True, lasts=False, output=b"")
            for n in range(3)
        ]
        outbox = Outbox(session, FakeStore(), lambda: 0, lambda orders: None, lambda: attempts[:shown])  # type: ignore
        running = asyncio.ensure_future(outbox.run())
        shown = 1
        outbox.watch()
        await wait_for_async(lambda: len(told) == 1)  # no end was told lately: it goes alone, and at once
        assert not session.batches
        outbox.add(EndReport("k8", "t8", "completed"))
        await asyncio.wait_for(outbox.empty.wait(), 5)
        shown = 2
        await wait_for_async(lambda: attempts[1].start_reported)
        assert outbox.on_its_way
        assert len(told) == 1
        outbox.add(EndReport("k9", "t9", "completed"))
        await asyncio.wait_for(outbox.empty.wait(), 5)
        assert len(session.batches) == 2
        assert len(told) == 2
        shown, since = 3, loop.time()
        await wait_for_async(lambda: len(told) == 3)  # no end comes
        assert START_WITH / 2 < loop.time() - since < 10 * START_WITH
        assert len(session.batches) == 2
        running.cancel()

    asyncio.run(scene())
    assert [[token.partition(":")[0] for token in starts] for starts in told] == [["k0"], ["k1"], ["k2"]]
    assert all(int(token.partition(":")[2]) >= 2000 * START_AFTER for starts in told for token in starts)


def test_a_batch_is_bounded_in_bytes() -> None:
    async def scene() -> None:
        session = FakeSession()
        outbox = outbox_of(session)
        for n in range(5):
            outbox.add(EndReport(f"k{n}", f"t{n}", "completed", result=b"x" * (BATCH_BYTES // 2)))
        running = asyncio.ensure_future(outbox.run())
        await asyncio.wait_for(outbox.empty.wait(), 5)
        running.cancel()
        assert [len(batch) for batch in session.batches] == [2, 2, 1]

    asyncio.run(scene())
