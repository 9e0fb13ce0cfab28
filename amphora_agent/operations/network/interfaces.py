"""Interfaces of the namespace: find the one of an address, advertise, filter, and rebuild all of them at boot."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path

from amphora_agent.core.network.desired import LOOPBACK
from amphora_agent.core.network.model import Address, Interface, InterfaceType, Link
from amphora_agent.core.network.nft_rules import (
    AllowRule,
    Masquerade,
    MasqueradeAction,
    render_filter,
    render_masquerade,
)
from amphora_agent.core.paths import Paths
from amphora_agent.errors import AgentError, HostFailure, InvalidRequest, NotFound
from amphora_agent.host import files
from amphora_agent.host.network import advertise as wire
from amphora_agent.host.network import netlink, netns, nft
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.network import nics
from amphora_agent.operations.network.reconcile import (
    FILTER_MODE,
    exclusively,
    load,
    load_all,
    reconcile,
    reconcile_all,
    refill_routes,
    store,
    take_down,
)

LOG = logging.getLogger(__name__)

_ADVERTISEMENTS = 3
_ADVERTISEMENT_INTERVAL = 0.5
# Seconds; an event of the kernel ends the wait at once, this is for events it could not deliver.
_WATCH_INTERVAL = 300.0
_WATCH_PAUSE = 30.0


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
        holders = netns.inside(amphora.paths.netns, lambda: _holders_of({address}))
        if holders:
            return holders[0][0].name
    raise NotFound("Error interface not found for IP address")


def advertise(amphora: Amphora, addresses: Iterable[Address]) -> None:
    """Tell the neighbours, three times and in the background, that this amphora has these addresses.

    Addresses that no interface has, or only the loopback, are passed over. Failures are logged. Whether keepalived
    does it instead is the caller's to know.
    """
    wanted = frozenset(addresses)
    if wanted:
        threading.Thread(target=_advertise, args=(amphora.paths.netns, wanted), name="advertise", daemon=True).start()


def _advertise(path: Path, wanted: frozenset[Address]) -> None:
    for turn in range(_ADVERTISEMENTS):
        if turn:
            time.sleep(_ADVERTISEMENT_INTERVAL)
        try:
            netns.inside(path, lambda: _advertise_once(wanted))
        except AgentError as error:
            LOG.warning("cannot advertise addresses: %s: %s", error, error.detail)


def _advertise_once(wanted: frozenset[Address]) -> None:
    for link, address in _holders_of(wanted):
        if link.is_loopback:
            continue
        try:
            wire.send(link.name, link.index, bytes.fromhex(link.mac.replace(":", "")), address)
        except (OSError, ValueError) as error:
            LOG.warning("cannot advertise address=%s ifname=%s: %s", address, link.name, error)


def _holders_of(wanted: Iterable[Address]) -> list[tuple[Link, Address]]:
    with netlink.connect() as kernel:
        return [(link, address) for link, address in netlink.addresses_by_link(kernel) if address in wanted]


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


def bring_up_all(change: Change) -> None:
    """Re-assert the whole namespace: create it, move listed NICs in, reconcile every interface. Logs failures."""
    for error in bring_up_everything(change.paths):
        LOG.error("%s: %s", error, error.detail)


def bring_up_everything(paths: Paths) -> list[AgentError]:
    """Create the namespace, move the listed NICs in by MAC and reconcile every interface that is there.

    Returns: what went wrong, one error per interface; a NIC that is not there (any more) is none.
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
        return errors + broken + reconcile_all(paths, [each for each in wanted if each.name in present])


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


def watch(amphora: Amphora) -> None:
    """Look after NICs that come late or go away, in the background."""
    threading.Thread(target=_watch, args=(amphora,), name="watch-nics", daemon=True).start()


def _watch(amphora: Amphora) -> None:
    path = amphora.paths.netns
    known: frozenset[str] | None = None
    while True:
        try:
            if known is None:
                known = frozenset(nic.mac for nic in nics.plugged(amphora.paths))
            known = look_after(amphora, known)
            with netlink.link_events() as outside, netlink.link_events_inside(path) as inside:
                if nics.inside_macs(amphora.paths) == known and not nics.late(amphora.paths):
                    netlink.wait_for_events((outside, inside), _WATCH_INTERVAL)
        except (AgentError, OSError) as error:
            LOG.error("cannot look after NICs: %s %s", error, getattr(error, "detail", ""))
            time.sleep(_WATCH_PAUSE)


def look_after(amphora: Amphora, known: frozenset[str]) -> frozenset[str]:
    """Take in NICs that were late for the boot unit, and let other interfaces have the routes of ones that went.

    Args:
        amphora: whose.
        known: MAC addresses that were inside when this was called last.

    Returns: the MAC addresses inside now.

    Raises:
        HostFailure: a NIC stays outside.
    """
    paths = amphora.paths
    if nics.late(paths):
        with amphora.changing() as change:
            if nics.late(paths):  # not the one a plug was about to move
                bring_up_all(change)
            if nics.late(paths):
                raise HostFailure("cannot take a NIC into the namespace", "see above")
    present = nics.inside_macs(paths)
    if known - present:
        LOG.info("NICs are gone from the namespace: %s", " ".join(sorted(known - present)))
        with amphora.changing(), exclusively(paths):
            refill_routes(paths, load_all(paths)[0])
    return present
