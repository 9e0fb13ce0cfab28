"""The controller's keepalived configuration of one UDP or SCTP listener, as a value. Total: never fails, never edits.

Ids stand in comments; addresses and servers in the configuration itself. What cannot be read is left out, so that one
odd line costs one member's status and nothing else.

Source: keepalived.conf(5), "Virtual server(s)"; the comments are the controller's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from amphora_agent.core.addresses import Address, parse_address
from amphora_agent.core.keepalived.ipvs import Endpoint, Protocol, ServiceKey

_OBJECT = re.compile(r"#\s*Configuration for (\w+) ([A-Za-z0-9_-]{1,64})\s*\Z")
_DISABLED = re.compile(r"#\s*(\w+) ([A-Za-z0-9_-]{1,64}) is disabled\s*\Z")
_CHECKERS = frozenset({"MISC_CHECK", "HTTP_GET", "SSL_GET", "TCP_CHECK", "UDP_CHECK", "DNS_CHECK", "SMTP_CHECK"})
_DEFAULT_DELAY = 60
_DEFAULT_WEIGHT = 1
_NUMBER_LENGTH = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class RealServer:
    """One server of a virtual server; a checked one is in the kernel only while its check passes."""

    endpoint: Endpoint
    weight: int
    upper_threshold: int
    is_checked: bool


@dataclass(frozen=True, slots=True)
class VirtualServer:
    """Kernel services that share their servers: one per address of the group."""

    services: tuple[ServiceKey, ...]
    servers: tuple[RealServer, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """One enabled member; `endpoint` is None when the file does not say where it is."""

    id: str
    endpoint: Endpoint | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LvsConfig:
    """What the file says.

    Attributes:
        vips: every address of every group, in file order.
        has_group: whether there is a virtual server group at all; without one there is no pool.
        has_virtual_server: what `GET listeners` calls active.
        check_interval: seconds between two checks of a member, the longest of the file; 0 without checks.
        members, disabled_members: in file order.
    """

    loadbalancer_id: str | None
    listener_id: str | None
    pool_id: str | None
    is_listener_enabled: bool
    is_pool_enabled: bool
    has_group: bool
    has_virtual_server: bool
    has_monitor: bool
    check_interval: int
    vips: tuple[Address, ...]
    virtual_servers: tuple[VirtualServer, ...]
    members: tuple[Member, ...]
    disabled_members: tuple[str, ...]

    @property
    def services(self) -> tuple[ServiceKey, ...]:
        """Every kernel service of the listener, in file order, each once."""
        return tuple(dict.fromkeys(key for server in self.virtual_servers for key in server.services))


@dataclass(slots=True)
class _Server:
    endpoint: Endpoint | None
    weight: int = _DEFAULT_WEIGHT
    upper_threshold: int = 0
    is_checked: bool = False


@dataclass(slots=True)
class _Virtual:
    """A virtual server being read: a group's name, or an address of its own."""

    group: str | None
    own: Endpoint | None
    protocol: Protocol = Protocol.TCP
    delay: int = _DEFAULT_DELAY
    servers: list[_Server] = field(default_factory=list)


@dataclass(slots=True)
class _Found:
    """All that was seen so far, in file order."""

    objects: list[tuple[str, str]] = field(default_factory=list)
    disabled: list[tuple[str, str]] = field(default_factory=list)
    groups: dict[str, list[Endpoint]] = field(default_factory=dict)
    virtual: list[_Virtual] = field(default_factory=list)
    group: str | None = None
    depth: int = 0


def parse(text: str) -> LvsConfig:
    """Return what a configuration says; anything unknown is passed over."""
    found = _Found()
    for raw in text.split("\n"):
        line = raw.strip()
        if line.startswith("#"):
            _read_comment(line, found)
        elif line:
            words = line.replace("!", "#", 1).partition("#")[0].split()
            if words:
                _read_statement(words, found)
    return _config(found)


def _read_comment(line: str, found: _Found) -> None:
    match = _OBJECT.match(line)
    if match is not None:
        found.objects.append((match[1], match[2]))
        return
    match = _DISABLED.match(line)
    if match is not None:
        found.disabled.append((match[1], match[2]))


def _read_statement(words: list[str], found: _Found) -> None:
    """Take one line in: blocks by their first word, options by the block they stand in."""
    opens, closes = words.count("{"), words.count("}")
    keyword = words[0]
    if found.depth == 0:
        found.group = None
    if keyword == "virtual_server_group" and len(words) > 1:
        found.group = words[1]
        found.groups.setdefault(words[1], [])
    elif keyword == "virtual_server":
        found.virtual.append(_open_virtual(words))
    elif found.group is not None:
        endpoint = _endpoint(words)
        if endpoint is not None:
            found.groups[found.group].append(endpoint)
    elif found.virtual and found.depth > 0:
        _read_option(words, found.virtual[-1], depth=found.depth)
    found.depth = max(0, found.depth + opens - closes)


def _open_virtual(words: list[str]) -> _Virtual:
    if len(words) > 2 and words[1] == "group":
        return _Virtual(words[2], None)
    return _Virtual(None, _endpoint(words[1:]))


def _read_option(words: list[str], virtual: _Virtual, *, depth: int) -> None:
    keyword = words[0]
    server = virtual.servers[-1] if virtual.servers else None
    if keyword == "real_server":
        virtual.servers.append(_Server(_endpoint(words[1:])))
    elif keyword == "protocol" and len(words) > 1:
        virtual.protocol = next((p for p in Protocol if p.name == words[1].upper()), virtual.protocol)
    elif keyword == "delay_loop" and depth == 1:
        virtual.delay = _number(words, _DEFAULT_DELAY)
    elif server is not None and keyword in _CHECKERS:
        server.is_checked = True
    elif server is not None and keyword == "weight":
        server.weight = _number(words, _DEFAULT_WEIGHT)
    elif server is not None and keyword == "uthreshold":
        server.upper_threshold = _number(words, 0)


def _endpoint(words: list[str]) -> Endpoint | None:
    if len(words) < 2 or not _is_number(words[1]) or not 0 < int(words[1]) <= 0xFFFF:
        return None
    address = parse_address(words[0])
    return None if address is None else Endpoint(address, int(words[1]))


def _number(words: list[str], default: int) -> int:
    text = words[1].partition(".")[0] if len(words) > 1 else ""
    return int(text) if _is_number(text) else default


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _NUMBER_LENGTH


def _config(found: _Found) -> LvsConfig:
    members = [name for kind, name in found.objects if kind == "Member"]
    endpoints = [server.endpoint for virtual in found.virtual for server in virtual.servers]
    endpoints += [None] * (len(members) - len(endpoints))
    checked = [v for v in found.virtual if any(server.is_checked for server in v.servers)]
    return LvsConfig(
        loadbalancer_id=_first(found.objects, "Loadbalancer"),
        listener_id=_first(found.objects, "Listener") or _first(found.disabled, "Listener"),
        pool_id=_first(found.objects, "Pool") or _first(found.disabled, "Pool"),
        is_listener_enabled=_first(found.disabled, "Listener") is None,
        is_pool_enabled=_first(found.disabled, "Pool") is None,
        has_group=bool(found.groups) or any(virtual.own for virtual in found.virtual),
        has_virtual_server=bool(found.groups) or bool(found.virtual),
        has_monitor=bool(checked),
        check_interval=max((virtual.delay for virtual in checked), default=0),
        vips=tuple(_vips(found)),
        virtual_servers=tuple(_virtual_server(virtual, found) for virtual in found.virtual),
        members=tuple(Member(name, endpoint) for name, endpoint in zip(members, endpoints, strict=False)),
        disabled_members=tuple(dict.fromkeys(name for kind, name in found.disabled if kind == "Member")),
    )


def _first(pairs: list[tuple[str, str]], kind: str) -> str | None:
    return next((name for found, name in pairs if found == kind), None)


def _vips(found: _Found) -> Iterator[Address]:
    for endpoints in found.groups.values():
        yield from (endpoint.address for endpoint in endpoints)
    yield from (virtual.own.address for virtual in found.virtual if virtual.own is not None)


def _virtual_server(virtual: _Virtual, found: _Found) -> VirtualServer:
    endpoints = [virtual.own] if virtual.own is not None else found.groups.get(virtual.group or "", [])
    return VirtualServer(
        services=tuple(ServiceKey(virtual.protocol, endpoint) for endpoint in endpoints),
        servers=tuple(
            RealServer(
                endpoint=server.endpoint,
                weight=server.weight,
                upper_threshold=server.upper_threshold,
                is_checked=server.is_checked,
            )
            for server in virtual.servers
            if server.endpoint is not None
        ),
    )
