"""Which lines of an uploaded configuration no controller release writes. Judges nothing else, refuses nothing.

A tenant's value with a line break in it has become a line of its own four times in the controller's history
(ciphers, redirect URL, L7 values, URL path). Each such line would be a HAProxy directive of the tenant's choice:
a socket, a programme, a Lua file. The controller's own vocabulary is small, so whatever is not in it stands out.
"""

from __future__ import annotations

from collections.abc import Iterator

from amphora_agent.core.haproxy.config import Config, Section, Words, section_words, split_words, unquote
from amphora_agent.core.haproxy.vocabulary import BACKEND_WORDS

_SHARED = frozenset({"log", "no", "option", "timeout", "mode", "maxconn", "http-request", "http-response", "acl"})
_WORDS: dict[str, frozenset[str]] = {
    "global": frozenset(
        {
            "cpu-map",
            "daemon",
            "external-check",
            "group",
            "insecure-fork-wanted",
            "log",
            "maxconn",
            "nbthread",
            "server-state-file",
            "ssl-default-bind-options",
            "stats",
            "user",
        }
    ),
    "defaults": _SHARED | {"retries"},
    "peers": frozenset({"peer"}),
    "frontend": _SHARED | {"bind", "default_backend", "log-format", "redirect", "use_backend", "tcp-request"},
    "backend": _SHARED | BACKEND_WORDS | {"external-check", "server"},
}
_PING_CHECK = "ping-wrapper.sh"


def unexpected_lines(config: Config) -> tuple[str, ...]:
    """Return `section: line` of what no controller writes, in order; empty for a file as it should be."""
    found = [f"the beginning: {' '.join(words)}" for words in section_words(Section("", "", config.preamble))]
    sockets = 0
    for section in config.sections:
        where = f"{section.kind} {section.name}".strip()
        if section.kind not in _WORDS:
            found.append(f"{where}: no controller writes such a section")
            continue
        for words in _words_beside_servers(section):
            sockets += section.kind == "global" and words[:2] == ("stats", "socket")
            if not _is_expected(section.kind, words):
                found.append(f"{where}: {' '.join(words)}")
    if sockets > 1:
        found.append("global: more than one stats socket")
    return tuple(found)


def _words_beside_servers(section: Section) -> Iterator[Words]:
    """Yield every line but those of servers, of which there may be 10,000."""
    for line in section.lines:
        words = () if line.startswith("    server ") and section.kind == "backend" else split_words(line)
        if words:
            yield words


def _is_expected(kind: str, words: Words) -> bool:
    first, second = unquote(words[0]), words[1] if len(words) > 1 else ""
    if first not in _WORDS[kind] and not (kind == "global" and first.startswith("tune.")):
        return False
    match first, second:
        case "stats", _:
            return second == "socket"
        case "user", _:
            return words[1:] == ("nobody",)
        case "external-check", "command":
            return words[-1].endswith(f"/{_PING_CHECK}")
        case "http-request" | "http-response", _:
            return not any(word.startswith("lua.") for word in words)
        case _:
            return True
