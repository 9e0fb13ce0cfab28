"""What is seen of an amphora when somebody asks what is wrong with it. Values only; judges nothing.

Whatever could not be looked at is None or empty, and named in `unseen`; no check takes that for a fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from amphora_agent.core.addresses import Address
from amphora_agent.core.haproxy.version import Version
from amphora_agent.core.network.model import Interface, Link, ObservedRoute, ObservedRule
from amphora_agent.core.network.nic_list import PluggedNic
from amphora_agent.core.network.unsettled import LinkState
from amphora_agent.core.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSystem:
    """How full a file system is, in bytes and files; `use` is what we keep on it."""

    path: str
    use: str
    is_memory: bool
    size: int
    free: int
    files: int
    free_files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The load balancer's namespace, and what its interfaces should be.

    `outside` has the MAC addresses of NICs that are in no namespace; `silent` the neighbours that answer no ARP.
    """

    plugged: tuple[PluggedNic, ...] = ()
    desired: tuple[Interface, ...] = ()
    links: tuple[Link, ...] = ()
    states: Mapping[str, LinkState] = field(default_factory=dict)
    routes: tuple[ObservedRoute, ...] = ()
    rules: tuple[ObservedRule, ...] = ()
    outside: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()
    conntrack: tuple[int, int] | None = None

    @property
    def addresses(self) -> frozenset[Address]:
        """Every address of every interface."""
        ipv4 = {address for state in self.states.values() for address in state.ipv4}
        return frozenset(ipv4 | {host.ip for state in self.states.values() for host in state.ipv6})


@dataclass(frozen=True, slots=True, kw_only=True)
class Haproxy:
    """One load balancer's HAProxy.

    Attributes:
        loadbalancer: its id.
        is_stopped: it was stopped on purpose.
        is_running: its master lives.
        is_current: what runs is what is stored; None when that is not known.
        old_workers: seconds of life of each worker that a reload has replaced.
        failed_reloads: in a row, the last ones.
        needs: bytes one more worker takes before its first connection.
        reload_only: why the agent changes nothing at run time; empty when it does.
    """

    loadbalancer: str
    is_stopped: bool = False
    is_running: bool = True
    is_current: bool | None = True
    old_workers: tuple[int, ...] = ()
    failed_reloads: int = 0
    needs: int = 0
    reload_only: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate's or a revocation list's file; times are seconds since 1970, `begin` 0 when it has none.

    `use` is agent, controllers, listener or revocations; `trouble` says why it cannot be used, empty when it can.
    """

    path: str
    use: str
    begin: int = 0
    end: int | None = None
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vrrp:
    """keepalived's VRRP; `vips` are those of its configuration, `peers` the other amphora's addresses."""

    is_running: bool
    has_resigned: bool = False
    vips: frozenset[Address] = frozenset()
    peers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything at one moment; `now` is seconds since 1970, `hard_stop` how old an old worker may become.

    `agent_trouble` is why the agent does not answer, empty when it does. `heartbeat_troubles` has what the heartbeat
    process says of itself, subject -> words; None when it does not run. `lvs` tells of each UDP and SCTP listener
    whether its keepalived runs.
    """

    now: float
    settings: Settings
    settings_trouble: str = ""
    agent_trouble: str = ""
    file_systems: tuple[FileSystem, ...] = ()
    network: Network | None = None
    heartbeat_troubles: Mapping[str, str] | None = None
    haproxies: tuple[Haproxy, ...] = ()
    haproxy_version: Version | None = None
    available_memory: int | None = None
    certificates: tuple[Certificate, ...] = ()
    vrrp: Vrrp | None = None
    lvs: Mapping[str, bool] = field(default_factory=dict)
    failed_units: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
