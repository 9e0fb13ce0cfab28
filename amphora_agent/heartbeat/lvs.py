"""Ask the kernel what the UDP and SCTP listeners serve. Changes nothing there; an odd listener silences no other."""

from __future__ import annotations

import logging

from amphora_agent.core.heartbeat.document import Listener, Part
from amphora_agent.core.ids import ListenerId, is_id
from amphora_agent.core.keepalived.ipvs import Table
from amphora_agent.core.keepalived.lvs_config import LvsConfig, parse
from amphora_agent.core.keepalived.lvs_status import OPEN
from amphora_agent.core.paths import Paths
from amphora_agent.errors import HostFailure
from amphora_agent.heartbeat.notices import Notices
from amphora_agent.heartbeat.ownership import told_listeners
from amphora_agent.host.files import Identity, identity, read_optional
from amphora_agent.host.keepalived.observe import part_of
from amphora_agent.host.procfs import running_pid

LOG = logging.getLogger(__name__)

PROGRAM = "keepalived"

Reported = tuple[ListenerId, LvsConfig, Table, Part]


class LvsCollector:
    """Collects from all listeners; remembers the parsed configurations, and in `reported` the last round's sources."""

    def __init__(self, paths: Paths, notices: Notices) -> None:
        """Take where things are and where troubles go."""
        self._paths = paths
        self._notices = notices
        self._configs: dict[ListenerId, tuple[Identity | None, LvsConfig]] = {}
        self.reported: list[Reported] = []

    def collect(self) -> tuple[list[Part], frozenset[str] | None]:
        """Return the part of each listener whose keepalived runs, and every stored listener (None if uncertain)."""
        try:
            ids = self._listeners()
        except HostFailure as error:
            self._notices.report("lvs", f"cannot collect: {error}", error.detail)
            return [], None
        self._notices.clear("lvs", "collected again")
        for gone in self._configs.keys() - set(ids):
            del self._configs[gone]
            self._notices.forget(f"listener={gone}")
        running = {listener_id: pid for listener_id in ids if (pid := self._pid(listener_id)) is not None}
        table = self._table() if running else None
        self.reported.clear()
        parts = [self._collect_one(listener_id, pid, table) for listener_id, pid in running.items()]
        return parts, frozenset(ids)

    def _collect_one(self, listener_id: ListenerId, pid: int, table: Table | None) -> Part:
        """Return one listener's part; whatever is wrong with it, the listener itself is reported."""
        subject = f"listener={listener_id}"
        try:
            config = self._config(listener_id)
            part = part_of(self._paths.lvs(listener_id), listener_id, config, pid=pid, table=table)
        except Exception as error:  # noqa: BLE001  # one odd listener must not silence the others
            self._notices.report(subject, f"cannot collect: {error}", getattr(error, "detail", ""))
            return Part({listener_id: Listener(OPEN)})
        self._notices.clear(subject, "collected again")
        if table is not None:
            self.reported.append((listener_id, config, table, part))
        return part

    def _listeners(self) -> list[ListenerId]:
        pattern = self._paths.lvs(ListenerId("*")).config.name
        prefix, _, suffix = pattern.partition("*")
        try:
            names = [path.name for path in self._paths.lvs_directory.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise HostFailure(f"cannot list {self._paths.lvs_directory}", error.strerror or str(error)) from error
        ids = (name[len(prefix) : -len(suffix)] for name in names if name.startswith(prefix) and name.endswith(suffix))
        return told_listeners(self._paths, [ListenerId(name) for name in sorted(ids) if is_id(name)])

    def _pid(self, listener_id: ListenerId) -> int | None:
        return running_pid(self._paths.lvs(listener_id).pid, PROGRAM, self._paths.lvs(listener_id).config)

    def _table(self) -> Table | None:
        # Imported once there is a UDP listener: most amphorae have none, and this process stays small.
        from amphora_agent.host.keepalived import ipvs  # noqa: PLC0415

        try:
            table = ipvs.read(self._paths.netns)
        except HostFailure as error:
            self._notices.report("ipvs", f"cannot be asked: {error}; members keep their statuses", error.detail)
            return None
        self._notices.clear("ipvs", "answers again")
        return table

    def _config(self, listener_id: ListenerId) -> LvsConfig:
        path = self._paths.lvs(listener_id).config
        now = identity(path)
        known = self._configs.get(listener_id)
        if known is None or known[0] != now:
            known = now, parse((read_optional(path) or b"").decode("utf-8", "replace"))
            self._configs[listener_id] = known
        return known[1]
