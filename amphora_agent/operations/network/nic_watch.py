"""Looks after NICs that come late for the boot unit, and after what other interfaces may have when one went."""

from __future__ import annotations

import logging

from amphora_agent.core.network.unsettled import Trouble
from amphora_agent.errors import HostFailure
from amphora_agent.host.deadline import Deadline
from amphora_agent.host.network import netlink
from amphora_agent.host.network.netlink import DAD_TIMEOUT
from amphora_agent.operations.amphora import Amphora
from amphora_agent.operations.network import nics, settling
from amphora_agent.operations.network.interfaces import bring_up_all
from amphora_agent.operations.network.reconcile import exclusively, load_all, refill_routes

LOG = logging.getLogger(__name__)

WATCHER = "nics"
# Seconds; an event of the kernel ends the wait at once, this is for events it could not deliver.
EVENT_INTERVAL = 300.0
# A request that changes something comes first; it may have moved the NIC itself by the next look.
RETRY_INTERVAL = 0.5
COMPLETION_SECONDS = 60.0


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
        is_late = nics.late(paths)  # not the one a plug was about to move
        if is_late:
            bring_up_all(change, is_patient=False)
        if nics.late(paths):
            raise HostFailure("cannot take a NIC into the namespace", "see above")
        present = nics.inside_macs(paths)
        if known - present:
            LOG.info("NICs are gone from the namespace: %s", " ".join(sorted(known - present)))
            with exclusively(paths):
                refill_routes(paths, load_all(paths)[0])
    if is_late:
        _complete(amphora)
    return present, True


def _complete(amphora: Amphora) -> None:
    """Make what waited for new addresses to settle; nobody else's change waits meanwhile."""
    for _ in Deadline.after(DAD_TIMEOUT).attempts(RETRY_INTERVAL):
        if all(each.trouble is not Trouble.TENTATIVE for each in settling.unsettled_now(amphora.paths)):
            break
    for _ in Deadline.after(COMPLETION_SECONDS).attempts(RETRY_INTERVAL):
        with amphora.changing_politely() as change:
            if change is not None:
                bring_up_all(change, is_patient=False)
                return
    LOG.warning("requests left no time to complete the interfaces")
