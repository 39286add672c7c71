"""What the tasks of these tests do: something that can be counted outside Redis."""

from __future__ import annotations

import os
import time


def note(path: str, text: str, seconds: float = 0.0) -> None:
    """Append a line to a file; one write, so that lines of several processes don't mix."""
    time.sleep(seconds)
    line = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(line, f"{text}\n".encode())
    os.close(line)
