"""Draws a schedule: how much of the nodes is in use over time, and how long those that start had to wait."""

from __future__ import annotations

from pathlib import Path

from rq_sched.errors import RqSchedError
from rq_sched.simulate.measures import series
from rq_sched.simulate.records import Records
from rq_sched.simulate.workload import Workload


class NoMatplotlib(RqSchedError):
    """What draws isn't installed."""

    code = "no_matplotlib"


def check_plot() -> None:
    """Before a long replay: whether its plot can be drawn.

    Raises:
        NoMatplotlib: says what to install.
    """
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise NoMatplotlib("--plot needs matplotlib: install it with `pip install 'rq-sched[plot]'`")


def write_plot(path: Path, workload: Workload, records: Records, title: str) -> None:
    """A picture (the name's ending says which kind) of utilisation and waits over time.

    Raises:
        NoMatplotlib: says what to install.
    """
    check_plot()
    from matplotlib.figure import Figure  # without pyplot: no window, no state that is shared

    course = series(workload, records)
    unit, seconds = _unit(course.seconds[-1])
    hours = [second / seconds for second in course.seconds]
    figure = Figure(figsize=(11, 7), layout="constrained")
    use, tasks, wait = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 2))
    use.plot(hours, [100 * share for share in course.cpu], color="tab:blue", label="CPU")
    use.plot(hours, [100 * share for share in course.memory], color="tab:orange", label="memory")
    use.set(ylabel="in use, %", ylim=(0, 104))
    use.legend(loc="lower right", ncols=2)
    use.set_title(title, loc="left")
    tasks.fill_between(hours, course.running, color="tab:green", alpha=0.4, linewidth=0)
    tasks.set(ylabel="tasks running", ylim=(0, None))
    started = [(hour, value) for hour, value in zip(hours, course.wait, strict=True) if value is not None]
    wait.plot([at for at, _ in started], [value / seconds for _, value in started], ".", color="tab:red", markersize=4)
    wait.set(ylabel=f"wait, {unit}", xlabel=f"time since the first arrival, {unit}", ylim=(0, None))
    for axes in (use, tasks, wait):
        axes.grid(alpha=0.3)
        axes.margins(x=0.01)
    try:
        figure.savefig(path, dpi=110)
    except ValueError as error:  # an ending that it doesn't know
        raise RqSchedError(f"can't draw {path}: {error}") from None


def _unit(last: float) -> tuple[str, float]:
    """A unit in which the numbers are handy, and its seconds."""
    for unit, seconds in (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if last > 3 * seconds:
            return unit, seconds
    return "s", 1.0
