"""``rq-sched submit``: a function, a command, or (``submit_file``) a file of tasks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import click

from rq_sched.cli import show, standard_input
from rq_sched.cli.arguments import as_typed, find_command, here, parse_arguments, submitted_from
from rq_sched.cli.options import DURATION, LABEL, TEXT, CommonCommand, F, Invocation, Parsed
from rq_sched.client.outcomes import unaccepted
from rq_sched.errors import TaskExists, TaskFailed, UsageError
from rq_sched.model.arrays import size
from rq_sched.model.options import OPTIONS
from rq_sched.model.states import Reason, State
from rq_sched.model.task import TaskInfo, TaskRequest
from rq_sched.store.submit import ORPHAN


class SubmitCommand(CommonCommand):
    """Keeps the words after ``--`` apart: what stands before it decides whether they are a command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            cut = args.index("--")
            ctx.meta["after"] = args[cut + 1 :]
            args = args[:cut]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["[OPTIONS]", "TARGET [ARG]... | -- CMD [ARG]... | --from-file FILE"]


def task_options(function: F) -> F:
    """The options of a task, as ``model/options.py`` lists them."""
    for option in reversed(OPTIONS.values()):
        names = [*filter(None, [option.letter]), "--" + option.short.replace("_", "-"), option.long]
        kind: dict[str, Any] = {"type": Parsed("duration" if option.unit == "seconds" else option.unit, option.read)}
        if option.choices:
            kind = {"type": click.Choice(option.choices)}
        elif option.unit == "flag":
            kind = {"is_flag": True}
        elif option.unit == "labels":
            kind = {"type": LABEL, "multiple": True}
        elif option.unit.startswith("NAME"):
            kind = {"type": TEXT, "multiple": True, "metavar": option.unit}
        default = option.default_text or option.default
        often = " May be given often." if kind.get("multiple") else ""
        text = f"{option.help[0].upper()}{option.help[1:]} (default: {default}).{often}"
        function = click.option(*names, default=None, help=text, **kind)(function)
    return function


@click.command("submit", cls=SubmitCommand)
@click.argument("words", nargs=-1, metavar="[TARGET [ARG]...]")
@task_options
@click.option("--durability", metavar="LEVEL",
              help="memory, aof, replicated or replicated:N: how safe it must be before this returns.")  # fmt: skip
@click.option("--durability-timeout", type=DURATION, default=5.0, show_default=True, help="How long that may take.")
@click.option("--signing-key-file", metavar="FILE", help="The secret with which the request is signed.")
@click.option("--from-file", metavar="FILE", help="JSON Lines, one task a line; - is standard input.")
@click.option("--dry-run", is_flag=True, help="Say what would become of it, and submit nothing.")
@click.option("--wait", is_flag=True, help="Wait until it is final and print its result.")
@click.option("-q", "--quiet", is_flag=True, help="Print only the id.")
@click.pass_context
def submit_command(
    ctx: click.Context,
    /,
    words: tuple[str, ...],
    from_file: str | None,
    dry_run: bool,
    wait: bool,
    quiet: bool,
    durability: str | None,
    durability_timeout: float,
    signing_key_file: str | None,
    **fields: Any,
) -> int:
    """Submit a task: a function, a command, or a file of tasks.

    TARGET is a function, pkg.mod:func. ARG is text, key=value, key:=json (data: a number, a list, ...), or :=json
    (data without a key). After -- stands a command with its arguments; it runs without a shell.

    \b
    rq-sched submit math:hypot :=3 :=4 --wait
    rq-sched submit --cpu 2 --memory 4G -p 10 pkg.mod:train data.csv epochs:=20
    rq-sched submit --time-limit 10m -- convert in.png out.jpg
    rq-sched submit --id sweep --array 1-1000000 pkg.mod:simulate
    rq-sched submit --array 1-1000000 --after-each sweep pkg.mod:plot
    rq-sched submit --from-file tasks.jsonl
    rq-sched submit --cpu 64 --dry-run pkg.mod:train

    The elements of an array are the tasks sweep/1, sweep/2, ...: each finds its index in RQ_SCHED_ARRAY_INDEX. What is
    said of sweep (cancel, hold, priority, wait, ...) is said of all that haven't ended.

    A line of FILE is a JSON object with the fields function, args, kwargs, and any of the options below by its name:
    id, priority, cpu, memory, max_cpu, time_limit, ... (the names of the output, task_id, cpu_needed, memory_needed,
    ..., do as well). Only function must be there.

    The same id with the same request again is the same task: nothing is run twice.
    """
    session = ctx.ensure_object(Invocation)
    session.submits(durability, durability_timeout, signing_key_file)
    given = given_options(fields)
    after: list[str] | None = ctx.meta.get("after")
    if dry_run and (wait or quiet):
        raise UsageError(f"--dry-run submits nothing: --{'wait' if wait else 'quiet'} can't be given as well")
    if from_file is not None:
        if words or after or given:
            what = "a target" if words or after else "--" + _option(ctx, next(iter(given)))
            raise UsageError(f"with --from-file everything stands in the lines: {what} can't be given as well")
        from rq_sched.cli.submit_file import submit_file

        return submit_file(session, from_file, wait=wait, quiet=quiet, dry_run=dry_run)
    if given.get("stdin") == "-":
        given["stdin"] = standard_input.read(as_json=session.json)
    request = request_of(list(words), after, given, others=", or --from-file FILE")
    if dry_run:
        return _dry_run(session, request, named="task_id" in given)
    info, new = submit_one(session, request)
    if wait:
        from rq_sched.cli.wait import wait_one

        return wait_one(session, info, quiet=quiet)
    _print_submitted(session, info, new, quiet)
    return TaskFailed.exit_status if _is_infeasible(info) and new else 0


def _is_infeasible(info: TaskInfo) -> bool:
    """Whether it has failed as no node could hold it: that is said at once. Whatever else becomes of it comes later."""
    return info.state is State.FAILED and info.reason == Reason.INFEASIBLE


def _dry_run(session: Invocation, request: TaskRequest, *, named: bool) -> int:
    """Say what would become of it. ``named``: its id was given."""
    from rq_sched.cli.explain import print_explained

    found = session.run(session.store.dry_run(request))
    if not named:
        found = replace(found, task_id=None)  # the one that was made up for it means nothing
    print_explained(session, found, show.call(request.function, request.args, request.kwargs))
    return 0


def _option(ctx: click.Context, field: str) -> str:
    """The name of the option that fills ``field``."""
    return next(param.opts[-1].lstrip("-") for param in ctx.command.params if param.name == field)


def given_options(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a task that were given. A folder is one here."""
    given = {name: value for name, value in fields.items() if value not in (None, ())}
    if "chdir" in given:
        given["chdir"] = os.path.join(here(), given["chdir"])
    return given


def request_of(words: list[str], after: list[str] | None, given: dict[str, Any], others: str = "") -> TaskRequest:
    """The request that the words of the command line ask for, checked. ``others``: what else could have been given."""
    if words and not words[0].startswith("exec:"):
        args, kwargs = parse_arguments(words[1:] + (after or []))
        return TaskRequest(words[0], args, kwargs, **given).check()
    if words or after:
        target, *rest = [*words, *(after or [])]
        function = target if words else f"exec:{find_command(target)}"
        request = TaskRequest(function, [as_typed(word) for word in rest], **given).check()
        if request.chdir is None:
            request.hints = submitted_from()
        return request
    raise UsageError(f"nothing to submit: name a function (pkg.mod:func), or a command after --{others}")


def submit_one(session: Invocation, request: TaskRequest) -> tuple[TaskInfo, bool]:
    """Submit; the task as it is now, and whether it is new."""
    task_id = request.task_id or ""
    (outcome,) = session.run(session.store.submit([request]))
    if outcome == "crowded" or outcome.startswith(ORPHAN):
        raise unaccepted(outcome, [task_id], 1)
    if outcome == "conflict":
        raise TaskExists(
            f"the id {task_id} is taken by another request: choose another id, or look at it with "
            f"`rq-sched status {task_id}`"
        )
    (info,) = session.run(session.store.status([task_id]))
    if info is None:
        raise TaskExists(f"task {task_id} was submitted, and somebody has forgotten it since")
    from rq_sched.cli.missing import warn_if_stuck

    warn_if_stuck(session, info)
    return info, outcome == "new"


def _print_submitted(session: Invocation, info: TaskInfo, new: bool, quiet: bool) -> None:
    if session.json:
        show.json_line({"task_id": info.task_id, "state": info.state})
    elif quiet:
        show.line(info.task_id)
    elif new:
        elements = f" ({show.count(size(info.array), 'element')})" if info.array else ""
        ended = ", and it failed at once" if _is_infeasible(info) else ""
        show.paragraph(f"submitted {info.task_id}{elements}{ended}")
    else:
        again = f"; to run {show.again(info.task_id, info.array)}" if State(info.state).final else ""
        show.paragraph(f"{info.task_id} was submitted before and is {info.state}{again}")
