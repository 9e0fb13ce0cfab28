"""What may leave an amphora for those who help: words and fields that are known to be harmless. Pure.

Decision: lists of what is let through, none of what is held back. A tenant's header value, cookie, password or path may
look like anything; a word of HAProxy's language, a number, an address and an id cannot be one of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields

from amphora_agent.core.haproxy import vocabulary
from amphora_agent.core.haproxy.config import parse
from amphora_agent.core.haproxy.words import split_words
from amphora_agent.core.settings import Settings

HIDDEN = "***"

# Options whose value is no secret whatever it is.
_SHOWN_SETTINGS = frozenset(
    {
        "debug",
        "use_syslog",
        "base_path",
        "base_cert_dir",
        "bind_host",
        "bind_port",
        "haproxy_cmd",
        "controller_ip_port_list",
        "heartbeat_interval",
        "agent_server_ca",
        "agent_server_cert",
        "agent_server_network_dir",
        "agent_request_read_timeout",
        "agent_tls_protocol",
        "amphora_id",
        "administrative_log_facility",
        "loadbalancer_topology",
        "supervisor",
        "netns",
        "hard_stop_after",
        "max_old_workers",
        "runtime_changes",
        "new_members_start_down",
        "configuration_firewall",
        "api_socket",
        "api_socket_group",
    }
)
_TABLES = [text for name, text in vars(vocabulary).items() if name.isupper() and isinstance(text, str) and "\n" in text]
_KEYWORDS = frozenset(
    word for text in _TABLES for line in text.splitlines() for word in re.split(r"[ |]", line) if word.islower()
)
_HARMLESS = re.compile(
    r"""
    [0-9]{1,10}(?:us|ms|s|m|h|d|k|m|g)?                                     # numbers, times, sizes
  | \[?[0-9a-f:.]*[.:][0-9a-f:.]+\]?(?::[0-9]{1,5})?                        # addresses, with a port
  | (?:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?::(?!$)|$)){1,2}           # ids, alone or a pool's and a listener's
    """,
    re.VERBOSE | re.IGNORECASE,
)
_PEM = re.compile(r"-----BEGIN [^-]{1,64}-----.*?(?:-----END [^-]{1,64}-----|\Z)", re.DOTALL)
_LONG_WORD = re.compile(r"[A-Za-z0-9+/=_-]{48,}")
# Shorter ones would tear ordinary words apart; nobody should have them.
_SHORTEST_SECRET = 4


def shown_settings(settings: Settings) -> dict[str, object]:
    """Return the settings that may be shown; of the others whether they are set."""
    found: dict[str, object] = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name in _SHOWN_SETTINGS:
            found[field.name] = list(value) if isinstance(value, tuple) else value
        else:
            found[field.name] = HIDDEN if value else None
    return found


def shown_configuration(text: str) -> str:
    """Return an haproxy.cfg with its words, numbers, addresses and ids; every other word is hidden."""
    lines: list[str] = []
    for section in parse(text).sections:
        lines.append(" ".join((section.kind, *_shown_words(section.name.split()))))
        lines += [f"    {' '.join(_shown_words(words))}" for line in section.lines if (words := split_words(line))]
    return "\n".join(lines) + "\n"


def _shown_words(words: Iterable[str]) -> list[str]:
    return [word if word in _KEYWORDS or _HARMLESS.fullmatch(word) else HIDDEN for word in words]


def shown_log(text: str, secrets: Iterable[str]) -> str:
    """Return lines of the agent's own log, without PEM, long words and known secrets.

    Our programs log none of them; this is the net below, for what another program's message quotes.
    """
    text = _PEM.sub(HIDDEN, text)
    for secret in sorted({each for each in secrets if len(each) >= _SHORTEST_SECRET}, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _LONG_WORD.sub(HIDDEN, text)
