"""Make `docs/metrics.md` from the table of metrics and the alerts: `python -m testbed.metrics_document`.

A test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from amphora_agent.core.metrics.names import LOADBALANCER_CPU, LOADBALANCER_MEMORY, Metric, haproxy_metrics
from amphora_agent.core.metrics.own import LATENCIES, MEASURED, RECORDED
from testbed.public_dashboard import METRICS, MISSPELLED

_ROOT = Path(__file__).parent.parent
FILE = _ROOT / "docs" / "metrics.md"
RULES = _ROOT / "etc" / "prometheus" / "rules.yml"
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
- rsyslog counts how long requests and sessions take, where `etc/rsyslog/05-amphora-latency.conf` is installed, as it is
  in our image, and `[amphora_agent] latency_histograms` is not false. The counts are written every ten seconds, beside
  any offloading of logs; that costs about 1 us of processor time a request, beside the 7 of logging it, and 1 MB. A
  histogram has the buckets alone: rsyslog counts and does not add, so there is no `_sum`, and
  `_count` is the bucket `+Inf`. The time is the one HAProxy logs by the controller's format (`%Tt`): where clients keep
  connections, the pause before the next request is part of it; the averages of pools and members know no pauses. A
  listener whose log format is not the controller's default has none, which
  `amphora_latency_source` says.
"""
_DASHBOARDS = """
## Dashboards

`etc/grafana/amphora.json` shows one load balancer, `etc/grafana/amphora-fleet.json` all of them: import them into
Grafana and choose the Prometheus that scrapes the load balancers. Both are made by `python -m testbed.dashboards`.

The public dashboard 15828 ("OpenStack Octavia Amphora Load Balancer") works, too: all that its queries ask for is in
the tables above, except `{misspelled}`, a slip of its own for
`octavia_loadbalancer_frontend_ssl_reuse`. It asks for:

{metrics}.

This is what a Prometheus saw of a load balancer with two members and no health monitor, on a busy machine: after a
reload nothing is lost, and what a dead member refuses is given to the other. `python -m bench picture` draws it anew.

![Requests by code, latency, requests by member during ninety seconds](pictures/minute.svg)
"""
_ALERTS = """
## Alerts

`etc/prometheus/rules.yml`, to be named in Prometheus' `rule_files`; `tests/metrics/alerts.yml` says what each fires on,
for `promtool test rules`. They expect an `instance` to be one load balancer, as it is when its VIP and the port of its
PROMETHEUS listener are the target.
"""


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule of `RULES`, as it is written there."""

    name: str
    expression: str
    waits: str
    severity: str
    annotations: dict[str, str]


def alerts() -> tuple[Alert, ...]:
    """Return every alert of the rules, in their order."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return tuple(
        Alert(
            name=rule["alert"],
            expression=rule["expr"].strip(),
            waits=rule.get("for", ""),
            severity=rule["labels"]["severity"],
            annotations=rule["annotations"],
        )
        for group in groups
        for rule in group["rules"]
    )


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
        "Latency": LATENCIES,
        "The machine": MEASURED,
    }
    tables = (f"\n## {title}\n\n{_table(metrics)}" for title, metrics in sections.items())
    names = ", ".join(f"`{name}`" for name in METRICS)
    dashboards = _DASHBOARDS.format(misspelled=MISSPELLED, metrics=names)
    return "".join((_INTRODUCTION, *tables, dashboards, _ALERTS, *map(_page, alerts())))


def _page(alert: Alert) -> str:
    """Return what an alert's `runbook_url` leads to."""
    lasts = f"when this holds for {alert.waits}" if alert.waits else "as soon as"
    expression = "".join(f"    {line}\n" for line in alert.expression.splitlines())
    return (
        f"\n### {alert.name}\n\n*{alert.severity}*, {lasts}:\n\n{expression}"
        f"\n**What it means.** {alert.annotations['meaning']}\n"
        f"\n**What to do.** {alert.annotations['action']}\n"
    )


def _table(metrics: Iterable[Metric]) -> str:
    rows = ["| metric | type | unit | labels | source | |", "|---|---|---|---|---|---|"]
    for metric in metrics:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        source = f"`{metric.source}`" if metric.source.startswith(("haproxy_", "/")) else metric.source
        rows.append(f"| `{metric.name}` | {metric.kind} | {metric.unit} | {labels} | {source} | {metric.help} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    FILE.write_text(document())
