"""Every metric a scrape may show: name, type, unit, labels, source. `docs/metrics.md` is made from this table.

Decision: no dataclass and no enumeration in here, although these are values: both are imported with what the 12 MB of
`prometheus-proxy` have no room for. Costs a few lines of constructor.

Source: the contract's section on the Prometheus proxy for every name that begins with `octavia_`; types and units as
HAProxy's exporter gives them, by the conventions of Prometheus for names.
"""

from __future__ import annotations


class Metric:
    """One metric family as it is exposed.

    Attributes:
        name: of its samples.
        kind: `gauge`, `counter` or `histogram`.
        unit: `seconds`, `bytes`, `percent` or another plural; empty for a plain number.
        labels: names in the order they are written; `state`, `code` and the like may follow them.
        source: who knows the value: a metric of HAProxy's exporter, or a file of the kernel's.
        help: our own text; empty where HAProxy's is passed on.
    """

    __slots__ = ("help", "kind", "labels", "name", "source", "unit")

    def __init__(self, name: str, kind: str, labels: tuple[str, ...], source: str, help_text: str = "") -> None:
        self.name = name
        self.kind = kind
        self.unit = unit_of(name)
        self.labels = labels
        self.source = source
        self.help = help_text


def unit_of(name: str) -> str:
    """Return the unit a name states, empty when it states none."""
    words = name.removesuffix("_total").split("_")
    return next((unit for unit in ("seconds", "bytes") if unit in words[-1:] or f"_{unit}_" in f"_{name}_"), "")


LOADBALANCER_CPU = Metric(
    "octavia_loadbalancer_cpu",
    "gauge",
    (),
    "/proc/loadavg",
    "Load of the last minute per processor of the amphora, in percent; may exceed 100.",
)
LOADBALANCER_MEMORY = Metric(
    "octavia_loadbalancer_memory", "gauge", (), "/proc/meminfo", "Memory of the amphora that is in use, in percent."
)

_PROCESS = """
    pool_allocated_bytes pool_used_bytes pool_failures_total max_connections current_connections
    connections_total requests_total max_ssl_connections current_ssl_connections ssl_connections_total
    current_connection_rate limit_connection_rate max_connection_rate current_session_rate limit_session_rate
    max_session_rate current_ssl_rate limit_ssl_rate max_ssl_rate current_frontend_ssl_key_rate
    max_frontend_ssl_key_rate frontend_ssl_reuse current_backend_ssl_key_rate max_backend_ssl_key_rate
    ssl_cache_lookups_total ssl_cache_misses_total http_comp_bytes_in_total http_comp_bytes_out_total
    limit_http_comp listeners dropped_logs_total
"""
_FRONTEND = """
    status current_sessions max_sessions limit_sessions sessions_total limit_session_rate max_session_rate
    connections_rate_max connections_total bytes_in_total bytes_out_total requests_denied_total
    responses_denied_total request_errors_total denied_connections_total denied_sessions_total
    failed_header_rewriting_total http_requests_rate_max http_requests_total http_responses_total
    intercepted_requests_total http_cache_lookups_total http_cache_hits_total http_comp_bytes_in_total
    http_comp_bytes_out_total http_comp_bytes_bypassed_total http_comp_responses_total
"""
_BACKEND = """
    status current_sessions max_sessions limit_sessions sessions_total max_session_rate last_session_seconds
    current_queue max_queue connection_attempts_total connection_reuses_total bytes_in_total bytes_out_total
    queue_time_average_seconds connect_time_average_seconds response_time_average_seconds
    total_time_average_seconds max_queue_time_seconds max_connect_time_seconds max_response_time_seconds
    max_total_time_seconds requests_denied_total responses_denied_total connection_errors_total
    response_errors_total retry_warnings_total redispatch_warnings_total failed_header_rewriting_total
    client_aborts_total server_aborts_total active_servers backup_servers check_up_down_total
    check_last_change_seconds downtime_seconds_total loadbalanced_total http_requests_total http_responses_total
    http_cache_lookups_total http_cache_hits_total http_comp_bytes_in_total http_comp_bytes_out_total
    http_comp_bytes_bypassed_total http_comp_responses_total
"""
_SERVER = """
    status current_sessions max_sessions limit_sessions sessions_total max_session_rate last_session_seconds
    current_queue max_queue queue_limit bytes_in_total bytes_out_total queue_time_average_seconds
    connect_time_average_seconds response_time_average_seconds total_time_average_seconds max_queue_time_seconds
    max_connect_time_seconds max_response_time_seconds max_total_time_seconds connection_attempts_total
    connection_reuses_total responses_denied_total connection_errors_total response_errors_total
    retry_warnings_total redispatch_warnings_total failed_header_rewriting_total client_aborts_total
    server_aborts_total weight check_failures_total check_up_down_total downtime_seconds_total
    check_last_change_seconds current_throttle loadbalanced_total http_responses_total idle_connections_current
    idle_connections_limit
"""
# The few whose name in Octavia's terms is not the same after the prefix.
_RENAMED = {
    "haproxy_process_pool_allocated_bytes": "octavia_memory_pool_allocated_bytes",
    "haproxy_process_pool_used_bytes": "octavia_memory_pool_used_bytes",
    "haproxy_process_pool_failures_total": "octavia_memory_pool_failures_total",
    "haproxy_backend_server_aborts_total": "octavia_pool_member_aborts_total",
    "haproxy_backend_active_servers": "octavia_pool_active_members",
    "haproxy_backend_backup_servers": "octavia_pool_backup_members",
}
# HAProxy's own text where it speaks Octavia's language; these in its place where it does not.
_HELP = {
    "octavia_memory_pool_allocated_bytes": "Memory the load balancer has reserved in its pools.",
    "octavia_memory_pool_used_bytes": "Memory of the load balancer's pools that is in use.",
    "octavia_memory_pool_failures_total": "Times a memory pool of the load balancer could not grow.",
    "octavia_loadbalancer_current_ssl_connections": "TLS connections of this moment, to clients and to members.",
    "octavia_listener_status": "1 for the state the listener is in, 0 for the others.",
    "octavia_listener_denied_connections_total": "Connections a rule of the listener refused.",
    "octavia_listener_denied_sessions_total": "Sessions a rule of the listener refused.",
    "octavia_listener_failed_header_rewriting_total": "Headers the listener could not insert or change.",
    "octavia_pool_status": "1 for the state the pool is in, 0 for the others.",
    "octavia_pool_last_session_seconds": "Time since a member of the pool last got a session.",
    "octavia_pool_max_response_time_seconds": "Longest wait for a member's response among the recent requests.",
    "octavia_pool_member_aborts_total": "Transfers that a member of the pool cut.",
    "octavia_pool_active_members": "Members that are up, not backup, and have a weight above 0.",
    "octavia_pool_backup_members": "Backup members that are up and have a weight above 0.",
    "octavia_pool_downtime_seconds_total": "Time for which the pool had no member to serve with.",
    "octavia_pool_loadbalanced_total": "Requests the pool's algorithm chose a member for.",
    "octavia_member_status": "1 for the state the member is in, 0 for the others.",
    "octavia_member_last_session_seconds": "Time since the member last got a session.",
    "octavia_member_queue_limit": "Requests that may wait for the member at most.",
    "octavia_member_max_response_time_seconds": "Longest wait for the member's response among the recent requests.",
    "octavia_member_weight": "Weight of the member at this moment.",
    "octavia_member_check_failures_total": "Health checks of the member that failed while it was up.",
    "octavia_member_downtime_seconds_total": "Time for which the member was down.",
    "octavia_member_current_throttle": "Share of its weight the member gets while it starts slowly, in percent.",
    "octavia_member_loadbalanced_total": "Requests the pool's algorithm chose this member for.",
}
_SCOPES = (
    ("haproxy_process_", "octavia_loadbalancer_", (), _PROCESS),
    ("haproxy_frontend_", "octavia_listener_", ("listener",), _FRONTEND),
    ("haproxy_backend_", "octavia_pool_", ("pool",), _BACKEND),
    ("haproxy_server_", "octavia_member_", ("pool", "member"), _SERVER),
)


def haproxy_metrics() -> tuple[Metric, ...]:
    """Return the whole of the contract's tables, in their order; `source` is the name in HAProxy's exporter."""
    found = []
    for source_prefix, prefix, labels, words in _SCOPES:
        for word in words.split():
            source = source_prefix + word
            name = _RENAMED.get(source, prefix + word)
            kind = "counter" if name.endswith("_total") else "gauge"
            found.append(Metric(name, kind, labels, source, _HELP.get(name, "")))
    return tuple(found)
