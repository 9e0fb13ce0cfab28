"""What the heartbeat process knows and `prometheus-proxy` shows, written after each beat. Nothing while nobody asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from amphora_agent.core.heartbeat.counters import Counters
from amphora_agent.core.metrics.own import BEAT_BYTES, BEATS, HAPROXY_WORKERS, VRRP_ROLE, VRRP_TRANSITIONS
from amphora_agent.core.metrics.record import render, sample
from amphora_agent.core.paths import Paths
from amphora_agent.heartbeat.lvs import Reported
from amphora_agent.host.files import read_optional, write_volatile
from amphora_agent.host.procfs import has_local_address, process_start_time, running_pid

MASTER, BACKUP = "MASTER", "BACKUP"
_MODE = 0o644


class BeatMetrics:
    """Counts beats and remembers the role; `write` replaces the record."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._results = {"sent": 0, "refused": 0, "failed": 0}
        self._size: int | None = None
        self._role: str | None = None
        self._transitions = 0

    def note_beat(self, size: int, *, is_sent: bool) -> None:
        """Count a message that was sent, or could not be; its size in bytes."""
        self._results["sent" if is_sent else "failed"] += 1
        self._size = size

    def note_refusal(self) -> None:
        """Count a message that was sent, and reached nobody as the network says."""
        self._results["refused"] += 1

    def write(self, counters: Counters, lvs: Sequence[Reported]) -> None:
        """Replace the record if there is a proxy to read it.

        Raises:
            HostFailure: the disk refused.
        """
        if not self._paths.metrics_proxy.exists():
            return
        self._look_at_role()
        lines = [*self._own(), *_workers(counters), *_lvs(lvs)]
        write_volatile(self._paths.heartbeat_metrics, render(lines), _MODE)

    def _own(self) -> Iterator[str]:
        for result, count in self._results.items():
            yield sample(BEATS, (result,), count)
        if self._size is not None:
            yield sample(BEAT_BYTES, (), self._size)
        if self._role is not None:
            for role in (MASTER, BACKUP):
                yield sample(VRRP_ROLE, (role,), int(role == self._role))
            yield sample(VRRP_TRANSITIONS, (), self._transitions)

    def _look_at_role(self) -> None:
        """Take the amphora for the master when it has one of the VIPs; keepalived adds and removes them all at once."""
        before, self._role = self._role, None
        config = read_optional(self._paths.vrrp.config)
        if config is None:
            return
        from amphora_agent.core.keepalived.vrrp_config import vips  # noqa: PLC0415 - only a pair of amphorae needs it

        pid = running_pid(self._paths.vrrp.pid, "keepalived", self._paths.vrrp.config)
        addresses = vips(config.decode("utf-8", "replace"))
        is_master = pid is not None and any(has_local_address(pid, address) for address in addresses)
        self._role = MASTER if is_master else BACKUP
        self._transitions += before not in (None, self._role)


def _workers(counters: Counters) -> Iterator[str]:
    """Yield how many workers there are that counted something: of this configuration, and of those before."""
    records = counters.listeners.values()
    current = {record.source.process for record in records}
    leaving = {source.process for record in records for source in record.old} - current
    for state, processes in (("current", current), ("leaving", leaving)):
        alive = sum(each is not None and process_start_time(each.pid) == each.started for each in processes)
        yield sample(HAPROXY_WORKERS, (state,), alive)


def _lvs(reported: Sequence[Reported]) -> list[str]:
    if not reported:
        return []
    from amphora_agent.core.metrics.lvs import samples  # noqa: PLC0415 - most amphorae have no UDP listener

    named = [
        pair for listener_id, config, table, part in reported for pair in samples(listener_id, config, table, part)
    ]
    return [line for _, line in sorted(named, key=lambda pair: pair[0])]
