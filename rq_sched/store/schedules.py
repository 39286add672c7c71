"""Schedules: made, listed, changed by users; and what schedulers do when they are due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from rq_sched.errors import DurabilityNotReached, InvalidValue, ScheduleExists, ScheduleNotFound, Unreadable
from rq_sched.link import Op
from rq_sched.link.scripts import Argument
from rq_sched.model.due import stamp
from rq_sched.model.reading import LAST_MS, as_dict, text, whole
from rq_sched.model.schedule import FEATURE, Schedule, ScheduleInfo, check_name, signed_as
from rq_sched.store.answers import MadeDue
from rq_sched.store.base import BATCH, nonce
from rq_sched.store.parts import Record
from rq_sched.store.reads import Reads
from rq_sched.store.requests import encode
from rq_sched.store.schedule_records import NEVER, damage, decode, times_of, when
from rq_sched.store.submit import Submit

MOVES = 16
"""Schedules that one call moves on: each may cost as much as a submit and a look at another task."""
LOOK = 200
"""Due times of a schedule that one turn looks at."""
CATCH_UP = 16
"""Tasks of a schedule that one turn makes, where those that were missed are made, too."""
LATE = 60_000
"""Ms by which a task may be late where those that were missed aren't made: a scheduler, or Redis, was just away."""
PUZZLED = 60_000
"""Ms until a schedule that can't be read is looked at again."""
TROUBLE = 250
"""Characters that are kept of why."""
PAGE = 50
"""Schedules that are read together: each may have 256 KiB of arguments."""


@dataclass(frozen=True, slots=True)
class Due:
    """A schedule that is to be looked at, as ``schedule_due.lua`` tells."""

    name: bytes
    due: bytes
    record: Record

    @classmethod
    def of(cls, row: Sequence[bytes]) -> Due:
        name, due, *values = row
        fields = (b"cron", b"zone", b"interval", b"start", b"until", b"catch_up")
        return cls(name, due, dict(zip(fields, values, strict=True)))


class Schedules(Submit, Reads):
    """The operations on schedules."""

    # -- users ------------------------------------------------------------------------------------

    def schedule_add(self, schedule: Schedule) -> Op[bool]:
        """Make a schedule; False: the same is here already.

        Raises:
            ScheduleExists: the name is taken by another one.
            InvalidValue: it would never be due.
            FeatureMissing: a worker or scheduler that lives doesn't know schedules, or none lives.
            DurabilityNotReached: it is accepted, and not (yet) as safe as asked for.
            Unsendable: the arguments can't be sent.
        """
        request = schedule.request
        yield from self._use_features([request], FEATURE)
        times, first = schedule.times.begun((yield from self.now()))
        _, task_class, digest, packed = encode(request, self._signer, signed_as(schedule.name))
        asked = (task_class, digest, packed)
        call = self.call(
            "schedule_add", schedule.name, first, *asked, *when(times), schedule.overlap, schedule.catch_up
        )
        short: list[str] = []
        (answer,) = yield from self._safely([call], short)
        if answer < 0:
            raise ScheduleExists(
                f"the name {schedule.name} is taken by another schedule: choose another name, or remove that one first "
                f"(`rq-sched schedules remove {schedule.name}`)"
            )
        if short:
            raise DurabilityNotReached(
                f"schedule {schedule.name} is accepted, but not (yet) as safe as asked for: {short[0]}"
            )
        return bool(answer)

    def schedules(self, names: Sequence[str] | None = None) -> Op[list[ScheduleInfo]]:
        """Schedules by their names; None: all.

        Raises:
            ScheduleNotFound: there is none of one of these names.
        """
        if names is None:
            found = yield from self.rows([("ZRANGE", self.keys.schedules, 0, -1)])
            wanted = sorted({text(name) for name in found[0] or ()})
        else:
            wanted = [check_name(name) for name in names]
        infos: list[ScheduleInfo] = []
        for start in range(0, len(wanted), PAGE):
            page = wanted[start : start + PAGE]
            rows = yield from self.rows([("HGETALL", self.keys.schedule(name)) for name in page])
            records = [as_dict(row or ()) for row in rows]
            last = [text(record[b"last"]) for record in records if b"last" in record]
            states = dict(zip(last, (yield from self.states(last)), strict=True))
            for name, record in zip(page, records, strict=True):
                if record:
                    infos.append(decode(name, record, states.get(text(record.get(b"last")))))
                elif names is not None:
                    raise ScheduleNotFound(f"no schedule {name}")
        return infos

    def schedule_pause(self, name: str) -> Op[bool]:
        """It makes no tasks until it is resumed; False: so it was.  Raises: ScheduleNotFound."""
        return bool((yield from self._one("schedule_pause", check_name(name))))

    def schedule_resume(self, name: str) -> Op[bool]:
        """It goes on; what was due meanwhile stays undone. False: it wasn't paused.

        Raises:
            ScheduleNotFound
            Unreadable: what it was asked for can't be read.
        """
        (row,) = yield from self.rows([("HGETALL", self.keys.schedule(check_name(name)))])
        record = as_dict(row or ())
        if not record:
            raise ScheduleNotFound(f"no schedule {name}")
        if (why := damage(record)) is not None:
            raise Unreadable(f"schedule {name} can't go on: {why}. Remove it, and make it again")
        due = times_of(record).next_after((yield from self.now()))
        return bool((yield from self._one("schedule_resume", name, NEVER if due is None else due)))

    def schedule_remove(self, name: str) -> Op[None]:
        """There is no such schedule any more; the tasks that it has made stay.  Raises: ScheduleNotFound."""
        yield from self._one("schedule_remove", check_name(name))

    def schedule_run(self, name: str) -> Op[str]:
        """Make a task of it now; its id.  Raises: ScheduleNotFound, WrongState."""
        task_id = f"{check_name(name)}.{stamp((yield from self.now()), exact=True)}"
        yield from self._one("schedule_run", nonce(), self._placings, name, task_id)
        return task_id

    # -- schedulers -------------------------------------------------------------------------------

    def make_due(self, limit: int = BATCH) -> Op[MadeDue]:
        """The tasks that are due now: one bounded batch.

        Parameters:
            limit: schedules that are looked at.
        """
        now_ms, next_ms, rows = yield from self._one("schedule_due", limit)
        now = int(now_ms)
        moves: list[tuple[Argument, ...]] = []
        more = len(rows) == limit
        for due in map(Due.of, rows):
            try:
                found, goes_on = moves_of(due, now)
            except InvalidValue as error:
                yield from self._one("schedule_postpone", due.name, due.due, now + PUZZLED, str(error)[:TROUBLE])
                continue
            moves += found
            more = more or goes_on
        answers: list[int] = []
        for start in range(0, len(moves), MOVES):
            batch = [argument for move in moves[start : start + MOVES] for argument in move]
            answers += yield from self._one("schedule_make", nonce(), self._placings, *batch)
        due_in = max(0, int(float(next_ms)) - now) / 1000 if next_ms else None
        return MadeDue(answers.count(1), more, due_in)


def moves_of(schedule: Due, now: int) -> tuple[list[tuple[Argument, ...]], bool]:
    """What ``schedule_make.lua`` is to do with a schedule, and whether more is due than one turn does.

    Raises:
        InvalidValue: it can't be read (on this machine).
    """
    record = schedule.record
    name, due = text(schedule.name), whole(schedule.due, -1, 0, LAST_MS)
    if due < 0 and schedule.due != NEVER.encode() and any(record.values()):
        raise InvalidValue("when it is due can't be read: `rq-sched doctor --repair` mends it")
    if due < 0 or due > now:
        return [(schedule.name, schedule.due, "", schedule.due if due > now else NEVER, 0, "")], False
    come, following = [due], None
    for time in islice(times_of(record).after(due), LOOK):
        if time > now:
            following = time
            break
        come.append(time)
    if len(come) > LOOK:
        following = come.pop()
    goes_on = following is not None and following <= now
    ids = [f"{name}.{stamp(time)}" for time in come]
    behind: list[str | int] = [*come[1:], NEVER if following is None else following]
    if record[b"catch_up"] == b"all":
        each = list(zip(come, ids, behind, strict=True))
        return [(schedule.name, *one, 0, "") for one in each[:CATCH_UP]], goes_on or len(each) > CATCH_UP
    if goes_on or (record[b"catch_up"] == b"none" and now - come[-1] > LATE):
        return [(schedule.name, due, "", behind[-1], len(come), ids[-1])], goes_on
    return [(schedule.name, due, ids[-1], behind[-1], len(come) - 1, ids[-2] if len(come) > 1 else "")], False
