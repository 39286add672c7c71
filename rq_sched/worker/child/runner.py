"""Runs one task in a child: calls its function, or the command, and says how it ended.

How a task is told to stop (SIGTERM to its process group): a plain function is interrupted by ``StopRequested`` in the
main thread, unless it looks at ``current_task().cancelled`` itself; an ``async def`` is cancelled as asyncio does it; a
command gets the signal itself. Who doesn't listen is killed when the grace is over.
"""

from __future__ import annotations

import contextvars
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from rq_sched.context import CurrentTask, StopRequested, find_current
from rq_sched.errors import Unsendable
from rq_sched.model.held import NOTHING, read_held, variables
from rq_sched.model.resources import Resources
from rq_sched.model.states import Reason
from rq_sched.model.surroundings import surroundings_in
from rq_sched.model.values import pack, unpack_arguments
from rq_sched.worker import affinity
from rq_sched.worker.allow import Allow, find_command
from rq_sched.worker.child import errors_text
from rq_sched.worker.child.able import UNCHARGED, why_unable
from rq_sched.worker.child.environment import Environment
from rq_sched.worker.child.functions import Functions, NotBegun, Refusal, not_allowed, with_room
from rq_sched.worker.child.modules import Modules
from rq_sched.worker.child.streams import CAN_PASS_ON, pass_on
from rq_sched.worker.child.surroundings import Surroundings
from rq_sched.worker.frames import Frame, Word

if TYPE_CHECKING:
    import asyncio


NONE = pack(None, "the result")
NO_ARGUMENTS: Sequence[Any] = ((), {})
NO_RESULTS: Mapping[str, bytes] = {}


class Outcome(NamedTuple):
    """How an attempt has ended; the fields of a DONE frame."""

    reason: str | None
    result: bytes | None
    error: str | None
    exit_code: int | None


class Voice(Protocol):
    """How a runner talks with the agent."""

    def speak(self, frame: tuple[Any, ...]) -> None:
        """Send a frame of the attempt that runs.

        Raises:
            NotInTask: it is of another one.
        """

    def receive(self, wait: bool = True) -> Frame | None:
        """The next frame. None: none has come yet (only without ``wait``)."""


class Runner:
    """Runs tasks, one at a time.

    Parameters:
        allow: what may be run.
        line: where the agent is.
        environment: where tasks are told what they have.
        surroundings: brings tasks where they are to run.
        count: how many descriptors are open.
    """

    def __init__(
        self,
        allow: Allow,
        line: Voice,
        environment: Environment,
        surroundings: Surroundings,
        count: Callable[[], int],
    ) -> None:
        self._allow = allow
        self._line = line
        self._environment = environment
        self._surroundings = surroundings
        self._count = count
        self._pid = os.getpid()
        self.opened = 0
        """Descriptors that stay open for the next task: those of the event loop."""
        self._modules = Modules()
        self._functions = Functions(allow, self._modules)
        self._loop: asyncio.Runner | None = None
        self._frame: Frame | None = None
        """The order of the attempt that runs."""
        self._tasks: dict[str, CurrentTask] = {}
        """What that attempt knows of itself, by its token, once it has asked."""
        find_current(self._current)
        self._coroutine: asyncio.Task[Any] | None = None
        self._interruptible = False
        self._stop_requested = False
        self._allocation: tuple[int, int] | None = None

    def run(self, frame: Frame) -> Outcome | str:
        """Run what a RUN frame says; how that ended. A text: why it wasn't begun; empty: SIGTERM has come, or its code
        has changed since it was imported here."""
        function: str = frame[4]
        if not function.startswith("exec:") and self._modules.changed(function):
            return ""
        try:
            outcome = self._attempt(frame)
        except NotBegun as error:
            why = str(error)
            if not why or frame[3] <= UNCHARGED or why_unable(".", thorough=True):
                return why
            outcome = Outcome(Reason.ERROR, None, why, None)  # again and again, and there is room
        except StopRequested as error:  # it came a moment too late: at most one is raised for a task
            outcome = Outcome(Reason.ERROR, None, errors_text.describe(error), None)
        self._interruptible = False
        self._frame = None
        if self._tasks:
            for task in self._tasks.values():
                task._over = True
            self._tasks = {}
        return outcome

    def stop(self, *_: object) -> None:
        """SIGTERM came. It may be ahead of the task that it is meant for; in any case this child ends after it."""
        self._stop_requested = True
        told = [task._tell_to_stop() for task in list(self._tasks.values())]
        cooperative = any(told)
        if self._coroutine is not None:
            if not cooperative:
                self._coroutine.get_loop().call_soon_threadsafe(self._coroutine.cancel)
        elif self._interruptible and not cooperative:
            self._interruptible = False
            raise StopRequested("told to stop")

    def _attempt(self, frame: Frame) -> Outcome:
        _, _, task_id, attempt, function, arguments, cpu, memory, _, _, cores, held = frame
        if cores is not None:
            affinity.pin_self(cores)
        self._frame = frame
        self._environment.tell_task(task_id, attempt)
        if (cpu, memory) != self._allocation:
            self._tell_size(Resources(cpu, memory))
        reason: str | None = None
        result: bytes | None = None
        text: str | None = None
        exit_code: int | None = None
        try:
            if not arguments:
                args, kwargs, *more = NO_ARGUMENTS
            elif type(arguments) is bytes:
                args, kwargs, *more = unpack_arguments(arguments, NO_RESULTS)
            else:
                args, kwargs, *more = unpack_arguments(*arguments)
            said = surroundings_in(more) if more else None
            if said:
                self._surroundings.enter(said, task_id, attempt, command=function.startswith("exec:"))
            if held:
                self._environment.tell_more(variables(read_held(held)))
            if function.startswith("exec:"):
                result = pack(self._command(function[5:], args, kwargs, said), "the result")
                exit_code = 0
            else:
                self._interruptible = True
                self._stop_if_told()
                called = self._functions.known.get(function) or self._functions.find(function)
                value = contextvars.copy_context().run(called, *args, **kwargs)
                if type(value) is CoroutineType:
                    value = self._await(value)
                self._interruptible = False
                self._leave_if_forked()
                result = _packed(value)
        except Refusal as error:
            self._interruptible = False
            self._leave_if_forked(error)
            reason, text, exit_code = error.reason, errors_text.shorten(str(error)), error.exit_code
        except BaseException as error:  # also SystemExit and KeyboardInterrupt: the child goes on
            self._interruptible = False
            self._leave_if_forked(error)
            if isinstance(error, NotBegun) and (self._stop_requested or str(error)):
                raise
            reason, text = Reason.ERROR, errors_text.describe(error)
        return Outcome(reason, result, text, exit_code)

    def _leave_if_forked(self, error: BaseException | None = None) -> None:
        """A process that the task has forked, and that comes back to us instead of ending, ends here: as a script of
        Python would, and without a word to the agent."""
        if os.getpid() == self._pid:
            return
        code = 0
        try:
            if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
                code = (error.code or 0) & 0xFF
            elif error is not None:
                code = 1
                traceback.print_exception(error)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)

    def _stop_if_told(self) -> None:
        """After this, a SIGTERM finds somebody: one that came before is heeded here."""
        if self._stop_requested:
            self._interruptible = False
            raise NotBegun

    def _await(self, coroutine: CoroutineType[Any, Any, Any]) -> Any:
        import asyncio  # here: most children never need it

        if self._loop is None:
            before = self._count()
            self._loop = asyncio.Runner()
            with_room(self._loop.get_loop)
            self.opened = self._count() - before
        loop = self._loop.get_loop()
        clean = False
        try:
            value = self._loop.run(self._in_loop(coroutine), context=contextvars.copy_context())
            clean = _nothing_left(loop)
            return value
        except Exception:
            clean = _nothing_left(loop)
            raise
        finally:
            self._coroutine = None
            if not clean:  # what it started in the loop ends with it
                runner, self._loop, self.opened = self._loop, None, 0
                runner.close()

    async def _in_loop(self, coroutine: CoroutineType[Any, Any, Any]) -> Any:
        import asyncio

        self._coroutine = asyncio.current_task()
        try:
            value = await coroutine
        except BaseException as error:
            self._leave_if_forked(error)  # before the loop does anything: it is the task's, too
            raise
        self._leave_if_forked()
        return value

    # -- commands ---------------------------------------------------------------------------------

    def _command(self, name: str, args: Sequence[Any], kwargs: dict[str, Any], said: Mapping[str, Any] | None) -> int:
        """Run a command in this process group, with our standard streams; its exit code, which is 0.

        Parameters:
            said: what the request says of where it runs.
        """
        path = find_command(name)
        if path is None:
            raise Refusal(Reason.NOT_FOUND, f"no command {name} on this node (PATH={os.environ.get('PATH', '')})")
        if not self._allow.may_run(path):
            raise not_allowed(self._allow, f"exec:{name}", f"exec:{path}")
        if kwargs:
            raise Refusal(Reason.ERROR, f"a command takes no named arguments: {', '.join(map(str, kwargs))}")
        self._stop_if_told()
        words = [path, *map(_word, args)]
        rate = said.get("apart") if said and CAN_PASS_ON else None
        if said and type(rate) is int and rate > 0:
            out, err = (None if said.get(name) else subprocess.PIPE for name in ("output", "error"))
        else:
            rate = out = err = None
        process = with_room(lambda: subprocess.Popen(words, stdout=out, stderr=err))
        if self._stop_requested:  # the signal to the group may have come just before the command was in it
            process.terminate()
        if rate is not None:
            pass_on(process, rate)
        try:
            _, status = os.waitpid(process.pid, 0)
        except ChildProcessError:  # Popen.wait would say 0
            process.returncode = 1  # so that nobody waits for it
            raise Refusal(Reason.ERROR, f"how {name} ended is not known: somebody else has waited for it") from None
        process.returncode = code = os.waitstatus_to_exitcode(status)
        if code == 0:
            return 0
        if code > 0:
            raise Refusal(Reason.EXIT_CODE, f"{name} ended with exit code {code}", code)
        raise Refusal(Reason.EXIT_CODE, f"{name} was killed by {signal_name(-code)}", 128 - code)

    # -- current_task() ---------------------------------------------------------------------------

    def _current(self) -> CurrentTask | None:
        """What the attempt that runs knows of itself: made when it is first asked for, which most never do."""
        frame = self._frame
        if frame is None:
            return None
        _, token, task_id, attempt, _, _, cpu, memory, _, _, _, held = frame
        task = self._tasks.get(token)
        if task is None:
            progress, resize = partial(self._progress, token), partial(self._resize, token)
            made = CurrentTask(
                task_id,
                attempt,
                Resources(cpu, memory),
                progress,
                resize,
                self._refresh,
                self._pid,
                read_held(held) if held else NOTHING,
            )
            task = self._tasks.setdefault(token, made)  # another thread may have been faster
            if self._stop_requested:
                task._tell_to_stop()
        return task

    def _progress(self, token: str, fraction: float) -> None:
        self._line.speak((Word.PROGRESS, token, fraction))

    def _resize(self, token: str, cpu: int | None, memory: int | None) -> Resources:
        self._line.speak((Word.RESIZE, token, cpu, memory))
        while True:
            frame = self._line.receive(True)
            if frame is not None and frame[0] == Word.SIZE:
                allocation = self._sized(frame)
                if frame[3]:
                    return allocation

    def _refresh(self) -> Resources | None:
        """The allocation, if it has changed from outside."""
        allocation = None
        while (frame := self._line.receive(False)) is not None:
            if frame[0] == Word.SIZE:
                allocation = self._sized(frame)
        return allocation

    def _sized(self, frame: Frame) -> Resources:
        allocation = Resources(frame[1], frame[2])
        self._tell_size(allocation)
        return allocation

    def _tell_size(self, allocation: Resources) -> None:
        self._allocation = allocation
        self._environment.tell_size(allocation)


def _nothing_left(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether an event loop is as it was when it was new: nothing waits in it, nothing is set."""
    import asyncio

    try:
        state = vars(loop)
        return not (
            asyncio.all_tasks(loop)
            or any(not handle.cancelled() for handle in (*state["_ready"], *state["_scheduled"]))
            or len(state["_selector"].get_map()) > 1
            or any(
                state[name] for name in ("_default_executor", "_signal_handlers", "_exception_handler", "_task_factory")
            )
            or loop.get_debug()
        )
    except (AttributeError, KeyError):  # another kind of loop
        return False


def _packed(value: Any) -> bytes:
    """A result as it is sent.  Raises: Refusal: it can't be, however often the task is tried."""
    if value is None:
        return NONE
    try:
        return pack(value, "the result")
    except Unsendable as error:
        raise Refusal(Reason.UNSENDABLE, f"{type(error).__name__}: {error}") from None


def _word(argument: Any) -> str | bytes:
    if isinstance(argument, (str, bytes)):
        return argument
    if isinstance(argument, (int, float)):
        return str(argument)
    raise Refusal(Reason.ERROR, f"an argument of a command must be text or a number, not {argument!r:.80}")


def signal_name(number: int) -> str:
    """``SIGSEGV`` for 11.

    >>> signal_name(11)
    'SIGSEGV'
    """
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
