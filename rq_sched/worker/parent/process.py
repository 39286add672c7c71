"""The parent: starts the agent, forks the children that it asks for, and cleans up when it dies. It never runs a
task, knows nothing of Redis, and stays small. See the package's docstring for the protocol."""

from __future__ import annotations

import gc
import logging
import os
import random
import select
import signal
import socket
import time
from dataclasses import dataclass, field
from typing import NoReturn

from rq_sched import errors
from rq_sched.process.health import Mood, Systemd
from rq_sched.worker import affinity, system
from rq_sched.worker.child import process as child
from rq_sched.worker.config import Assignment, WorkerConfig
from rq_sched.worker.frames import READ, BadFrame, Frame, Frames, Word, pack
from rq_sched.worker.parent.concealed import reveal
from rq_sched.worker.parent.nursery import Ended, Nursery, blocked_signals
from rq_sched.worker.parent.run_record import GONE_SECONDS, RunRecord, clean_up, path_of

log = logging.getLogger("rq_sched.worker")

STARTING_SECONDS = 30.0
"""How long the agent may take for its first sign of life."""
HUNG_TICKS = 8
"""Ticks without a sign of life that mean it hangs: tasks must be killed before others declare the node dead."""
HEALTHY_SECONDS = 60.0
"""An agent that has lived so long starts the back-off anew."""
BACK_OFF = 0.5
BACK_OFF_MOST = 30.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


@dataclass(slots=True)
class AgentProcess:
    """The agent as the parent sees it."""

    pid: int
    sock: socket.socket
    started: float
    frames: Frames = field(default_factory=Frames)
    quiet: int = 0  # ticks since its last sign of life
    spoken: bool = False
    dead: bool = False
    refused: tuple[str, str] | None = None


class Parent:
    """One worker's parent.

    Parameters:
        record: the locked record of the node.
    """

    def __init__(self, config: WorkerConfig, record: RunRecord) -> None:
        self._config = config
        self._record = record
        self._allow, self._reach = config.check(), config.reach
        self._pid = os.getpid()
        self._cores: tuple[int, ...] = ()
        self._unpinned = "switched off"
        self._nursery = Nursery(self._become_child, system.children_of(self._pid))
        self._agent: AgentProcess
        self._incarnation = record.left.incarnation if record.left else ""
        self._systemd = Systemd()
        self._closing = 0  # signals to stop that came
        self._deaths = 0
        self._next_tick = 0.0
        self._ear, self._bell = os.pipe()
        for end in (self._ear, self._bell):
            os.set_blocking(end, False)

    def run(self) -> int:
        """Work until stopped; the exit code.

        Raises:
            RqSchedError: the agent can't start, and trying again wouldn't help.
        """
        system.adopt_orphans()
        before = {name: signal.signal(name, lambda *_: None) for name in _SIGNALS}
        signal.set_wakeup_fd(self._bell, warn_on_full_buffer=False)
        try:
            self._clean_up_after_previous()
            self._claim_cores()
            gc.collect()
            gc.freeze()  # what children share with us stays shared
            self._start_agent(0.0)
            while (code := self._turn()) is None:
                pass
            return code
        finally:
            self._nursery.clear(GONE_SECONDS)
            signal.set_wakeup_fd(-1)
            for name, handler in before.items():
                signal.signal(name, handler)
            os.close(self._ear)
            os.close(self._bell)

    def _clean_up_after_previous(self) -> None:
        if self._record.left is not None:
            log.warning(
                "the previous worker was killed: cleaning up",
                extra={"groups": len(self._record.left.groups)},
            )
            if stuck := clean_up(self._record.left):
                log.error("processes of the previous worker can't be killed", extra={"groups": stuck})

    def _claim_cores(self) -> None:
        if self._config.affinity == "off":
            return
        self._cores, self._unpinned = affinity.claim(self._config.total.cpu, self._config.node_id)

    # -- the loop ---------------------------------------------------------------------------------

    def _turn(self) -> int | None:
        """Wait for something, and act on it; the exit code once all is over."""
        now = time.monotonic()
        poll = select.poll()
        poll.register(self._ear, select.POLLIN)
        poll.register(self._agent.sock, select.POLLIN)
        wait = 0.01 if self._nursery.waiting else max(0.0, min(self._next_tick - now, self._config.tick))
        ready = {descriptor for descriptor, _ in poll.poll(wait * 1000)}
        if self._ear in ready:
            self._hear_signals()
        if self._agent.sock.fileno() in ready:
            self._hear_agent()
        for ended in self._nursery.reap():
            if ended.pid == self._agent.pid:
                return self._agent_ended(ended)
            if ended.number is not None:
                self._note()
                self._tell(Word.EXITED, ended.number, ended.status, "")
        self._watch()
        return None

    def _watch(self) -> None:
        """Count ticks without a sign of life: not seconds, or we would blame the agent for our own sleep."""
        now = time.monotonic()
        if now < self._next_tick:
            return
        self._next_tick = now + self._config.tick
        self._agent.quiet += 1
        most = HUNG_TICKS if self._agent.spoken else STARTING_SECONDS / self._config.tick
        if self._agent.quiet > most:
            log.error("the agent hangs: killing it", extra={"pid": self._agent.pid})
            system.signal_process(self._agent.pid, signal.SIGKILL)

    def _hear_signals(self) -> None:
        for number in os.read(self._ear, 4096):
            if number == signal.SIGHUP:
                self._tell(Word.RELOAD)
            elif number != signal.SIGCHLD:
                self._closing += 1
                self._systemd.stopping()
                name = signal.Signals(number).name
                log.info("stopping" if self._closing == 1 else "stopping at once", extra={"signal": name})
                self._tell(Word.CLOSE, self._closing > 1)

    # -- children ---------------------------------------------------------------------------------

    def _become_child(self, sock: socket.socket, output: int, parent: int) -> NoReturn:
        signal.set_wakeup_fd(-1)
        child.main(sock, output, self._allow, self._reach.folder, parent, self._reach, self._config.node_id)

    def _fork(self, number: int) -> None:
        try:
            forked = self._nursery.fork(number)
        except OSError as error:
            log.debug("can't start a process: %s", error)  # the agent says it, once
            self._tell(Word.EXITED, number, -1, f"no process can be started: {error.strerror}")
            return
        self._note()
        try:
            frame = pack((Word.FORKED, number, forked.pid, forked.subreaper))
            socket.send_fds(self._agent.sock, [frame], [forked.sock.fileno(), forked.output])
        except OSError:
            self._give_up_on_agent()
        finally:
            forked.close()

    # -- the agent --------------------------------------------------------------------------------

    def _start_agent(self, delay: float) -> None:
        ours, theirs = socket.socketpair()
        assignment = Assignment(self._incarnation or None, delay, self._closing > 0, patient=self._deaths > 0)
        with blocked_signals():
            pid = os.fork()
            if pid == 0:
                self._become_agent(ours, theirs, assignment)
        theirs.close()
        ours.setblocking(False)
        self._nursery.know(pid)
        self._agent = AgentProcess(pid, ours, time.monotonic())

    def _become_agent(self, ours: socket.socket, theirs: socket.socket, assignment: Assignment) -> None:
        code = 1
        try:
            os.setsid()  # Ctrl-C is for the parent
            system.name_process("rqs-agent")
            signal.set_wakeup_fd(-1)
            for name in _SIGNALS:
                signal.signal(name, signal.SIG_DFL if name == signal.SIGCHLD else signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            ours.close()
            os.close(self._ear)
            os.close(self._bell)
            self._record.close()
            from rq_sched.worker.agent import process as agent  # asyncio, redis: not in the parent

            code = agent.main(reveal(self._config), theirs, assignment, self._cores, self._unpinned)
        except BaseException:
            log.exception("the agent failed")
        finally:
            logging.shutdown()
            os._exit(code)

    def _hear_agent(self) -> None:
        """Act on all frames that have come."""
        try:
            while data := self._agent.sock.recv(READ):
                for frame in self._agent.frames.feed(data):
                    self._received(frame)
        except BlockingIOError:
            return
        except (BadFrame, OSError):
            pass
        self._give_up_on_agent()  # its end is closed: it dies, or is as good as dead

    def _received(self, frame: Frame) -> None:
        agent = self._agent
        agent.quiet = 0
        agent.spoken = True
        match frame:
            case [Word.FORK, number]:
                self._fork(number)
            case [Word.SIGNAL, number, signum]:
                self._nursery.signal(number, signum)
            case [Word.ALIVE, mood, message]:
                self._systemd.tell(Mood(mood), message)
            case [Word.INCARNATION, incarnation]:
                self._incarnation = incarnation
                self._note()
            case [Word.REFUSED, code, message]:
                agent.refused = (code, message)

    def _tell(self, *frame: object) -> None:
        try:
            self._agent.sock.send(pack(frame))
        except BlockingIOError:
            self._give_up_on_agent()  # thousands of frames unread
        except OSError:
            pass  # it is dead: we are about to hear of it

    def _give_up_on_agent(self) -> None:
        if not self._agent.dead:
            system.signal_process(self._agent.pid, signal.SIGKILL)

    def _agent_ended(self, ended: Ended) -> int | None:
        """The agent is dead: its last words, then its children, then a new agent that reports it; or the end."""
        agent = self._agent
        agent.dead = True
        self._hear_agent()
        agent.sock.close()
        code = os.waitstatus_to_exitcode(ended.status)
        gone = self._nursery.clear(GONE_SECONDS)
        if agent.refused or code == 0:
            if gone and not self._incarnation:
                self._record.remove()
            else:  # there is something to clean up and to tell at the next start
                self._record.close()
            if agent.refused:
                raise errors.by_code().get(agent.refused[0], errors.RqSchedError)(agent.refused[1])
            return 0
        self._deaths = 1 if time.monotonic() - agent.started > HEALTHY_SECONDS else self._deaths + 1
        delay = 0.0
        if self._deaths > 1:
            delay = min(BACK_OFF_MOST, BACK_OFF * 2.0 ** (self._deaths - 2)) * random.uniform(0.75, 1.0)
        log.error(
            "the agent died: its tasks were killed, a new one starts",
            extra={"exit_code": code, "all_gone": gone, "delay": round(delay, 2)},
        )
        self._start_agent(delay)
        return None

    def _note(self) -> None:
        """Write down what would have to be cleaned up if we were killed now."""
        self._record.write(self._incarnation, self._nursery.groups(), self._nursery.subreapers())


def run(config: WorkerConfig) -> int:
    """See ``rq_sched.worker.run``."""

    def add_node(record: logging.LogRecord) -> bool:
        record.node_id = config.node_id
        return True

    log.addFilter(add_node)
    record = RunRecord(path_of(config.url, config.namespace, config.node_id))
    return Parent(config, record).run()
