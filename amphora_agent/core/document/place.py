"""Where a document is rendered: the ids and the files of one load balancer on one amphora. Opens nothing."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from amphora_agent.core.addresses import parse_address
from amphora_agent.core.document.identity import Identity
from amphora_agent.core.document.model import Document, L7Policy, Listener, PolicyAction, Pool, Protocol
from amphora_agent.core.ids import LoadBalancerId, PemName
from amphora_agent.core.paths import Paths

LVS_PROTOCOLS = frozenset({Protocol.UDP, Protocol.SCTP})
HTTP_PROTOCOLS = frozenset({Protocol.HTTP, Protocol.TERMINATED_HTTPS})
DEFAULT_LIMIT = 50_000


@dataclass(frozen=True, slots=True)
class Place:
    """What rendering needs to know besides the document."""

    loadbalancer_id: LoadBalancerId
    paths: Paths

    @property
    def identity(self) -> Identity:
        """What names become."""
        return Identity(self.loadbalancer_id)

    def secret_file(self, name: str) -> str:
        """Return the path of a secret's file; it stays the same when the secret is renewed."""
        return self._file(self.identity.secret(name))

    def crt_list_file(self, listener: str) -> str:
        """Return the path of the list of a listener's certificates."""
        return self._file(self.identity.listener(listener))

    def _file(self, stem: str) -> str:
        return str(self.paths.loadbalancer(self.loadbalancer_id).cert(PemName(f"{stem}.pem")))


def addresses(document: Document) -> tuple[IPv4Address | IPv6Address, ...]:
    """Return the VIPs in order."""
    return tuple(address for vip in document.vips if (address := parse_address(vip.address)) is not None)


def haproxy_listeners(document: Document) -> tuple[Listener, ...]:
    """Return the listeners that HAProxy serves, disabled ones included."""
    return tuple(listener for listener in document.listeners if listener.protocol not in LVS_PROTOCOLS)


def lvs_listeners(document: Document) -> tuple[Listener, ...]:
    """Return the UDP and SCTP listeners, disabled ones included."""
    return tuple(listener for listener in document.listeners if listener.protocol in LVS_PROTOCOLS)


def served_pool(document: Document, name: str | None) -> Pool | None:
    """Return the pool of this name, None when there is none or it is disabled."""
    return next((pool for pool in document.pools if pool.name == name and pool.admin_state_up), None)


def active_policies(document: Document, listener: Listener) -> tuple[L7Policy, ...]:
    """Return the policies that do something, in the order of their positions."""
    found = (
        policy
        for policy in listener.l7policies
        if policy.admin_state_up
        and any(rule.admin_state_up for rule in policy.rules)
        and (policy.action is not PolicyAction.REDIRECT_TO_POOL or served_pool(document, policy.redirect_pool))
    )
    return tuple(sorted(found, key=lambda policy: policy.position))


def pools_behind(document: Document, listener: Listener) -> tuple[Pool, ...]:
    """Return the pools a listener can send requests to, the default one first, each once."""
    names = [listener.default_pool, *(policy.redirect_pool for policy in active_policies(document, listener))]
    found = (served_pool(document, name) for name in dict.fromkeys(names))
    return tuple(pool for pool in found if pool is not None)


def connection_limit(listener: Listener) -> int:
    """Return how many connections a listener takes at once."""
    return listener.connection_limit if listener.connection_limit > 0 else DEFAULT_LIMIT
