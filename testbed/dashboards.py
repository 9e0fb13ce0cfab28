"""Make `etc/grafana/*.json` from the tables below: `python -m testbed.dashboards`; a test compares the two.

Decision: Grafana's own export says each panel in sixty lines, of which four are ours. Here a panel is one line, and a
query can be read; what Grafana fills in by itself is left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).parent.parent / "etc" / "grafana"
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH = 24
_ONE = '{instance=~"$amphora"}'
_RATE = "[$__rate_interval]"


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph or number.

    Attributes:
        title: above it.
        unit: by Grafana's names of units.
        queries: legend -> PromQL.
        kind: of Grafana's panels.
        width: of 24 columns.
        description: shown by the small `i`.
    """

    title: str
    unit: str
    queries: dict[str, str]
    kind: str = "timeseries"
    width: int = 8
    description: str = ""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A page: its rows of panels."""

    uid: str
    title: str
    description: str
    rows: dict[str, tuple[Panel, ...]]
    variables: tuple[dict[str, Any], ...] = field(default=())


def _stat(title: str, unit: str, query: str, width: int = 4) -> Panel:
    return Panel(title, unit, {"": query}, "stat", width)


def _rate(name: str, by: str, labels: str = "") -> str:
    return f'sum by ({by}) (rate({name}{{instance=~"$amphora"{labels}}}{_RATE}))'


def _quantiles(name: str, by: str) -> dict[str, str]:
    return {
        f"p{share} {{{{{by}}}}}": f"histogram_quantile(0.{share}, {_rate(f'{name}_bucket', f'le, {by}')})"
        for share in (50, 95, 99)
    }


LOAD_BALANCER = Dashboard(
    "amphora-loadbalancer",
    "Amphora: one load balancer",
    "Requests, errors, latency, members, reloads, memory and heartbeats of a load balancer. See docs/metrics.md.",
    {
        "Now": (
            _stat("Members up", "none", 'sum(octavia_member_status{instance=~"$amphora", state="UP"})'),
            _stat("Members down", "none", 'sum(octavia_member_status{instance=~"$amphora", state="DOWN"})'),
            _stat("Sessions", "none", f"sum(octavia_listener_current_sessions{_ONE})"),
            _stat("CPU load", "percent", f"max(octavia_loadbalancer_cpu{_ONE})"),
            _stat("Memory", "percent", f"max(octavia_loadbalancer_memory{_ONE})"),
            _stat(
                "First certificate ends in", "s", f"min(amphora_certificate_expiry_timestamp_seconds{_ONE}) - time()"
            ),
        ),
        "Requests": (
            Panel("Requests", "reqps", {"{{listener}}": _rate("octavia_listener_http_requests_total", "listener")}),
            Panel("New sessions", "cps", {"{{listener}}": _rate("octavia_listener_sessions_total", "listener")}),
            Panel("Sessions", "none", {"{{listener}}": f"sum by (listener) (octavia_listener_current_sessions{_ONE})"}),
            Panel(
                "Throughput",
                "Bps",
                {
                    "in {{listener}}": _rate("octavia_listener_bytes_in_total", "listener"),
                    "out {{listener}}": _rate("octavia_listener_bytes_out_total", "listener"),
                },
                width=12,
            ),
            Panel(
                "TLS handshakes and reuse",
                "cps",
                {
                    "handshakes": f"sum(octavia_loadbalancer_current_frontend_ssl_key_rate{_ONE})",
                    "TLS connections": f"sum(rate(octavia_loadbalancer_ssl_connections_total{_ONE}{_RATE}))",
                },
                width=12,
            ),
        ),
        "Errors": (
            Panel("Responses by code", "reqps", {"{{code}}": _rate("octavia_listener_http_responses_total", "code")}),
            Panel(
                "Errors of members",
                "cps",
                {
                    "connection {{pool}}": _rate("octavia_pool_connection_errors_total", "pool"),
                    "response {{pool}}": _rate("octavia_pool_response_errors_total", "pool"),
                    "retry {{pool}}": _rate("octavia_pool_retry_warnings_total", "pool"),
                    "redispatch {{pool}}": _rate("octavia_pool_redispatch_warnings_total", "pool"),
                },
            ),
            Panel(
                "Refused and broken requests",
                "reqps",
                {
                    "broken {{listener}}": _rate("octavia_listener_request_errors_total", "listener"),
                    "denied {{listener}}": _rate("octavia_listener_requests_denied_total", "listener"),
                    "client gave up {{pool}}": _rate("octavia_pool_client_aborts_total", "pool"),
                },
            ),
        ),
        "Latency": (
            Panel(
                "HTTP requests",
                "s",
                _quantiles("amphora_listener_duration_seconds", "listener"),
                description="As logged: a kept connection's pause counts. Why none: amphora_latency_source.",
            ),
            Panel(
                "TCP sessions",
                "s",
                _quantiles("amphora_listener_session_duration_seconds", "listener"),
                description="How long sessions of TCP listeners last. See amphora_latency_source where there is none.",
            ),
            Panel(
                "Pools, average of the last 1,024",
                "s",
                {
                    f"{word} {{{{pool}}}}": f"octavia_pool_{word}_time_average_seconds{_ONE}"
                    for word in ("queue", "connect", "response", "total")
                },
            ),
        ),
        "Members": (
            Panel("By state", "none", {"{{state}}": f"sum by (state) (octavia_member_status{_ONE})"}),
            Panel("Sessions", "none", {"{{member}}": f"sum by (member) (octavia_member_current_sessions{_ONE})"}),
            Panel(
                "Failed checks and changes",
                "cps",
                {
                    "failed checks {{member}}": _rate("octavia_member_check_failures_total", "member"),
                    "went down {{member}}": _rate("octavia_member_check_up_down_total", "member"),
                },
            ),
            Panel(
                "Requests in queues",
                "none",
                {"{{pool}}": f"sum by (pool) (octavia_pool_current_queue{_ONE})"},
                width=12,
            ),
            Panel("Requests", "reqps", {"{{member}}": _rate("octavia_member_loadbalanced_total", "member")}, width=12),
        ),
        "Changes": (
            Panel(
                "Changes by decision",
                "none",
                {"{{decision}}": f"sum by (decision) (increase(amphora_applies_total{_ONE}{_RATE}))"},
                width=6,
            ),
            Panel(
                "Reloads by cause",
                "none",
                {"{{cause}}": f"sum by (cause) (increase(amphora_reloads_total{_ONE}{_RATE}))"},
                width=6,
            ),
            Panel(
                "Time until a change is applied",
                "s",
                {
                    f"p{share}": f"histogram_quantile(0.{share}, {_rate('amphora_apply_seconds_bucket', 'le')})"
                    for share in (50, 95)
                },
                width=6,
            ),
            Panel(
                "HAProxy processes and refused configurations",
                "none",
                {
                    "{{state}}": f"sum by (state) (amphora_haproxy_workers{_ONE})",
                    "refused": f"sum(increase(amphora_config_refused_total{_ONE}{_RATE}))",
                },
                width=6,
            ),
        ),
        "Machine": (
            Panel(
                "Processors",
                "percent",
                {
                    "load": f"octavia_loadbalancer_cpu{_ONE}",
                    "steal": f"rate(amphora_cpu_steal_seconds_total{_ONE}{_RATE}) * 100",
                },
            ),
            Panel("Memory", "percent", {"used": f"octavia_loadbalancer_memory{_ONE}"}),
            Panel(
                "Memory of HAProxy and TCP",
                "bytes",
                {
                    "pools, reserved": f"octavia_memory_pool_allocated_bytes{_ONE}",
                    "pools, used": f"octavia_memory_pool_used_bytes{_ONE}",
                    "TCP buffers": f"amphora_tcp_memory_bytes{_ONE}",
                },
            ),
            Panel(
                "Tracked connections",
                "percentunit",
                {"of the limit": f"amphora_conntrack_entries{_ONE} / amphora_conntrack_limit{_ONE}"},
            ),
            Panel(
                "Dropped",
                "pps",
                {
                    "packets": f"rate(amphora_softnet_dropped_total{_ONE}{_RATE})",
                    "connections": f"rate(amphora_listen_overflows_total{_ONE}{_RATE})",
                    "log lines": f"rate(octavia_loadbalancer_dropped_logs_total{_ONE}{_RATE})",
                },
            ),
            Panel("Interfaces up", "none", {"{{interface}}": f"amphora_interface_up{_ONE}"}),
        ),
        "Heartbeats": (
            Panel("Heartbeats", "cps", {"{{result}}": _rate("amphora_beats_total", "result")}),
            Panel("Size", "bytes", {"of the last": f"amphora_beat_bytes{_ONE}"}, description="65,507 is the most."),
            Panel(
                "VRRP",
                "none",
                {
                    "MASTER": 'amphora_vrrp_role{instance=~"$amphora", role="MASTER"}',
                    "changes of role": f"increase(amphora_vrrp_transitions_total{_ONE}{_RATE})",
                },
            ),
        ),
    },
    (
        {
            "name": "amphora",
            "label": "Load balancer",
            "type": "query",
            "datasource": _SOURCE,
            "query": {"query": "label_values(amphora_build_info, instance)", "refId": "amphora"},
            "refresh": 2,
            "sort": 1,
        },
    ),
)
FLEET = Dashboard(
    "amphora-fleet",
    "Amphora: the fleet",
    "Which of all load balancers needs a look. See docs/metrics.md.",
    {
        "Now": (
            _stat("Load balancers", "none", "count(amphora_build_info)", 6),
            _stat(
                "Not answering", "none", "count(last_over_time(amphora_build_info[1h])) - count(amphora_build_info)", 6
            ),
            _stat("Pools down", "none", 'sum(octavia_pool_status{state="DOWN"})', 6),
            _stat("Members down", "none", 'sum(octavia_member_status{state="DOWN"})', 6),
        ),
        "Alerts and versions": (
            Panel(
                "Alerts",
                "none",
                {"{{alertname}}": 'sum by (alertname) (ALERTS{alertname=~"Amphora.*", alertstate="firing"})'},
                width=12,
            ),
            Panel(
                "Versions of the agent", "none", {"{{version}}": "count by (version) (amphora_build_info)"}, width=12
            ),
        ),
        "The ten with most": (
            Panel(
                "Requests",
                "reqps",
                {"{{instance}}": f"topk(10, sum by (instance) (rate(octavia_listener_http_requests_total{_RATE})))"},
            ),
            Panel("CPU load", "percent", {"{{instance}}": "topk(10, octavia_loadbalancer_cpu)"}),
            Panel("Memory", "percent", {"{{instance}}": "topk(10, octavia_loadbalancer_memory)"}),
            Panel("Steal", "percentunit", {"{{instance}}": f"topk(10, rate(amphora_cpu_steal_seconds_total{_RATE}))"}),
            Panel(
                "Tracked connections",
                "percentunit",
                {"{{instance}}": "topk(10, amphora_conntrack_entries / amphora_conntrack_limit)"},
            ),
            Panel(
                "Reloads in an hour",
                "none",
                {"{{instance}}": "topk(10, sum by (instance) (increase(amphora_reloads_total[1h])))"},
            ),
            Panel(
                "Old HAProxy processes",
                "none",
                {"{{instance}}": 'topk(10, amphora_haproxy_workers{state="leaving"})'},
            ),
            Panel("Size of heartbeats", "bytes", {"{{instance}}": "topk(10, amphora_beat_bytes)"}),
            Panel(
                "First certificate ends in",
                "s",
                {
                    "{{instance}}": "bottomk(10, "
                    "min by (instance) (amphora_certificate_expiry_timestamp_seconds) - time())"
                },
            ),
        ),
        "Heartbeats": (
            Panel("By result", "cps", {"{{result}}": f"sum by (result) (rate(amphora_beats_total{_RATE}))"}, width=12),
            Panel("Roles", "none", {"{{role}}": "sum by (role) (amphora_vrrp_role)"}, width=12),
        ),
    },
)
DASHBOARDS = {"amphora.json": LOAD_BALANCER, "amphora-fleet.json": FLEET}


def text_of(dashboard: Dashboard) -> str:
    """Return the file Grafana imports."""
    variables = ({"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},)
    return (
        json.dumps(
            {
                "uid": dashboard.uid,
                "title": dashboard.title,
                "description": dashboard.description,
                "tags": ["octavia", "amphora"],
                "editable": True,
                "schemaVersion": 36,
                "version": 1,
                "refresh": "30s",
                "time": {"from": "now-1h", "to": "now"},
                "links": [{"title": "Other pages", "type": "dashboards", "tags": ["amphora"], "asDropdown": True}],
                "templating": {"list": [*variables, *dashboard.variables]},
                "panels": _panels(dashboard),
            },
            indent=1,
        )
        + "\n"
    )


def _panels(dashboard: Dashboard) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = []
    top = 0
    for title, panels in dashboard.rows.items():
        place = {"h": 1, "w": _WIDTH, "x": 0, "y": top}
        written.append({"id": len(written) + 1, "type": "row", "title": title, "collapsed": False, "gridPos": place})
        top, left = top + 1, 0
        for panel in panels:
            height = 4 if panel.kind == "stat" else 8
            if left + panel.width > _WIDTH:
                top, left = top + height, 0
            place = {"h": height, "w": panel.width, "x": left, "y": top}
            written.append({"id": len(written) + 1, "gridPos": place} | _panel(panel))
            left += panel.width
        top += height
    return written


def _panel(panel: Panel) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": query, "legendFormat": legend}
        for number, (legend, query) in enumerate(panel.queries.items())
    ]
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": targets,
    }


if __name__ == "__main__":
    for name, page in DASHBOARDS.items():
        (DIRECTORY / name).write_text(text_of(page))
