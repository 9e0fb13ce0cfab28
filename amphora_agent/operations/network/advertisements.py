"""Addresses that neighbours shall hear of, a few times over: asked for by changes, sent by a watcher."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from amphora_agent.core.addresses import Address
from amphora_agent.errors import HostFailure
from amphora_agent.host.network import advertise, netns, state

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
    for name, address in state.holders_of(wanted):
        mac = state.mac_of(name)
        if mac is None:
            continue
        try:
            advertise.send(name, mac, address)
        except HostFailure as error:
            LOG.warning("%s: %s", error, error.detail)
