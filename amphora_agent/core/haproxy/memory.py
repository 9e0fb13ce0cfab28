"""What one HAProxy worker takes of memory before its first connection. Estimates from the configuration alone."""

from __future__ import annotations

from amphora_agent.core.haproxy.config import Config, section_words
from amphora_agent.core.numbers import parse_number

BASE = 8 * 1024 * 1024
# Measured on HAProxy 2.6: the resident size grows by so much per connection of the global maxconn.
PER_CONNECTION = 130
# A block of the TLS session cache and its overhead; the cache is shared memory that a reload holds twice.
PER_CACHED_SESSION = 248
DEFAULT_CACHED_SESSIONS = 20_000


def worker_bytes(config: Config) -> int:
    """Return an estimate in bytes; connections in use come on top of it, about 40 kB each."""
    limits = {"maxconn": 0, "tune.ssl.cachesize": DEFAULT_CACHED_SESSIONS}
    for section in config.sections:
        if section.kind == "global":
            for words in section_words(section):
                number = parse_number(words[1]) if words[0] in limits and len(words) > 1 else None
                if number is not None:
                    limits[words[0]] = number
    has_tls = any(
        " ssl " in f"{line} " for section in config.sections if section.kind == "frontend" for line in section.lines
    )
    sessions = limits["tune.ssl.cachesize"] if has_tls else 0
    return BASE + limits["maxconn"] * PER_CONNECTION + sessions * PER_CACHED_SESSION
