"""Latency histograms of listeners from rsyslog's counts. Reads text and renders lines; opens nothing.

    amphora-latency-0.25: origin=dynstats.bucket 7f699c35-164b-5869-a43d-47618ff89fe2=17 <listener>=<count> ...

Every ten seconds `etc/rsyslog/05-amphora-latency.conf` has such a line written for each upper bound: how many requests
took up to it and longer than the one below. Counts begin anew when rsyslog is restarted, which Prometheus knows of.

Decision: no `_sum` and no `_count`: rsyslog counts and does not add. What `_count` would be is the bucket `+Inf`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from amphora_agent.core.metrics.names import Metric
from amphora_agent.core.metrics.own import LISTENER_DURATION, LISTENER_SESSION_DURATION
from amphora_agent.core.metrics.record import sample

# Upper bounds in seconds, as the bucket's name says them; the last but one are for sessions of TCP.
BOUNDS = (
    *("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "30", "60", "300", "3600"),
    "inf",
)
REQUESTS, SESSIONS = "requests", "sessions"
_LINE = re.compile(rb"^amphora-latency-([0-9a-z.]+): origin=dynstats\.bucket (.*)\n", re.MULTILINE)
_COUNT = re.compile(rb"([0-9a-f-]{36})=([0-9]+)")
_COUNTED = re.compile(rb'\{listener="([0-9a-f-]{36})",source="(requests|sessions)"\}')
_METRICS = {REQUESTS: LISTENER_DURATION, SESSIONS: LISTENER_SESSION_DURATION}

Counts = Mapping[bytes, Mapping[bytes, int]]


def parse(text: bytes) -> Counts:
    """Return bound -> listener -> count; of several lines of a bound the last holds, and a cut one is none."""
    return {
        match[1]: {listener: int(count) for listener, count in _COUNT.findall(match[2])}
        for match in _LINE.finditer(text)
    }


def histograms(sources: bytes, counts: Counts) -> dict[bytes, bytes]:
    """Return metric name -> lines.

    Args:
        sources: the agent's lines of `amphora_latency_source`, which say of whom.
        counts: of all listeners.
    """
    lines: dict[bytes, list[str]] = {}
    for listener, kind in _COUNTED.findall(sources):
        metric = _METRICS[kind.decode()]
        lines.setdefault(metric.name.encode(), []).extend(_buckets(metric, listener, counts))
    return {name: "".join(each).encode() for name, each in lines.items()}


def _buckets(metric: Metric, listener: bytes, counts: Counts) -> Iterator[str]:
    so_far = 0
    for bound in BOUNDS:
        so_far += counts.get(bound.encode(), {}).get(listener, 0)
        yield sample(metric, (listener.decode(),), so_far, part="_bucket", le="+Inf" if bound == "inf" else bound)
