"""Brings one interface of the namespace to its desired state, and takes one down.

Decision: boot, plug, re-plug and the operator's command all end in `reconcile`, which observes, plans and performs
until nothing is left to do. What is on disk is the desired state, so a reboot finds what the last request asked for.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from amphora_agent.core.network.interface_file import parse_interface, render_interface
from amphora_agent.core.network.model import (
    AddAddress,
    AddRoute,
    AwaitAddresses,
    DisableSlaac,
    EnableSlaac,
    Interface,
    InterfaceType,
    Link,
    LinkStep,
    Observed,
    ObservedAddress,
    ObservedRoute,
    ObservedRule,
    RemoveAddress,
    RemoveRoute,
    RemoveRule,
    ReplaceRoute,
    SetMtu,
    SetUp,
    StartDhcp,
    StopDhcp,
    plan,
    plan_down,
)
from amphora_agent.core.network.nft_rules import render_filter, split_scripts
from amphora_agent.core.paths import Paths
from amphora_agent.errors import AgentError, HostFailure, MalformedData
from amphora_agent.host import commands, files, locks
from amphora_agent.host.deadline import Deadline
from amphora_agent.host.network import dhcp, netlink, netns, nft, routes

LOG = logging.getLogger(__name__)

FILE_MODE = 0o644
FILTER_MODE = 0o600
# Each round follows on what the kernel did after the last one; two are usual.
_ROUNDS = 5
_ROUTES_NAMED = 20
_LOCK_TIMEOUT = 45.0
_LEASE_WAIT = 10.0
_FIRST = (StopDhcp, DisableSlaac, SetMtu, EnableSlaac, SetUp, AddAddress, StartDhcp)
_FREEING = (RemoveRoute, ReplaceRoute, RemoveAddress)
# A route may be nonsense its owner wrote; what is to be removed may be gone already.
_TOLERATED = (AddRoute, ReplaceRoute, RemoveRoute, RemoveRule, RemoveAddress)


def store(paths: Paths, interface: Interface) -> None:
    """Persist the desired state of one interface; an unchanged file is not written again."""
    data = render_interface(interface)
    if files.read_optional(paths.interface(interface.name)) != data:
        files.write_atomic(paths.interface(interface.name), data, FILE_MODE)


def load(paths: Paths, name: str) -> Interface | None:
    """Return the desired state of one interface, None when it has no file.

    Raises:
        MalformedData: the file is nonsense, or about another interface.
    """
    data = files.read_optional(paths.interface(name))
    if data is None:
        return None
    interface = parse_interface(data)
    if interface.name != name:
        raise MalformedData(f"cannot read {paths.interface(name)}", f"it is about {interface.name}")
    return interface


def load_all(paths: Paths) -> tuple[list[Interface], list[AgentError]]:
    """Return every interface with a file - `lo`, the VIP's, then members by number - and the errors of broken files."""
    interfaces: list[Interface] = []
    errors: list[AgentError] = []
    names = [file.stem for file in files.matching(paths.interfaces, "*.json")]
    for name in sorted(names, key=lambda name: (name != "lo", len(name), name)):
        try:
            interface = load(paths, name)
        except AgentError as error:
            errors.append(error)
        else:
            interfaces += [interface] if interface is not None else []
    return interfaces, errors


@contextlib.contextmanager
def exclusively(paths: Paths) -> Iterator[None]:
    """Keep other processes of this amphora from changing interfaces meanwhile."""
    files.make_directory(paths.interfaces)
    with locks.exclusive(paths.interfaces, timeout=_LOCK_TIMEOUT):
        yield


def reconcile(paths: Paths, desired: Interface, others: Sequence[Interface] = ()) -> None:
    """Bring an interface, which is in the namespace already, to its desired state, its firewall included.

    Args:
        paths: the amphora's files and namespace.
        desired: the state to reach.
        others: interfaces that may have wanted a route this one held.

    Raises:
        HostFailure: it is not there, or the kernel refused something that is not a route. What was done stays, and the
            next call goes on from there.
    """
    for error in netns.inside(paths.netns, lambda: _reconcile_here(paths, [desired], others)):
        raise error


def reconcile_all(paths: Paths, interfaces: Sequence[Interface], *, is_patient: bool = True) -> list[AgentError]:
    """Bring interfaces to their desired states; the waiting for addresses to settle is done once for all.

    Args:
        paths: the amphora's files and namespace.
        interfaces: the states to reach.
        is_patient: wait for addresses to settle and for leases. Otherwise routes from an address that has not settled
            are left to the next call.

    Returns: what went wrong, at most one error per interface, one for the masquerading, one for the commands.
    """
    return netns.inside(paths.netns, lambda: _reconcile_here(paths, interfaces, interfaces, is_patient=is_patient))


def _reconcile_here(
    paths: Paths, interfaces: Sequence[Interface], others: Sequence[Interface], *, is_patient: bool = True
) -> list[AgentError]:
    errors: list[AgentError] = []
    with _collecting(errors):
        # Before the first packet: a flow that connection tracking met without it is not masqueraded later either.
        _load_masquerading(script for interface in interfaces for script in interface.up)
    with netlink.connect() as kernel:
        convergence = Convergence(kernel, paths, interfaces, is_patient=is_patient)
        convergence.begin()
        convergence.finish()
        if convergence.freed_routes:
            _refill_routes_here(kernel, paths, others)
        convergence.await_leases()
    errors += convergence.errors.values()
    with _collecting(errors):
        _run_commands(script for interface in convergence.sound() for script in interface.up)
    return errors


def refill_routes(paths: Paths, interfaces: Sequence[Interface]) -> None:
    """Add the routes of interfaces that are up which another interface, now gone, held until now; logs failures.

    Two subnets may want a route to the same destination, and the kernel keeps one.
    """

    def refill() -> None:
        with netlink.connect() as kernel:
            _refill_routes_here(kernel, paths, interfaces)

    netns.inside(paths.netns, refill)


def _refill_routes_here(kernel: netlink.Netlink, paths: Paths, interfaces: Sequence[Interface]) -> None:
    for desired in interfaces:
        snapshot = take_snapshot(kernel, with_routes=True)
        if desired.name not in snapshot.links or not snapshot.links[desired.name].is_up:
            continue
        for step in plan(desired, observe(snapshot, paths, desired)):
            if isinstance(step, AddRoute):
                with _logging_errors():
                    kernel.perform(step)


class Convergence:
    """Interfaces on their way to the desired state, over a connection to the calling thread's namespace.

    `errors` has one per interface that was given up, by its name; `freed_routes` tells that others may get one now.
    """

    def __init__(
        self, kernel: netlink.Netlink, paths: Paths, interfaces: Sequence[Interface], *, is_patient: bool
    ) -> None:
        self.errors: dict[str, AgentError] = {}
        self.freed_routes = False
        self._kernel = kernel
        self._paths = paths
        self._interfaces = interfaces
        self._is_patient = is_patient
        self._given_up: set[LinkStep] = set()
        self._ask_for_lease: list[Interface] = []

    def sound(self) -> list[Interface]:
        """Return the interfaces nothing went wrong with so far."""
        return [interface for interface in self._interfaces if interface.name not in self.errors]

    def begin(self) -> None:
        """Load the filter, then bring links up and add their addresses, which need time to settle."""
        snapshot = take_snapshot(self._kernel, with_routes=False)
        for desired in self.sound():
            with self._noting_errors(desired):
                if needs_filter(self._paths, desired):
                    load_filter(self._paths)
                for step in plan(desired, observe(snapshot, self._paths, desired)):
                    if isinstance(step, _FIRST):
                        self._perform(desired, step)

    def finish(self) -> None:
        """Do the rest, in as many rounds as the kernel's own doing makes necessary."""
        for _ in range(_ROUNDS):
            snapshot = take_snapshot(self._kernel, with_routes=True)
            is_settled = True
            for desired in self.sound():
                with self._noting_errors(desired):
                    is_settled &= self._take_round(desired, snapshot)
            if is_settled:
                return

    def await_leases(self) -> None:
        """Wait a little for the addresses that new DHCP clients ask for."""
        deadline = Deadline.after(_LEASE_WAIT)
        for desired in self._ask_for_lease if self._is_patient else ():
            with self._noting_errors(desired):
                others = {static.address for static in desired.static_addresses}
                self._kernel.await_lease(desired.name, others, deadline)

    def _take_round(self, desired: Interface, snapshot: Snapshot) -> bool:
        """Take the steps of one plan and return whether the kernel has nothing more to say to them."""
        steps = [step for step in plan(desired, observe(snapshot, self._paths, desired)) if step not in self._given_up]
        is_done = True
        for is_addition, run in itertools.groupby(steps, lambda step: isinstance(step, AddRoute)):
            if is_addition:
                is_done &= self._add_routes(desired, [step for step in run if isinstance(step, AddRoute)])
            else:
                outcomes = [self._perform(desired, step) for step in run]
                is_done &= all(outcomes)
        return is_done and not any(isinstance(step, RemoveAddress) for step in steps)

    @contextlib.contextmanager
    def _noting_errors(self, desired: Interface) -> Iterator[None]:
        try:
            yield
        except AgentError as error:
            self.errors[desired.name] = error

    def _add_routes(self, desired: Interface, steps: list[AddRoute]) -> bool:
        """Add routes and return whether the kernel took all of them."""
        refused = routes.add_all(steps)
        for step, error in refused.items():
            LOG.warning("%s: %s", error, error.detail)
            self._given_up.add(step)
        added = [step for step in steps if step not in refused]
        for step in added[:_ROUTES_NAMED]:
            LOG.info("changed ifname=%s: %s", desired.name, step)
        if len(added) > _ROUTES_NAMED:
            LOG.info("changed ifname=%s: %d more routes added", desired.name, len(added) - _ROUTES_NAMED)
        return not refused

    def _perform(self, desired: Interface, step: LinkStep) -> bool:
        """Take a step and return whether it did what it should."""
        try:
            match step:
                case StartDhcp():
                    dhcp_client(self._paths, desired.name).start()
                    self._ask_for_lease.append(desired)
                case StopDhcp():
                    dhcp_client(self._paths, desired.name).stop()
                case EnableSlaac():
                    dhcp.enable_slaac(desired.name)
                case DisableSlaac():
                    dhcp.disable_slaac(desired.name)
                case AwaitAddresses() if not self._is_patient:
                    pass
                case _:
                    self._kernel.perform(step)
        except HostFailure as error:
            if not isinstance(step, _TOLERATED):
                raise
            LOG.warning("%s: %s", error, error.detail)
            self._given_up.add(step)
            return False
        self.freed_routes |= isinstance(step, _FREEING)
        if isinstance(step, AwaitAddresses):  # once is enough, whatever came of it
            self._given_up.add(step)
        LOG.info("changed ifname=%s: %s", desired.name, step)
        return True


def preview(paths: Paths, desired: Interface, link: Link, *, is_inside: bool) -> tuple[LinkStep, ...]:
    """Return the steps that would bring an interface to its desired state at this moment; touches nothing.

    Args:
        paths: the amphora's files and namespace.
        desired: the state to reach.
        link: its NIC, which may still have another name.
        is_inside: whether it is in the namespace; one that comes from outside arrives down and bare.

    Raises:
        HostFailure: the kernel cannot be asked, or the NIC went away meanwhile.
    """
    # No device inside has this index.
    newcomer = Observed(link=replace(link, index=-1, is_up=False))

    def look() -> Observed:
        with netlink.connect() as kernel:
            snapshot = take_snapshot(kernel, with_routes=True)
        if is_inside:
            return observe(snapshot, paths, replace(desired, name=link.name))
        by_default = dhcp.slaac_is_enabled("default")
        return replace(
            newcomer, routes=snapshot.routes, rules=snapshot.rules, slaac=by_default, slaac_by_default=by_default
        )

    return plan(desired, netns.inside(paths.netns, look) if netns.exists(paths.netns) else newcomer)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the kernel has of a whole namespace at one moment."""

    links: dict[str, Link]
    addresses: tuple[tuple[int, ObservedAddress], ...]
    routes: tuple[ObservedRoute, ...] = ()
    rules: tuple[ObservedRule, ...] = ()


def take_snapshot(kernel: netlink.Netlink, *, with_routes: bool) -> Snapshot:
    """Return what the calling thread's namespace has; routes and rules cost the most."""
    return Snapshot(
        links={link.name: link for link in kernel.links()},
        addresses=kernel.addresses(),
        routes=kernel.routes() if with_routes else (),
        rules=kernel.rules() if with_routes else (),
    )


def observe(snapshot: Snapshot, paths: Paths, desired: Interface) -> Observed:
    """Return what there is of one interface; called in its namespace.

    Raises:
        HostFailure: there is no such interface.
    """
    link = snapshot.links.get(desired.name)
    if link is None:
        raise HostFailure(f"cannot find the interface {desired.name}")
    client = dhcp_client(paths, desired.name)
    return Observed(
        link=link,
        addresses=tuple(address for index, address in snapshot.addresses if index == link.index),
        routes=snapshot.routes,
        rules=snapshot.rules,
        slaac=dhcp.slaac_is_enabled(desired.name),
        slaac_by_default=dhcp.slaac_is_enabled("default"),
        dhcp=client.is_running(),
        leased=client.leased(),
    )


def dhcp_client(paths: Paths, name: str) -> dhcp.DhcpClient:
    """Return the DHCP client of an interface, running or not."""
    return dhcp.DhcpClient(name, paths.dhcp_leases(name), paths.dhcp_pid(name))


def needs_filter(paths: Paths, desired: Interface) -> bool:
    """Tell whether the packet filter guards the interface: an SR-IOV VIP, or one that was given rules."""
    return desired.type is InterfaceType.VIP and (desired.is_sriov or files.exists(paths.nftables_rules))


def load_filter(paths: Paths) -> None:
    """Load the stored filter into the calling thread's namespace; without one, or a broken one, close the VIP.

    Raises:
        HostFailure: nft refuses even that.
    """
    if files.exists(paths.nftables_rules):
        try:
            nft.load_file(paths.nftables_rules)
        except HostFailure as error:
            LOG.error("closed the VIP, because its filter is broken: %s: %s", error, error.detail)
        else:
            return
    closed = render_filter([])
    nft.load(closed)  # first: when nft itself does not work, the stored filter is not to blame
    files.write_atomic(paths.nftables_rules, closed.encode(), FILTER_MODE)


def _load_masquerading(scripts: Iterable[str]) -> None:
    """Do in one transaction what the masquerade commands among an interface's say, though they name a script."""
    ruleset, _ = split_scripts(scripts)
    if ruleset:
        nft.load(ruleset)


def _run_commands(scripts: Iterable[str]) -> None:
    """Run the other commands."""
    _, others = split_scripts(scripts)
    for command in others:
        commands.check(command)


def take_down(paths: Paths, desired: Interface) -> None:
    """Take everything off an interface, take it down and run its `down` commands; failures inside are logged.

    Raises:
        HostFailure: the namespace cannot be entered.
    """
    netns.inside(paths.netns, lambda: _take_down_here(paths, desired))


def _take_down_here(paths: Paths, desired: Interface) -> None:
    if desired.ipv6auto:
        dhcp.disable_slaac(desired.name)
    with _logging_errors():
        if desired.dhcp:
            dhcp_client(paths, desired.name).release()
    with _logging_errors(), netlink.connect() as kernel:
        observed = observe(take_snapshot(kernel, with_routes=True), paths, desired)
        if not observed.link.is_up:
            return
        for step in plan_down(desired, observed):
            with _logging_errors():
                kernel.perform(step)
        kernel.set_down(observed.link)
    with _logging_errors():
        _load_masquerading(desired.down)
        _run_commands(desired.down)


@contextlib.contextmanager
def _logging_errors() -> Iterator[None]:
    try:
        yield
    except AgentError as error:
        LOG.warning("%s: %s", error, error.detail)


@contextlib.contextmanager
def _collecting(errors: list[AgentError]) -> Iterator[None]:
    try:
        yield
    except AgentError as error:
        errors.append(error)
