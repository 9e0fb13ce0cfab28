"""Plugs NICs into the namespace: the VIP's as eth1, members' as the first free name behind it.

Decision: the desired interface is on disk before its NIC moves. A crash, or a controller that gives up waiting, leaves
something that the next request, the agent's start or the next boot completes.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from amphora_agent.core.network.desired import (
    FixedIp,
    Port,
    Vip,
    VipNet,
    member_interface,
    usable_host_routes,
    vip_interface,
    vips_of,
)
from amphora_agent.core.network.model import VIP_INTERFACE, Interface, InterfaceType, Link, link_of_mac
from amphora_agent.core.network.nic_list import PluggedNic, name_of
from amphora_agent.errors import AgentError, Conflict, InvalidRequest, MalformedData, NotFound, reported_as
from amphora_agent.host import files
from amphora_agent.host.deadline import Deadline
from amphora_agent.host.network import netlink, netns, pci
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.network import nics, settling
from amphora_agent.operations.network.interfaces import advertise
from amphora_agent.operations.network.reconcile import (
    FILE_MODE,
    dhcp_client,
    exclusively,
    load,
    load_all,
    reconcile,
    store,
)

LOG = logging.getLogger(__name__)
Result = TypeVar("Result")

# The controller depends on the sentence: it asks again after a few seconds.
_NO_NIC = "No suitable network interface found"
# Seconds to wait for a NIC that the cloud attached just now, before and after having the PCI buses searched.
_ATTACH_WAIT = 1.5


def plug_vip(change: Change, net: VipNet, port: Port) -> str:
    """Move the VIP's NIC into the namespace as eth1 and configure it; return its name.

    Raises:
        NotFound: there is no such NIC (yet).
        Conflict: it is plugged and, after this call, completely configured.
        InvalidRequest: it is a member's.
        HostFailure: it could not be configured; the same request goes on from there.
    """
    _log_unusable_routes(net.vips)
    with exclusively(change.paths):
        desired = vip_interface(net, port, change.topology)
        link = _find_inside(change, port.mac)
        with reported_as("Error plugging VIP"):
            if link is not None:
                desired = _complete_vip(change, link, desired)
            else:
                _move_in(change, port.mac, desired)
            reconcile(change.paths, desired, load_all(change.paths)[0])
    change.watchers.call(settling.WATCHER)
    if link is not None:
        raise Conflict("Interface already exists")
    return desired.name


def _complete_vip(change: Change, link: Link, desired: Interface) -> Interface:
    """Return what a VIP interface that is inside shall be: what later requests made of it, if it is the same VIP's."""
    paths = change.paths
    if link.name != VIP_INTERFACE:
        if nics.is_ours(link.name):
            raise InvalidRequest("Invalid subnet information", f"mac_address: {link.mac} is a member's, {link.name}")
        nics.rename(paths, link, VIP_INTERFACE)
    stored = _stored_vip(change)
    is_recorded = name_of(nics.plugged(paths), link.mac) == VIP_INTERFACE
    if stored is None or not is_recorded or not _addresses(desired) <= _addresses(stored):
        stored = desired
    _persist(change, link.mac, stored)
    return stored


def _addresses(interface: Interface) -> frozenset[object]:
    return frozenset(static.address.ip for static in interface.static_addresses)


def _stored_vip(amphora: Amphora) -> Interface | None:
    try:
        stored = load(amphora.paths, VIP_INTERFACE)
    except MalformedData as error:
        LOG.warning("replaced an interface file: %s: %s", error, error.detail)
        return None
    return stored if stored is not None and stored.type is InterfaceType.VIP else None


def plug_network(change: Change, port: Port, fixed_ips: Sequence[FixedIp], net: VipNet | None) -> tuple[str, bool]:
    """Configure a member's NIC, or the VIP's for members behind it, and move it into the namespace unless it is there.

    Args:
        change: the amphora, locked.
        port: the port of the NIC.
        fixed_ips: all addresses it shall have; none means that they come from DHCP and router advertisements.
        net: the VIPs when it is the VIP's NIC; looked at only when that is in the namespace.

    Returns: its name there, and whether it was there before.

    Raises:
        NotFound: there is no such NIC (yet).
        InvalidRequest: it is the VIP's and `net` is missing, or the other way round.
        HostFailure: it could not be configured; the same request goes on from there.
    """
    _log_unusable_routes((*fixed_ips, *(net.vips if net is not None else ())))
    with exclusively(change.paths):
        link = _find_inside(change, port.mac)
        _refuse_mistaken_identity(link, net)
        what = "vip" if link is not None and link.name == VIP_INTERFACE else "network"
        with reported_as(f"Error plugging {what}"):
            if link is None:
                desired = _plug_member(change, port, fixed_ips)
            elif net is None:
                desired = _replug_member(change, link, port, fixed_ips)
            else:
                desired = vip_interface(_with_known_vips(change, net), port, change.topology, fixed_ips)
                _persist(change, port.mac, desired)
            reconcile(change.paths, desired, load_all(change.paths)[0])
    change.watchers.call(settling.WATCHER)
    advertise(change, [fixed.address for fixed in fixed_ips])
    return desired.name, link is not None


def put_interface(change: Change, mac: str, desired: Interface) -> None:
    """Make a NIC's interface what is desired, whatever it was, and move the NIC into the namespace unless it is there.

    The caller has the interfaces for itself (`exclusively`), and looks after what the kernel would not take.

    Raises:
        NotFound: there is no such NIC (any more).
        HostFailure: it could not be configured; the same request goes on from there.
    """
    paths = change.paths
    nics.prune(paths)
    link = _find_inside(change, mac)
    if link is None:
        dhcp_client(paths, desired.name).stop()  # of a NIC that had the name and is gone
        _move_in(change, mac, desired)
    else:
        _persist(change, mac, desired)
        if link.name != desired.name:
            nics.rename(paths, link, desired.name)
    reconcile(paths, desired, load_all(paths)[0])
    change.watchers.call(settling.WATCHER)


def _refuse_mistaken_identity(link: Link | None, net: VipNet | None) -> None:
    if link is None:
        return
    if link.name == VIP_INTERFACE and net is None:
        raise InvalidRequest("Invalid port information", f"vip_net_info: missing, {link.mac} is the VIP's")
    if link.name != VIP_INTERFACE and net is not None:
        raise InvalidRequest("Invalid port information", f"vip_net_info: {link.mac} is {link.name}, not the VIP's")


def _with_known_vips(amphora: Amphora, net: VipNet) -> VipNet:
    """Keep the additional VIPs that the controller leaves out of this request."""
    stored = _stored_vip(amphora)
    if len(net.vips) > 1 or stored is None:
        return net
    known = [vip for vip in vips_of(stored) if vip.address != net.vips[0].address]
    return VipNet(vips=(net.vips[0], *known), vrrp_ip=net.vrrp_ip)


def _plug_member(change: Change, port: Port, fixed_ips: Sequence[FixedIp]) -> Interface:
    paths = change.paths
    nics.prune(paths)
    name = nics.free_name(paths)
    dhcp_client(paths, name).stop()  # of a NIC that had the name and is gone
    desired = member_interface(name, port, fixed_ips)
    _move_in(change, port.mac, desired)
    return desired


def _replug_member(change: Change, link: Link, port: Port, fixed_ips: Sequence[FixedIp]) -> Interface:
    name = link.name if nics.is_ours(link.name) else nics.free_name(change.paths)
    desired = member_interface(name, port, fixed_ips)
    _persist(change, port.mac, desired)
    if name != link.name:
        nics.rename(change.paths, link, name)
    return desired


def _find_inside(change: Change, mac: str) -> Link | None:
    netns.ensure(change.paths.netns)
    if mac not in nics.inside_macs(change.paths):
        return None
    return link_of_mac(nics.links_inside(change.paths), mac)


def _persist(change: Change, mac: str, desired: Interface) -> None:
    store(change.paths, desired)
    nics.record(change.paths, PluggedNic(mac, desired.name))


def _move_in(change: Change, mac: str, desired: Interface) -> None:
    """Persist and move; when the move fails, nothing of it stays on disk."""
    paths = change.paths
    file = paths.interface(desired.name)
    before, listed = files.read_optional(file), nics.plugged(paths)
    try:
        _persist(change, mac, desired)
        if not nics.move(paths, mac, desired.name):
            raise NotFound(_NO_NIC, _NO_NIC)
    except AgentError:
        nics.store_plugged(paths, listed)
        if before is None:
            files.remove(file)
        else:
            files.write_atomic(file, before, FILE_MODE)
        raise


def with_nic(amphora: Amphora, mac: str, act: Callable[[Change], Result]) -> Result:
    """Wait a little for a NIC that the cloud attaches at this moment, then make the change that plugs it.

    Others make their changes meanwhile. A NIC that went between the two, and comes again, is waited for once more.

    Raises:
        NotFound: it is neither here nor in the namespace.
    """
    _await_nic(amphora, mac)
    with contextlib.suppress(NotFound), amphora.changing() as change:
        return act(change)
    _await_nic(amphora, mac)
    with amphora.changing() as change:
        return act(change)


def _await_nic(amphora: Amphora, mac: str) -> None:
    if _is_present(amphora, mac):
        return
    with netlink.link_events() as outside, netlink.link_events_inside(amphora.paths.netns) as inside:
        for is_second in (False, True):
            if is_second:
                pci.rescan()
            deadline = Deadline.after(_ATTACH_WAIT)
            while not _is_present(amphora, mac):
                if not netlink.wait_for_events((outside, inside), deadline.left()):
                    break
            else:
                return
    raise NotFound(_NO_NIC, _NO_NIC)


def _is_present(amphora: Amphora, mac: str) -> bool:
    """Tell whether a NIC is here or in the namespace; one that is moved in between the two looks is seen there."""
    return mac in netlink.mac_addresses() or mac in nics.inside_macs(amphora.paths)


def _log_unusable_routes(owners: Iterable[Vip | FixedIp]) -> None:
    for owner in owners:
        for route in sorted(set(owner.host_routes) - set(usable_host_routes(owner)), key=str):
            LOG.warning("skipped a host route of another IP version subnet=%s route=%s", owner.subnet, route)
