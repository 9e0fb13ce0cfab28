"""The first words of lines the controller's releases write in a backend. Judges nothing."""

from __future__ import annotations

# Those that say nothing of a single server: anything else might refer to one, or change what one inherits.
BACKEND_WORDS = frozenset(
    {
        "acl",
        "balance",
        "compression",
        "cookie",
        "fullconn",
        "http-check",
        "http-request",
        "http-response",
        "http-reuse",
        "load-server-state-from-file",
        "log",
        "mode",
        "no",
        "option",
        "retries",
        "stick",
        "stick-table",
        "tcp-check",
        "timeout",
    }
)
