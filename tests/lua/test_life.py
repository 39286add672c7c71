"""The life of a task as stories on the scripts."""

from __future__ import annotations

from typing import Any

import pytest

from bench.common import asked
from rq_sched.errors import StaleIncarnation, TaskFinal, TaskNotFound, UsageError, WrongState
from rq_sched.model.output import Cut, Reader, StreamMark, length_of, stream_mark
from rq_sched.model.states import State
from rq_sched.model.task import TaskRequest
from rq_sched.store import Store
from rq_sched.store.parts import REQUEST
from tests.lua.cell import Cell


def test_submit_place_start_finish(cell: Cell) -> None:
    cell.node("a", 4, 1024)
    assert cell.submit("t", cpu=3, memory=200, args=[1]) == ["new"]
    assert cell.place() == 1
    assert cell.free("a") == (1, 824)
    start = cell.starts("a")["t"]
    assert (start.attempt, start.function, start.allocation) == (1, "m:f", (3, 200))
    assert cell.state("t") == State.ASSIGNED
    assert cell.started("a", start) == 1
    assert cell.state("t") == State.RUNNING
    assert cell.finish("a", start, result=b"\x07") == ("recorded", {})
    info = cell.info("t")
    assert (info.state, info.result, info.node_id, info.attempt) == (State.COMPLETED, 7, "a", 1)
    assert cell.free("a") == (4, 1024)


def test_the_same_request_again_is_the_same_task(cell: Cell) -> None:
    assert cell.submit("t", args=[1]) == ["new"]
    assert cell.submit("t", args=[1]) == ["same"]
    assert cell.submit("t", args=[2]) == ["conflict"]
    assert cell.info("t").args == [1]


def test_twice_in_one_batch_is_one_task(cell: Cell) -> None:
    assert cell.submit("t", "t") == ["new", "same"]


def test_long_arguments_and_results_lie_apart(cell: Cell) -> None:
    cell.node("a")
    cell.submit("t", args=["x" * 500])
    cell.place()
    start = cell.starts("a")["t"]
    assert start.payload_bytes > 500
    assert start.arguments == b""
    assert cell.info("t").args == ["x" * 500]
    cell.finish("a", start, result=b"\xda\x01\xf4" + b"y" * 500)
    assert cell.info("t").result == "y" * 500


def test_an_end_refills_the_node_in_the_same_call(cell: Cell) -> None:
    cell.node("a", 1, 1024)
    cell.submit("t1", "t2")
    cell.place()
    outcome, starts = cell.finish("a", cell.starts("a")["t1"])
    assert outcome == "recorded"
    assert list(starts) == ["t2"]


@pytest.mark.parametrize("options", [{}, {"retries": 3, "priority": 2, "time_limit": 9.0, "name": "n"}])
def test_a_request_that_changes_keeps_its_lines_in_their_order(cell: Cell, options: dict[str, Any]) -> None:
    """Scripts write it anew with what they add: a plain one, and one with rare lines."""

    def lines() -> list[str]:
        (text,) = cell.run(asked(("GET", cell.store.keys.task("t"))))
        return str(text, "latin-1").split("\n")

    cell.node("a", 1, 1024)
    cell.submit("t", **options)
    cell.place()
    before = lines()
    cell.finish("a", cell.starts("a")["t"], "crashed")
    after = lines()
    assert set(after) - set(before) == {"crashes=1", "attempts=1"}
    assert len(after) == len(before) + 2
    names = [line.partition("=")[0] for line in after]
    assert names == sorted(names, key=list(REQUEST).index)


def test_order_is_priority_then_arrival(cell: Cell) -> None:
    cell.node("a", 1, 1024)
    cell.submit("low1", priority=-1)
    cell.submit("mid1")
    cell.submit("high1", priority=5, memory=300)
    cell.submit("mid2", memory=300)
    cell.submit("high2", priority=5)
    cell.submit("low2", priority=-1)
    cell.place()
    ran = []
    starts = cell.starts("a")
    while starts:
        ((task_id, start),) = starts.items()
        ran.append(task_id)
        _, starts = cell.finish("a", start)
    assert ran == ["high1", "high2", "mid1", "mid2", "low1", "low2"]


def test_a_blocked_task_lets_a_later_one_pass_only_where_it_does_not_fit(cell: Cell) -> None:
    cell.node("a", 4, 1024)
    cell.submit("big", cpu=3)
    cell.submit("wide", cpu=3)
    cell.submit("small", cpu=1)
    assert cell.place() == 2
    assert set(cell.starts("a")) == {"big", "small"}
    assert cell.info("wide").reason == "no_fit_now"


def test_infeasible_blocks_nobody_and_runs_when_a_node_fits(cell: Cell) -> None:
    cell.node("a", 2, 1024)
    cell.submit("huge", cpu=64, priority=9)
    cell.submit("t")
    assert cell.place() == 1
    assert cell.info("huge").reason == "infeasible"
    assert [task.reason for task in cell.run(cell.store.list_tasks(state="pending")).tasks] == ["infeasible"]
    cell.node("b", 64, 1024)
    assert cell.place() == 1
    assert list(cell.starts("b")) == ["huge"]


def test_a_failure_is_retried_after_a_back_off(cell: Cell) -> None:
    cell.node("a")
    cell.submit("t", retries=1)
    cell.place()
    start = cell.starts("a")["t"]
    cell.started("a", start)
    cell.finish("a", start, "failed", reason="error", error="boom")
    info = cell.info("t")
    assert (info.state, info.reason, info.retries_left, info.error) == (State.DELAYED, "retry", 0, "boom")
    cell.now += 1000
    assert cell.run(cell.store.promote()).promoted == 1
    cell.place()
    start = cell.starts("a")["t"]
    assert start.attempt == 2
    cell.finish("a", start, "failed", reason="error", error="boom again " * 10)
    info = cell.info("t")
    assert (info.state, info.reason, info.error) == (State.FAILED, "error", "boom again " * 10)


def test_a_success_after_a_failure_leaves_no_error(cell: Cell) -> None:
    cell.node("a")
    cell.submit("t", retries=1)
    cell.place()
    cell.finish("a", cell.starts("a")["t"], "failed", reason="error", error="long " * 50)
    cell.now += 1000
    cell.run(cell.store.promote())
    cell.place()
    cell.finish("a", cell.starts("a")["t"], result=b"\x01")
    info = cell.info("t")
    assert (info.state, info.result, info.error, info.reason) == (State.COMPLETED, 1, None, None)


@pytest.mark.parametrize("reason", ["not_found", "not_allowed", "unsendable"])
def test_what_cannot_run_is_not_retried(cell: Cell, reason: str) -> None:
    cell.node("a")
    cell.submit("t", retries=5)
    cell.place()
    cell.finish("a", cell.starts("a")["t"], "failed", reason=reason, error="no")
    assert cell.info("t").reason == reason
    assert cell.state("t") == State.FAILED


def test_crashes_are_counted_apart_and_end_as_poison(cell: Cell) -> None:
    cell.node("a")
    cell.submit("t", retries=7)
    for crash in (1, 2, 3):
        cell.place()
        outcome, again = cell.finish("a", cell.starts("a")["t"], "crashed")
        assert outcome == "recorded"
        info = cell.info("t")
        assert (info.crashes, info.retries_left) == (crash, 7)
        cell.acked["a"] -= len(again)  # the refill gave it back at once: read that order again above
    assert (info.state, info.reason) == (State.FAILED, "poison")


def test_a_report_sent_again_changes_nothing(cell: Cell) -> None:
    cell.node("a")
    cell.submit("t")
    cell.place()
    start = cell.starts("a")["t"]
    assert cell.finish("a", start, result=b"\x01")[0] == "recorded"
    assert cell.finish("a", start, result=b"\x02")[0] == "recorded"
    assert cell.info("t").result == 1
    assert cell.free("a") == (4, 1024)


def test_a_lost_reply_loses_no_order(cell: Cell) -> None:
    cell.node("a", 1, 1024)
    cell.submit("t1", "t2")
    cell.place()
    start = cell.starts("a")["t1"]
    seen = cell.acked["a"]
    first = cell.finish("a", start)[1]
    cell.acked["a"] = seen  # as if that reply had never come
    outcome, again = cell.finish("a", start)
    assert outcome == "recorded"
    assert again == first


def test_returned_work_costs_nothing_and_keeps_its_place(cell: Cell) -> None:
    cell.node("a", 1, 1024)
    cell.submit("t1", "t2")
    cell.place()
    _, starts = cell.finish("a", cell.starts("a")["t1"], "returned")
    assert list(starts) == ["t1"]
    assert starts["t1"].attempt == 2
    assert cell.info("t1").crashes == 0


def test_hold_and_unhold_keep_the_place(cell: Cell) -> None:
    cell.submit("t1", "t2")
    assert cell.run(cell.store.hold("t1")) == State.HELD
    assert cell.run(cell.store.hold("t1")) == State.HELD
    cell.node("a", 1, 1024)
    cell.place()
    assert cell.run(cell.store.unhold("t1")) == State.PENDING
    with pytest.raises(WrongState, match="only a waiting task"):
        cell.run(cell.store.hold("t2"))
    cell.submit("t3")
    assert list(cell.finish("a", cell.starts("a")["t2"])[1]) == ["t1"]
    with pytest.raises(TaskFinal):
        cell.run(cell.store.hold("t2"))


def test_a_held_delay_goes_on(cell: Cell) -> None:
    cell.submit("t", delay=5)
    cell.run(cell.store.hold("t"))
    assert cell.run(cell.store.unhold("t")) == State.DELAYED
    cell.run(cell.store.hold("t"))
    cell.now += 6000
    assert cell.run(cell.store.unhold("t")) == State.PENDING


def test_delayed_until_due(cell: Cell) -> None:
    cell.node("a")
    cell.submit("t", delay=2.5)
    promoted = cell.run(cell.store.promote())
    assert (promoted.promoted, promoted.next_ms, promoted.due_in) == (0, cell.now + 2500, 2.5)
    cell.now += 2500
    assert cell.run(cell.store.promote()).promoted == 1
    assert cell.place() == 1


def test_requeue_runs_an_ended_task_again(cell: Cell) -> None:
    cell.node("a")
    cell.submit("t")
    cell.place()
    start = cell.starts("a")["t"]
    with pytest.raises(WrongState, match="use cancel"):
        cell.run(cell.store.requeue("t"))
    cell.finish("a", start, "failed", reason="error", error="boom" * 40)
    assert cell.run(cell.store.requeue("t", operation="op1")) == State.PENDING
    cell.place()
    cell.finish("a", cell.starts("a")["t"], result=b"\x05")
    assert cell.run(cell.store.requeue("t", operation="op1")) == State.COMPLETED  # the driver sent it twice
    assert cell.info("t").result == 5


def test_priority_moves_a_waiting_task(cell: Cell) -> None:
    cell.submit("t1", "t2")
    cell.submit("t3", memory=50)
    cell.run(cell.store.prioritize("t2", 3))
    cell.run(cell.store.prioritize("t3", 3))
    order = [entry[2] for entry in cell.run(cell.store.pending_in_order(10))]
    assert order == ["t2", "t3", "t1"]
    assert cell.info("t2").priority == 3


def test_progress_and_output_only_from_the_attempt_on_the_ledger(cell: Cell) -> None:
    cell.node("a")
    cell.submit("t")
    cell.place()
    start = cell.starts("a")["t"]
    assert cell.run(cell.store.task_output("a", "1", start.token, b"hello "))
    assert cell.run(cell.store.task_progress("a", "1", {start.token: 0.4})) == 1
    assert cell.info("t").progress == 0.4
    cell.finish("a", start, output=b"world")
    assert cell.run(cell.store.log("t")) == b"hello world"
    assert not cell.run(cell.store.task_output("a", "1", start.token, b"late"))


@pytest.mark.parametrize(("options", "limit"), [({}, 65_536), ({"log_limit": "128K", "array": "1-1"}, 131_072)])
def test_output_keeps_its_last_part(cell: Cell, options: Any, limit: int) -> None:
    cell.node("a")
    cell.submit("t", **options)
    cell.place()
    (start,) = cell.starts("a").values()
    assert start.log_limit == limit
    for number in range(5):
        marked = stream_mark(2 if number < 4 else 1) + b"x" * 60_000
        cell.run(cell.store.task_output("a", "1", start.token, marked))
    cell.run(cell.store.task_output("a", "1", start.token, b"end"))
    kept = cell.run(cell.store.log(start.task_id))
    assert limit <= len(kept) <= 2 * limit
    assert kept.endswith(b"xend")
    parts = list(Reader().feed(kept))
    assert parts[0] == StreamMark(2), "to which stream the first of what is kept was written"
    assert length_of(parts) == 300_003
    assert any(isinstance(part, Cut) for part in parts)


def test_a_name_and_tags_are_kept_through_all_of_its_life(cell: Cell) -> None:
    cell.node("a")
    cell.submit("t", name="a näme", tags={"run": "17", "kind": "x=y"}, retries=1)
    for outcome in ("failed", "completed"):
        cell.place()
        cell.finish("a", cell.starts("a")["t"], outcome=outcome, reason="error" if outcome == "failed" else None)
        cell.now += 60_000
        cell.run(cell.store.promote())
    info = cell.info("t")
    assert (info.state, info.name, info.tags) == (State.COMPLETED, "a näme", {"kind": "x=y", "run": "17"})


@pytest.mark.parametrize("line", ["name=\xff", "name=" + "x" * 1025, "tags=\xff", "log_limit=0", "log_limit=9999999"])
def test_lines_that_no_client_sends_are_refused(cell: Cell, line: str) -> None:
    text = line.encode("latin-1") + b"\nrun=m:f\nwith="
    with pytest.raises(UsageError):
        cell.run(cell.store._one("task_submit", "n", 0, "", "t", "1:256", "digest", text))


def test_resize_gives_back_and_never_waits(cell: Cell) -> None:
    cell.node("a", 4, 1000)
    cell.submit("t", cpu=3, memory=600, max_cpu_needed=4)
    cell.submit("other", cpu=2, memory=100)
    cell.place()
    start = cell.starts("a")["t"]

    def resize(number: int, cpu: int | None = None, memory: int | None = None) -> tuple[int, int]:
        return cell.run(cell.store.task_resize("a", "1", start.token, number=number, cpu=cpu, memory=memory)).allocation

    assert resize(1, cpu=5) == (3, 600)  # beyond its maximum
    assert resize(1, cpu=1) == (1, 600)  # the waiting one gets it in the same call
    assert cell.state("other") == State.ASSIGNED
    assert resize(1, cpu=3) == (1, 600)  # an old number
    assert resize(2, cpu=3) == (1, 600)  # not free: told no at once
    assert cell.info("t").cpu_allocated == 1
    cell.finish("a", start)
    assert cell.free("a") == (2, 900)


def test_waiting_clients_hear_of_ends(cell: Cell) -> None:
    cell.node("a")
    cell.submit("t", "u")
    assert cell.run(cell.store.watch(["t", "u", "nobody"], "me")) == [State.PENDING, State.PENDING, None]
    cell.place()
    starts = cell.starts("a")
    with cell.link.listen(cell.store.keys.done("me")) as ears:
        cell.finish("a", starts["t"])
        assert ears.get(5) == (cell.store.keys.done("me"), b"t completed:1\n\xc0")
        cell.run(cell.store.cancel("u", requeue=False))
        cell.finish("a", starts["u"], "stopped")
        assert ears.get(5) == (cell.store.keys.done("me"), b"u cancelled")


def test_forgotten_tasks_leave_nothing(cell: Cell) -> None:
    cell.node("a", 2, 1024)
    cell.submit("t1", "t2", args=["x" * 200])
    cell.place()
    for start in cell.starts("a").values():
        cell.finish("a", start, output=b"said", result=b"\xda\x01\xf4" + b"y" * 500)
        cell.now += 1000
    assert cell.run(cell.store.forget(older_than=1.5)) == 1
    assert cell.state("t1") is None
    assert cell.run(cell.store.forget(keep=0, older_than=0)) == 1
    for key in (cell.store.keys.payload, cell.store.keys.result, cell.store.keys.log):
        assert cell.run(_exists(key("t1"))) == 0
    with pytest.raises(TaskNotFound):
        cell.run(cell.store.result("t1"))


def _exists(key: str):
    return (yield [("EXISTS", key)])[0]


def test_retention_by_number_keeps_the_newest(cell: Cell) -> None:
    cell.node("a", 4, 1024)
    cell.submit("t1", "t2", "t3", "t4")
    cell.place()
    for start in cell.starts("a").values():
        cell.now += 10
        cell.finish("a", start)
    assert cell.run(cell.store.forget(older_than=3600, keep=1)) == 3
    assert cell.state("t4") == State.COMPLETED


def test_an_unknown_incarnation_is_refused(cell: Cell) -> None:
    cell.node("a")
    with pytest.raises(StaleIncarnation):
        cell.run(cell.store.node_heartbeat("a", "other", acked=0))
    with pytest.raises(StaleIncarnation):
        cell.run(cell.store.task_finish("nobody", "1", acked=0, reports=[]))


def test_a_submit_that_finds_room_places_its_task_itself(cell: Cell) -> None:
    cell.node("a", 2, 1024)
    cell.place()
    store = Store(cell.store.keys.namespace, now_ms=lambda: cell.now, placings=1)
    requests = [TaskRequest("m:f", task_id=t, memory_needed=100).check() for t in ("t1", "t2")]
    assert cell.run(store.submit(requests)) == ["new", "new"]
    assert cell.run(store.states(["t1", "t2"])) == [State.ASSIGNED, State.PENDING]
    assert cell.place() == 1  # the rest is the schedulers'


def test_a_short_error_after_a_long_one_leaves_nothing_beside_the_record(cell: Cell) -> None:
    cell.node("a")
    cell.submit("t", retries=1)
    cell.place()
    cell.finish("a", cell.starts("a")["t"], "failed", reason="error", error="long " * 50)
    cell.now += 1000
    cell.run(cell.store.promote())
    cell.place()
    cell.finish("a", cell.starts("a")["t"], "failed", reason="error", error="short")
    assert cell.info("t").error == "short"
    assert cell.run(_exists(cell.store.keys.result("t"))) == 0


def test_a_placing_call_that_a_driver_sends_again_gives_no_token_twice(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply was lost, and meanwhile another task came: it must not take the first one's place on the ledger."""
    monkeypatch.setattr("rq_sched.store.base.secrets.token_hex", lambda size: "00000000")
    cell.node("a", 4, 1024)
    cell.submit("t1")
    cell.place()
    cell.submit("t2")
    cell.place()
    starts = cell.starts("a")
    assert starts.keys() == {"t1", "t2"}
    assert starts["t1"].token != starts["t2"].token
    assert cell.run(cell.store.nodes())[0].running == 2


def test_no_token_comes_again_though_a_nonce_does(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A nonce has 32 bits, and an agent takes a start with a token whose end it has reported for an old order. While
    tokens had only their place in the call beside the nonce, one start in some 200,000 stayed assigned for ever."""
    monkeypatch.setattr("rq_sched.store.base.secrets.token_hex", lambda size: "00000000")
    cell.node("a", 1, 1024)
    cell.submit(*(f"t{i}" for i in range(20)))
    cell.place()
    (start,) = cell.starts("a").values()
    tokens = {start.token}
    for _ in range(19):
        (start,) = cell.finish("a", start)[1].values()
        assert start.token not in tokens
        tokens.add(start.token)
