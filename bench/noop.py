"""The tasks of the benches: nothing, or next to nothing."""

from __future__ import annotations

import time


def f(number: int, text: str) -> None:
    """Two small arguments, no result."""


def stamp(path: str) -> None:
    """Nothing, but writes down when it began and when it ended (ns)."""
    began = time.monotonic_ns()
    with open(path, "ab", buffering=0) as file:
        file.write(f"{began} {time.monotonic_ns()}\n".encode())
