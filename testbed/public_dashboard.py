"""The metrics that the public Grafana dashboard 15828, "OpenStack Octavia Amphora Load Balancer", asks for.

Source: the queries of its revision 2. It selects by `instance`, `listener`, `pool`, `member`, `state` (UP, DOWN, MAINT,
DRAIN) and `code` (1xx to 5xx, other).
"""

from __future__ import annotations

_TIMES = """
queue_time_average_seconds connect_time_average_seconds response_time_average_seconds total_time_average_seconds
max_queue_time_seconds max_connect_time_seconds max_response_time_seconds max_total_time_seconds
"""
_WORDS = {
    "octavia_loadbalancer_": """
cpu memory max_connections current_connection_rate max_connection_rate max_ssl_rate connections_total
ssl_connections_total requests_total current_frontend_ssl_key_rate current_backend_ssl_key_rate
ssl_cache_lookups_total ssl_cache_misses_total http_comp_bytes_in_total http_comp_bytes_out_total dropped_logs_total
""",
    "octavia_memory_pool_": "allocated_bytes used_bytes failures_total",
    "octavia_listener_": """
status bytes_in_total bytes_out_total http_responses_total http_requests_rate_max max_sessions max_session_rate
connections_total sessions_total denied_connections_total denied_sessions_total requests_denied_total
responses_denied_total http_requests_total request_errors_total http_cache_hits_total http_cache_lookups_total
http_comp_responses_total
""",
    "octavia_pool_": """
status http_responses_total max_sessions max_session_rate max_queue client_aborts_total member_aborts_total
sessions_total current_queue connection_attempts_total connection_reuses_total bytes_in_total bytes_out_total
http_requests_total active_members backup_members requests_denied_total responses_denied_total
connection_errors_total response_errors_total retry_warnings_total redispatch_warnings_total check_up_down_total
check_last_change_seconds downtime_seconds_total http_cache_hits_total http_cache_lookups_total
http_comp_responses_total
"""
    + _TIMES,
    "octavia_member_": """
status max_sessions max_session_rate max_queue http_responses_total client_aborts_total server_aborts_total
sessions_total current_queue bytes_in_total bytes_out_total connection_attempts_total connection_reuses_total
loadbalanced_total idle_connections_current responses_denied_total connection_errors_total response_errors_total
retry_warnings_total redispatch_warnings_total check_failures_total check_up_down_total check_last_change_seconds
downtime_seconds_total weight current_throttle
"""
    + _TIMES,
}
METRICS = tuple(prefix + word for prefix, words in _WORDS.items() for word in words.split())
# It asks for a name that is spelled so nowhere else; the contract's is octavia_loadbalancer_frontend_ssl_reuse.
MISSPELLED = "octavia_loadbalancer_frontent_ssl_reuse"
