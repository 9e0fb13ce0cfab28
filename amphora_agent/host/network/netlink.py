# ruff: noqa: ANN401 - pyroute2 is untyped; what leaves this module is not
"""The only door to rtnetlink: links, addresses, routes and rules of the calling thread's network namespace.

pyroute2 is imported at the first use and kept out of every signature: what leaves this module are values of
`core.network`. A socket lives for one operation, in the thread that uses it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import logging
import os
import select
import socket
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any, assert_never

from amphora_agent.core.addresses import HostAddress, Subnet
from amphora_agent.core.network.model import (
    PROTOCOL_STATIC,
    RULE_PRIORITY,
    AddAddress,
    AddRoute,
    AddRule,
    AwaitAddresses,
    Link,
    ObservedAddress,
    ObservedRoute,
    ObservedRule,
    RemoveAddress,
    RemoveRoute,
    RemoveRule,
    ReplaceRoute,
    Route,
    SetMtu,
    SetUp,
)
from amphora_agent.errors import HostFailure, failing_as
from amphora_agent.host.deadline import Deadline
from amphora_agent.host.network import netns

LOG = logging.getLogger(__name__)

# Source: linux/if.h, linux/if_addr.h, linux/rtnetlink.h.
_IFF_UP, _IFF_LOOPBACK = 0x1, 0x8
_IFA_F_DADFAILED, _IFA_F_TENTATIVE, _IFA_F_PERMANENT = 0x08, 0x40, 0x80
# Source: addrconf_prefix_rcv_add_addr and ipv6_create_tempaddr; the first of them means something else with IPv4.
_IFA_F_TEMPORARY, _IFA_F_MANAGETEMPADDR = 0x01, 0x100
_RT_SCOPE_UNIVERSE, _RT_SCOPE_LINK = 0, 253
_RTM_F_CLONED = 0x200
_RTMGRP_LINK = 0x1
_SIOCGIFHWADDR, _IFREQ_SIZE = 0x8927, 40
_STACKED_KINDS = frozenset({"vlan", "bridge", "bond", "team", "macvlan", "macvtap", "ipvlan", "vrf"})
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_ADDRESS_POLL = 0.05
DAD_TIMEOUT = 30.0

KernelStep = (
    SetMtu
    | SetUp
    | AddAddress
    | AwaitAddresses
    | RemoveAddress
    | AddRoute
    | ReplaceRoute
    | RemoveRoute
    | AddRule
    | RemoveRule
)


@dataclass(frozen=True, slots=True)
class LinkCounters:
    """Bytes since the link was made."""

    received: int
    sent: int


@contextlib.contextmanager
def connect() -> Iterator[Netlink]:
    """Open a socket to the calling thread's namespace for one operation.

    Raises:
        HostFailure: no socket; also what the requests over it raise.
    """
    from pyroute2 import IPRoute  # noqa: PLC0415 - costs 12 MB and 0.1 s, which a process without plugs never pays

    with _kernel("cannot open a netlink socket"), failing_as("cannot open a netlink socket"):
        route: Any = IPRoute()
    try:
        yield Netlink(route)
    finally:
        route.close()


class Netlink:
    """Requests to the kernel over one socket; every method raises HostFailure when the kernel refuses."""

    def __init__(self, route: Any) -> None:
        self._route = route

    def links(self) -> tuple[Link, ...]:
        """Return every device of the namespace."""
        return tuple(_link(message) for message in self._dump("links", self._route.get_links))

    def link_named(self, name: str) -> Link:
        """Return one device.

        Raises:
            HostFailure: there is none of that name.
        """
        with _kernel(f"cannot find the interface {name}"):
            return _link(next(iter(self._route.link("get", ifname=name))))

    def addresses(self) -> tuple[tuple[int, ObservedAddress], ...]:
        """Return every address of the namespace with the index of its device."""
        return tuple((m["index"], _address(m)) for m in self._dump("addresses", self._route.get_addr))

    def routes(self) -> tuple[ObservedRoute, ...]:
        """Return the unicast routes of every table."""
        messages = [
            (version, message)
            for version, family in _FAMILY.items()
            for message in self._dump("routes", functools.partial(self._route.get_routes, family=family))
        ]
        return tuple(route for version, message in messages if (route := _route(message, version)) is not None)

    def rules(self) -> tuple[ObservedRule, ...]:
        """Return the rules that have a source selector."""
        messages = [
            (version, message)
            for version, family in _FAMILY.items()
            for message in self._dump("rules", functools.partial(self._route.get_rules, family=family))
        ]
        return tuple(rule for version, message in messages if (rule := _rule(message, version)) is not None)

    def move(self, link: Link, target: Path, name: str) -> None:
        """Move a device into the namespace at `target` and give it its name there, in one request."""
        try:
            handle = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise HostFailure(f"cannot open {target}", error.strerror or str(error)) from error
        try:
            with _kernel(f"cannot move {link.name} into {target.name} as {name}"):
                self._route.link("set", index=link.index, net_ns_fd=handle, ifname=name)
        finally:
            os.close(handle)

    def rename(self, link: Link, name: str) -> None:
        """Give a device another name; it is down afterwards."""
        with _kernel(f"cannot rename {link.name} to {name}"):
            if link.is_up:
                self._route.link("set", index=link.index, state="down")
            self._route.link("set", index=link.index, ifname=name)

    def set_down(self, link: Link) -> None:
        """Take a device down; its IPv6 addresses and its routes go with that."""
        with _kernel(f"cannot take {link.name} down"):
            self._route.link("set", index=link.index, state="down")

    def perform(self, step: KernelStep) -> None:  # noqa: C901 - one flat case per kind of step
        """Take one step of a plan. To add what exists and to remove what does not is success."""
        with _kernel(f"cannot perform {step}", ignored=_IGNORED.get(type(step), ())):
            match step:
                case SetMtu(interface, mtu):
                    self._route.link("set", index=interface, mtu=mtu)
                case SetUp(interface):
                    self._route.link("set", index=interface, state="up")
                case AddAddress(interface, address):
                    self._route.addr("replace", index=interface, **_address_arguments(address))
                case RemoveAddress(interface, address):
                    self._route.addr("del", index=interface, **_address_arguments(address))
                case AwaitAddresses():
                    self._await_addresses(step)
                case AddRoute(interface, route):
                    self._route.route("add", **_route_arguments(route, interface))
                case ReplaceRoute(interface, route):
                    self._route.route("replace", **_route_arguments(route, interface))
                case RemoveRoute(observed):
                    self._route.route("del", **_observed_route_arguments(observed))
                case AddRule(rule):
                    selector = _rule_arguments(rule.source, rule.table, RULE_PRIORITY)
                    self._route.rule("add", FRA_PROTOCOL=PROTOCOL_STATIC, **selector)
                case RemoveRule(found):
                    selector = _rule_arguments(found.source, found.table, found.priority)
                    self._route.rule("del", FRA_PROTOCOL=found.protocol, **selector)
                case _:
                    assert_never(step)

    def _await_addresses(self, step: AwaitAddresses) -> None:
        duplicates: list[str] = []
        settling: list[str] = []
        for _ in Deadline.after(DAD_TIMEOUT).attempts(_ADDRESS_POLL):
            mine = [a for index, a in self.addresses() if index == step.interface and a.address in step.addresses]
            duplicates = [str(a.address) for a in mine if a.duplicate]
            settling = [str(a.address) for a in mine if a.tentative and not a.duplicate]
            if not settling:
                break
        if settling:
            LOG.warning("went on with tentative addresses: %s", " ".join(settling))
        if duplicates:
            LOG.error("another machine has the address: %s", " ".join(duplicates))

    def await_lease(self, name: str, others: Container[HostAddress], deadline: Deadline) -> None:
        """Wait until a DHCP client has given the device an IPv4 address, which is none of `others`, or give up."""
        link = self.link_named(name)
        for _ in deadline.attempts(_ADDRESS_POLL):
            mine = (a.address for index, a in self.addresses() if index == link.index)
            if any(address.version == 4 and address not in others for address in mine):
                return
        LOG.warning("went on without a DHCP lease ifname=%s", name)

    def _dump(self, what: str, request: Callable[[], Any]) -> list[Any]:
        from pyroute2.netlink.exceptions import NetlinkDumpInterrupted  # noqa: PLC0415 - see connect()

        with _kernel(f"cannot list {what}"):
            for _ in range(_DUMP_TRIES - 1):
                with contextlib.suppress(NetlinkDumpInterrupted):
                    return list(request())
            return list(request())


_DUMP_TRIES = 5
# Adding a route races with the kernel's own, removing anything races with what the kernel removes by itself.
_IGNORED: dict[type[object], tuple[int, ...]] = {
    AddRoute: (errno.EEXIST,),
    AddRule: (errno.EEXIST,),
    RemoveAddress: (errno.EADDRNOTAVAIL,),
    RemoveRoute: (errno.ESRCH, errno.ENOENT),
    RemoveRule: (errno.ENOENT, errno.ESRCH),
}


@contextlib.contextmanager
def _kernel(message: str, ignored: tuple[int, ...] = ()) -> Iterator[None]:
    from pyroute2.netlink.exceptions import NetlinkDumpInterrupted, NetlinkError  # noqa: PLC0415 - see connect()

    try:
        yield
    except NetlinkDumpInterrupted as error:
        raise HostFailure(message, "the list changed while it was read") from error
    except NetlinkError as error:
        if error.code not in ignored:
            raise HostFailure(message, f"{errno.errorcode.get(error.code, error.code)}: {error}") from error
    except OSError as error:
        raise HostFailure(message, error.strerror or str(error)) from error


def _link(message: Any) -> Link:
    properties = message.get_attr("IFLA_PROP_LIST")
    information = message.get_attr("IFLA_LINKINFO")
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        mac=(message.get_attr("IFLA_ADDRESS") or "").lower(),
        mtu=message.get_attr("IFLA_MTU"),
        is_up=bool(message["flags"] & _IFF_UP),
        is_loopback=bool(message["flags"] & _IFF_LOOPBACK),
        stacked=information is not None and information.get_attr("IFLA_INFO_KIND") in _STACKED_KINDS,
        alternative_names=tuple(properties.get_attrs("IFLA_ALT_IFNAME")) if properties is not None else (),
    )


def _address(message: Any) -> ObservedAddress:
    host = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    flags = message.get_attr("IFA_FLAGS")
    flags = message["flags"] if flags is None else flags
    address = ip_interface((host, message["prefixlen"]))
    is_advertised = address.version == 6 and bool(flags & (_IFA_F_TEMPORARY | _IFA_F_MANAGETEMPADDR))
    permanent = bool(flags & _IFA_F_PERMANENT)
    return ObservedAddress(
        address=address,
        permanent=permanent,
        advertised=is_advertised and not permanent,
        tentative=bool(flags & _IFA_F_TENTATIVE),
        duplicate=bool(flags & _IFA_F_DADFAILED),
    )


def _route(message: Any, version: int) -> ObservedRoute | None:
    if message["flags"] & _RTM_F_CLONED:
        return None
    gateway, prefsrc = message.get_attr("RTA_GATEWAY"), message.get_attr("RTA_PREFSRC")
    return ObservedRoute(
        destination=_network(message.get_attr("RTA_DST"), message["dst_len"], version),
        gateway=ip_address(gateway) if gateway else None,
        prefsrc=ip_address(prefsrc) if prefsrc else None,
        table=message.get_attr("RTA_TABLE") or message["table"],
        interface=message.get_attr("RTA_OIF") or 0,
        protocol=message["proto"],
        metric=message.get_attr("RTA_PRIORITY") or 0,
    )


def _rule(message: Any, version: int) -> ObservedRule | None:
    source = message.get_attr("FRA_SRC")
    if source is None:
        return None
    return ObservedRule(
        source=_network(source, message["src_len"], version),
        table=message.get_attr("FRA_TABLE") or message["table"],
        priority=message.get_attr("FRA_PRIORITY") or 0,
        protocol=message.get_attr("FRA_PROTOCOL") or 0,
    )


def _network(address: str | None, length: int, version: int) -> Subnet:
    anywhere = ip_address(0) if version == 4 else ip_address("::")
    return ip_network((ip_address(address) if address else anywhere, length), strict=False)


def _address_arguments(host: HostAddress) -> dict[str, Any]:
    return {"family": _FAMILY[host.version], "address": str(host.ip), "prefixlen": host.network.prefixlen}


def _route_arguments(route: Route, interface: int) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "family": _FAMILY[route.destination.version],
        "dst": str(route.destination),
        "oif": interface,
        "table": route.table,
        "proto": PROTOCOL_STATIC,
        "scope": _RT_SCOPE_LINK if route.link_scope and route.destination.version == 4 else _RT_SCOPE_UNIVERSE,
    }
    if route.gateway is not None:
        arguments["gateway"] = str(route.gateway)
    if route.prefsrc is not None:
        arguments["prefsrc"] = str(route.prefsrc)
    if route.onlink:
        arguments["flags"] = ["onlink"]
    return arguments


def _observed_route_arguments(route: ObservedRoute) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "family": _FAMILY[route.destination.version],
        "dst": str(route.destination),
        "oif": route.interface,
        "table": route.table,
        "proto": route.protocol,
        "scope": 255,  # RT_SCOPE_NOWHERE matches any
    }
    if route.gateway is not None:
        arguments["gateway"] = str(route.gateway)
    if route.prefsrc is not None:
        arguments["prefsrc"] = str(route.prefsrc)
    if route.metric:
        arguments["priority"] = route.metric
    return arguments


def _rule_arguments(source: Subnet, table: int, priority: int) -> dict[str, Any]:
    return {
        "family": _FAMILY[source.version],
        "src": str(source.network_address),
        "src_len": source.prefixlen,
        "table": table,
        "priority": priority,
    }


def link_counters(path: Path) -> dict[str, LinkCounters]:
    """Return the byte counters of every `eth*` device in the namespace at `path`; empty when there is no namespace.

    Reads the table the kernel keeps for each namespace, which costs a tenth of a netlink dump.

    Raises:
        HostFailure: the namespace cannot be entered.

    Source: proc_net_dev in net/core/net-procfs.c: name, then 8 receive columns, then 8 transmit columns; bytes first.
    """
    if not netns.exists(path):
        return {}
    with failing_as("cannot read the counters of the interfaces"):
        table = netns.inside(path, lambda: Path("/proc/thread-self/net/dev").read_text(encoding="ascii"))
    counters: dict[str, LinkCounters] = {}
    for line in table.splitlines()[2:]:
        name, _, columns = line.strip().partition(":")
        numbers = columns.split()
        if name.startswith("eth"):
            counters[name] = LinkCounters(received=int(numbers[0]), sent=int(numbers[8]))
    return counters


def mac_addresses() -> frozenset[str]:
    """Return the MAC address of every device in the calling thread's namespace, lower case; without pyroute2.

    Raises:
        HostFailure: the kernel does not answer, such as for want of a descriptor.

    Source: netdevice(7), SIOCGIFHWADDR: 16 bytes of name, then a sockaddr with the address from its third byte on.
    """
    found: set[str] = set()
    with (
        failing_as("cannot list the network devices"),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control,
    ):
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # gone meanwhile
                answer = fcntl.ioctl(control, _SIOCGIFHWADDR, name.encode().ljust(_IFREQ_SIZE, b"\0"))
                found.add(answer[18:24].hex(":"))
    return frozenset(found)


@contextlib.contextmanager
def link_events() -> Iterator[socket.socket]:
    """Open a socket that becomes readable when a device of the calling thread's namespace comes, goes or changes.

    Raises:
        HostFailure: the kernel gives no such socket.
    """
    with _open_link_events() as events:
        yield events


@contextlib.contextmanager
def link_events_inside(path: Path) -> Iterator[socket.socket | None]:
    """Open such a socket in the namespace at `path`; None when there is no namespace."""
    if not netns.exists(path):
        yield None
        return
    with netns.inside(path, _open_link_events) as events:
        yield events


def _open_link_events() -> socket.socket:
    try:
        events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        events.setblocking(False)
        events.bind((0, _RTMGRP_LINK))
    except OSError as error:
        raise HostFailure("cannot watch network devices", error.strerror or str(error)) from error
    return events


def wait_for_events(sockets: Iterable[socket.socket | None], timeout: float) -> bool:
    """Wait up to `timeout` seconds for an event and return whether there was one; forgets the ones read."""
    watched = {each.fileno(): each for each in sockets if each is not None}
    poll = select.poll()  # select(2) takes no descriptor above 1023
    for descriptor in watched:
        poll.register(descriptor, select.POLLIN)
    with failing_as("cannot wait for network devices"):
        readable = [watched[descriptor] for descriptor, _ in poll.poll(max(timeout, 0.0) * 1000)]
    for events in readable:
        with contextlib.suppress(OSError):  # nothing left, or ENOBUFS: events were lost, which is an event
            while events.recv(65536):
                pass
    return bool(readable)
