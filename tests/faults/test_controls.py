"""Negative controls: bugs that others had, each planted in the scripts as a change of one line. The model test must
catch every one; a harness that misses one proves nothing."""

from __future__ import annotations

import pytest
from hypothesis import Phase
from hypothesis.errors import Flaky

from rq_sched.errors import RqSchedError
from rq_sched.link import scripts
from rq_sched.link.scripts import Script
from tests.faults.direct import DirectLink
from tests.faults.machine import play

BUGS = {
    # what goes wrong: the line as it is, the line with the bug
    "no attempt check: a late report counts": (
        "if not id and not entry then return late(given_id, token) end",
        "if not id and not entry then entry, id, cpu, memory, mark = true, given_id, 1, 100, 'r' end",
    ),
    "bare decrement on release": (
        "node.cpu, node.memory = left_cpu, left_memory",
        "node.cpu, node.memory = left_cpu, cpu < 0 and node.memory or left_memory",
    ),
    "no incarnation: an old one reports on": (
        "if not node or node.incarnation ~= incarnation or node.state == 'dead' then",
        "if not node then",
    ),
    "a node that comes back keeps what it held": ("node_gone(now, node, 'crashed')\nend", "end"),
    "a given-up incarnation registers again": (
        "return refuse('stale_incarnation', 'this registration of node ' .. id .. ' was given up: register a new one')",
        "",
    ),
    "reap of whoever it is told": ("call('SISMEMBER', P .. 'lost', lost) == 0", "false"),
    "requeue before the process is gone": (
        "local intention = (record.b == 'end'",
        "task_pending(id, record, record.n) local intention = (record.b == 'end'",
    ),
    "the outcome of a cancelled attempt counts": (
        "if mark == 's' then\n    if record.b",
        "if false then\n    if record.b",
    ),
    "orders without numbers": ("node.ordered = node.ordered + 1", "node.ordered = node.ordered"),
    "a refill's reply leaves out whose surplus was taken": (
        "if orders then orders[#orders + 1] = { number, 'resize', token, entry.id, allocation } end",
        "",
    ),
    "a fill doesn't look at labels": (
        "if labels and (group_skips[i] or not (carries and carries(labels))) then",
        "if false then",
    ),
    "of several labels one is enough": ("if not scores[i] then set[id] = nil end", ""),
    "a node is never taken out of the indexes of its labels": ("read('ZREM', P .. name .. ':' .. label, id)", ""),
    "orders are never trimmed": ("call('LTRIM', node.path .. ':orders', whole(acked - node.acked), '-1')", ""),
    "submit isn't idempotent": ("if known then return known == digest and 0 or -1 end", ""),
    "cancel isn't idempotent": ("if record.o == operation then return repeated() end", ""),
    "unbounded requeue of what crashes": ("if crashes >= (whole_of(record.C) or 3) then", "if false then"),
    "retries without end": ("or used >= (whole_of(record.r) or 0) then", "then"),
    "what never started is charged a crash": ("died and mark ~= 'a' and", "died and"),
    "an innocent neighbour fails as poison": ("if report.among and crashes >=", "if false and crashes >="),
    "a crash costs the place in the queue": (
        "task_back(id, record, record.n, node_id, 'crashed')",
        "task_back(id, record, next_sequence(), node_id, 'crashed')",
    ),
    "a doorbell as the only memory of new tasks": (
        "call('ZADD', P .. 'fresh', score, entry)\n    return true",
        "return true",
    ),
    "a doorbell as the only memory of a node that joined": (
        "read('ZADD', P .. 'dirty', now, node.id)\n  wake()\nend",
        "wake()\nend",
    ),
    "a bound reached is forgotten": (
        "read('ZADD', P .. 'dirty', now, node.id)\n  return placed, true",
        "return placed, true",
    ),
    "memory isn't looked at": (
        "head.cpu <= cpu and head.memory <= memory and head_class",
        "head.cpu <= cpu and head_class",
    ),
    "a fill that doesn't look whether it fits": (
        "first_fit(room_cpu(node), node.memory, carrier(node))",
        "first_fit(room_cpu(node) + 1, node.memory, carrier(node))",
    ),
    "equals in any order": (
        "return score < than_score or (score == than_score and member < than_member)",
        "return score < than_score",
    ),
    "an old head stays in its index": (
        "if old then call('ZREM', group.key, head_of_queue(old, class)) end",
        "",
    ),
    "a held task stays in its queue": (
        "take_out(id, record)\ncall('HSET', P .. 'task:' .. id, 's', 'held')",
        "call('HSET', P .. 'task:' .. id, 's', 'held')",
    ),
    "half of a resize": (
        "room_take(node, cpu - entry.cpu, memory - entry.memory)",
        "room_take(node, cpu - entry.cpu, 0)",
    ),
    "a node with a fault stays in the indexes": (
        "if node.state == 'up' then node_pause(now, node, 'faulty') end",
        "if node.state == 'up' then node.state = 'faulty' call('HSET', key, 'state', 'faulty') end",
    ),
    "a fault is forgotten when a drain ends": ("if call('HEXISTS', key, 'fault') == 1 then", "if false then"),
    "a recovery undoes a drain": ("if node.state == 'faulty' then node_resume", "if true then node_resume"),
    "a fault outlives its incarnation": ("call('HDEL', P .. 'node:' .. id, 'fault')\n  call('ZREM'", "call('ZREM'"),
    "a fill offers a task to a node that has refused it": (
        "known[required] = not string.find(required .. '!', '!' .. node.place .. '!', 1, true)",
        "known[required] = true",
    ),
    "a node that has refused a task is chosen for it": (
        "for id in pairs(others.refused or {}) do set[id] = nil end",
        "",
    ),
    "the first refusal counts for all": (
        "if #places > most or not somebody_could(class_of(class)) then",
        "if true then",
    ),
    "a restart undoes a drain": ("call('HGET', key, 'drain') and 'draining' or 'up'", "'up'"),
    "promotion loses what it didn't reach": ("call('ZREM', P .. 'delayed', id)\n", "call('DEL', P .. 'delayed')\n"),
}


def planted(script: Script, right: str, wrong: str) -> Script:
    return Script.of(script.name, script.source.replace(right, wrong))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", BUGS)
def test_the_model_catches(bug: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right, wrong = BUGS[bug]
    load = scripts.load
    assert any(right in load(name).source for name in scripts.names()), f"no script has the line any more: {right}"
    monkeypatch.setattr(scripts, "load", lambda name: planted(load(name), right, wrong))
    noticed = (AssertionError, RqSchedError, pytest.fail.Exception, Flaky)  # reaping takes any tasks first
    with pytest.raises(noticed) as caught:
        play(lambda: DirectLink(redis_url), examples=150, phases=[Phase.generate])
    assert not str(caught.value).startswith("Timeout"), "time was up before it was noticed"
