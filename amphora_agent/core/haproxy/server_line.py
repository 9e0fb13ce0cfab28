"""A `server` line as a value: what HAProxy can be told about it at run time, and the rest of it. Never guesses.

A line with any word outside the tables below is not understood, and a change to it is then a reload.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from amphora_agent.core.addresses import Address
from amphora_agent.core.haproxy.grammar import SERVER_OPTIONS
from amphora_agent.core.haproxy.words import Words
from amphora_agent.core.numbers import parse_number

# Nothing HAProxy's command line interface treats specially: no blank, `;`, `\`, `<`, quote or control character.
SAFE_WORD = re.compile(r"[A-Za-z0-9_.:/,@+=%!()*|~^-]+\Z")
_SERVER = re.compile(r"\s*server(?!\S)")
# How such a line begins in a controller's file: of 10,000 lines, comparing that is quicker than the expression.
_INDENTED = "    server "
WEIGHT_MAX = 256

# Every option the controller's releases write is accepted for servers added at run time, `cookie` from 3.0 on.
# Source: HAProxy management guide, "add server"; each tried on 2.6.12 and 3.0.11.
_CHANGEABLE = frozenset({"addr", "disabled", "port", "weight"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server of a backend.

    `weight`, `is_disabled` and the check's address and port can be changed while it runs; `options` are all other
    words in their order, and changing them takes a new server.
    """

    name: str
    address: Address
    port: int
    weight: int = 1
    is_disabled: bool = False
    check_address: Address | None = None
    check_port: int | None = None
    options: Words = ()

    @property
    def has_check(self) -> bool:
        """Tell whether the member is monitored."""
        return "check" in self.options

    @property
    def is_backup(self) -> bool:
        """Tell whether it serves only when the others are down."""
        return "backup" in self.options

    @property
    def uses_tls(self) -> bool:
        """Tell whether connections to it are encrypted."""
        return "ssl" in self.options

    @property
    def has_cookie(self) -> bool:
        """Tell whether it has a value of its own for the persistence cookie."""
        return "cookie" in self.options


def is_server_line(line: str) -> bool:
    """Tell whether a line is a `server` line, understood or not."""
    return line.startswith(_INDENTED) or _SERVER.match(line) is not None


def server_lines(lines: Iterable[str]) -> list[str]:
    """Return the `server` lines among a section's, in order."""
    return [line for line in lines if line.startswith(_INDENTED) or _SERVER.match(line)]


def other_lines(lines: Iterable[str]) -> list[str]:
    """Return the other lines of a section, in order."""
    return [line for line in lines if not line.startswith(_INDENTED) and not _SERVER.match(line)]


def server_names(lines: Iterable[str]) -> list[str]:
    """Return the name in each `server` line as it is written, empty where there is none."""
    return [words[1] if len(words) > 1 else "" for words in (line.split(None, 2) for line in lines)]


def parse_server(words: Words) -> Server | None:
    """Return a `server` line as a value, None when one of its words is not understood.

    Args:
        words: the line as `split_words` returns it.
    """
    if len(words) < 3 or words[0] != "server" or not all(SAFE_WORD.match(word) for word in words):
        return None
    address, port = _address(words[2].rpartition(":")[0]), _number(words[2].rpartition(":")[2], 1, 65535)
    options = _options(words[3:])
    if address is None or port is None or options is None:
        return None
    values = {option[0]: option[-1] for option in options}  # of a repeated option the last one counts
    weight = _number(values.get("weight", "1"), 0, WEIGHT_MAX)
    check_address, check_port = _address(values.get("addr", "")), _number(values.get("port", ""), 1, 65535)
    if (
        weight is None
        or (check_address is None) != ("addr" not in values)
        or (check_port is None) != ("port" not in values)
    ):
        return None
    return Server(
        name=words[1],
        address=address,
        port=port,
        weight=weight,
        is_disabled="disabled" in values,
        check_address=check_address,
        check_port=check_port,
        options=tuple(word for option in options if option[0] not in _CHANGEABLE for word in option),
    )


def _options(words: Words) -> tuple[Words, ...] | None:
    """Return each option with its value, None when one is unknown or its value is missing."""
    found: list[Words] = []
    rest = iter(words)
    for word in rest:
        if SERVER_OPTIONS.get(word) == "":
            found.append((word,))
            continue
        value = next(rest, None)
        if word not in SERVER_OPTIONS or value is None:
            return None
        found.append((word, value))
    return tuple(found)


def _address(text: str) -> Address | None:
    try:
        return ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def _number(text: str, lowest: int, highest: int) -> int | None:
    number = parse_number(text)
    return number if number is not None and lowest <= number <= highest else None
