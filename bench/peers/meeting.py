"""Where the processes of a peer that has a server of its own find each other: the bench says it in the environment."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PORT = os.environ.get("BENCH_PORT", "8786")
FOLDER = os.environ.get("BENCH_FOLDER", ".")
"""A fresh one, for what the peer writes."""
PATIENCE = 60.0


def patiently(connect: Callable[[], T], *errors: type[Exception]) -> T:
    """Connect to a server that may not be there yet. These errors say that it isn't."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return connect()
        except errors:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
