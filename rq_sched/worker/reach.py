"""What a worker lets requests say of where their tasks run: the patterns of ``--allow-dir`` and ``--allow-env``.

A request may name a folder and files (``chdir``, ``stdin``, ``output``, ``error``) that lie in an allowed folder or
below it, wherever symbolic links lead, and ``/dev/null``. A pattern for folders is a path in which ``*``, ``?`` and
``[…]`` stand for parts of one name: ``/scratch``, ``/home/*/jobs``; or ``*``: all. By default it is the worker's own
folder. A pattern for variables is a name with the same signs. By default it is any but those in ``GUARDED``.

This says what requests may name, not what tasks may do: a task may do what its worker's user may.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from fnmatch import fnmatchcase

from rq_sched.errors import InvalidValue
from rq_sched.model.surroundings import ANY_FOLDER, NOWHERE, is_below

GUARDED = ("LD_*", "DYLD_*", "PYTHON*", "PATH", "RQ_SCHED_*")
"""Variables by which code gets into programs, or that are ours."""


class Reach:
    """What requests may name on one worker.

    Parameters:
        folder: the worker's own: an absolute path.
        folders, variables: the patterns; none: the defaults.

    Raises:
        InvalidValue: a pattern for folders isn't an absolute path.

    >>> Reach("/srv", ["/home/*/jobs"]).may_name("/home/ada/jobs/out/1.txt")
    True
    >>> Reach("/srv").may_set("LD_PRELOAD")
    False
    """

    def __init__(self, folder: str, folders: Iterable[str] = (), variables: Iterable[str] = ()) -> None:
        self.folder = folder
        self.folders = tuple(folders) or (folder,)
        self.variables = tuple(variables)
        for pattern in self.folders:
            if pattern != ANY_FOLDER and not os.path.isabs(pattern):
                raise InvalidValue(f"--allow-dir {pattern!r}: write the full path of a folder, or * for all")
        self._folders = [pattern if pattern == ANY_FOLDER else os.path.realpath(pattern) for pattern in self.folders]

    def may_name(self, path: str) -> bool:
        """Whether requests may name this file or folder: a full path, without symbolic links in it."""
        return path == NOWHERE or any(is_below(path, pattern) for pattern in self._folders)

    def may_set(self, variable: str) -> bool:
        """Whether requests may set this variable."""
        if not self.variables:
            return not any(fnmatchcase(variable, pattern) for pattern in GUARDED)
        return any(fnmatchcase(variable, pattern) for pattern in self.variables)
