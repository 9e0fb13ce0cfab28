"""Interfaces that a document of API 2.0 declares: found by name or MAC address, planned, made.

Decision: one plan for the dry run and for the change, made before anything is touched: what it says is what is then
begun. The change itself looks anew after each round, because the kernel acts too (`operations/network/reconcile`), and
what is left at its end is an error: a request is answered with success only when the interface is what it says.

Decision: no owner is kept of an interface. Both APIs replace it whole, and its file has the keys that other readers
know; whether the packet filter guards it is not the document's to say, so that stays as the controller's plug left it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from amphora_agent.core.addresses import parse_mac
from amphora_agent.core.document.interface import InterfaceDocument, interface
from amphora_agent.core.network.desired import Port
from amphora_agent.core.network.model import VIP_INTERFACE, Interface, Link, LinkStep, link_of_mac
from amphora_agent.core.network.nic_list import name_of
from amphora_agent.core.network.words import changes, described
from amphora_agent.core.paths import Paths
from amphora_agent.errors import Conflict, HostFailure, InvalidRequest, MalformedData, NotFound, reported_as
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.network import nics, plug
from amphora_agent.operations.network.interfaces import advertise
from amphora_agent.operations.network.reconcile import exclusively, load, load_all, preview

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What is to be made of one interface.

    Attributes:
        arrival: how the NIC comes to its name in the namespace, in words; empty when it has it.
        steps: what is to be done to it then.
    """

    mac: str
    interface: Interface
    arrival: str
    steps: tuple[LinkStep, ...]

    @property
    def in_words(self) -> tuple[str, ...]:
        """All of it, in order; nothing when the interface is as it is wanted."""
        return (*((self.arrival,) if self.arrival else ()), *(described(step) for step in self.steps))


def kept(amphora: Amphora) -> tuple[tuple[str, Interface], ...]:
    """Return MAC address and desired state of every interface that is kept in the namespace."""
    by_name = {each.name: each for each in load_all(amphora.paths)[0]}
    return tuple((nic.mac, by_name[nic.name]) for nic in nics.plugged(amphora.paths) if nic.name in by_name)


def mac_of(amphora: Amphora, named: str) -> str:
    """Return the MAC address of a NIC that is named by it, or by the name it has or shall have in the namespace.

    Raises:
        InvalidRequest: it looks like a MAC address and is no NIC's.
        NotFound: no NIC of this name is kept.
    """
    mac = parse_mac(named.replace("-", ":"))
    if mac is None and named.count(":") == 5:
        raise InvalidRequest("The path is malformed", f"{named!r} is not the MAC address of a NIC")
    found = mac or next((nic.mac for nic in nics.plugged(amphora.paths) if nic.name == named), None)
    if found is None:
        raise NotFound(
            "There is no such interface", f"{named!r} was not plugged; a new NIC is named by its MAC address"
        )
    return found


def plan(amphora: Amphora, mac: str, document: InterfaceDocument) -> Planned:
    """Return what would be made of an interface; touches nothing.

    Raises:
        NotFound: there is no such NIC (any more).
        Conflict: it is a member's and shall be the VIP's, or the other way round, or the VIP's is another NIC.
        HostFailure: the kernel cannot be asked.
    """
    paths = amphora.paths
    inside = link_of_mac(nics.links_inside(paths), mac)
    link = inside or link_of_mac(nics.links_here(), mac)
    if link is None:
        raise NotFound("There is no such NIC", f"no NIC {mac} in the namespace or outside")
    name = _name(paths, mac, inside, is_vip=bool(document.vips))
    wanted = interface(document, name, Port(mac=mac, is_sriov=_is_guarded(paths, name, mac)), amphora.topology)
    arrival = f"move {mac} inside as {name}"
    if inside is not None:
        arrival = "" if inside.name == name else f"rename {inside.name} to {name}"
    steps = changes(preview(paths, wanted, link, is_inside=inside is not None))
    return Planned(mac=mac, interface=wanted, arrival=arrival, steps=steps)


def _name(paths: Paths, mac: str, inside: Link | None, *, is_vip: bool) -> str:
    """Return what a NIC is called in the namespace: the name it has, was given, or the first free one."""
    listed = name_of(nics.plugged(paths), mac)
    present = inside.name if inside is not None and nics.is_ours(inside.name) else listed
    if is_vip:
        if present not in {None, VIP_INTERFACE}:
            raise Conflict("The interface is a member's", f"{mac} is {present}, and VIPs are on {VIP_INTERFACE}")
        _refuse_second(paths, mac)
        return VIP_INTERFACE
    if present == VIP_INTERFACE:
        raise Conflict("The interface is the VIP's", f"{mac} is {VIP_INTERFACE}; it needs vips")
    return present or nics.free_name(paths)


def _refuse_second(paths: Paths, mac: str) -> None:
    holder = next((link for link in nics.links_inside(paths) if link.name == VIP_INTERFACE), None)
    if holder is not None and holder.mac != mac:
        raise Conflict("The VIP has an interface already", f"{VIP_INTERFACE} is {holder.mac}")


def _is_guarded(paths: Paths, name: str, mac: str) -> bool:
    """Tell whether the NIC was plugged as one whose traffic the agent's packet filter has to judge."""
    try:
        stored = load(paths, name) if name_of(nics.plugged(paths), mac) == name else None
    except MalformedData as error:
        LOG.warning("replacing an interface file: %s: %s", error, error.detail)
        return False
    return stored is not None and stored.is_sriov


def put(change: Change, mac: str, document: InterfaceDocument) -> Planned:
    """Make an interface what a document says, moved into the namespace if need be; return what was planned.

    Raises:
        NotFound: there is no such NIC (any more).
        Conflict: as `plan`.
        HostFailure: the kernel refused some of it; the same request goes on from there.
    """
    with exclusively(change.paths):
        planned = plan(change, mac, document)
        with reported_as("cannot make the interface"):
            plug.put_interface(change, mac, planned.interface)
            left = plan(change, mac, document).in_words
            if left:
                raise HostFailure("the kernel did not take all of it", f"left to do: {'; '.join(left)}")
    if planned.in_words:
        LOG.info("made an interface what was declared ifname=%s mac=%s", planned.interface.name, mac)
        advertise(change, [each.address.ip for each in planned.interface.static_addresses if each.owned])
    return planned
