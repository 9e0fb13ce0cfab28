"""What became of each change since the agent started: counted, and each load balancer's last one with its reason."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field

from amphora_agent.core.haproxy.change import Decision
from amphora_agent.core.ids import LoadBalancerId

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`kind` is nothing, start, runtime or reload."""

    kind: str
    reason: str


@dataclass(slots=True)
class ChangeRecord:
    """Written by changes, one at a time; read at any time."""

    counts: Counter[str] = field(default_factory=Counter)
    last: dict[LoadBalancerId, Outcome] = field(default_factory=dict)

    def note(self, lb_id: LoadBalancerId, decision: Decision) -> None:
        """Count and log a decision that was carried out."""
        outcome = Outcome(type(decision).__name__.lower(), decision.reason)
        self.counts[outcome.kind] += 1
        self.last[lb_id] = outcome
        LOG.info("applied a configuration lb=%s outcome=%s reason=%s", lb_id, outcome.kind, outcome.reason)

    def forget(self, lb_id: LoadBalancerId) -> None:
        """Drop a deleted load balancer."""
        self.last.pop(lb_id, None)
