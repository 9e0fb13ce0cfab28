"""The table of metrics: its names, types and units."""

from __future__ import annotations

import re

from amphora_agent.core.metrics.names import LOADBALANCER_CPU, haproxy_metrics, unit_of

PREFIXES = {
    "process": "octavia_loadbalancer",
    "frontend": "octavia_listener",
    "backend": "octavia_pool",
    "server": "octavia_member",
}


def test_the_contract_has_142_metrics_each_with_one_name() -> None:
    metrics = {metric.source: metric for metric in haproxy_metrics()}
    assert len(metrics) == 142
    assert len({metric.name for metric in metrics.values()}) == 142
    assert all(
        re.fullmatch(r"octavia_(loadbalancer|memory|listener|pool|member)_\w+", m.name) for m in metrics.values()
    )


def test_those_whose_name_is_not_the_same_after_the_prefix() -> None:
    metrics = {metric.source: metric for metric in haproxy_metrics()}
    renamed = {
        source: metric.name
        for source, metric in metrics.items()
        if metric.name != "_".join((PREFIXES[source.split("_")[1]], source.split("_", 2)[2]))
    }
    assert renamed == {
        "haproxy_process_pool_allocated_bytes": "octavia_memory_pool_allocated_bytes",
        "haproxy_process_pool_used_bytes": "octavia_memory_pool_used_bytes",
        "haproxy_process_pool_failures_total": "octavia_memory_pool_failures_total",
        "haproxy_backend_server_aborts_total": "octavia_pool_member_aborts_total",
        "haproxy_backend_active_servers": "octavia_pool_active_members",
        "haproxy_backend_backup_servers": "octavia_pool_backup_members",
    }


def test_types_and_units_follow_from_names() -> None:
    metrics = {metric.source: metric for metric in haproxy_metrics()}
    assert metrics["haproxy_server_bytes_in_total"].kind == "counter"
    assert metrics["haproxy_server_bytes_in_total"].unit == "bytes"
    assert metrics["haproxy_server_total_time_average_seconds"].kind == "gauge"
    assert unit_of("octavia_pool_downtime_seconds_total") == "seconds"
    assert unit_of("octavia_pool_sessions_total") == ""
    assert LOADBALANCER_CPU.labels == ()


def test_in_openmetrics_no_counter_takes_the_name_of_another_family() -> None:
    names = [metric.name for metric in haproxy_metrics()]
    families = [name.removesuffix("_total") for name in names]
    assert len(set(families)) == len(families)
