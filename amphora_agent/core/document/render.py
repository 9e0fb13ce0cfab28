"""A document as the configurations that serve it: HAProxy's, keepalived's per UDP and SCTP listener, VRRP's. Pure.

Expects a document that `checks` found nothing in. Objects bear their ids; no name is in any text. The same document
gives the same bytes.

Decision: where the controller's text does not do what it says, this one does. A TLS-HELLO monitor shakes hands (the
controller's opens a connection); allowed CIDRs are enforced by HAProxy, for there is no security group to do it; a
value that begins with a hyphen is no flag of `acl`. All else is the controller's behaviour, down to the order of lines.

Decision: a secret's file is named by the secret, not by its content. A renewed certificate is then the same
configuration with another file behind it, which the planner turns into one exchange in the running HAProxy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from amphora_agent.core.addresses import parse_address
from amphora_agent.core.document.backend import Backend
from amphora_agent.core.document.frontend import EXPORTER_BACKEND, EXPORTER_FRONTEND, Frontend
from amphora_agent.core.document.lvs_config import LvsListener
from amphora_agent.core.document.model import Document, Listener, MonitorType, Protocol, Vrrp
from amphora_agent.core.document.place import (
    DEFAULT_LIMIT,
    Place,
    connection_limit,
    haproxy_listeners,
    lvs_listeners,
    pools_behind,
)
from amphora_agent.core.document.vrrp_config import vrrp_text
from amphora_agent.core.document.words import Data, line
from amphora_agent.core.haproxy.config import Config, Section, peer_name
from amphora_agent.core.ids import ListenerId

_LOG_SOCKET = "/run/rsyslog/octavia/log"
_PEER_PORT = 1025


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """All that a document says to the programs that serve it.

    Attributes:
        haproxy: None when no listener is HAProxy's.
        local_peer: HAProxy's `-L`: the name this amphora has in the `peers` section.
        crt_lists: path -> text of the lists of certificates.
        secret_files: path -> name of the secret that has to be in it.
        lvs: of every UDP and SCTP listener, disabled ones included.
        vrrp: None when the amphora stands alone.
    """

    haproxy: Config | None
    local_peer: str
    crt_lists: Mapping[str, str]
    secret_files: Mapping[str, str]
    lvs: Mapping[ListenerId, str]
    vrrp: str | None


def render(document: Document, place: Place, passwords: Mapping[str, str]) -> Rendered:
    """Return the configurations of a document.

    Args:
        document: one that `checks.check` found nothing in.
        place: where it is to serve.
        passwords: name -> text of the secrets that stand in a configuration themselves: the pair's password.

    Raises:
        InvalidRequest: keepalived cannot take the pair's password.
    """
    listeners = haproxy_listeners(document)
    vrrp = document.vrrp
    return Rendered(
        haproxy=_haproxy(document, place) if listeners else None,
        local_peer=peer_name(str(parse_address(vrrp.own)) if vrrp is not None else place.loadbalancer_id),
        crt_lists={
            place.crt_list_file(listener.name): _crt_list(listener, place)
            for listener in listeners
            if listener.protocol is Protocol.TERMINATED_HTTPS
        },
        secret_files={place.secret_file(name): name for name in file_secrets(document)},
        lvs={
            place.identity.listener(listener.name): LvsListener(place, document, listener).text()
            for listener in lvs_listeners(document)
        },
        vrrp=vrrp_text(place, document, vrrp, passwords[vrrp.auth]) if vrrp is not None else None,
    )


def file_secrets(document: Document) -> tuple[str, ...]:
    """Return the names of the secrets that HAProxy reads from files, each once, in the document's order."""
    found: list[str | None] = []
    for listener in document.listeners:
        found += [listener.default_tls_container_ref, *listener.sni_container_refs]
        found += [listener.client_ca_tls_container_ref, listener.client_crl_container_ref]
    for pool in document.pools:
        found += [pool.tls_container_ref, pool.ca_tls_container_ref, pool.crl_container_ref]
    return tuple(dict.fromkeys(name for name in found if name is not None))


def _crt_list(listener: Listener, place: Place) -> str:
    names = (listener.default_tls_container_ref, *listener.sni_container_refs)
    return "".join(f"{place.secret_file(name)}\n" for name in dict.fromkeys(names) if name is not None)


def _haproxy(document: Document, place: Place) -> Config:
    preamble = (f"# Configuration for loadbalancer {place.loadbalancer_id}",)
    enabled = tuple(listener for listener in haproxy_listeners(document) if listener.admin_state_up)
    served = enabled if document.admin_state_up else ()
    peers = _peers(place, document.vrrp) if document.vrrp is not None else None
    backends = {
        listener.name: tuple(
            Backend(place, listener, pool, peers.name if peers is not None else None)
            for pool in pools_behind(document, listener)
        )
        for listener in served
    }
    has_ping = any(
        backend.monitor is not None and backend.monitor.type is MonitorType.PING
        for behind in backends.values()
        for backend in behind
    )
    sections = [_global(place, enabled, has_ping=has_ping), _DEFAULTS]
    if peers is not None:
        sections.append(peers)
    if any(listener.protocol is Protocol.PROMETHEUS for listener in served):
        sections += [EXPORTER_FRONTEND, EXPORTER_BACKEND]
    for listener in served:
        sections.append(Frontend(place, document, listener).section())
        sections += (backend.section() for backend in backends[listener.name])
    return Config(preamble, tuple(sections))


_DEFAULTS = Section(
    "defaults",
    "",
    (
        line("log", "global"),
        line("retries", 3),
        line("option", "redispatch"),
        line("option", "splice-request"),
        line("option", "splice-response"),
        line("option", "http-keep-alive"),
    ),
)


def _global(place: Place, listeners: tuple[Listener, ...], *, has_ping: bool) -> Section:
    def lines() -> Iterator[str]:
        paths = place.paths.loadbalancer(place.loadbalancer_id)
        yield line("daemon")
        yield line("user", "nobody")
        yield line("log", _LOG_SOCKET, "local0")
        yield line("log", _LOG_SOCKET, "local1", "notice")
        yield line("stats", "socket", Data(str(paths.stats_socket)), "mode", "0666", "level", "user")
        yield line("server-state-file", Data(str(paths.servers_state)))
        yield line("maxconn", sum(connection_limit(listener) for listener in listeners) or DEFAULT_LIMIT)
        if has_ping:
            yield line("external-check")
            yield line("insecure-fork-wanted")

    return Section("global", "", tuple(lines()))


def _peers(place: Place, vrrp: Vrrp) -> Section:
    """Return the pair's section; the names come from the addresses, which both amphorae know of each other."""
    addresses = sorted(str(parse_address(text)) for text in (vrrp.own, vrrp.peer))
    lines = tuple(line("peer", peer_name(address), f"{address}:{_PEER_PORT}") for address in addresses)
    return Section("peers", f"{place.loadbalancer_id.replace('-', '')}_peers", lines)
