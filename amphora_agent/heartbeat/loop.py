"""The heartbeat: on a steady beat collect, build, store the counters, seal, send to one controller. Never receives.

Decision: the first message goes out at once, since the controller waits for it; the second follows after a part of
the interval that the amphora's id decides, and all others in step with it. So amphorae that boot together do not beat
together, and the mean period is the interval. The schedule counts monotonic time from the second message on: a slow
round does not shift the next one, and missed rounds are skipped, never sent in a burst. Nothing but time makes a
message due: no change of a load balancer does.

Decision: when the network answers that a message reached nobody (a closed port, no such host), or nothing could
leave this machine, the counters go back to what they were before that message, so that its numbers travel in the
next one. The message itself is never sent again. What is lost silently stays lost, as the contract has it.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable

from amphora_agent.core.heartbeat.counters import Counters
from amphora_agent.core.heartbeat.document import (
    DATAGRAM_MAX,
    NEAR_LIMIT,
    UNFRAGMENTED_MAX,
    Datagram,
    Destination,
    Part,
    build,
    fit,
    is_amphora_id,
    parse_destinations,
)
from amphora_agent.core.heartbeat.schedule import due_after_beat, due_after_change
from amphora_agent.core.paths import Paths, paths_of
from amphora_agent.core.process_id import ProcessId
from amphora_agent.core.records.troubles import encode as encode_troubles
from amphora_agent.core.settings import Settings
from amphora_agent.errors import HostFailure
from amphora_agent.heartbeat.haproxy import HaproxyCollector
from amphora_agent.heartbeat.lvs import LvsCollector
from amphora_agent.heartbeat.metrics import BeatMetrics
from amphora_agent.heartbeat.notices import Notices
from amphora_agent.host.counters import load_counters, store_counters
from amphora_agent.host.files import write_volatile
from amphora_agent.host.notify import feeding_interval, notify
from amphora_agent.host.procfs import process_start_time, running_pid
from amphora_agent.host.settings_file import SettingsFile
from amphora_agent.host.udp import Resolver, UdpSender

LOG = logging.getLogger(__name__)

# The longest sleep; a changed configuration file ends it, this is for a change that was not seen.
LOOK_AROUND = 60.0
COLLECTING_SHARE = 0.5
COLLECTING_MAX = 10.0


class Heartbeat:
    """The state of one sending process; `attempt` does one round."""

    def __init__(self, settings_file: SettingsFile, *, started: int) -> None:
        """Load what the previous process left.

        Args:
            settings_file: read again at each round; paths are those of the start.
            started: this process's start in clock ticks since boot.
        """
        settings = settings_file.current()
        self._settings_file = settings_file
        self._paths: Paths = paths_of(settings)
        self._notices = Notices()
        self._haproxy = HaproxyCollector(self._paths, self._notices)
        self._lvs = LvsCollector(self._paths, self._notices)
        self._counters: Counters = load_counters(self._paths.counters, started)
        self._stored: Counters | None = None
        self._before_last: tuple[Counters, Destination] | None = None
        self._metrics = BeatMetrics(self._paths)
        self._sender = UdpSender()
        self._resolver = Resolver()
        self._entries: tuple[str, ...] = ()
        self._destinations: tuple[Destination, ...] = ()
        self._turn = 0
        self._amphora_id: str | None = None
        self._seq = 0
        self._told: dict[str, str] | None = None

    def close(self) -> None:
        """Close the sockets."""
        self._sender.close()

    def attempt(self) -> None:
        """Do one round; whatever goes wrong is logged when it is new, and the next round comes in time."""
        try:
            self.beat()
        except HostFailure as error:
            self._notices.report("heartbeat", f"failed: {error}", error.detail)
        except Exception as error:
            if self._notices.report("heartbeat", f"failed: {error!r}"):
                LOG.exception("an unexpected fault; the next heartbeat comes in time")
        else:
            self._notices.clear("heartbeat", "works again")
        self._write_metrics()
        self._write_troubles()

    def _write_troubles(self) -> None:
        """Leave word of what is wrong for the doctor, whenever that changed; one that cannot be left is no trouble."""
        troubles = self._notices.standing
        if troubles == self._told or not self._paths.agent.exists():
            return
        with contextlib.suppress(HostFailure):
            write_volatile(self._paths.heartbeat_troubles, encode_troubles(troubles))
            self._told = troubles

    def _write_metrics(self) -> None:
        """Tell `prometheus-proxy`, if there is one; no heartbeat fails for that."""
        try:
            self._metrics.write(self._counters, self._lvs.reported)
        except HostFailure as error:
            self._notices.report("metrics", f"are not written: {error}", error.detail)
        else:
            self._notices.clear("metrics", "are written again")

    def beat(self) -> None:
        """Send one message, or say once why not.

        Raises:
            HostFailure: the base directory cannot be read; the next round may work.
        """
        settings = self._settings_file.current()
        _set_level(logging.DEBUG if settings.debug else logging.INFO)
        self._take_back_refused()
        amphora_id, key = self._identify(settings), self._key(settings)
        self._read_destinations(settings)
        if amphora_id is None or key is None or not self._destinations or self._is_keepalived_down():
            return
        parts, known = self._collect(min(COLLECTING_MAX, settings.heartbeat_interval * COLLECTING_SHARE))
        seq, self._seq = self._seq, self._seq + 1
        document, counters = build(parts, self._counters, amphora_id=amphora_id, seq=seq, known=known)
        datagram = fit(document, key)
        self._tell_size(datagram)
        before, self._counters = self._counters, counters
        self._store()
        destination = self._send(datagram)
        self._metrics.note_beat(len(datagram.data), is_sent=destination is not None)
        if destination is None:
            self._counters = before
            self._store()
        else:
            self._before_last = before, destination
            LOG.debug("sent seq=%d bytes=%d to=%s", seq, len(datagram.data), destination)

    def _identify(self, settings: Settings) -> str | None:
        """Return the id of this process's first message, whatever the file says later: a wrong id costs a VM."""
        if self._amphora_id is None and is_amphora_id(settings.amphora_id):
            self._amphora_id = settings.amphora_id
        if self._amphora_id is None:
            self._notices.report("heartbeat id", "nothing is sent: [amphora_agent] amphora_id is missing or no UUID")
        elif settings.amphora_id != self._amphora_id:
            self._notices.report("heartbeat id", "another amphora_id is ignored until the next start")
        else:
            self._notices.clear("heartbeat id", "is in order")
        return self._amphora_id

    def _key(self, settings: Settings) -> str | None:
        if not settings.heartbeat_key:
            self._notices.report("heartbeat key", "nothing is sent: [health_manager] heartbeat_key is missing")
            return None
        self._notices.clear("heartbeat key", "is there")
        return settings.heartbeat_key

    def _read_destinations(self, settings: Settings) -> None:
        entries = settings.controller_ip_port_list
        if entries != self._entries:
            self._entries, self._turn = entries, 0
            self._destinations, wrong = parse_destinations(entries)
            for entry in wrong:
                LOG.error("skipped a destination that is no host:port entry=%r", entry)
        if not self._destinations:
            self._notices.report(
                "heartbeat destinations", "nothing is sent: [health_manager] controller_ip_port_list names none"
            )
        else:
            self._notices.clear("heartbeat destinations", "are there")

    def _is_keepalived_down(self) -> bool:
        """Tell whether keepalived should run and does not; the amphora is silent then, to be replaced."""
        paths = self._paths
        if not paths.vrrp.config.exists() or running_pid(paths.vrrp.pid, "keepalived", paths.vrrp.config) is not None:
            self._notices.clear("keepalived", "is in order")
            return False
        self._notices.report("keepalived", "is configured and not running; nothing is sent meanwhile")
        return True

    def _collect(self, seconds: float) -> tuple[list[Part], frozenset[str] | None]:
        """Return what every kind of load balancer contributes."""
        parts, known = self._haproxy.collect(seconds)
        lvs_parts, lvs_known = self._lvs.collect()
        if known is None or lvs_known is None:
            return parts + lvs_parts, None
        return parts + lvs_parts, known | lvs_known | self._counted_by_the_living(known)

    def _counted_by_the_living(self, known: frozenset[str]) -> frozenset[str]:
        """Return listeners without a configuration that a living worker counted: one that returns is not new to it."""
        gone = ((name, record) for name, record in self._counters.listeners.items() if name not in known)
        return frozenset(
            name for name, record in gone if any(_is_alive(source.process) for source in (record.source, *record.old))
        )

    def _tell_size(self, datagram: Datagram) -> None:
        size = len(datagram.data)
        if datagram.dropped:
            self._notices.report(
                "heartbeat size",
                "does not fit one datagram; pools are left out and will show OFFLINE",
                f"pools={len(datagram.dropped)} bytes={size} limit={DATAGRAM_MAX}",
            )
        elif size > NEAR_LIMIT:
            self._notices.report("heartbeat size", "comes near the limit of one datagram", f"limit={DATAGRAM_MAX}")
        elif size > UNFRAGMENTED_MAX:
            self._notices.report("heartbeat size", "needs IP fragments to reach the controllers", f"bytes={size}")
        else:
            self._notices.clear("heartbeat size", "fits one packet")

    def _store(self) -> None:
        """Store the counters before the message leaves; an unchanged file is left alone, for the disk's sake."""
        if self._counters == self._stored and self._paths.counters.exists():
            return
        if not self._counters.listeners and not self._paths.base.exists():
            return  # a fresh amphora: the agent makes it in a moment
        try:
            store_counters(self._paths.counters, self._counters)
            self._stored = self._counters
        except HostFailure as error:
            self._notices.report("counters", "are not stored; a restart would count twice", f"{error}: {error.detail}")
        else:
            self._notices.clear("counters", "are stored again")

    def _send(self, datagram: Datagram) -> Destination | None:
        """Send to the destination whose turn it is, or to the next that can be reached; return it."""
        if len(datagram.data) > DATAGRAM_MAX:
            self._notices.report("heartbeat size", "cannot be sent: its listeners alone do not fit one datagram")
            return None
        for _ in self._destinations:
            destination = self._destinations[self._turn % len(self._destinations)]
            self._turn += 1
            subject = f"controller {destination.host}:{destination.port}"
            address = self._resolver.resolve(destination.host, destination.port)
            if address is None:
                self._notices.report(subject, "cannot be resolved yet")
                continue
            try:
                self._sender.send(address, datagram.data)
            except HostFailure as error:
                self._notices.report(subject, "cannot be reached", error.detail)
                continue
            return destination
        return None

    def _take_back_refused(self) -> None:
        """Return to the counters before the last message if the network said that it reached nobody."""
        refusals = self._sender.refusals()
        last, self._before_last = self._before_last, None
        if last is None:
            return
        counters, destination = last
        subject = f"controller {destination.host}:{destination.port}"
        address = self._resolver.resolve(destination.host, destination.port)
        if address is not None and address[:2] in refusals:
            self._counters = counters
            self._metrics.note_refusal()
            self._notices.report(subject, "does not get its messages; their numbers go to the next one")
        else:
            self._notices.clear(subject, "is sent to again")


def _set_level(level: int) -> None:
    """Log from this level on; setting it makes the logging module forget all that it has worked out, so only anew."""
    root = logging.getLogger()
    if root.level != level:
        root.setLevel(level)


def _is_alive(process: ProcessId | None) -> bool:
    return process is not None and process_start_time(process.pid) == process.started


def run(heartbeat: Heartbeat, settings_file: SettingsFile, wait: Callable[[float], bool], phase: float) -> None:
    """Beat until `wait` says stop.

    Args:
        heartbeat: what to do at each round.
        settings_file: for the interval, looked at whenever `wait` returns.
        wait: sleeps for that many seconds, or less when the settings may have changed; true when the process is to end.
        phase: 0 to 1, the part of the interval between the first message and the second.
    """
    interval = settings_file.current().heartbeat_interval
    longest = min(LOOK_AROUND, feeding_interval() or LOOK_AROUND)
    heartbeat.attempt()
    notify("READY=1")
    due = time.monotonic() + interval * phase
    while True:
        notify("WATCHDOG=1")
        if wait(max(0.0, min(longest, due - time.monotonic()))):
            return
        now = time.monotonic()
        changed = settings_file.current().heartbeat_interval
        if changed != interval:
            due, interval = due_after_change(due, now, interval, changed), changed
        if now >= due:
            heartbeat.attempt()
            due = due_after_beat(due, time.monotonic(), interval)
