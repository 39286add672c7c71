"""A log that goes to a pipe whose reader is slow, or gone."""

from __future__ import annotations

import logging
import os
import sys

import pytest

from rq_sched.process.logs import PipeHandler

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a pipe can't be opened anew")


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, __file__, 1, text, None, None)


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
