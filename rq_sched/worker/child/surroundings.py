"""Brings a child to where its next task is to run: folder, environment, standard streams.

All of it is undone after the task by what makes a child as it was (``baseline.py``): that is done for whatever a task
changes by itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from rq_sched.model.output import ERROR, OUTPUT
from rq_sched.model.states import Reason
from rq_sched.model.surroundings import fill
from rq_sched.worker.child.environment import Environment
from rq_sched.worker.child.functions import Refusal
from rq_sched.worker.child.streams import apart, stream_of, unnamed_file
from rq_sched.worker.reach import Reach

WRITTEN = {OUTPUT: "output", ERROR: "error"}


class Surroundings:
    """Where tasks of this child may be brought.

    Parameters:
        environment: gets their variables.
    """

    def __init__(self, reach: Reach, node_id: str, environment: Environment) -> None:
        self._reach = reach
        self._node_id = node_id
        self._environment = environment

    def enter(self, said: Mapping[str, Any], task_id: str, attempt: int, *, command: bool) -> None:
        """Bring this process there.

        Parameters:
            said: what the request says (``model/surroundings.py``); nobody has checked it.
            command: the task is a command, which gets the descriptors; else a function, which also finds the streams of
                Python there.

        Raises:
            Refusal: this node doesn't allow it, or hasn't got it: another one may.
        """
        if chdir := said.get("chdir"):
            self._go_to(self._named(str(chdir), "chdir"))
        elif folder := said.get("folder"):
            self._go_where_submitted(str(folder))
        if variables := said.get("env"):
            self._set(variables)
        if content := said.get("stdin"):
            self._read_from(content, command)
        written = {number: str(said[name]) for number, name in WRITTEN.items() if said.get(name)}
        if written:
            self._write_to({n: fill(path, task_id, attempt, self._node_id) for n, path in written.items()}, command)
        if said.get("apart") and not command and ERROR not in written:
            sys.stderr = apart()

    def _named(self, path: str, option: str) -> str:
        """The full path of what a request names, without symbolic links.  Raises: Refusal: it isn't allowed."""
        real = os.path.realpath(path)
        if not self._reach.may_name(real):
            has = " ".join(self._reach.folders)
            where = path if path == real else f"{path} ({real})"
            raise Refusal(
                Reason.NOT_ALLOWED,
                f"this node doesn't allow {option} {where}: start its worker with --allow-dir FOLDER (now: {has})",
            )
        return real

    def _go_to(self, folder: str) -> None:
        try:
            os.chdir(folder)
        except OSError as error:
            raise Refusal(Reason.NOT_FOUND, f"no folder {folder} on this node to run in: {error.strerror}") from None

    def _go_where_submitted(self, folder: str) -> None:
        """If that is allowed; where the folder isn't there, the log says that it runs elsewhere."""
        real = os.path.realpath(folder)
        if not self._reach.may_name(real):
            return
        try:
            os.chdir(real)
        except OSError as error:
            why = f"{folder}, where it was submitted: {error.strerror}"
            os.write(2, f"rq-sched: runs in {self._reach.folder}, not in {why}\n".encode(errors="replace"))

    def _set(self, variables: Mapping[str, str]) -> None:
        for variable in variables:
            if not self._reach.may_set(variable):
                raise Refusal(
                    Reason.NOT_ALLOWED,
                    f"this node doesn't allow the variable {variable}: start its worker with --allow-env {variable}",
                )
        self._environment.tell_more({name: str(text) for name, text in variables.items()})

    def _read_from(self, content: str | bytes, command: bool) -> None:
        if isinstance(content, bytes):
            with unnamed_file() as file:
                file.write(content)
                file.seek(0)
                os.dup2(file.fileno(), 0)
        else:
            _open(self._named(str(content), "stdin"), os.O_RDONLY, 0)
        if not command:
            sys.stdin = stream_of(0)

    def _write_to(self, paths: Mapping[int, str], command: bool) -> None:
        """Begin these files anew. One for both is one file."""
        real = {number: self._named(path, WRITTEN[number]) for number, path in paths.items()}
        for number, path in real.items():
            if number == ERROR and path == real.get(OUTPUT):
                os.dup2(OUTPUT, ERROR)
            else:
                _make_folder(os.path.dirname(path))
                _open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, number)
            if not command:
                setattr(sys, "stdout" if number == OUTPUT else "stderr", stream_of(number))


def _make_folder(folder: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise Refusal(Reason.NOT_FOUND, f"no folder {folder} can be made on this node: {error.strerror}") from None


def _open(path: str, how: int, number: int) -> None:
    """Open a file as this descriptor. (Where a link has been put in its place meanwhile, that isn't followed.)"""
    try:
        opened = os.open(path, how | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise Refusal(Reason.NOT_FOUND, f"{path} can't be opened on this node: {error.strerror}") from None
    os.dup2(opened, number)
    os.close(opened)
