"""What Python itself keeps for all tasks of a child, and a task may change: paths, hooks, limits, the collector. And
what a process has one of: the current event loop, multiprocessing's start method, the folder for temporary files.

What libraries keep besides (caches, settings, random numbers) isn't guarded: ``worker --fresh`` is for that.
"""

from __future__ import annotations

import _locale
import _socket
import _thread
import ctypes
import gc
import logging
import sys
import threading
import warnings
from collections.abc import Callable
from functools import partial
from operator import call, itemgetter
from typing import Any

_OBJECTS = (
    "displayhook",
    "excepthook",
    "unraisablehook",
    "breakpointhook",
    "path",
    "argv",
    "meta_path",
    "path_hooks",
    "dont_write_bytecode",
)
_OF_THREADS = ("excepthook", "_trace_hook", "_profile_hook")
_objects, _of_threads = itemgetter(*_OBJECTS), itemgetter(*_OF_THREADS)


class Interpreter:
    """How it is now, to be restored after each task."""

    def __init__(self) -> None:
        self._root = root = logging.getLogger()
        self._sys, self._threads, self._logs, self._manager = map(vars, (sys, threading, root, root.manager))
        self._lists: list[Any] = [
            sys.path,
            sys.argv,
            sys.meta_path,
            sys.path_hooks,
            warnings.filters,
            root.handlers,
            root.filters,
            gc.callbacks,
        ]
        self._contents = [list(found) for found in self._lists]
        self._locale = _locale.setlocale(_locale.LC_ALL, None)
        self._set_locale = ctypes.CDLL(None).setlocale
        self._set_locale.restype = ctypes.c_void_p
        self._looks: list[Callable[[], Any]] = [
            sys.gettrace,
            sys.getprofile,
            sys.getrecursionlimit,
            sys.getswitchinterval,
            sys.get_int_max_str_digits,
            gc.isenabled,
            gc.get_threshold,
            gc.get_debug,
            _thread.stack_size,
            _socket.getdefaulttimeout,
            partial(itemgetter("level"), self._logs),
            partial(itemgetter("_disable"), self._manager),
            partial(self._sys.get, "tracebacklimit"),
            partial(_objects, self._sys),
            partial(_of_threads, self._threads),
            # Where the name stands: it is another place when it has changed.
            partial(self._set_locale, _locale.LC_ALL, None),
        ]
        self._saved = [*map(call, self._looks)]

    def restore(self) -> None:
        """As it was before the task."""
        if [*map(call, self._looks)] != self._saved or self._lists != self._contents:
            self._put_back()
            self._saved = [*map(call, self._looks)]
        _forget()

    def _put_back(self) -> None:
        trace, profile, recursion, interval, digits, collects, thresholds, *more = self._saved
        debugs, stack, patience, level, disabled, traced, objects, of_threads, _ = more
        sys.settrace(trace)
        sys.setprofile(profile)
        sys.setrecursionlimit(recursion)
        sys.setswitchinterval(interval)
        sys.set_int_max_str_digits(digits)
        (gc.enable if collects else gc.disable)()
        gc.set_threshold(*thresholds)
        gc.set_debug(debugs)
        threading.stack_size(stack)
        _socket.setdefaulttimeout(patience)
        self._sys.pop("tracebacklimit", None)
        if traced is not None:
            sys.tracebacklimit = traced
        self._sys.update(zip(_OBJECTS, objects, strict=True))
        self._threads.update(zip(_OF_THREADS, of_threads, strict=True))
        for found, content in zip(self._lists, self._contents, strict=True):
            found[:] = content
        warnings._filters_mutated()  # type: ignore[attr-defined]
        self._root.manager.disable = disabled
        self._root.setLevel(level)
        _locale.setlocale(_locale.LC_ALL, self._locale)


def _forget() -> None:
    """What a program tells the standard library once, or what that makes once: the next task tells it anew."""
    find: Callable[[str], Any] = sys.modules.get
    events, context, tempfile = find("asyncio.events"), find("multiprocessing.context"), find("tempfile")
    if events is not None:
        events._event_loop_policy = None
    if context is not None:
        context._default_context._actual_context = None
    if tempfile is not None:
        tempfile.tempdir = None
