"""Descriptors 0 to 2 of a process that was started without some of them (``2>&-``).

The next descriptor that is opened gets the lowest free number: a socket to Redis would become standard error, and what
a library prints there would be sent to the server. So what is missing becomes ``/dev/null`` before anything is opened.
"""

from __future__ import annotations

import os
import sys


def fill_missing() -> None:
    """Open ``/dev/null`` for those of the descriptors 0 to 2 that are closed."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_WRONLY)  # 0, too: who reads there is told that it can't be read
            if opened != descriptor:  # another thread was faster
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)


def restore_standard() -> None:
    """As ``fill_missing``, and ``sys.stdin``, ``sys.stdout``, ``sys.stderr`` where Python found none."""
    fill_missing()
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            stream = open(descriptor, "w" if descriptor else "r", closefd=False, encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, stream)
