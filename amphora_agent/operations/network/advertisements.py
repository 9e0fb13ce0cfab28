"""Addresses that neighbours shall hear of, a few times over: asked for by changes, sent by a watcher."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from amphora_agent.core.addresses import Address
from amphora_agent.core.network.model import Link
from amphora_agent.errors import HostFailure
from amphora_agent.host.network import advertise, netlink, netns

LOG = logging.getLogger(__name__)

WATCHER = "advertise"
# Neighbours may miss one.
TURNS = 3
INTERVAL = 0.5
IDLE_INTERVAL = 3600.0


@dataclass(slots=True)
class _Announcement:
    addresses: frozenset[Address]
    due: float
    turns: int = TURNS


class Advertisements:
    """What is still to be said; any thread may ask for more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: list[_Announcement] = []

    def add(self, addresses: Iterable[Address]) -> None:
        """Have these addresses announced, from the next look on."""
        with self._lock:
            self._pending.append(_Announcement(frozenset(addresses), time.monotonic()))

    def send_due(self, path: Path) -> float:
        """Announce what is due by gratuitous ARP and neighbour advertisements; return the seconds until more is.

        Addresses that no interface in the namespace has are passed over: keepalived announces those it holds.

        Raises:
            HostFailure: the namespace cannot be entered.
        """
        addresses, pause = self._take_due(time.monotonic())
        if addresses:
            netns.inside(path, lambda: _announce(addresses))
        return pause

    def _take_due(self, now: float) -> tuple[frozenset[Address], float]:
        with self._lock:
            due = [each for each in self._pending if each.due <= now]
            for each in due:
                each.turns -= 1
                each.due = now + INTERVAL
            self._pending = [each for each in self._pending if each.turns > 0]
            pause = min((each.due - now for each in self._pending), default=IDLE_INTERVAL)
        return frozenset(address for each in due for address in each.addresses), pause


def _announce(wanted: frozenset[Address]) -> None:
    for link, address in holders_of(wanted):
        if link.is_loopback or not link.mac:
            continue
        try:
            advertise.send(link.name, link.index, bytes.fromhex(link.mac.replace(":", "")), address)
        except HostFailure as error:
            LOG.warning("%s: %s", error, error.detail)


def holders_of(wanted: frozenset[Address]) -> list[tuple[Link, Address]]:
    """Return the links of the calling thread's namespace that have any of these addresses, each with its address."""
    with netlink.connect() as kernel:
        return [(link, address) for link, address in netlink.addresses_by_link(kernel) if address in wanted]
