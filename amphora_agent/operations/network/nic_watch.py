"""Looks after NICs that come late for the boot unit, and after what other interfaces may have when one went."""

from __future__ import annotations

import logging

from amphora_agent.errors import HostFailure
from amphora_agent.host.network import netlink
from amphora_agent.operations.amphora import Amphora
from amphora_agent.operations.network import nics
from amphora_agent.operations.network.interfaces import bring_up_all
from amphora_agent.operations.network.reconcile import exclusively, load_all, refill_routes

LOG = logging.getLogger(__name__)

WATCHER = "nics"
# Seconds; an event of the kernel ends the wait at once, this is for events it could not deliver.
EVENT_INTERVAL = 300.0
# A request that changes something comes first; it may have moved the NIC itself by the next look.
RETRY_INTERVAL = 0.5


class NicWatcher:
    """Remembers which NICs were inside at its last look."""

    def __init__(self, amphora: Amphora) -> None:
        self._amphora = amphora
        self._known: frozenset[str] | None = None

    def look(self) -> float:
        """Look after the NICs, then wait until the kernel reports a change; return the pause after that.

        Raises:
            HostFailure: a NIC stays outside.
        """
        paths = self._amphora.paths
        if self._known is None:
            self._known = frozenset(nic.mac for nic in nics.plugged(paths))
        self._known, is_done = look_after(self._amphora, self._known)
        if not is_done:
            return RETRY_INTERVAL
        with netlink.link_events() as outside, netlink.link_events_inside(paths.netns) as inside:
            if nics.inside_macs(paths) == self._known and not nics.late(paths):
                netlink.wait_for_events((outside, inside), EVENT_INTERVAL)
        return 0.0


def look_after(amphora: Amphora, known: frozenset[str]) -> tuple[frozenset[str], bool]:
    """Move listed NICs that appeared after boot inside, and re-add routes that a vanished interface held.

    Args:
        amphora: the amphora to look after.
        known: MAC addresses that were inside when this was called last.

    Returns: the MAC addresses inside now, and False when a request came first and all is to be looked at again.

    Raises:
        HostFailure: a NIC stays outside.
    """
    paths = amphora.paths
    present = nics.inside_macs(paths)
    if not nics.late(paths) and known <= present:
        return present, True
    with amphora.changing_politely() as change:
        if change is None:
            return known, False
        if nics.late(paths):  # not the one a plug was about to move
            bring_up_all(change)
        if nics.late(paths):
            raise HostFailure("cannot take a NIC into the namespace", "see above")
        present = nics.inside_macs(paths)
        if known - present:
            LOG.info("NICs are gone from the namespace: %s", " ".join(sorted(known - present)))
            with exclusively(paths):
                refill_routes(paths, load_all(paths)[0])
    return present, True
