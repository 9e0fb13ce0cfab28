"""What every operation needs, in one value: settings, paths, the supervisor and the lock of all mutations."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from amphora_agent.core.paths import Paths
from amphora_agent.core.settings import Settings, Topology
from amphora_agent.host.settings_file import SettingsFile
from amphora_agent.host.supervisor.protocol import Supervisor
from amphora_agent.operations.change_record import ChangeRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Amphora:
    """One amphora on this machine.

    `started` are the settings at start; they decide about paths, ports and names until the next start.
    `mutation` is held by each operation that changes something, from its first look to its last step;
    reads take no lock.
    """

    settings_file: SettingsFile
    started: Settings
    paths: Paths
    supervisor: Supervisor
    mutation: threading.Lock = field(default_factory=threading.Lock)
    changes: ChangeRecord = field(default_factory=ChangeRecord)

    @property
    def topology(self) -> Topology:
        """The configured topology of this moment."""
        return self.settings_file.current().loadbalancer_topology
