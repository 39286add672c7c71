"""A log that goes to a pipe whose reader is slow, or gone; and what isn't worth a line."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys

import pytest

from rq_sched.process.logs import PipeHandler, worth_telling


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, __file__, 1, text, None, None)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a pipe can't be opened anew")
def test_nobody_waits_for_a_reader() -> None:
    reader, writer = os.pipe()
    handler = PipeHandler(writer)
    assert os.get_blocking(writer), "others that share it write as before"
    for number in range(5000):
        handler.emit(record(f"{number} " + "x" * 100))  # 64 KiB fit
    seen = os.read(reader, 1 << 20).decode()
    assert seen.startswith("0 xxx")
    handler.emit(record("again"))
    lines = os.read(reader, 1 << 20).decode().splitlines()
    assert lines[-1] == "again"
    assert "lines of this log were lost" in lines[-2]
    os.close(reader)
    handler.emit(record("to nobody"))
    os.close(writer)


@pytest.mark.parametrize(("error", "told"), [(BrokenPipeError(32, "Broken pipe"), False), (ValueError("ours"), True)])
def test_a_lost_connection_that_nobody_waits_for_is_not_told(
    error: Exception, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def forget() -> None:
        future = asyncio.get_running_loop().create_future()
        future.set_exception(error)
        del future
        gc.collect()

    asyncio.run(forget())
    (seen,) = [one for one in caplog.records if "never retrieved" in one.getMessage()]
    assert worth_telling(seen) is told
