"""The metrics that HAProxy does not know: of the agent, of the heartbeats, of the machine; and `EVERY` one.

Units and types by Prometheus' conventions; the prefix is `amphora_`, so that no name of Octavia's is invented. A metric
that is not there yet, such as the size of a heartbeat before the first, is absent.
"""

from __future__ import annotations

from amphora_agent.core.metrics.names import LOADBALANCER_CPU, LOADBALANCER_MEMORY, Metric, haproxy_metrics

# Upper bounds in seconds: a change at run time takes a few milliseconds, a reload up to a minute.
APPLY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

BUILD_INFO = Metric("amphora_build_info", "gauge", ("version",), "the agent", "1; the label is the agent's version.")
APPLIES = Metric(
    "amphora_applies_total",
    "counter",
    ("decision", "reason"),
    "the agent",
    "Configurations the agent had HAProxy follow since it started, by how and why.",
)
APPLY_SECONDS = Metric(
    "amphora_apply_seconds",
    "histogram",
    (),
    "the agent",
    "Time from the request to follow a configuration until HAProxy did.",
)
RELOADS = Metric(
    "amphora_reloads_total", "counter", ("cause",), "the agent", "Reloads of HAProxy since the agent started, by cause."
)
CONFIG_REFUSED = Metric(
    "amphora_config_refused_total",
    "counter",
    (),
    "the agent",
    "Configurations HAProxy rejected since the agent started.",
)
CERTIFICATE_EXPIRY = Metric(
    "amphora_certificate_expiry_timestamp_seconds",
    "gauge",
    ("use",),
    "the agent",
    "When the first certificate of this use ends: agent (our own), controller_ca, listener (the tenants').",
)
GENERATION = Metric(
    "amphora_loadbalancer_generation",
    "gauge",
    ("loadbalancer",),
    "the agent",
    "Number of the document of API 2.0 that was applied last; absent for what a controller manages.",
)
BEATS = Metric(
    "amphora_beats_total",
    "counter",
    ("result",),
    "the heartbeat process",
    "Heartbeats since the process started: sent, refused (by the network), failed (not sent).",
)
BEAT_BYTES = Metric(
    "amphora_beat_bytes",
    "gauge",
    (),
    "the heartbeat process",
    "Size of the last heartbeat; 65507 is the most there is.",
)
HAPROXY_WORKERS = Metric(
    "amphora_haproxy_workers",
    "gauge",
    ("state",),
    "the heartbeat process",
    "HAProxy's worker processes: current, and leaving, which are kept by connections from before a reload.",
)
VRRP_ROLE = Metric(
    "amphora_vrrp_role",
    "gauge",
    ("role",),
    "the heartbeat process",
    "1 for the role the amphora has, 0 for the other; absent without VRRP.",
)
VRRP_TRANSITIONS = Metric(
    "amphora_vrrp_transitions_total",
    "counter",
    (),
    "the heartbeat process",
    "Changes of the role between two heartbeats, since the process started.",
)
LISTENER_DURATION = Metric(
    "amphora_listener_duration_seconds",
    "histogram",
    ("listener",),
    "rsyslog",
    "Time until an HTTP response's last byte, as logged: a kept connection's pause before the request is part of it.",
)
LISTENER_SESSION_DURATION = Metric(
    "amphora_listener_session_duration_seconds", "histogram", ("listener",), "rsyslog", "Time that TCP sessions lasted."
)
LATENCY_SOURCE = Metric(
    "amphora_latency_source",
    "gauge",
    ("listener", "source"),
    "the agent",
    "1; what the listener's histogram is of (requests, sessions), or why it has none: switched_off, custom_format, "
    "no_logging, no_statistics.",
)
INTERFACE_UP = Metric(
    "amphora_interface_up",
    "gauge",
    ("interface",),
    "the kernel, SIOCGIFFLAGS",
    "1 for an interface of the load balancer that is up and has a carrier.",
)
CONNTRACK_ENTRIES = Metric(
    "amphora_conntrack_entries",
    "gauge",
    (),
    "/proc/sys/net/netfilter/nf_conntrack_count",
    "Connections that are tracked for the load balancer.",
)
CONNTRACK_LIMIT = Metric(
    "amphora_conntrack_limit",
    "gauge",
    (),
    "/proc/sys/net/netfilter/nf_conntrack_max",
    "How many can be tracked on the amphora; new ones are dropped beyond.",
)
CPU_STEAL = Metric(
    "amphora_cpu_steal_seconds_total",
    "counter",
    (),
    "/proc/stat",
    "Time the amphora's processors were ready and the hypervisor ran others.",
)
SOFTNET_DROPPED = Metric(
    "amphora_softnet_dropped_total",
    "counter",
    (),
    "/proc/net/softnet_stat",
    "Packets dropped because the processors did not keep up.",
)
TCP_MEMORY = Metric(
    "amphora_tcp_memory_bytes", "gauge", (), "/proc/net/sockstat", "Memory the kernel uses for TCP buffers."
)
LISTEN_OVERFLOWS = Metric(
    "amphora_listen_overflows_total",
    "counter",
    (),
    "/proc/net/netstat",
    "Connections dropped because a listener's queue was full.",
)

RECORDED = (
    BUILD_INFO,
    APPLIES,
    APPLY_SECONDS,
    RELOADS,
    CONFIG_REFUSED,
    CERTIFICATE_EXPIRY,
    GENERATION,
    BEATS,
    BEAT_BYTES,
    HAPROXY_WORKERS,
    VRRP_ROLE,
    VRRP_TRANSITIONS,
)
LATENCIES = (LISTENER_DURATION, LISTENER_SESSION_DURATION, LATENCY_SOURCE)
MEASURED = (
    INTERFACE_UP,
    CONNTRACK_ENTRIES,
    CONNTRACK_LIMIT,
    CPU_STEAL,
    SOFTNET_DROPPED,
    TCP_MEMORY,
    LISTEN_OVERFLOWS,
)
# All that a scrape may show, in the order of the documentation; made once, for they are memory.
EVERY = (LOADBALANCER_CPU, LOADBALANCER_MEMORY, *haproxy_metrics(), *RECORDED, *LATENCIES, *MEASURED)
