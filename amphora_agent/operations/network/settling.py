"""Looks after what of the interfaces is not usable yet, until it is: addresses that were lost, then routes, then news.

Decision: an address that lost duplicate address detection is removed and added again, ever more slowly, for as long as
it is wanted: the amphora this one replaces may answer for it some seconds longer. The kernel checks it in the
background, so the lock is held for milliseconds. What the address kept from being made - routes from it - follows when
it can be used, and then the neighbours are told.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from amphora_agent.core.addresses import HostAddress
from amphora_agent.core.backoff import Backoff
from amphora_agent.core.network.model import AddAddress, Interface, RemoveAddress
from amphora_agent.core.network.unsettled import REPAIRABLE, Trouble, Unsettled, unsettled
from amphora_agent.core.paths import Paths
from amphora_agent.errors import HostFailure
from amphora_agent.host.network import netlink, netns, state
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.network.interfaces import advertise
from amphora_agent.operations.network.reconcile import exclusively, load_all, reconcile

LOG = logging.getLogger(__name__)

WATCHER = "settling"
# Seconds between two looks: all is well, or something is on its way.
IDLE_INTERVAL = 30.0
BUSY_INTERVAL = 0.5
FRESH = Backoff(first=1.0, longest=30.0, settled_after=300.0)


def unsettled_now(paths: Paths) -> tuple[Unsettled, ...]:
    """Return what of the interfaces is not as desired at this moment; cheap, and takes no lock.

    Raises:
        HostFailure: the namespace cannot be looked at.
    """
    interfaces, _ = load_all(paths)
    if not interfaces or not netns.exists(paths.netns):
        return ()
    states = netns.inside(paths.netns, state.link_states)
    return tuple(found for desired in interfaces for found in unsettled(desired, states.get(desired.name)))


class SettlingWatcher:
    """Remembers what was unsettled at its last look, and when each interface was repaired last."""

    def __init__(self, amphora: Amphora) -> None:
        self._amphora = amphora
        self._before: frozenset[Unsettled] = frozenset()
        self._backoffs: dict[str, Backoff] = {}

    def look(self) -> float:
        """Look once, act on it, and return the seconds until the next look.

        Raises:
            HostFailure: the kernel refuses; the next look tries again.
        """
        found = frozenset(unsettled_now(self._amphora.paths))
        for each in sorted(found - self._before, key=str):
            LOG.warning("not as desired yet: %s", each)
        changed = {each.ifname for each in self._before ^ found}
        settled = {name for name in changed if not _is_waiting(name, found)}
        due = self._due(found)
        if not settled and not due:
            self._before = found
        else:
            with self._amphora.changing_politely() as change:
                if change is None:
                    return BUSY_INTERVAL
                self._repair(change, found, due)
                self._complete(change, settled - due, found)
            self._before = found
        return BUSY_INTERVAL if found else IDLE_INTERVAL

    def _due(self, found: Iterable[Unsettled]) -> set[str]:
        """Return the interfaces with an address to repair, whose pause is over."""
        names = {each.ifname for each in found if each.trouble in REPAIRABLE}
        now = time.monotonic()
        return {name for name in names if self._backoffs.get(name, FRESH).is_over(now)}

    def _repair(self, change: Change, found: Iterable[Unsettled], due: set[str]) -> None:
        lost = [each for each in found if each.ifname in due and each.trouble in REPAIRABLE]
        if not lost:
            return
        for name in due:
            self._backoffs[name] = self._backoffs.get(name, FRESH).after_start(time.monotonic())
        with exclusively(change.paths):
            netns.inside(change.paths.netns, lambda: _add_again(lost))

    def _complete(self, change: Change, settled: set[str], found: Iterable[Unsettled]) -> None:
        """Make what waited for an address, and tell the neighbours of the addresses that can be used now."""
        troubled = {each.address for each in found}
        every = load_all(change.paths)[0]
        for desired in every:
            if desired.name not in settled:
                continue
            was = [each for each in self._before if each.ifname == desired.name]
            with exclusively(change.paths):
                reconcile(change.paths, desired, every)
            LOG.info("settled ifname=%s", desired.name)
            advertise(change, [host.ip for host in _recovered(desired, was) if host not in troubled])


def _is_waiting(name: str, found: Iterable[Unsettled]) -> bool:
    """Tell whether the kernel itself is at work on an interface, or has nothing to work on."""
    waits = {Trouble.TENTATIVE, Trouble.ABSENT, Trouble.NO_CARRIER, Trouble.NO_LEASE}
    return any(each.ifname == name and each.trouble in waits for each in found)


def _recovered(desired: Interface, was: Iterable[Unsettled]) -> list[HostAddress]:
    """Return the addresses that could not be used before: all of an interface that was in trouble as a whole."""
    before = {each.address for each in was}
    owned = [static.address for static in desired.static_addresses if static.owned]
    return owned if None in before else [host for host in owned if host in before]


def _add_again(lost: Iterable[Unsettled]) -> None:
    with netlink.connect() as kernel:
        links = {link.name: link for link in kernel.links()}
        for each in lost:
            link = links.get(each.ifname)
            if link is None or each.address is None:
                continue
            try:
                kernel.perform(RemoveAddress(link.index, each.address))
                kernel.perform(AddAddress(link.index, each.address))
            except HostFailure as error:
                LOG.warning("cannot add an address again ifname=%s: %s: %s", each.ifname, error, error.detail)
            else:
                LOG.info("added an address again ifname=%s address=%s", each.ifname, each.address)
