"""Interfaces as values: what one should look like, what the kernel has, and the steps from one to the other.

Decision: the plan compares and never remembers. A crash between any two steps leaves a state from which the next plan
leads to the same end, so plug, re-plug, boot and an operator's `up` share it. What others own - link-local and dynamic
addresses, keepalived's and the kernel's routes and rules - is not part of the comparison and cannot be removed by it.

Decision: what a DHCP server or a router gave belongs to them only as long as it is asked for. On an interface that has
become a fixed one it is told from others' by the lease file, the kernel's mark on such addresses, and the routes'
protocol, so that it goes even when the agent died after it had ended the client.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Interface

from amphora_agent.core.addresses import Address, HostAddress, Subnet

VIP_INTERFACE = "eth1"
MAIN_TABLE = 254
VIP_TABLE = 1
RULE_PRIORITY = 32000
# rtnetlink(7), linux/rtnetlink.h: what installed a route or rule.
PROTOCOL_KERNEL, PROTOCOL_STATIC, PROTOCOL_ADVERTISED = 2, 4, 9
_RULE_PROTOCOLS_OF_OTHERS = frozenset({PROTOCOL_KERNEL, 18})  # 18: keepalived
# The metric the kernel gives a route that names none. Source: ip6_route_info_create, fib_create_info.
_DEFAULT_METRIC = {4: 0, 6: 1024}


class InterfaceType(StrEnum):
    """What an interface in the namespace is for."""

    LOOPBACK = "lo"
    VIP = "vip"
    BACKEND = "backend"


@dataclass(frozen=True, slots=True)
class StaticAddress:
    """An address with its prefix length; one that is not `owned` belongs to keepalived: never added, never removed."""

    address: HostAddress
    owned: bool = True


@dataclass(frozen=True, slots=True)
class AutomaticAddress:
    """Addresses that come from a DHCP server, from router advertisements, or both."""

    dhcp: bool = False
    ipv6auto: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route through one interface; `onlink` and `link_scope` are how it is made, not what it is."""

    destination: Subnet
    gateway: Address | None = None
    prefsrc: Address | None = None
    table: int = MAIN_TABLE
    onlink: bool = False
    link_scope: bool = False

    @property
    def key(self) -> RouteKey:
        """Return what makes two routes of one interface the same."""
        return self.destination, self.gateway, self.prefsrc, self.table


RouteKey = tuple[Subnet, Address | None, Address | None, int]


@dataclass(frozen=True, slots=True)
class Rule:
    """Look a source up in a table."""

    source: Subnet
    table: int = VIP_TABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """The desired state of one interface; exactly what its file holds.

    `up` and `down` are commands to run after the interface came up and before it goes down, words separated by blanks.
    `mtu` is in bytes, None leaves it alone.
    """

    name: str
    type: InterfaceType
    addresses: tuple[StaticAddress | AutomaticAddress, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    up: tuple[str, ...] = ()
    down: tuple[str, ...] = ()
    is_sriov: bool = False
    mtu: int | None = None

    @property
    def static_addresses(self) -> tuple[StaticAddress, ...]:
        """Return the static addresses, in order."""
        return tuple(address for address in self.addresses if isinstance(address, StaticAddress))

    @property
    def dhcp(self) -> bool:
        """Tell whether a DHCP client runs on it."""
        return any(isinstance(address, AutomaticAddress) and address.dhcp for address in self.addresses)

    @property
    def ipv6auto(self) -> bool:
        """Tell whether it takes addresses from router advertisements."""
        return any(isinstance(address, AutomaticAddress) and address.ipv6auto for address in self.addresses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A network device as the kernel has it; `mac` is lower case, `stacked` ones borrow their MAC from another."""

    index: int
    name: str
    mac: str
    mtu: int
    is_up: bool
    is_loopback: bool = False
    stacked: bool = False
    alternative_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedAddress:
    """An address the kernel has; dynamic ones are not `permanent`, `advertised` ones the kernel made for a router."""

    address: HostAddress
    permanent: bool = True
    advertised: bool = False
    tentative: bool = False
    duplicate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedRoute:
    """A route of any interface and table; `protocol` tells what made it, `interface` 0 for multipath."""

    destination: Subnet
    gateway: Address | None = None
    prefsrc: Address | None = None
    table: int = MAIN_TABLE
    interface: int
    protocol: int
    metric: int = 0

    @property
    def key(self) -> RouteKey:
        """Return what makes two routes of one interface the same."""
        return self.destination, self.gateway, self.prefsrc, self.table


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedRule:
    """A rule with a source selector."""

    source: Subnet
    table: int
    priority: int
    protocol: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What the kernel has of one interface, and the routes and rules of the whole namespace.

    `slaac` and `dhcp` tell whether addresses are asked for, `slaac_by_default` whether the machine's owner has every
    interface of the namespace do so, `leased` are the ones the DHCP server ever gave.
    """

    link: Link
    addresses: tuple[ObservedAddress, ...] = ()
    routes: tuple[ObservedRoute, ...] = ()
    rules: tuple[ObservedRule, ...] = ()
    slaac: bool = False
    slaac_by_default: bool = False
    dhcp: bool = False
    leased: frozenset[IPv4Address] = frozenset()


@dataclass(frozen=True, slots=True)
class SetMtu:
    """Give the link another MTU; works on one that is up."""

    interface: int
    mtu: int


@dataclass(frozen=True, slots=True)
class SetUp:
    """Bring the link up."""

    interface: int


@dataclass(frozen=True, slots=True)
class StartDhcp:
    """Start the DHCP client of an interface and wait a little for its lease."""

    interface: int


@dataclass(frozen=True, slots=True)
class StopDhcp:
    """End the DHCP client of an interface; the address it got stays."""

    interface: int


@dataclass(frozen=True, slots=True)
class EnableSlaac:
    """Take addresses from router advertisements although the namespace forwards."""

    interface: int


@dataclass(frozen=True, slots=True)
class DisableSlaac:
    """Take nothing from router advertisements any more; what came from them stays."""

    interface: int


@dataclass(frozen=True, slots=True)
class AddAddress:
    """Add an address; one that is there becomes permanent and never goes away meanwhile."""

    interface: int
    address: HostAddress


@dataclass(frozen=True, slots=True)
class AwaitAddresses:
    """Wait until duplicate address detection is over for these addresses."""

    interface: int
    addresses: frozenset[IPv6Interface]


@dataclass(frozen=True, slots=True)
class RemoveAddress:
    """Remove an address."""

    interface: int
    address: HostAddress


@dataclass(frozen=True, slots=True)
class AddRoute:
    """Add a route; one that is there already is fine."""

    interface: int
    route: Route


@dataclass(frozen=True, slots=True)
class ReplaceRoute:
    """Put a route in the place of the one that has its destination, table and metric; no packet in between is lost."""

    interface: int
    route: Route


@dataclass(frozen=True, slots=True)
class RemoveRoute:
    """Remove a route."""

    route: ObservedRoute


@dataclass(frozen=True, slots=True)
class AddRule:
    """Add a rule."""

    rule: Rule


@dataclass(frozen=True, slots=True)
class RemoveRule:
    """Remove a rule."""

    rule: ObservedRule


LinkStep = (
    SetMtu
    | SetUp
    | StartDhcp
    | StopDhcp
    | EnableSlaac
    | DisableSlaac
    | AddAddress
    | AwaitAddresses
    | RemoveAddress
    | AddRoute
    | ReplaceRoute
    | RemoveRoute
    | AddRule
    | RemoveRule
)


def plan(desired: Interface, observed: Observed) -> tuple[LinkStep, ...]:
    """Return the steps from the observed to the desired state, in the order to take them; none when it is reached.

    One pass may not be enough, because the kernel acts too: it makes a route for each address and drops routes with an
    address that goes. Observe and plan again until nothing is left, or nothing new.
    """
    addresses = tuple(_plan_addresses(desired, observed))
    going = {step.route for step in addresses if isinstance(step, RemoveRoute)}
    left = replace(observed, routes=tuple(route for route in observed.routes if route not in going))
    return (
        *_plan_link(desired, observed),
        *addresses,
        *_plan_routes(desired, left),
        *(_plan_rules(desired, observed) if desired.type is InterfaceType.VIP else ()),
    )


def _plan_link(desired: Interface, observed: Observed) -> Iterator[LinkStep]:
    link = observed.link
    # Before addresses: a renewal would give the one that is made permanent a lifetime again.
    if observed.dhcp and not desired.dhcp:
        yield StopDhcp(link.index)
    if observed.slaac and not _takes_advertisements(desired, observed):
        yield DisableSlaac(link.index)
    if desired.mtu and desired.mtu != link.mtu:
        yield SetMtu(link.index, desired.mtu)
    if desired.ipv6auto and not observed.slaac:
        yield EnableSlaac(link.index)
    if not link.is_up:
        yield SetUp(link.index)
    if desired.dhcp and not observed.dhcp:
        yield StartDhcp(link.index)


def _plan_addresses(desired: Interface, observed: Observed) -> Iterator[LinkStep]:
    index = observed.link.index
    present = {address.address: address for address in observed.addresses}
    wanted = dict.fromkeys(static.address for static in desired.static_addresses if static.owned)
    kept = {static.address for static in desired.static_addresses}
    missing = [address for address in wanted if address not in present or not present[address].permanent]
    yield from (AddAddress(index, address) for address in missing)
    settling = frozenset(
        address
        for address in wanted
        if isinstance(address, IPv6Interface)
        and (address not in present or (present[address].tentative and not present[address].duplicate))
    )
    if settling:
        yield AwaitAddresses(index, settling)
    unwanted = [a for a in observed.addresses if a.address not in kept and not _is_foreign(a, desired, observed)]
    # First the route, which names nobody: without the address nothing would tell where it came from.
    yield from (RemoveRoute(route) for route in _routes_of_advertised(unwanted, wanted, observed))
    yield from (RemoveAddress(index, address.address) for address in unwanted)


def _takes_advertisements(desired: Interface, observed: Observed) -> bool:
    return desired.ipv6auto or observed.slaac_by_default


def _is_foreign(address: ObservedAddress, desired: Interface, observed: Observed) -> bool:
    if _is_the_kernels(address.address):
        return True
    if address.address.ip in observed.leased:
        return desired.dhcp
    if address.advertised:
        return _takes_advertisements(desired, observed)
    return not address.permanent


def _routes_of_advertised(
    unwanted: Sequence[ObservedAddress], wanted: Iterable[HostAddress], observed: Observed
) -> list[ObservedRoute]:
    """Return the routes to the prefixes of addresses that go: the kernel removes them with permanent ones alone."""
    staying = {a.address.network for a in observed.addresses if a not in unwanted} | {a.network for a in wanted}
    left = {a.address.network for a in unwanted if a.advertised} - staying
    return [
        route
        for route in observed.routes
        if route.interface == observed.link.index
        and route.protocol == PROTOCOL_KERNEL
        and route.table == MAIN_TABLE
        and route.destination in left
    ]


def _is_the_kernels(address: HostAddress) -> bool:
    return address.ip.is_loopback or (address.version == 6 and address.ip.is_link_local)


def _plan_routes(desired: Interface, observed: Observed) -> Iterator[LinkStep]:
    index = observed.link.index
    removable = {PROTOCOL_STATIC}
    if not _takes_advertisements(desired, observed):
        removable.add(PROTOCOL_ADVERTISED)
    ours = [r for r in observed.routes if r.interface == index and r.protocol in removable]
    foreign = {_slot(r) for r in observed.routes if r.interface != index or r.protocol not in removable}
    present = {route.key for route in ours if route.protocol == PROTOCOL_STATIC}
    wanted = {route.key for route in wanted_routes(desired.routes)}
    unwanted = [route for route in ours if route.protocol != PROTOCOL_STATIC or route.key not in wanted]
    replaceable = {_slot(route): route for route in unwanted}
    for route in wanted_routes(desired.routes):
        slot = (route.destination, route.table, _DEFAULT_METRIC[route.destination.version])
        if route.key in present or slot in foreign:
            continue
        if slot in replaceable:
            unwanted.remove(replaceable.pop(slot))
            yield ReplaceRoute(index, route)
        else:
            yield AddRoute(index, route)
    yield from (RemoveRoute(route) for route in unwanted)


def wanted_routes(routes: Iterable[Route]) -> tuple[Route, ...]:
    """Return the routes that can exist beside each other: the kernel keeps the first per destination and table."""
    first: dict[tuple[Subnet, int], Route] = {}
    for route in routes:
        first.setdefault((route.destination, route.table), route)
    return tuple(first.values())


def _slot(route: ObservedRoute) -> tuple[Subnet, int, int]:
    return route.destination, route.table, route.metric


def _plan_rules(desired: Interface, observed: Observed) -> Iterator[LinkStep]:
    ours = [rule for rule in observed.rules if rule.protocol not in _RULE_PROTOCOLS_OF_OTHERS]
    present = {(rule.source, rule.table) for rule in ours}
    wanted = dict.fromkeys((rule.source, rule.table) for rule in desired.rules)
    yield from (AddRule(Rule(source, table)) for source, table in wanted if (source, table) not in present)
    yield from (RemoveRule(rule) for rule in ours if (rule.source, rule.table) not in wanted)


def plan_down(desired: Interface, observed: Observed) -> tuple[RemoveRule | RemoveRoute | RemoveAddress, ...]:
    """Return the steps that take everything off the interface: rules, routes, then addresses, keepalived's included."""
    index = observed.link.index
    ours = {(rule.source, rule.table) for rule in desired.rules}
    rules = [rule for rule in observed.rules if (rule.source, rule.table) in ours]
    routes = [r for r in observed.routes if r.interface == index and r.protocol == PROTOCOL_STATIC]
    return (
        *(RemoveRule(rule) for rule in rules if desired.type is InterfaceType.VIP),
        *(RemoveRoute(route) for route in routes),
        *(RemoveAddress(index, a.address) for a in observed.addresses if not _is_the_kernels(a.address)),
    )


def link_of_mac(links: Iterable[Link], mac: str) -> Link | None:
    """Return the device with this MAC address in either case, the lowest index first; None without one.

    VLANs, bridges and bonds show the MAC of the device below them and are passed over.
    """
    matching = [link for link in links if link.mac == mac.lower() and not link.stacked and not link.is_loopback]
    return min(matching, key=lambda link: link.index, default=None)


def free_member_name(links: Iterable[Link], reserved: Iterable[str]) -> str:
    """Return the lowest `eth<N>`, N from 2, that is not reserved and no device's name or alternative name."""
    taken = {name for link in links for name in (link.name, *link.alternative_names)} | set(reserved)
    return next(name for number in range(2, len(taken) + 3) if (name := f"eth{number}") not in taken)


def subnet_of(address: Address) -> Subnet:
    """Return the network of this one address: /32 or /128."""
    return ipaddress.ip_network(address)
