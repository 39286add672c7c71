"""The reservation as a replay follows it, and what an attempt is measured to use in virtual time."""

from __future__ import annotations

from rq_sched.model.resources import Resources
from rq_sched.model.settings import OFF
from rq_sched.simulate.elastic import UsageMeter
from rq_sched.simulate.machines import Machine, PlayedAttempt
from rq_sched.simulate.records import ReservedSpan
from rq_sched.simulate.reservation import NEVER, ReservationFollower, waits_of
from rq_sched.simulate.workload import Row


def test_a_reservation_is_written_down_when_it_ends():
    reserved: list[ReservedSpan] = []
    follower = ReservationFollower([], False, reserved)
    assert not follower.update(1000, "wide", None, 0, None)
    assert follower.wake(1000, busy=True) == 31_000
    assert not follower.update(31_000, "wide", "wide", 7, 2)
    assert reserved == []
    follower.ended(40_000)
    assert reserved == [ReservedSpan(2, 7, 31_000, 40_001)]
    assert not follower.update(40_000, None, None, 0, None)
    assert follower.wake(40_000, busy=True) == NEVER


def test_a_reservation_that_goes_to_another_task_leaves_its_node_free():
    reserved: list[ReservedSpan] = []
    follower = ReservationFollower([], False, reserved)
    follower.update(0, "wide", None, 0, None)
    follower.update(30_000, "wide", "wide", 7, 2)
    assert not follower.update(35_000, "urgent", "wide", 7, 2)  # it is the first one now, but hasn't waited long enough
    assert reserved == []
    assert follower.wake(35_000, busy=True) == 65_000
    assert follower.update(65_000, "urgent", "urgent", 3, 1)
    assert reserved == [ReservedSpan(2, 7, 30_000, 65_001)]
    assert (follower.task_id, follower.node) == ("urgent", 1)


def test_reserve_is_not_called_where_both_settings_are_off():
    off = [("reserve_after", OFF), ("preempt_after", OFF)]
    assert waits_of(off) == []
    assert not ReservationFollower(off, True, []).wanted
    assert waits_of([("reserve_after", 5.0), ("preempt_after", OFF)]) == [5000]


def test_who_may_be_preempted_is_asked_again():
    follower = ReservationFollower([], True, [])
    follower.update(0, "wide", None, 0, None)
    assert follower.wake(30_000, busy=True) == 31_000
    assert follower.wake(30_000, busy=False) == NEVER


def meter(policy: str, memory_used: int, usage: str = "jump") -> UsageMeter:
    row = Row("t", Resources(4, 1000), 2_000_000, cpu_used=0.5, memory_used=memory_used)
    return UsageMeter(PlayedAttempt(1, row, "t", Machine(0, "n", "i"), "k", 0, 4, 1000, 0), policy, usage)


def replay(one: UsageMeter, *, grants: bool) -> list[Resources]:
    """Its wishes over its run; less is always granted, more if ``grants``."""
    wishes: list[Resources] = []
    now = one.next_sample(0)
    while now is not None:
        for wish in one.wishes(now):
            wishes.append(wish)
            held = Resources(one.attempt.cpu, one.attempt.memory)
            more = wish.cpu > held.cpu or wish.memory > held.memory
            one.answered(now, wish, held if more and not grants else wish)
        if one.short(now):
            break
        now = one.next_sample(now)
    return wishes


def test_cores_that_are_not_used_are_given_back_and_memory_is_kept():
    one = meter("cpu", 100)
    assert replay(one, grants=True) == [Resources(1, 1000)]


def test_memory_that_rises_is_given_back_when_it_stays():
    one = meter("all", 600, "even")
    assert replay(one, grants=False) == [Resources(1, 1000), Resources(1, 750)]
    assert one.used(500_000) == Resources(1, 300)
    assert one.used(1_000_000) == one.used(1_999_999) == Resources(1, 600)


def test_use_that_jumps():
    one = meter("all", 600)
    assert [one.used(at).memory for at in (0, 1_236_000, 1_237_000, 1_999_999)] == [300, 300, 600, 600]


def test_memory_goes_down_with_policy_all_and_up_again_in_time():
    one = meter("all", 600)
    wishes = replay(one, grants=True)
    assert min(wish.memory for wish in wishes) < 600
    assert one.attempt.memory >= 600
    assert not one.short(1_999_999)


def test_a_task_that_does_not_get_its_memory_back_is_short():
    one = meter("all", 900)
    replay(one, grants=False)
    assert one.short(1_237_000)
    assert not meter("all", 900).short(1_999_999)  # nothing was taken from this one
