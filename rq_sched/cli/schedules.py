"""``every`` makes a schedule; ``schedules`` lists them, pauses, resumes, removes and runs them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from rq_sched.cli import show
from rq_sched.cli.failure import print_error
from rq_sched.cli.options import DURATION, TEXT, Invocation, Parsed, command
from rq_sched.cli.submit import SubmitCommand, given_options, request_of, task_options
from rq_sched.cli.table import Column, table
from rq_sched.errors import InvalidValue, RqSchedError, ScheduleNotFound, UsageError
from rq_sched.model.due import parse_times, zone_of
from rq_sched.model.schedule import CATCH_UP, OVERLAP, Schedule, ScheduleInfo, check_name, refuse_id

NAME = Parsed("name", lambda text, _: check_name(text))
ACTIONS = ("pause", "resume", "remove", "run")


class EveryCommand(SubmitCommand):
    """As ``submit``, with a name in front."""

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["NAME", "--cron LINE | --interval DURATION", "[OPTIONS]", "TARGET [ARG]... | -- CMD [ARG]..."]


@click.command("every", cls=EveryCommand)
@click.argument("schedule", metavar="NAME", type=NAME)  # a task has a --name, too
@click.argument("words", nargs=-1, metavar="[TARGET [ARG]...]")
@click.option("--cron", metavar="LINE", type=TEXT,
              help="Minute, hour, day of the month, month, day of the week; or @hourly, @daily, ...")  # fmt: skip
@click.option("--tz", metavar="ZONE", type=TEXT, help="The time zone of --cron, such as Europe/Zurich (default: UTC).")
@click.option("--interval", type=DURATION, help="Instead of --cron: the time between two tasks; 30, 10m, 2h.")
@click.option("--until", metavar="TIME", type=TEXT,
              help="The last moment at which it may be due: 2027-01-31 (its end) or 2027-01-31T18:00.")  # fmt: skip
@click.option("--overlap", type=click.Choice(OVERLAP), default="skip", show_default=True,
              help="While the task before goes on: make none, make it afterwards, make it all the same.")  # fmt: skip
@click.option("--catch-up", type=click.Choice(CATCH_UP), default="last", show_default=True,
              help="Of the times that were missed, as no scheduler was there, which get their task late.")  # fmt: skip
@task_options
@click.option("--durability", metavar="LEVEL",
              help="memory, aof, replicated or replicated:N: how safe it must be before this returns.")  # fmt: skip
@click.option("--durability-timeout", type=DURATION, default=5.0, show_default=True, help="How long that may take.")
@click.option("--signing-key-file", metavar="FILE", help="The secret with which the tasks are signed.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
@click.pass_context
def every_command(
    ctx: click.Context,
    /,
    schedule: str,
    words: tuple[str, ...],
    cron: str | None,
    tz: str | None,
    interval: float | None,
    until: str | None,
    overlap: str,
    catch_up: str,
    durability: str | None,
    durability_timeout: float,
    signing_key_file: str | None,
    quiet: bool,
    **fields: Any,
) -> None:
    """Make a schedule: from now on a task for each time that it is due.

    \b
    rq-sched every nightly --cron "0 3 * * *" --tz Europe/Zurich reports:make all
    rq-sched every sync --interval 10m --overlap queue -- rsync -a /data backup:
    rq-sched every hourly --cron @hourly --cpu 2 --retries 3 pkg.mod:aggregate

    Each task has the id NAME.20261130T030000Z: the time in UTC at which it was due. Each is made once, however many
    schedulers run. TARGET, ARG and the options of the tasks are those of submit.

    The same NAME with the same schedule again is the same schedule.
    """
    session = ctx.ensure_object(Invocation)
    session.submits(durability, durability_timeout, signing_key_file)
    given = given_options(fields)
    refuse_id(given)
    times = parse_times(cron, interval, tz, until)
    after: list[str] | None = ctx.meta.get("after")
    if not words and not after:
        raise UsageError("nothing to schedule: name a function (pkg.mod:func) after NAME, or a command after --")
    request = request_of(list(words), after, given)
    new = session.run(session.store.schedule_add(Schedule(schedule, times, request, overlap, catch_up)))
    (info,) = session.run(session.store.schedules([schedule]))
    if session.json:
        show.json_line(info.to_dict())
    elif not quiet:
        _say_made(info, new)


def _say_made(info: ScheduleInfo, new: bool) -> None:
    if info.state == "paused":
        said = f"and is paused; to go on: `rq-sched schedules resume {info.name}`"
    elif info.next_due is None:
        said = "and has ended"
    else:
        said = f"{'it is' if new else 'and is'} due next at {_moment(info.next_due, info)}"
    show.paragraph(f"schedule {info.name}: {said}" if new else f"schedule {info.name} was here already {said}")


@command("schedules")
@click.argument("action", metavar="[pause|resume|remove|run]", required=False, type=click.Choice(ACTIONS))
@click.argument("names", metavar="[NAME]...", nargs=-1, type=NAME)
@click.pass_obj
def schedules_command(session: Invocation, action: str | None, names: Sequence[str]) -> int:
    """List the schedules; pause, resume or remove some, or run their tasks now.

    \b
    rq-sched schedules
    rq-sched schedules pause nightly
    rq-sched schedules run nightly

    The list says when each is due next, what it made last, what was skipped and why. While one is paused it makes no
    tasks, and what is due then stays undone. What a schedule has made stays when it is removed.
    """
    if action is None:
        _list(session, session.run(session.store.schedules()))
        return 0
    if not names:
        raise UsageError(f"which schedule? `rq-sched schedules {action} NAME`; `rq-sched schedules` lists them")
    code = 0
    for name in dict.fromkeys(names):
        try:
            _change(session, action, name)
        except ScheduleNotFound:
            error: RqSchedError = ScheduleNotFound(
                f"no schedule {name} in namespace {session.space}: `rq-sched schedules` lists all"
            )
            print_error(error.code, str(error), as_json=session.json)
            code = max(code, error.exit_status)
        except RqSchedError as refused:
            if refused.exit_status not in (1, 2):  # Redis can't be used, say: for none of them
                raise
            print_error(refused.code, str(refused), as_json=session.json)
            code = max(code, refused.exit_status)
    return code


def _change(session: Invocation, action: str, name: str) -> None:
    store, task_id = session.store, None
    if action == "run":
        task_id = session.run(store.schedule_run(name))
        said = f"submitted {task_id}"
    elif action == "remove":
        session.run(store.schedule_remove(name))
        said = f"schedule {name} is removed; the tasks that it has made stay"
    elif action == "pause":
        new = session.run(store.schedule_pause(name))
        said = f"schedule {name} {'is' if new else 'was'} paused; to go on: `rq-sched schedules resume {name}`"
    else:
        new = session.run(store.schedule_resume(name))
        (info,) = session.run(store.schedules([name]))
        due = f"due next at {_moment(info.next_due, info)}" if info.next_due is not None else "never due again"
        said = f"schedule {name} {'goes on' if new else 'was not paused'}, and is {due}"
    if session.json:
        show.json_line({"name": name, "action": action, **({"task_id": task_id} if task_id else {})})
    else:
        show.paragraph(said)


def _list(session: Invocation, infos: Sequence[ScheduleInfo]) -> None:
    if session.json:
        for info in infos:
            show.json_line(info.to_dict())
    elif infos:
        columns = [
            Column("NAME"), Column("STATE", state=True), Column("WHEN", rank=2), Column("NEXT", rank=1),
            Column("LAST", rank=3), Column("MADE", right=True, rank=5), Column("SKIPPED", right=True, rank=5),
            Column("RUNS", rank=6, cut=True), Column("NOTE", rank=4, fold=True, sparse=True),
        ]  # fmt: skip
        table(columns, map(_row, infos))
    else:
        show.paragraph('no schedules: make one (`rq-sched every NAME --cron "0 3 * * *" TARGET`)')


def _row(info: ScheduleInfo) -> tuple[str, ...]:
    when = f"{info.cron} {info.tz}" if info.cron else f"every {show.duration(info.interval or 0)}"
    last = info.last_task_id.removeprefix(f"{info.name}.") if info.last_task_id else "-"
    return (
        info.name,
        info.state,
        when,
        _moment(info.next_due, info) if info.next_due is not None else "-",
        f"{last} {info.last_state or 'forgotten'}" if info.last_task_id else "-",
        f"{info.made:,}",
        f"{info.skipped:,}",
        show.call(info.function, info.args, info.kwargs),
        _note(info),
    )


def _note(info: ScheduleInfo) -> str:
    """What somebody should know of it."""
    notes = [info.trouble] if info.trouble else []
    if info.queued:
        notes.append(f"{show.count(info.queued, 'time')} in its queue, behind {info.last_task_id}")
    if info.skip_reason:
        notes.append(
            f"no task {str(info.last_skipped).removeprefix(f'{info.name}.')}: {_WHY.get(info.skip_reason, '')}"
        )
    return "; ".join(notes)


_WHY = {
    "overlap": "the one before had not ended",
    "queue_full": "100 wait for the one before",
    "missed": "no scheduler was there in time",
}


def _moment(at: float, info: ScheduleInfo) -> str:
    """A time in the schedule's zone, where this machine knows that."""
    try:
        zone = zone_of(info.tz or "UTC")
    except InvalidValue:
        zone = zone_of("UTC")
    moment = datetime.fromtimestamp(at, zone)
    left = at - time.time()
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}" + (f" (in {show.duration(left)})" if left > 0 else "")
