"""What every operation needs, in one value, and the one lock of all changes. Changes nothing by itself.

Decision: whoever holds the lock has a `Change`, and what changes something takes one as its parameter. So operations
compose into one change - certificates, a configuration, a reload - and the type checker, not a docstring, says who
holds the lock. Reads take an `Amphora`, which every `Change` is too, and never wait.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, fields

from amphora_agent.core.paths import Paths
from amphora_agent.core.settings import Settings, Topology
from amphora_agent.host.settings_file import SettingsFile
from amphora_agent.host.supervisor.protocol import Supervisor
from amphora_agent.operations.acceptance import Acceptances
from amphora_agent.operations.change_record import ChangeRecord
from amphora_agent.operations.events import EventLog
from amphora_agent.operations.network.advertisements import Advertisements
from amphora_agent.operations.parsed_files import ParsedFiles
from amphora_agent.operations.parsed_texts import ParsedTexts
from amphora_agent.operations.watchers import Watchers


class ChangeLock:
    """Held by one change at a time; the background steps back while a request waits for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._guard = threading.Lock()
        self._waiting = 0
        self._holder: int | None = None

    @property
    def waiting(self) -> int:
        """How many changes wait that somebody asked for."""
        return self._waiting

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the lock for the length of the block, after whoever has it now."""
        self._refuse_the_holder()
        self._count(1)
        try:
            self._lock.acquire()
        finally:
            self._count(-1)
        with self._held():
            yield

    @contextlib.contextmanager
    def hold_politely(self, patience: float) -> Iterator[bool]:
        """Hold the lock for the length of the block unless a request has it or waits for it; yields whether it is held.

        Args:
            patience: seconds to wait at most for a change that is under way.
        """
        self._refuse_the_holder()
        deadline = time.monotonic() + patience
        is_held = not self._waiting and self._lock.acquire(timeout=max(0.0, deadline - time.monotonic()))
        if is_held and self._waiting:
            self._lock.release()
            is_held = False
        if not is_held:
            yield False
            return
        with self._held():
            yield True

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        self._holder = threading.get_ident()
        try:
            yield
        finally:
            self._holder = None
            self._lock.release()

    def _count(self, number: int) -> None:
        with self._guard:
            self._waiting += number

    def _refuse_the_holder(self) -> None:
        if self._holder == threading.get_ident():
            raise RuntimeError("a change began another one: hand the Change on instead")


@dataclass(frozen=True, slots=True, kw_only=True)
class Amphora:
    """One amphora on this machine.

    `started` are the settings at start; they decide about paths, ports and names until the next start.
    """

    settings_file: SettingsFile
    started: Settings
    paths: Paths
    supervisor: Supervisor
    lock: ChangeLock = field(default_factory=ChangeLock)
    changes: ChangeRecord = field(default_factory=ChangeRecord)
    acceptances: Acceptances = field(default_factory=Acceptances)
    watchers: Watchers = field(default_factory=Watchers)
    advertisements: Advertisements = field(default_factory=Advertisements)
    events: EventLog = field(default_factory=EventLog)
    parsed: ParsedFiles = field(default_factory=ParsedFiles)
    texts: ParsedTexts = field(default_factory=ParsedTexts)

    @property
    def topology(self) -> Topology:
        """The configured topology of this moment."""
        return self.settings_file.current().loadbalancer_topology

    @contextlib.contextmanager
    def changing(self) -> Iterator[Change]:
        """Begin a change, from its first look to its last step, when the one before it has ended."""
        with self.lock.hold():
            yield self._change()

    @contextlib.contextmanager
    def changing_politely(self, patience: float = 0.0) -> Iterator[Change | None]:
        """Begin a change that nobody waits for; None when requests come first, so that it is tried again later.

        Args:
            patience: seconds to wait at most for a change that is under way.
        """
        with self.lock.hold_politely(patience) as is_held:
            yield self._change() if is_held else None

    def _change(self) -> Change:
        return Change(**{each.name: getattr(self, each.name) for each in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Amphora):
    """The amphora while its lock is held; made by `Amphora.changing` alone, and not kept beyond its block."""
