"""A child as it was before its first task, and how it becomes that again after each.

What a task has changed is put back where that is possible. Where it isn't (threads go on, a hard limit is lower,
privileges are dropped) the child is *spent*: it isn't used again. Most of it stands in
``/proc/self/status``, so one look tells whether there is anything to do.

Only other processes, native code and ``resource`` can change what is ``_rare``: it is looked at after a task that had
processes, and always from the moment when such a module is loaded. ``ctypes`` and ``resource``, which are loaded
already, are hidden: a task that wants them imports them anew.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal's functions make enum members: several times as slow
import ctypes
import faulthandler
import fcntl
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.machinery import ExtensionFileLoader
from operator import call
from typing import NamedTuple

from rq_sched.worker import system
from rq_sched.worker.child.environment import Environment
from rq_sched.worker.child.interpreter import Interpreter
from rq_sched.worker.child.status import OF_SIGNALS, Children, Descriptors, Status

HIDDEN = ("ctypes", "_ctypes", "resource")
ENDING = (0.0, 0.0005, 0.001, 0.002, 0.005)
"""Seconds that threads have for ending, one pause after the other."""
TRIM = 16
"""MB more than before that a child may keep until that is looked at closely."""
_TIMERS = (_signal.ITIMER_REAL, _signal.ITIMER_VIRTUAL, _signal.ITIMER_PROF)
_LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})
_NAMESPACES = ("mnt", "net", "user", "pid_for_children", "ipc", "uts")
_SET_PDEATHSIG, _GET_PDEATHSIG, _GET_DUMPABLE, _SET_DUMPABLE, _SET_SUBREAPER, _GET_SUBREAPER = 1, 2, 3, 4, 36, 37
_GET_SECUREBITS, _SET_TIMERSLACK, _GET_TIMERSLACK, _SET_HUGE_PAGES_OFF, _GET_HUGE_PAGES_OFF = 27, 29, 30, 41, 42
"""Options of prctl."""
_AS_IT_IS = 0xFFFFFFFF
"""Has personality() only answer."""
_IOPRIO = {"x86_64": (251, 252), "aarch64": (30, 31)}.get(os.uname().machine)
"""The calls that set and get the priority for disks, which the C library has no names for; None: not known here."""


class Rare(NamedTuple):
    """What only native code or ``resource`` changes."""

    limits: list[tuple[int, int]]
    dies_with_parent: int
    adopts: int
    dumpable: int
    secure_bits: int
    timer_slack: int
    huge_pages_off: int
    personality: int
    disk_priority: int
    timers: bytes
    root: tuple[int, int]
    namespaces: list[str]


class Spent(Exception):
    """The child can't be as it was; why."""


class Baseline:
    """Taken when a child is ready for its first task, and has no thread but this one (Linux).

    Parameters:
        environment: taken before.
        descriptors: counts them.
    """

    def __init__(self, environment: Environment, descriptors: Descriptors) -> None:
        self.pinned = False
        """Whether somebody else decides on which cores it runs."""
        self._interpreter = Interpreter()
        self._standard = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 10) for number in range(3)]
        self._flags = fcntl.fcntl(self._standard[1], fcntl.F_GETFL)
        self._handlers = [(number, _signal.getsignal(number)) for number in map(int, signal.valid_signals())]
        self._handled = [number for number, was in self._handlers if callable(was)]
        self._ours = [*map(_signal.getsignal, self._handled)]
        self._scheduling = _scheduling()
        self._cores = os.sched_getaffinity(0)
        self._libc = ctypes.CDLL(None)
        self._privileged = os.geteuid() == 0  # else nobody changes what it sees
        self._root = _place("/")
        self._timers, self._oom_score, self._namespaces = map(
            _kept_open, ("/proc/self/timers", "/proc/self/oom_score_adj", "/proc/self/ns")
        )
        self._score = os.pread(self._oom_score, 16, 0)
        self._looks: list[Callable[[], object]] = [
            partial(fcntl.fcntl, self._standard[1], fcntl.F_GETFL),
            *(partial(_signal.getitimer, timer) for timer in _TIMERS),
            *(partial(_signal.getsignal, number) for number in self._handled),
            partial(os.getpriority, os.PRIO_PROCESS, 0),
            partial(os.sched_getscheduler, 0),
            partial(os.pread, self._oom_score, 16, 0),
            *([partial(_place, "/")] if self._privileged else ()),
        ]
        self._seen = [*map(call, self._looks)]
        self._rare = self._look_at_rare()
        self._offspring: object = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._trimmed = 0  # MB that were kept when that was looked at closely
        self._loaded = 0
        self._native = self._privileged and hasattr(os, "unshare")  # Python 3.12
        for name in [name for name in sys.modules if name.partition(".")[0] in HIDDEN]:
            del sys.modules[name]
        self._known = frozenset(sys.modules)
        self._status = Status()
        self._children = Children()
        self._environment = environment
        self._descriptors = descriptors
        self._open = descriptors.count()

    @property
    def kept(self) -> int:
        """MB that tasks have left in it."""
        return self._status.kept

    def restore(self, more: int = 0) -> str:
        """As it was before the task. Why it can't be; empty: it is.

        Parameters:
            more: descriptors that we have opened meanwhile ourselves.
        """
        try:
            self._restore(more)
        except Spent as why:
            return str(why)
        except Exception as error:
            return f"it can't be as it was: {error!r:.200}"
        return ""

    def _restore(self, more: int) -> None:
        """What is run after every task, in as few steps as possible: what is seldom to be done stands elsewhere."""
        status, standard = self._status, self._standard
        if len(sys.modules) != self._loaded:
            self._note_modules()
        if self._native:
            self._libc.fflush(None)  # what C has printed belongs to this task
        os.dup2(standard[0], 0)
        os.dup2(standard[1], 1)
        os.dup2(standard[2], 2)
        if not status.look():
            self._await_threads()
        if self._children.remain():
            raise Spent("processes go on")
        _signal.set_wakeup_fd(-1)  # or signals are written into what gets that number next
        if status.changed or [*map(call, self._looks)] != self._seen:
            self._put_back()
        if status.cores_changed and not self.pinned:
            os.sched_setaffinity(0, self._cores)
        before, self._offspring = self._offspring, resource.getrusage(resource.RUSAGE_CHILDREN)
        if (self._native or self._offspring != before) and self._look_at_rare() != self._rare:
            self._restore_rare()
        self._environment.restore()
        self._interpreter.restore()
        if status.kept >= self._trimmed + TRIM:
            self._trim()
        if self._descriptors.count() != self._open + more:
            raise Spent("descriptors are left open")

    def _put_back(self) -> None:
        """What has changed of its status, and of all else that is looked at every time."""
        for timer in _TIMERS:
            _signal.setitimer(timer, 0)
        if self._status.changed & OF_SIGNALS or [*map(_signal.getsignal, self._handled)] != self._ours:
            self._restore_signals()
        if self._status.changed:
            self._restore_status()
        fcntl.fcntl(self._standard[1], fcntl.F_SETFL, self._flags)  # that it blocks: for all who write there
        if _scheduling() != self._scheduling:
            nice, policy = self._scheduling
            os.setpriority(os.PRIO_PROCESS, 0, nice)
            os.sched_setscheduler(0, policy, os.sched_param(0))
        if self._privileged and _place("/") != self._root:
            raise Spent("its files are others")
        if os.pread(self._oom_score, 16, 0) != self._score:
            raise Spent("it is another choice when memory runs out")

    def _await_threads(self) -> None:
        """Who was joined is gone for Python, and for the kernel a moment later."""
        for pause in ENDING:
            time.sleep(pause)
            if self._status.look():
                return
        raise Spent("threads go on")

    def _restore_signals(self) -> None:
        faulthandler.disable()
        for number, was in self._handlers:
            if number in (signal.SIGKILL, signal.SIGSTOP):
                continue
            if was is None:
                raise Spent(f"the handler of signal {number} can't be set again")
            _signal.signal(number, _signal.SIG_IGN)  # what is pending is forgotten
            _signal.signal(number, was)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
        self._status.look()
        self._offspring = None  # where SIGCHLD is ignored, nobody counts processes that end

    def _restore_status(self) -> None:
        if b"Name" in self._status.changed:
            system.name_process(self._status.was(b"Name"))
        if b"Umask" in self._status.changed:
            os.umask(int(self._status.was(b"Umask"), 8))
        self._status.look()
        if self._status.changed:
            lines = ", ".join(sorted(name.decode() for name in self._status.changed))
            raise Spent(f"{lines} of its process can't be as before")

    def _trim(self) -> None:
        """Give back what is free: what is kept then is really kept."""
        gc.collect()
        self._libc.malloc_trim(0)
        self._status.look()
        self._trimmed = self._status.kept

    # -- what is rare -----------------------------------------------------------------------------

    def _note_modules(self) -> None:
        """From the first native one on, everything may be changed."""
        self._loaded = len(sys.modules)
        self._native = self._native or any(map(_is_native, sys.modules.keys() - self._known))

    def _look_at_rare(self) -> Rare:
        return Rare(
            [resource.getrlimit(limit) for limit in _LIMITS],
            self._ask(_GET_PDEATHSIG),
            self._ask(_GET_SUBREAPER),
            self._libc.prctl(_GET_DUMPABLE, 0, 0, 0, 0),
            self._libc.prctl(_GET_SECUREBITS, 0, 0, 0, 0),
            self._libc.prctl(_GET_TIMERSLACK, 0, 0, 0, 0),
            self._libc.prctl(_GET_HUGE_PAGES_OFF, 0, 0, 0, 0),
            self._libc.personality(_AS_IT_IS),
            self._libc.syscall(_IOPRIO[1], 1, 0) if _IOPRIO else 0,
            os.pread(self._timers, 4096, 0),
            _place("/"),
            [os.readlink(name, dir_fd=self._namespaces) for name in _NAMESPACES],
        )

    def _ask(self, option: int) -> int:
        answer = ctypes.c_int()
        self._libc.prctl(option, ctypes.byref(answer), 0, 0, 0)
        return answer.value

    def _restore_rare(self) -> None:
        was = self._rare
        for limit, before in zip(_LIMITS, was.limits, strict=True):
            if resource.getrlimit(limit) != before:
                try:
                    resource.setrlimit(limit, before)
                except (ValueError, OSError):
                    raise Spent("a hard limit is lower") from None
        self._libc.prctl(_SET_PDEATHSIG, was.dies_with_parent, 0, 0, 0)
        self._libc.prctl(_SET_SUBREAPER, was.adopts, 0, 0, 0)
        self._libc.prctl(_SET_DUMPABLE, was.dumpable, 0, 0, 0)
        self._libc.prctl(_SET_TIMERSLACK, was.timer_slack, 0, 0, 0)
        self._libc.prctl(_SET_HUGE_PAGES_OFF, was.huge_pages_off, 0, 0, 0)
        self._libc.personality(was.personality)
        if _IOPRIO:
            self._libc.syscall(_IOPRIO[0], 1, 0, was.disk_priority)
        now = self._look_at_rare()
        if now != was:
            names = [name for name, a, b in zip(Rare._fields, now, was, strict=True) if a != b]
            raise Spent(f"{', '.join(names)} can't be as before")


def _scheduling() -> tuple[int, int]:
    return os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)


def _place(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _kept_open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _is_native(name: str) -> bool:
    """Whether a module that a task has imported can do more than those of Python's own."""
    loader = getattr(sys.modules.get(name), "__loader__", None)
    return name in HIDDEN or (isinstance(loader, ExtensionFileLoader) and name not in sys.stdlib_module_names)
