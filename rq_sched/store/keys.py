"""The Redis schema: every key that rq-sched uses is spelled here, and in the scripts (``lua/``).

All keys of a namespace begin with ``rqs:{NAMESPACE}:``; the braces make a Redis Cluster keep them in one
slot, which lets one script change several of them at once. Times are milliseconds of Redis' clock.

============================== ======== ==========================================================================
key                            type     holds; who writes it; how long it lives
============================== ======== ==========================================================================
``task:ID``                    string   what was asked for: lines ``name=value`` (``parts.REQUEST``); submit, and
                                        what changes a task that waits; until forgotten
``placed``                     hash     where tasks are: id → ``TOKEN NODE:INCARNATION PLACED ATTEMPT`` and more
                                        (``parts.ATTEMPT``); from placing to the attempt's end
``ended:ID``                   string   how its last attempt ended: lines ``name=value`` (``parts.OUTCOME``); finish,
                                        and what else ends a task
``array:ID``                   hash     of an array: what changes of it (``parts.ARRAY``)
``payload:ID``                 string   msgpack ``[args, kwargs]`` where too long for the record; submit
``result:ID``                  string   msgpack result, or the error text, where too long for the record; finish
``log:ID``                     string   its last output (``log_limit``), with marks (``output.py``); ``task_output``
``live:ID``                    set      of an array: indexes of its elements that were made and haven't ended
``apart:ID``                   zset     of an array: runs of elements that were made before their turn: score the first
                                        index, member the last
``arrays``                     set      ids of arrays of which some elements aren't made yet
``seq``                        counter  the sequence number last given; submit, requeue
``pending:CLASS``              zset     the tasks of one class (``CPU:MEMORY+LABEL*…``) that wait: score −priority
                                        (aged), member sequence (13 hex digits) + id; the rest of an array: + id + ``/``
``classes:GROUP``              zset     the heads of the classes of one group: score of the head, member its
                                        sequence + class
``groups``                     zset     the best head of each group, in the same form
``fresh``                      zset     heads that no scheduler has looked at yet, in the same form; an entry may be
                                        earlier than its class's head, never later
``dirty``                      zset     nodes with room that hasn't been offered yet (score: since when)
``delayed``                    zset     ids by due time
``held``                       zset     ids by the time they were held
``waiting``                    zset     ids of tasks that wait for others, by their submit
``expiring``                   zset     ids of tasks that have a deadline for their first start, and wait: by that time
                                        (ms); of an array while something of it isn't made
``awaits:ID``                  list     what a task waits for, or waited for, where that is too long for its request:
                                        ``ID`` or ``ID:KIND``; submit
``before:ID``                  list     who waits for a task, where these are too many for its request: id, sign, turn.
                                        ``:`` that it completes, ``+`` ends, ``!`` ends otherwise, ``=`` for its result,
                                        ``~`` has that; submit, and what ends it
``releasing``                  zset     ended tasks of which not all that wait for them have been told, and how many;
                                        elements, and arrays from an index on, that may go on as the elements that they
                                        wait for have ended
``finished:STATE``             zset     ids of completed, failed, cancelled tasks by their end; the janitor trims
``finished:array``             zset     ids of ended arrays none of whose elements has a record
``node:ID``                    hash     a node: total, free, state, incarnation, … (``node_records.FIELDS``);
                                       ``has``: CPU:MEMORY, labels, resources as its worker registered them (audit)
``node:ID:INCARNATION:tasks``  hash     its ledger: token → ``ID:CPU:MEMORY:MARK[:HELD]``; mark a assigned, r running,
                                        s stopping
``node:ID:INCARNATION:orders`` list     its newest orders: ``NUMBER KIND TOKEN ID …``; up to 31 at the front
                                        are acknowledged
``node:ID:alive``              string   the heartbeat: holds the incarnation, expires with its time to live
``nodes``                      zset     live nodes by when their heartbeat runs out
``node:ID:INCARNATION:grown``  hash     token → cores that an elastic attempt holds beyond its need: they count as free
``schedulers``                 zset     live schedulers, ``HOST:PID`` and what each knows, by when they count as gone;
                                        sweep
``lost``                       set      incarnations whose tasks are to be given back: ``NODE:INCARNATION:HOW``
``gone``                       zset     dead or departed nodes by when that was; the janitor trims
``free``                       zset     ``up`` nodes that aren't reserved, by room: score = (free + surplus) CPU × 2²⁴ +
                                        free memory
``totals``                     zset     ``up`` nodes by size: score = CPU × 2²⁴ + memory
``ends``                       zset     ``up`` nodes that are known to be empty then: score = ms
``free:LABEL``                 zset     those of ``free`` that carry a label, with the same scores; ``free:*NAME``: that
                                        have a resource
``totals:LABEL``               zset     those of ``totals`` that carry it, or have it (``totals:*NAME``)
``reservation``                hash     ``first``, ``since``: the first blocked task that some node could hold, since
                                        when; ``task`` … ``spare_memory``: the node kept for a task, what later tasks
                                        may use there, and (``+TOKEN``) which do; ``reserve``
``preemptible``                zset     attempts that may be stopped for a task of higher priority: ``TOKEN NODE`` by
                                        priority; every placing and ending script
``suspects``                   set      ids of tasks that must run alone on a node before they may fail as poison
``limits``                     hash     limits that hold across nodes: name → most, or ``off``; ``limit_set``
``limits_used``                hash     name → in use, by all attempts that stand on a ledger; every placing and ending
                                        script
``limits_kept``                hash     name → the first task that asks for it and waits, since when, and whether
                                        room is kept for it: ``first`` or ``kept``, ms, score, head; ``reserve``
``limited:NAME``               zset     heads of the classes that ask for a limit, as in ``groups``
``wake``                       list     the doorbell of the schedulers: at most one element
``schedule:NAME``              hash     what is asked for again and again: its definition and its state
                                        (``schedule_records.FIELDS``); ``every``, and each due time; until removed
``schedules``                  zset     schedules by when a scheduler is to look at them; ended and paused ones: +inf
``counts``                     hash     tasks by state, totals of what ever happened
``settings``                   hash     what all processes must agree on (``settings.SETTINGS``), and of which form the
                                        data are (``schema.ENTRIES``)
``swept``                      string   when Redis was last seen to be there, and holes in that; sweep, heartbeat
``events``                     stream   the decision log, trimmed: one entry a script call
============================== ======== ==========================================================================

Channels (pub/sub, doorbells only; nothing depends on their arrival): ``bell:NODE`` (new orders: the number of the
last; of a start that is the only new one ``INCARNATION`` and the order in full), ``done:CHANNEL`` (tasks that a client
waits for have ended: ``ID STATE``, with ``:BYTES`` where a short result follows behind the line).
"""

from __future__ import annotations

from rq_sched.model.arrays import owner
from rq_sched.model.ids import check_id


class Keys:
    """The keys of one namespace.

    >>> Keys("default").task("t1")
    'rqs:{default}:task:t1'
    """

    def __init__(self, namespace: str) -> None:
        self.namespace = check_id(namespace, "namespace")
        self.prefix = p = f"rqs:{{{namespace}}}:"
        self.seq = p + "seq"
        self.placed = p + "placed"
        self.arrays = p + "arrays"
        self.groups = p + "groups"
        self.fresh = p + "fresh"
        self.dirty = p + "dirty"
        self.delayed = p + "delayed"
        self.held = p + "held"
        self.waiting = p + "waiting"
        self.expiring = p + "expiring"
        self.releasing = p + "releasing"
        self.nodes = p + "nodes"
        self.gone = p + "gone"
        self.schedulers = p + "schedulers"
        self.lost = p + "lost"
        self.free = p + "free"
        self.totals = p + "totals"
        self.ends = p + "ends"
        self.reservation = p + "reservation"
        self.preemptible = p + "preemptible"
        self.suspects = p + "suspects"
        self.limits = p + "limits"
        self.limits_used = p + "limits_used"
        self.limits_kept = p + "limits_kept"
        self.wake = p + "wake"
        self.schedules = p + "schedules"
        self.counts = p + "counts"
        self.settings = p + "settings"
        self.swept = p + "swept"
        self.events = p + "events"

    def task(self, task_id: str) -> str:
        return f"{self.prefix}task:{task_id}"

    def ended(self, task_id: str) -> str:
        return f"{self.prefix}ended:{task_id}"

    def array(self, array_id: str) -> str:
        return f"{self.prefix}array:{array_id}"

    def payload(self, task_id: str) -> str:
        """The long arguments; the elements of an array share theirs."""
        return f"{self.prefix}payload:{owner(task_id)}"

    def awaits(self, task_id: str) -> str:
        return f"{self.prefix}awaits:{task_id}"

    def before(self, task_id: str) -> str:
        return f"{self.prefix}before:{task_id}"

    def live(self, array_id: str) -> str:
        return f"{self.prefix}live:{array_id}"

    def apart(self, array_id: str) -> str:
        return f"{self.prefix}apart:{array_id}"

    def result(self, task_id: str) -> str:
        return f"{self.prefix}result:{task_id}"

    def log(self, task_id: str) -> str:
        return f"{self.prefix}log:{task_id}"

    def schedule(self, name: str) -> str:
        return f"{self.prefix}schedule:{name}"

    def pending(self, task_class: str) -> str:
        return f"{self.prefix}pending:{task_class}"

    def classes(self, group: str) -> str:
        return f"{self.prefix}classes:{group}"

    def labelled(self, index: str, label: str) -> str:
        """The index ``free`` or ``totals`` of the nodes that carry a label."""
        return f"{self.prefix}{index}:{label}"

    def limited(self, name: str) -> str:
        """The heads of the classes that ask for a limit."""
        return f"{self.prefix}limited:{name}"

    def finished(self, state: str) -> str:
        return f"{self.prefix}finished:{state}"

    def node(self, node_id: str) -> str:
        return f"{self.prefix}node:{node_id}"

    def ledger(self, node_id: str, incarnation: str) -> str:
        return f"{self.prefix}node:{node_id}:{incarnation}:tasks"

    def orders(self, node_id: str, incarnation: str) -> str:
        return f"{self.prefix}node:{node_id}:{incarnation}:orders"

    def alive(self, node_id: str) -> str:
        return f"{self.prefix}node:{node_id}:alive"

    def bell(self, node_id: str) -> str:
        """The channel on which a node's agent hears of new orders."""
        return f"{self.prefix}bell:{node_id}"

    def done(self, channel: str) -> str:
        """The channel on which a waiting client hears of ended tasks."""
        return f"{self.prefix}done:{channel}"
