"""Every refusal and failure that a user of rq-sched can meet, one class each.

Each class has a ``code`` (the word in ``--json`` output, and the name a script refuses with) and the
``exit_status`` of the command line:
1 refused or failed, 2 wrong use, 3 not found, 4 timed out, 69 Redis can't be used.

>>> TaskNotFound("no task 'x'").exit_status
3
"""

from __future__ import annotations

from collections.abc import Sequence


class RqSchedError(Exception):
    """Anything rq-sched raises on purpose. The message says what is wrong and what to do."""

    code = "error"
    exit_status = 1


# -- wrong use: nothing was changed, the caller can correct it ------------------------------------


class UsageError(RqSchedError, ValueError):
    """A bad value, id, target or combination of options."""

    code = "usage"
    exit_status = 2


class InvalidId(UsageError):
    """A task id, node id or namespace that doesn't match ``^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$``."""

    code = "invalid_id"


class InvalidResources(UsageError):
    """CPU below 1, memory that isn't a size, a maximum below the need."""

    code = "invalid_resources"


class InvalidLabel(UsageError):
    """A label that isn't 1 to 32 of ``a-z 0-9 . _ -``, or more than eight of them."""

    code = "invalid_label"


class InvalidTarget(UsageError):
    """Not ``pkg.mod:func``, or a callable that a worker can't find (a lambda, one of ``__main__``)."""

    code = "invalid_target"


class InvalidValue(UsageError):
    """Any other option out of its range."""

    code = "invalid_value"


class Unsendable(UsageError):
    """Arguments, or a result, that can't be sent: ``PayloadTooLarge`` or ``NotSerializable``. Sending the same again
    would end the same way; the message says what to send instead."""

    code = "unsendable"


class PayloadTooLarge(Unsendable):
    """Arguments or a result beyond the limit (256 KiB). Put large data in a file or a store and pass its name."""

    code = "payload_too_large"


class NotSerializable(Unsendable):
    """Something that can't come back as it is (only plain data can: no objects, never pickle)."""

    code = "not_serializable"


class TaskExists(UsageError):
    """The task id is taken by another request."""

    code = "task_exists"


class LimitUnknown(UsageError):
    """A task asks for a limit that was never set."""

    code = "limit_unknown"


class ScheduleExists(UsageError):
    """The name is taken by another schedule."""

    code = "schedule_exists"


# -- refused --------------------------------------------------------------------------------------


class Refused(RqSchedError):
    """The operation doesn't apply to the task or node as it is now."""

    code = "refused"


class TaskNotFinal(Refused):
    """The task has no result yet."""

    code = "task_not_final"


class TaskNeeded(Refused):
    """It has ended, and another one still waits for it, or uses its result: it is kept."""

    code = "task_needed"


class TaskFinal(Refused):
    """The task has already ended."""

    code = "task_final"


class WrongState(Refused):
    """The task's state doesn't allow this (for example, hold of a running task)."""

    code = "wrong_state"


class TaskFailed(RqSchedError):
    """The task ended as ``failed``, or (``TaskCancelled``) as ``cancelled``; the message carries its error as text.

    Attributes:
        task_id: which.
        reason: why, as ``TaskInfo.reason``: ``error``, ``timeout``, ``oom``, …; None if it was cancelled.
        exit_code: the command's, or None.
        node_id: where its last attempt ran; None: nowhere.
        attempt: how many attempts there were.

    >>> TaskFailed("task t1 failed (oom)", task_id="t1", reason="oom", node_id="n1", attempt=2).reason
    'oom'
    """

    code = "task_failed"

    def __init__(
        self,
        message: str,
        *,
        task_id: str = "",
        reason: str | None = None,
        exit_code: int | None = None,
        node_id: str | None = None,
        attempt: int = 0,
    ) -> None:
        super().__init__(message)  # the attributes stay with it where it is pickled, as all of an exception's do
        self.task_id = task_id
        self.reason = reason
        self.exit_code = exit_code
        self.node_id = node_id
        self.attempt = attempt


class TaskCancelled(TaskFailed):
    """The task ended as ``cancelled``: somebody ended it for good. It has the attributes of ``TaskFailed``."""

    code = "task_cancelled"


class UnreadableValue(RqSchedError, ValueError):
    """Arguments or a result in Redis that can't be read: rq-sched hasn't written them, or they were damaged."""

    code = "unreadable_value"


class NodeAlive(Refused, UsageError):
    """A node with this id is alive elsewhere."""

    code = "node_alive"
    exit_status = 2


class CounterFull(Refused):
    """The places in the order of this namespace are used up (2⁵² tasks and requeues): nothing more can be submitted."""

    code = "counter_full"


class TooManyLabelSets(Refused):
    """Tasks of so many combinations of required labels and sizes wait already that no new one comes in. Those that wait
    aren't harmed: submit it again when some have been placed, or use fewer sets of labels."""

    code = "too_many_label_sets"


class NamespaceInUse(Refused):
    """Processes of the namespace live, which must not where its data are to be converted. The message names them."""

    code = "namespace_in_use"


class FeatureMissing(Refused):
    """A process of this namespace, which the message names, doesn't know what a request needs: it is older. Or none
    lives that does; or this process doesn't know what the namespace uses."""

    code = "feature_missing"


class StaleIncarnation(Refused):
    """This registration of the node has been given up: it must stop its tasks and register anew."""

    code = "stale_incarnation"


class ServerRunning(Refused):
    """Another ``up`` already serves this data folder."""

    code = "server_running"


class ClientClosed(RqSchedError, RuntimeError):
    """The client was closed: make a new one."""

    code = "client_closed"


class WrongLoop(RqSchedError, RuntimeError):
    """The ``AsyncClient`` is in use by another event loop: make one for each."""

    code = "wrong_loop"


class NotInTask(RqSchedError, RuntimeError):
    """``current_task()`` was called where no task runs."""

    code = "not_in_task"


# -- not found, timed out -------------------------------------------------------------------------


class NotFound(RqSchedError, LookupError):
    """No such thing."""

    code = "not_found"
    exit_status = 3


class TaskNotFound(NotFound):
    """No such task: never submitted here, or already forgotten."""

    code = "task_not_found"

    @classmethod
    def of(cls, task_id: str, namespace: str | None = None) -> TaskNotFound:
        """The error for this id."""
        where = "this namespace" if namespace is None else f"namespace {namespace}"
        return cls(f"no task {task_id}: never submitted to {where}, or forgotten")


class DependencyNotFound(TaskNotFound):
    """A task wasn't submitted: it would wait for one that there isn't (or that was forgotten)."""

    code = "dependency_not_found"


class NodeNotFound(NotFound):
    """No such node."""

    code = "node_not_found"


class ScheduleNotFound(NotFound):
    """No such schedule."""

    code = "schedule_not_found"


class WaitTimeout(RqSchedError, TimeoutError):
    """The task was not final in time. It goes on."""

    code = "timeout"
    exit_status = 4


class DurabilityNotReached(RqSchedError, TimeoutError):
    """The tasks ARE accepted and will run; that they are as safe as was asked for isn't known (yet).

    Attributes:
        task_ids: the tasks in question.
        outcomes: what the submit answered, for each request (``Store.submit``).
    """

    code = "durability_not_reached"
    exit_status = 4

    def __init__(self, message: str, task_ids: Sequence[str] = (), outcomes: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.task_ids = list(task_ids)
        self.outcomes = list(outcomes)


# -- Redis ----------------------------------------------------------------------------------------


class RedisUnavailable(RqSchedError, ConnectionError):
    """Redis can't be reached, or closed the connection."""

    code = "redis_unavailable"
    exit_status = 69


class ClientBusy(RedisUnavailable):
    """All connections of this client are in use, and none became free within the time that the call had."""

    code = "client_busy"


class RedisRefused(RedisUnavailable):
    """Redis is reached and refuses: wrong password, no permission, and what ``RedisNotReady`` says."""

    code = "redis_refused"


class RedisNotReady(RedisRefused):
    """Redis is reached and can't serve just now: loading, read-only, busy with a script, without its replicas."""

    code = "redis_not_ready"


class FunctionsMissing(RedisNotReady):
    """The server doesn't know the functions of this version, and this user may not load them: a scheduler does."""

    code = "functions_missing"


class RedisFull(RedisUnavailable):
    """Redis is at its ``maxmemory``: submits are refused until tasks have drained."""

    code = "redis_full"


class ServerTooOld(RedisUnavailable):
    """Older than Redis 7."""

    code = "server_too_old"


class OtherSchema(RedisUnavailable):
    """The data of the namespace have another version than this process works with: ``rq-sched upgrade`` converts older
    ones, newer ones need a newer rq-sched."""

    code = "other_schema"


class Unreadable(RqSchedError):
    """What Redis holds can't be read: ``rq-sched doctor`` says what it is, ``rq-sched doctor --repair`` mends it."""

    code = "unreadable"


class WrongType(RedisUnavailable):
    """A key of this namespace holds something that rq-sched didn't write."""

    code = "wrong_type"


def by_code() -> dict[str, type[RqSchedError]]:
    """All classes by their ``code``: how a script's named refusal becomes an exception."""
    found: dict[str, type[RqSchedError]] = {}
    todo: list[type[RqSchedError]] = [RqSchedError]
    while todo:
        cls = todo.pop()
        found[cls.code] = cls
        todo.extend(cls.__subclasses__())
    return found
