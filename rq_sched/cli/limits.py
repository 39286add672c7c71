"""``limit`` sets how much of something may be in use at once in the namespace; ``limits`` lists that."""

from __future__ import annotations

from collections.abc import Sequence

import click

from rq_sched.cli import show
from rq_sched.cli.options import Invocation, Parsed, command
from rq_sched.cli.table import Column, table
from rq_sched.model.limits import LimitInfo, check_limit_name, parse_most

NAME = Parsed("name", lambda text, _: check_limit_name(text))
MOST = Parsed("number", lambda text, _: parse_most(text))


@command("limit")
@click.argument("name", metavar="NAME", type=NAME)
@click.argument("most", metavar="NUMBER|off", type=MOST)
@click.pass_obj
def limit_command(session: Invocation, name: str, most: int | None) -> None:
    """Let tasks that ask for NAME have at most NUMBER of it at once, in the whole namespace.

    \b
    rq-sched limit api 20
    rq-sched submit --limit api -- curl https://example.org
    rq-sched submit --limit api=5 pkg.mod:bulk
    rq-sched limit api off

    For what isn't on a node: licences, connections to a database, requests to a service. A task takes what it asks for
    when it is placed, and gives it back when it has ended, or its node has. Those that don't find enough wait; others
    go on. Raising the limit lets them go on at once; lowering it stops nothing that runs. With 0 nothing new starts.

    off removes it: tasks that ask for NAME aren't limited any more.
    """
    session.run(session.store.limit_set(name, most))
    if session.json:
        infos = session.run(session.store.limits())
        own = [info for info in infos if info.name == name]
        show.json_line((own[0] if own else LimitInfo(name, most, 0)).to_dict())
    elif most is None:
        show.paragraph(f"limit {name} is off: tasks that ask for it aren't limited")
    else:
        show.paragraph(f"limit {name} is {most:,}")


@command("limits")
@click.pass_obj
def limits_command(session: Invocation) -> None:
    """List the limits: how much there is, how much is in use, who waits first."""
    infos = session.run(session.store.limits())
    if session.json:
        for info in infos:
            show.json_line(info.to_dict())
    elif infos:
        columns = [
            Column("LIMIT"), Column("MOST", right=True), Column("IN USE", right=True),
            Column("FREE", right=True, rank=1), Column("WAITS FIRST", rank=2, cut=True),
        ]  # fmt: skip
        table(columns, _rows(infos))
    else:
        show.paragraph(
            "no limits: set one (`rq-sched limit api 20`), and ask for it (`rq-sched submit --limit api TARGET`)"
        )


def _rows(infos: Sequence[LimitInfo]) -> list[tuple[str, ...]]:
    return [
        (
            info.name,
            "off" if info.limit is None else f"{info.limit:,}",
            f"{info.in_use:,}",
            "-" if info.limit is None else f"{max(0, info.limit - info.in_use):,}",
            info.first_waiting or "-",
        )
        for info in infos
    ]
