"""Make `docs/metrics.md` from the table of metrics: `python -m testbed.metrics_document`; a test compares the two."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from amphora_agent.core.metrics.names import LOADBALANCER_CPU, LOADBALANCER_MEMORY, Metric, haproxy_metrics
from amphora_agent.core.metrics.own import MEASURED, RECORDED

FILE = Path(__file__).parent.parent / "docs" / "metrics.md"
_INTRODUCTION = """# Metrics

Made by `python -m testbed.metrics_document`; do not edit.

A load balancer with a PROMETHEUS listener answers scrapes at the listener's address and port, on any path, in
Prometheus' text format, or in OpenMetrics 1.0 for clients that prefer it (Prometheus does). `prometheus-proxy`, which
runs only while there is such a listener, gets HAProxy's metrics, gives them Octavia's names and adds those below that
HAProxy does not know.

- A scrape that cannot be had is a 502; one that fails after its first 32 KiB ends without its last chunk, so that
  Prometheus counts it as failed. There is never half a line. Lines of HAProxy that are no exposition are left out.
- HAProxy counts anew after each reload: use `rate()` or `increase()`, which know that.
- The label `pool` is `<pool id>:<listener id>`. What has a state has one series per state, 1 for the one it is in.
- UDP and SCTP listeners have the same names and labels, as far as the kernel's IPVS knows the value: of listeners and
  pools status, sessions, current sessions and bytes; of members status, weight and current sessions. They are as of
  the last heartbeat.
- What is marked "the agent" is as of its last change and counted since its start; "the heartbeat process" likewise, as
  of its last beat.
"""


def document() -> str:
    """Return the whole file."""
    haproxy = haproxy_metrics()
    sections = {
        "The load balancer": (
            LOADBALANCER_CPU,
            LOADBALANCER_MEMORY,
            *(metric for metric in haproxy if not metric.labels),
        ),
        "Listeners": tuple(metric for metric in haproxy if metric.labels == ("listener",)),
        "Pools": tuple(metric for metric in haproxy if metric.labels == ("pool",)),
        "Members": tuple(metric for metric in haproxy if metric.labels == ("pool", "member")),
        "The agent and its heartbeats": RECORDED,
        "The machine": MEASURED,
    }
    return _INTRODUCTION + "".join(f"\n## {title}\n\n{_table(metrics)}" for title, metrics in sections.items())


def _table(metrics: Iterable[Metric]) -> str:
    rows = ["| metric | type | unit | labels | source | |", "|---|---|---|---|---|---|"]
    for metric in metrics:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        source = f"`{metric.source}`" if metric.source.startswith(("haproxy_", "/")) else metric.source
        rows.append(f"| `{metric.name}` | {metric.kind} | {metric.unit} | {labels} | {source} | {metric.help} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    FILE.write_text(document())
