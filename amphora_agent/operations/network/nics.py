"""The NICs that belong in the namespace: which they are, moving them in by MAC, forgetting the ones that are gone.

Decision: a NIC is forgotten only when the machine has been up for a while and other NICs of the list are there. At
boot NICs appear one by one, and a list that lost one then would lose its interface for good; a stale line costs
nothing until its name is given to another NIC, which replaces it.
"""

from __future__ import annotations

import logging
import re

from amphora_agent.core.network.model import Link, free_member_name, link_of_mac
from amphora_agent.core.network.nft_rules import Masquerade, MasqueradeAction, render_masquerade
from amphora_agent.core.network.nic_list import PluggedNic, parse_plugged, render_plugged, with_nic
from amphora_agent.core.paths import Paths
from amphora_agent.errors import AgentError, HostFailure
from amphora_agent.host import files, uptime
from amphora_agent.host.network import netlink, netns, nft
from amphora_agent.operations.network.reconcile import FILE_MODE, dhcp_client

LOG = logging.getLogger(__name__)

_BOOT_IS_OVER = 120.0
_OUR_NAME = re.compile(r"eth[1-9]\d*\Z")


def plugged(paths: Paths) -> tuple[PluggedNic, ...]:
    """Return the list."""
    return parse_plugged(files.read_optional(paths.plugged_interfaces) or b"")


def store_plugged(paths: Paths, nics: tuple[PluggedNic, ...]) -> None:
    """Persist the list; an unchanged file is not written again."""
    data = render_plugged(nics)
    if (files.read_optional(paths.plugged_interfaces) or b"") != data:
        files.write_atomic(paths.plugged_interfaces, data, FILE_MODE)


def record(paths: Paths, nic: PluggedNic) -> None:
    """Put a NIC on the list, under its present name."""
    listed = plugged(paths)
    if nic not in listed:
        store_plugged(paths, with_nic(listed, nic))


def links_here() -> tuple[Link, ...]:
    """Return the devices of the calling thread's namespace."""
    with netlink.connect() as kernel:
        return kernel.links()


def links_inside(paths: Paths) -> tuple[Link, ...]:
    """Return the devices in the amphora's namespace; none when there is no namespace."""
    return netns.inside(paths.netns, links_here) if netns.exists(paths.netns) else ()


def inside_macs(paths: Paths) -> frozenset[str]:
    """Return the MAC addresses of the devices in the amphora's namespace; cheap."""
    return netns.inside(paths.netns, netlink.mac_addresses) if netns.exists(paths.netns) else frozenset()


def is_ours(name: str) -> bool:
    """Tell whether a device inside has a name the agent gives."""
    return _OUR_NAME.match(name) is not None


def free_name(paths: Paths) -> str:
    """Return the first free member name; a listed NIC that is outside at the moment keeps its own."""
    outside = links_here()
    reserved = [nic.name for nic in plugged(paths) if link_of_mac(outside, nic.mac) is not None]
    return free_member_name(links_inside(paths), reserved)


def move(paths: Paths, mac: str, name: str) -> bool:
    """Move a NIC into the namespace; return whether there is one with this MAC address outside.

    It is looked up at the moment of the move and moved by index: names change under our hands.

    Raises:
        HostFailure: the name is taken, or the kernel refused.
    """
    with netlink.connect() as kernel:
        link = link_of_mac(kernel.links(), mac)
        if link is None:
            return False
        holder = next((other for other in links_inside(paths) if name in (other.name, *other.alternative_names)), None)
        if holder is not None:
            raise HostFailure(f"cannot name a NIC {name}", f"{holder.name} {holder.mac} has that name")
        kernel.move(link, paths.netns, name)
    LOG.info("moved a NIC into the namespace mac=%s from=%s ifname=%s", mac, link.name, name)
    return True


def rename(paths: Paths, link: Link, name: str) -> None:
    """Give a device inside another name.

    Raises:
        HostFailure: the name is taken, or the kernel refused.
    """

    def rename_here() -> None:
        with netlink.connect() as kernel:
            kernel.rename(link, name)

    netns.inside(paths.netns, rename_here)
    LOG.info("renamed a NIC in the namespace mac=%s from=%s ifname=%s", link.mac, link.name, name)


def adopt(paths: Paths) -> list[AgentError]:
    """Move every listed NIC that is outside into the namespace, and put the names of those inside right.

    Returns: what went wrong, one error per NIC.
    """
    if netns.is_current(paths.netns):
        return []
    inside, outside = links_inside(paths), links_here()
    errors: list[AgentError] = []
    for nic in plugged(paths):
        try:
            link = link_of_mac(inside, nic.mac)
            if link is not None:
                _correct_name(paths, link, nic)
            elif link_of_mac(outside, nic.mac) is not None:
                move(paths, nic.mac, nic.name)
        except AgentError as error:
            errors.append(error)
    return errors


def _correct_name(paths: Paths, link: Link, nic: PluggedNic) -> None:
    if link.name == nic.name:
        return
    if is_ours(link.name):
        record(paths, PluggedNic(nic.mac, link.name))
    else:
        rename(paths, link, nic.name)


def late(paths: Paths) -> bool:
    """Tell whether a listed NIC is outside, where it has no business."""
    listed = plugged(paths)
    if not listed or netns.is_current(paths.netns):
        return False
    outside = netlink.mac_addresses()
    return any(nic.mac in outside for nic in listed)


def prune(paths: Paths) -> None:
    """Forget NICs that are in neither namespace, with their interface files, DHCP clients and masquerading."""
    listed = plugged(paths)
    present = netlink.mac_addresses() | inside_macs(paths)
    gone = [nic for nic in listed if nic.mac not in present]
    if not gone or len(gone) == len(listed) or uptime.machine_age() < _BOOT_IS_OVER:
        return
    for nic in gone:
        LOG.info("forgot a NIC that is gone mac=%s ifname=%s", nic.mac, nic.name)
        files.remove(paths.interface(nic.name))
        dhcp_client(paths, nic.name).stop()
        forget_masquerades(paths, nic.name)
    store_plugged(paths, tuple(nic for nic in listed if nic not in gone))


def forget_masquerades(paths: Paths, name: str) -> None:
    """Delete the masquerading of an interface that is gone; logs a failure."""
    wanted = [Masquerade(version, name, is_sriov=False) for version in (4, 6)]
    ruleset = render_masquerade(MasqueradeAction.DELETE, wanted)
    try:
        netns.inside(paths.netns, lambda: nft.load(ruleset))
    except AgentError as error:
        LOG.warning("cannot delete the masquerading of %s: %s", name, error.detail)
