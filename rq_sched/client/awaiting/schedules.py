"""Schedules: a task for each due time of a cron line, or each so many seconds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from rq_sched.client.awaiting.handles import AsyncTaskHandle
from rq_sched.client.awaiting.stepper import AsyncStepper
from rq_sched.model.due import parse_times
from rq_sched.model.durations import Duration
from rq_sched.model.schedule import Schedule, ScheduleInfo, check_name, refuse_id
from rq_sched.model.target import Target, not_its_own, parted, short_form


@dataclass(frozen=True, slots=True)
class AsyncScheduleHandle:
    """A schedule, by its name. Making a handle asks nobody.

    >>> nightly = client.schedule("nightly")  # doctest: +SKIP
    >>> await nightly.pause()  # doctest: +SKIP
    """

    client: AsyncStepper
    name: str

    async def info(self) -> ScheduleInfo:
        """Everything known of it: when it is due next, what it made last, what was skipped and why.

        Raises:
            ScheduleNotFound
        """
        found = await self.client._do(self.client._flows.schedules([self.name]))
        return found[0]

    async def pause(self) -> bool:
        """It makes no tasks until ``resume``; those that it has made go on. False: it was paused.

        Raises:
            ScheduleNotFound
        """
        return await self.client._do(self.client._flows.schedule_pause(self.name))

    async def resume(self) -> bool:
        """It goes on; what was due while it was paused stays undone. False: it wasn't paused.

        Raises:
            ScheduleNotFound
            Unreadable: what it was asked for was damaged in Redis: remove it, and make it again.
        """
        return await self.client._do(self.client._flows.schedule_resume(self.name))

    async def remove(self) -> None:
        """There is no such schedule any more. The tasks that it has made stay.  Raises: ScheduleNotFound."""
        await self.client._do(self.client._flows.schedule_remove(self.name))

    async def run(self) -> AsyncTaskHandle[Any]:
        """Make a task of it now, whenever it is due, and whatever runs.

        Raises:
            ScheduleNotFound
            WrongState: it is paused, or its task can't be made.
        """
        return AsyncTaskHandle(self.client, await self.client._do(self.client._flows.schedule_run(self.name)))


class AsyncScheduleMethods(AsyncStepper):
    """The methods of ``AsyncClient`` about schedules."""

    async def every(
        self,
        name: str,
        target: Target,
        /,
        *args: Any,
        cron: str | None = None,
        interval: Duration | None = None,
        tz: str | None = None,
        until: str | date | None = None,
        overlap: str = "skip",
        catch_up: str = "last",
        **keywords: Any,
    ) -> AsyncScheduleHandle:
        """From now on make a task for each due time, with the id ``NAME.20261130T030000Z`` (the time in UTC): each
        once, however many schedulers run. The same schedule again is the same: call it at each start of a program.

        Parameters:
            name: of the schedule; at most 104 characters.
            target, args: as of ``submit``. A ``TaskRequest`` says everything about the task (its id doesn't count).
            cron: five fields (minute, hour, day of the month, month, day of the week), or ``@hourly``, ``@daily``, …
            interval: instead of it, whole seconds, ``"10m"`` or a ``timedelta``, counted from now.
            tz: the time zone in which ``cron`` is read, such as ``"Europe/Zurich"`` (UTC).
            until: the last moment at which it may be due: a ``datetime``, a ``date`` (its end), or ISO 8601 text.
            overlap: what becomes of a due time while the task before hasn't ended: ``skip``, ``queue`` (its task is
                made when that has ended; at most 100 wait), ``allow``.
            catch_up: which due times that were missed, as no scheduler was there, get their task late: ``none``,
                ``last``, ``all``.
            keywords: options of the task, and the function's own keywords, as of ``submit``.

        Raises:
            InvalidValue: a bad cron line, an unknown zone, a time that never comes, or it isn't clear what is meant.
            ScheduleExists: the name is taken by another schedule.
            FeatureMissing: a worker or scheduler that lives is older than schedules, or none lives.
            InvalidId, InvalidTarget, UsageError: as ``submit``.

        >>> await client.every("nightly", "reports:make", "all", cron="0 3 * * *", tz="Europe/Zurich")  # doctest: +SKIP
        """
        options, kwargs = parted(keywords)
        refuse_id(options)
        not_its_own(target, ("cron", "interval", "tz", "until", "overlap", "catch_up"))
        request = short_form(target, args, options, kwargs)
        times = parse_times(cron, interval, tz, until)
        await self._do(self._flows.every(Schedule(name, times, request, overlap, catch_up)))
        return AsyncScheduleHandle(self, name)

    def schedule(self, name: str) -> AsyncScheduleHandle:
        """The handle of a schedule that was made elsewhere or earlier.  Raises: InvalidId.

        >>> task = await client.schedule("nightly").run()  # doctest: +SKIP
        """
        return AsyncScheduleHandle(self, check_name(name))

    async def schedules(self) -> list[ScheduleInfo]:
        """All schedules, by name.

        >>> late = [one.name for one in await client.schedules() if one.trouble]  # doctest: +SKIP
        """
        return await self._do(self._flows.schedules())
