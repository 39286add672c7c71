"""When who listens asks whether the line still stands."""

from __future__ import annotations

import pytest
from redis import exceptions

from rq_sched.link import drivers
from rq_sched.link.silence import SIGN_OF_LIFE, Silence


def test_asked_once_in_a_silence_and_given_up_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("rq_sched.link.silence.time.monotonic", lambda: now[0])
    silence = Silence()

    def after(seconds: float) -> bool:
        now[0] += seconds
        return silence.must_ask()

    assert [after(SIGN_OF_LIFE - 1), after(1), after(1)] == [False, True, False]
    silence.broken()
    assert [after(SIGN_OF_LIFE - 1), after(1)] == [False, True]
    with pytest.raises(exceptions.TimeoutError):
        after(drivers.ANSWER_SECONDS)
