"""When an allocation should change, judged by what was measured."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rq_sched.model.elastic import RULES, Rules, Usage, more_memory, target, uses_all_cpu
from rq_sched.model.resources import Resources

NEED = Resources(4, 1000)


def watched(
    seconds: int, cpu: Callable[[int], float] | float = 4.0, memory: Callable[[int], float] | float = 950.0
) -> Usage:
    """A sample a second, up to that time."""
    usage = Usage()
    for second in range(seconds + 1):
        usage.add(
            float(second),
            cpu(second) if callable(cpu) else cpu,
            memory(second) if callable(memory) else memory,
        )
    return usage


def wish(
    usage: Usage, policy: str = "all", allocation: Resources = NEED, need: Resources = NEED, most: Resources = NEED
) -> Resources | None:
    return target(usage, policy, need=need, allocation=allocation, maximum=most)


def test_nothing_is_taken_before_the_window_is_over() -> None:
    assert wish(Usage()) is None
    assert wish(watched(int(RULES.memory_window) - 1, cpu=0, memory=10)) is None
    assert wish(watched(int(RULES.memory_window), cpu=0, memory=10)) == Resources(4, 125)
    assert wish(watched(int(RULES.cpu_window) - 1, cpu=0, memory=10)) == Resources(4, 125)
    assert wish(watched(int(RULES.cpu_window), cpu=0, memory=10)) == Resources(1, 125)


def test_what_each_policy_takes() -> None:
    idle = watched(60, cpu=0.1, memory=50)
    assert wish(idle, "off") is None
    assert wish(idle, "cpu") == Resources(1, 1000)
    assert wish(idle, "all") == Resources(1, 125)


@pytest.mark.parametrize(("used", "kept"), [(0.0, 1), (0.8, 1), (1.0, 2), (1.6, 2), (2.4, 3), (3.3, None), (4.0, None)])
def test_cores_that_are_used_stay_and_a_fifth_on_top(used: float, kept: int | None) -> None:
    found = wish(watched(60, cpu=used), "cpu")
    assert (found and found.cpu) == kept


def test_one_busy_moment_in_the_window_keeps_all() -> None:
    assert wish(watched(60, cpu=lambda second: 4.0 if second == 50 else 0.0), "cpu") is None
    assert wish(watched(60, cpu=lambda second: 4.0 if second == 40 else 0.0), "cpu") == Resources(1, 1000)


def test_surplus_is_left_to_those_who_want_it() -> None:
    """Cores above the need count as free anyway."""
    most = Resources(8, 1000)
    assert wish(watched(60, cpu=3.9), "cpu", Resources(8, 1000), most=most) is None
    assert wish(watched(60, cpu=0.5), "cpu", Resources(8, 1000), most=most) == Resources(1, 1000)


def test_cores_are_asked_for_again() -> None:
    usage = watched(60, cpu=lambda second: 1.0 if second == 60 else 0.2)
    assert wish(usage, "cpu", Resources(1, 1000)) == Resources(4, 1000)
    assert wish(usage, "off", Resources(1, 1000)) is None
    assert wish(watched(60, cpu=0.8), "cpu", Resources(1, 1000)) is None


def test_a_refusal_asks_for_less_and_later() -> None:
    usage = watched(60, cpu=1.0)
    usage.answered(60.0, granted=False)
    assert wish(usage, "cpu", Resources(1, 1000)) is None
    usage.add(60.0 + RULES.ask_again, 1.0, 950)
    assert wish(usage, "cpu", Resources(1, 1000)) == Resources(2, 1000)
    usage.answered(61.0, granted=True)
    assert wish(usage, "cpu", Resources(2, 1000)) is None  # it uses one of its two


def test_memory_keeps_a_margin_over_the_peak() -> None:
    assert wish(watched(10, memory=50), need=Resources(4, 500), allocation=Resources(4, 500)) == Resources(4, 82)
    assert wish(watched(10, memory=400)) == Resources(4, 500)
    assert wish(watched(11, memory=lambda second: 700 if second == 6 else 50)) == Resources(4, 875)
    assert wish(watched(60, memory=lambda second: 700 if second == 6 else 50)) == Resources(4, 875)
    assert wish(watched(60, memory=lambda second: 750 if second == 6 else 50)) is None


def test_memory_that_rises_is_kept_until_it_stays() -> None:
    rising = watched(10, memory=lambda second: 40.0 * second)
    assert wish(rising) is None
    stays = watched(20, memory=lambda second: 40.0 * min(second, 10))
    assert wish(stays) == Resources(4, 500)  # 400, and a quarter


def test_slow_rise_is_told_from_staying_by_the_age() -> None:
    """In 5 s it rises by a thousandth; a quarter of its age tells."""
    assert wish(watched(5000, memory=lambda second: 0.1 * second)) is None
    steps = watched(3000, memory=lambda second: 100.0 * (1 + second // 600))
    assert wish(steps) is None  # the last step was less than a quarter of its age ago
    assert wish(watched(1300, memory=lambda second: 0.4 * min(second, 1000))) is None
    assert wish(watched(1334, memory=lambda second: 0.4 * min(second, 1000))) == Resources(4, 500)


def test_what_was_measured_wrongly_is_forgotten() -> None:
    usage = watched(20, memory=900)
    assert wish(usage) is None
    usage.corrected(20.0, 100)
    for second in range(21, 26):
        assert wish(usage) is None
        usage.add(float(second), 4.0, 100)
    assert wish(usage) == Resources(4, 132)


def test_small_change_is_left() -> None:
    assert wish(watched(60, memory=730)) is None  # 913 would be kept
    assert wish(watched(60, memory=700)) == Resources(4, 875)


def test_memory_is_asked_for_before_it_is_used_up() -> None:
    usage = watched(10, memory=lambda second: 100 if second < 10 else 120)
    assert wish(usage, allocation=Resources(4, 125)) == Resources(4, 200)
    assert wish(usage, "off", allocation=Resources(4, 125)) == Resources(4, 200)  # whoever has taken it
    usage.answered(10.0, granted=False)
    usage.add(11.5, 4, 120)
    assert wish(usage, allocation=Resources(4, 125)) == Resources(4, 152)


def test_memory_beyond_the_need_up_to_the_maximum() -> None:
    usage = watched(10, memory=980)
    most = Resources(4, 1300)
    assert wish(usage) is None
    assert wish(usage, most=most) == Resources(4, 1300)
    assert wish(usage, allocation=most, most=most) is None


def test_who_grows_fast_is_asked_for_early() -> None:
    assert more_memory(used=500, rise=0, allocated=1000, most=2000) is None
    assert more_memory(used=500, rise=600, allocated=1000, most=2000) == 2000
    assert more_memory(used=500, rise=600, allocated=2000, most=2000) is None


def test_growth_and_giving_back_are_two_wishes() -> None:
    """Growth that is refused must not keep what is to be given back."""
    usage = watched(20, cpu=0.1, memory=950)
    assert wish(usage, most=Resources(4, 2000)) == Resources(4, 1425)
    usage.answered(20.0, granted=False)
    assert wish(usage, most=Resources(4, 2000)) == Resources(1, 1000)


def test_the_window_is_bounded() -> None:
    usage = watched(10_000)
    assert len(usage.samples) <= RULES.cpu_window + 2


def test_who_uses_all_its_cores() -> None:
    assert uses_all_cpu(Usage(), 2)
    assert uses_all_cpu(watched(1, cpu=1.9), 2)
    assert not uses_all_cpu(watched(1, cpu=1.2), 2)


@given(
    samples=st.lists(st.tuples(st.floats(0, 16), st.floats(0, 4000)), min_size=1, max_size=40),
    need=st.builds(Resources, st.integers(1, 16), st.integers(1, 4000)),
    more=st.builds(Resources, st.integers(0, 16), st.integers(0, 4000)),
    share=st.floats(0, 1),
    policy=st.sampled_from(["off", "cpu", "all"]),
    rules=st.builds(Rules, cpu_window=st.floats(0, 30), memory_window=st.floats(0, 30)),
)
def test_whatever_is_measured(
    samples: list[tuple[float, float]], need: Resources, more: Resources, share: float, policy: str, rules: Rules
) -> None:
    """What is wished for is possible: at least 1, at most the maximum, another than before; ``off`` loses nothing."""
    most = need.plus(more)
    had = Resources(max(1, int(most.cpu * share)), max(1, int(most.memory * share)))
    usage = Usage(rules)
    for second, (cpu, memory) in enumerate(samples):
        usage.add(float(second), cpu, memory)
    found = target(usage, policy, need=need, allocation=had, maximum=most)
    if found is None:
        return
    assert found != had
    assert Resources(1, 1).fits(found)
    assert found.fits(most)
    assert found.fits(had) or had.fits(found), "more of one and less of the other"
    if policy == "off":
        assert had.fits(found)
    if found.memory < had.memory:
        assert policy == "all"
        assert found.memory >= samples[-1][1]
