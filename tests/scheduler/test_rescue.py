"""What blocks a server, by its answer to FUNCTION STATS."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import NoPermissionError, ResponseError

from rq_sched.errors import RedisNotReady
from rq_sched.link.answers import translate
from rq_sched.scheduler.rescue import Culprit, culprit

ENGINES = [b"LUA", [b"libraries_count", 1, b"functions_count", 2]]


def stats(running: Any) -> list[Any]:
    return [b"running_script", running, b"engines", ENGINES]


def of(name: bytes, ms: int) -> list[Any]:
    return [b"name", name, b"command", [b"FCALL", name, b"0"], b"duration_ms", ms]


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        (stats(None), None),
        (stats(of(b"rqs_place_1", 999)), None),
        (stats(of(b"endless", 1000)), Culprit(("FUNCTION", "KILL"), "endless", 1.0)),
        (stats(of(b"\xff\xfe", 2500)), Culprit(("FUNCTION", "KILL"), "\ufffd\ufffd", 2.5)),
        (
            ResponseError("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."),
            Culprit(("SCRIPT", "KILL"), "sent by EVAL", None),
        ),
        (ResponseError("LOADING Redis is loading the dataset in memory"), None),
        (ResponseError("ERR unknown subcommand 'STATS'"), None),
    ],
)
def test_what_blocks(reply: Any, found: Culprit | None) -> None:
    assert culprit(reply) == found


def test_who_may_not_look_is_told_what_is_missing() -> None:
    said = culprit(NoPermissionError("this user has no permissions to run the 'function|stats' command"))
    assert isinstance(said, str)
    assert "+function|stats" in said


def test_whose_script_was_stopped_may_try_again() -> None:
    error = translate(ResponseError("Script killed by user with FUNCTION KILL. script: on @user_function:2."))
    assert isinstance(error, RedisNotReady)
    assert "try again" in str(error)
