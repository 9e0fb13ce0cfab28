"""What became of each change since the agent started: counted, and each load balancer's last one with its reason."""

from __future__ import annotations

import bisect
import logging
from collections import Counter
from dataclasses import dataclass, field

from amphora_agent.core.haproxy.change import Decision
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.core.metrics.own import APPLY_BUCKETS
from amphora_agent.core.metrics.reasons import bounded

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`kind` is nothing, start, runtime or reload."""

    kind: str
    reason: str


@dataclass(slots=True)
class ChangeRecord:
    """Written by changes, one at a time; read at any time.

    `counts` is by kind; `reasons` by kind and one of a few words; `durations` has how many took up to each bound of
    `APPLY_BUCKETS`, `seconds` their sum; `refused` is how many configurations HAProxy rejected.
    """

    counts: Counter[str] = field(default_factory=Counter)
    last: dict[LoadBalancerId, Outcome] = field(default_factory=dict)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    durations: list[int] = field(default_factory=lambda: [0] * (len(APPLY_BUCKETS) + 1))
    seconds: float = 0.0
    refused: int = 0

    def note(self, lb_id: LoadBalancerId, decision: Decision, seconds: float) -> None:
        """Count and log a decision that was carried out, in so many seconds."""
        outcome = Outcome(type(decision).__name__.lower(), decision.reason)
        self.counts[outcome.kind] += 1
        self.last[lb_id] = outcome
        self.reasons[outcome.kind, bounded(decision)] += 1
        self.durations[bisect.bisect_left(APPLY_BUCKETS, seconds)] += 1
        self.seconds += seconds
        LOG.info("applied a configuration lb=%s outcome=%s reason=%s", lb_id, outcome.kind, outcome.reason)

    def forget(self, lb_id: LoadBalancerId) -> None:
        """Drop a deleted load balancer."""
        self.last.pop(lb_id, None)
