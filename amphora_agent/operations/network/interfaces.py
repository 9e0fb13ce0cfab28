"""Interfaces of the namespace: find the one of an address, advertise, filter, and rebuild all of them at boot."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from amphora_agent.core.addresses import Address
from amphora_agent.core.network.desired import LOOPBACK
from amphora_agent.core.network.model import Interface, InterfaceType
from amphora_agent.core.network.nft_rules import (
    AllowRule,
    Masquerade,
    MasqueradeAction,
    render_filter,
    render_masquerade,
)
from amphora_agent.core.paths import Paths
from amphora_agent.errors import AgentError, InvalidRequest, NotFound
from amphora_agent.host import files
from amphora_agent.host.network import netns, nft, state
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.network import advertisements, nics
from amphora_agent.operations.network.reconcile import (
    FILTER_MODE,
    exclusively,
    load,
    load_all,
    reconcile,
    reconcile_all,
    store,
    take_down,
)

LOG = logging.getLogger(__name__)


def find_interface(amphora: Amphora, ip: str) -> str:
    """Return the name of the interface in the namespace that has an address.

    Raises:
        InvalidRequest: `ip` is no IP address.
        NotFound: no interface has it.
    """
    try:
        address = ip_address(ip)
    except ValueError:
        raise InvalidRequest("Invalid IP address") from None
    if netns.exists(amphora.paths.netns):
        holders = netns.inside(amphora.paths.netns, lambda: state.holders_of(frozenset({address})))
        if holders:
            return holders[0][0]
    raise NotFound("Error interface not found for IP address")


def advertise(change: Change, addresses: Iterable[Address]) -> None:
    """Have neighbours told, in the background, which of these addresses are here; the others are passed over.

    Whether keepalived does it instead is the caller's to know.
    """
    change.advertisements.add(addresses)
    change.watchers.call(advertisements.WATCHER)


def write_loopback(change: Change) -> None:
    """Write the interface file of `lo`, which the agent does at each start."""
    files.make_directory(change.paths.interfaces)
    store(change.paths, LOOPBACK)


def set_rules(change: Change, ip: str, rules: Sequence[AllowRule]) -> None:
    """Replace what the VIP interface lets in; an empty list closes it. Kept over reboots.

    Raises:
        InvalidRequest: `ip` is no IP address, or not one of the VIP interface.
        NotFound: no interface has it.
        HostFailure: nft refuses the rules; the previous ones stay, on disk and in the kernel.
    """
    paths = change.paths
    with exclusively(paths):
        name = find_interface(change, ip)
        interface = load(paths, name)
        if interface is None or interface.type is not InterfaceType.VIP:
            raise InvalidRequest("Invalid rules information", f"{ip} is on {name}, which is not the VIP's interface")
        candidate = paths.nftables_rules.with_name(f"{paths.nftables_rules.name}.new")
        files.write_atomic(candidate, render_filter(rules).encode(), FILTER_MODE)
        try:
            netns.inside(paths.netns, lambda: nft.check_file(candidate))
            netns.inside(paths.netns, lambda: nft.load_file(candidate))
            files.rename_durable(candidate, paths.nftables_rules)
        finally:
            files.remove(candidate)
    LOG.info("replaced the filter of the VIP ifname=%s rules=%d", name, len(rules))


def masquerade(paths: Paths, action: MasqueradeAction, wanted: Masquerade) -> None:
    """Add or delete the masquerading of one interface for one IP version.

    Raises:
        HostFailure: nft refuses.
    """
    ruleset = render_masquerade(action, [wanted])
    netns.inside(paths.netns, lambda: nft.load(ruleset))


def settle_namespace(change: Change) -> None:
    """Give a namespace that is there its settings: another agent, or an older one of ours, may have made it.

    Raises:
        HostFailure: it cannot be entered.
    """
    if netns.exists(change.paths.netns):
        netns.apply_settings(change.paths.netns)


def bring_up_all(change: Change, *, is_patient: bool = True) -> None:
    """Re-assert the whole namespace: create it, move listed NICs in, reconcile every interface. Logs failures."""
    for error in bring_up_everything(change.paths, is_patient=is_patient):
        LOG.error("%s: %s", error, error.detail)


def bring_up_everything(paths: Paths, *, is_patient: bool = True) -> list[AgentError]:
    """Create the namespace, move the listed NICs in by MAC and reconcile every interface that is there.

    Args:
        paths: the amphora's files and namespace.
        is_patient: see `reconcile_all`.

    Returns: what went wrong, one error per interface; a NIC that is not there (any more) is no error.
    """
    with exclusively(paths):
        netns.ensure(paths.netns)
        netns.apply_settings(paths.netns)
        errors = nics.adopt(paths)
        present = {link.name for link in nics.links_inside(paths)}
        wanted, broken = load_all(paths)
        for interface in wanted:
            if interface.name not in present:
                LOG.info("passed over an interface that is not there ifname=%s", interface.name)
        there = [each for each in wanted if each.name in present]
        return errors + broken + reconcile_all(paths, there, is_patient=is_patient)


def bring_up(paths: Paths, name: str) -> list[AgentError]:
    """Reconcile one interface with its file.

    Returns: the error, if there is one.
    """
    try:
        with exclusively(paths):
            reconcile(paths, _load(paths, name))
    except AgentError as error:
        return [error]
    return []


def _load(paths: Paths, name: str) -> Interface:
    desired = load(paths, name)
    if desired is None:
        raise NotFound(f"cannot find the interface file of {name}")
    return desired


def bring_everything_down(paths: Paths) -> list[AgentError]:
    """Take every interface down, the last one first.

    Returns: what went wrong, one error per interface.
    """
    interfaces, errors = load_all(paths)
    return errors + [error for interface in reversed(interfaces) for error in bring_down(paths, interface.name)]


def bring_down(paths: Paths, name: str) -> list[AgentError]:
    """Take one interface down.

    Returns: the error, if there is one.
    """
    try:
        with exclusively(paths):
            take_down(paths, _load(paths, name))
    except AgentError as error:
        return [error]
    return []


def prune(change: Change) -> None:
    """Forget NICs that are gone for good."""
    with exclusively(change.paths):
        nics.prune(change.paths)
