"""Watches the nodes while the work goes on: nobody may ever have given away more than there is."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from rq_sched import Client, audit
from rq_sched.link import Link
from rq_sched.model.resources import Resources

SAMPLE_SECONDS = 0.05
AUDIT_EVERY = 20
"""Samples between two looks of the invariant checker at everything."""


@dataclass
class Seen:
    """What was seen: peaks, and everything that must not be."""

    total: dict[str, Resources] = field(default_factory=dict)
    peak: dict[str, Resources] = field(default_factory=dict)
    samples: int = 0
    audits: int = 0
    wrong: list[str] = field(default_factory=list)


class Watch(threading.Thread):
    """Samples the ledgers until ``stop()``, with a client of its own."""

    def __init__(self, url: str) -> None:
        super().__init__(name="watch", daemon=True)
        self.seen = Seen()
        self._url = url
        self._stopping = threading.Event()

    def run(self) -> None:
        with Client(self._url) as client:
            link = Link(self._url)
            try:
                while not self._stopping.wait(SAMPLE_SECONDS):
                    self._sample(client)
                    if self.seen.samples % AUDIT_EVERY == 0:
                        self._audit(link, client.namespace)
                self._audit(link, client.namespace)
            except Exception as error:  # a watch that has died has seen nothing: that is a failed check, not a success
                self.seen.wrong.append(f"the watch broke off: {type(error).__name__}: {error}")
            finally:
                link.close()

    def stop(self) -> Seen:
        """End it; what it has seen."""
        self._stopping.set()
        self.join()
        return self.seen

    def _sample(self, client: Client) -> None:
        seen = self.seen
        seen.samples += 1
        for node in client.nodes():
            allocated = node.total.minus(node.free)
            seen.total[node.node_id] = node.total
            before = seen.peak.get(node.node_id, Resources(0, 0))
            seen.peak[node.node_id] = Resources(max(before.cpu, allocated.cpu), max(before.memory, allocated.memory))
            if min(node.free) < 0 or min(allocated) < 0:
                seen.wrong.append(f"{node.node_id} had {allocated} of {node.total} allocated")

    def _audit(self, link: Link, namespace: str) -> None:
        self.seen.audits += 1
        self.seen.wrong += [str(finding) for finding in audit.problems(link.run(audit.check(namespace)))]
