"""The command line: ``rq-sched COMMAND``.

One file holds one group of commands. A command's file is imported when the command is called, and not before, so
that ``--help`` and ``submit`` don't pay for what they don't use. A command returns its exit code (None is 0), and
raises ``rq_sched.errors`` for anything it refuses; ``main`` alone turns those into a line and an exit code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from rq_sched.cli.options import Invocation, common_options, folded_help
from rq_sched.process.streams import restore_standard

SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    # section: {command: (module, what it does)}
    "Tasks": {
        "submit": ("submit", "Submit a function, a command, or a file of tasks."),
        "run": ("run", "Run one task here and now: its output, its exit code."),
        "status": ("look", "Show everything known of tasks."),
        "list": ("look", "List tasks."),
        "cancel": ("cancel", "Stop tasks and requeue them, or end them."),
        "wait": ("wait", "Wait until tasks are final."),
        "result": ("look", "Print what a task returned."),
        "logs": ("logs", "Print what a task wrote."),
        "explain": ("explain", "Say why a task is pending, or what happened to it."),
        "requeue": ("change", "Run tasks again: also finished ones."),
        "hold": ("change", "Set waiting tasks aside."),
        "unhold": ("change", "Bring held tasks back."),
        "priority": ("change", "Change the priority of pending tasks."),
        "forget": ("forget", "Drop finished tasks."),
    },
    "Schedules": {
        "every": ("schedules", "Make a task again and again: by a cron line, or an interval."),
        "schedules": ("schedules", "List schedules; pause, resume, remove and run them."),
    },
    "Limits": {
        "limit": ("limits", "Set how much of something may be in use at once."),
        "limits": ("limits", "List the limits: how much is in use, who waits."),
    },
    "Nodes": {
        "nodes": ("nodes", "List the nodes: what they offer, what is free."),
        "drain": ("nodes", "Give nodes no new tasks."),
        "undrain": ("nodes", "Let nodes take tasks again."),
        "reload": ("nodes", "Let nodes run new code."),
    },
    "Looking inside": {
        "info": ("info", "Totals of this namespace."),
        "top": ("top", "Watch it live: rates, nodes, tasks."),
        "events": ("events", "The decision log."),
        "inspect": ("inspect", "Show and explain the keys in Redis."),
        "doctor": ("doctor", "Check the server, the settings and the ledgers."),
        "settings": ("settings", "Show or change what all processes share."),
        "upgrade": ("upgrade", "Convert the data to the version of this rq-sched."),
    },
    "Planning": {
        "simulate": ("simulate", "Replay a workload in virtual time."),
    },
    "Long-running": {
        "up": ("up", "Run everything on this machine."),
        "scheduler": ("serve", "Run a scheduler."),
        "worker": ("serve", "Run a worker: this machine becomes a node."),
        "health": ("health", "Say whether those of this machine are well."),
    },
    "Shell": {
        "completion": ("completion", "Print the script that completes commands in your shell."),
    },
}
COMMANDS = {name: where for section in SECTIONS.values() for name, where in section.items()}


class LazyGroup(click.Group):
    """Finds its commands in ``COMMANDS`` and imports only the one that is called."""

    def get_help(self, ctx: click.Context) -> str:
        return folded_help(ctx, super().get_help(ctx))

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"rq_sched.cli.{COMMANDS[cmd_name][0]}")
        found: click.Command = getattr(module, f"{cmd_name}_command")
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(name, COMMANDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "`rq-sched --help` lists them"
            raise click.UsageError(f"no such command {name!r}: {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()], col_max=14)


def _print_version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            click.echo(f"rq-sched {version('rq-sched')}")
        except PackageNotFoundError:
            click.echo("rq-sched, run from a checkout")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start here: `rq-sched up` in one terminal, `rq-sched submit math:sqrt :=16 --wait` in another.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="The version."
)
@common_options
def cli() -> None:
    """A task scheduler that knows about CPU and memory, backed by Redis."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code. Nothing that goes wrong leaves here as an exception."""
    args = list(sys.argv[1:] if argv is None else argv)
    from rq_sched.cli import failure

    restore_standard()
    try:
        for stream in (sys.stdout, sys.stderr):  # an old locale must not turn a task's name into a crash
            getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
        if instruction := os.environ.get("_RQ_SCHED_COMPLETE"):
            from click.shell_completion import shell_complete

            return shell_complete(cli, {}, "rq-sched", "_RQ_SCHED_COMPLETE", instruction)
        with cli.make_context("rq-sched", list(args), obj=Invocation()) as ctx:
            code = cli.invoke(ctx)
        sys.stdout.flush()
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except (Exception, KeyboardInterrupt) as error:
        return failure.report(error, as_json=failure.wants_json(args))
    return code or 0
