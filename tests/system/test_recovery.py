"""The short form of ``python -m bench.recovery``: the tasks of a dead node are pending again, in batches."""

from __future__ import annotations

from bench.recovery import requeue
from rq_sched.link import Link
from rq_sched.process.embedded import EmbeddedServer


def test_all_tasks_of_a_dead_node_are_pending_again(server: EmbeddedServer) -> None:
    found = requeue(Link(server.url), 3000)
    assert found.tasks == 3000
    assert found.seconds < 5  # the mark, 100,000 in 2 s, is the bench's matter: this is a busy machine's
