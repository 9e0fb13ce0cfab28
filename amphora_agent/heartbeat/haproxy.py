"""What every HAProxy on this amphora contributes to a message. Remembers; one in trouble never silences the others."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from amphora_agent.core.haproxy.config import parse
from amphora_agent.core.haproxy.observation import (
    GRACE,
    Absent,
    Answered,
    Memory,
    Observation,
    Silent,
    is_of_another,
    listener_ids,
    report,
)
from amphora_agent.core.heartbeat.document import Part
from amphora_agent.core.ids import LoadBalancerId, is_id
from amphora_agent.core.paths import LoadBalancerPaths, Paths
from amphora_agent.core.process_id import ProcessId
from amphora_agent.core.records import applied_config, removing
from amphora_agent.core.records.removing import Removing
from amphora_agent.errors import HostFailure
from amphora_agent.heartbeat.notices import Notices
from amphora_agent.heartbeat.ownership import told_loadbalancers
from amphora_agent.host.files import Identity, identity, read_optional
from amphora_agent.host.haproxy.observe import Patience, master_pid, observe
from amphora_agent.host.memory import give_back

QUERY_TIMEOUT = 3.0
SHORTEST_TIMEOUT = 0.2


@dataclass(frozen=True, slots=True)
class RunningConfig:
    """Listeners of a configuration file, and the worker it was given to if the file says so."""

    listeners: tuple[str, ...]
    worker: ProcessId | None = None


class HaproxyCollector:
    """Collects from all load balancers; remembers each one's last statuses and the parsed configurations."""

    def __init__(self, paths: Paths, notices: Notices) -> None:
        """Take where things are.

        Args:
            paths: of this amphora.
            notices: where troubles go.
        """
        self._paths = paths
        self._notices = notices
        self._has_base = False
        # Remembered with all the names in it: making them anew takes a fifth of a beat.
        self._own: dict[LoadBalancerId, LoadBalancerPaths] = {}
        self._memories: dict[LoadBalancerId, Memory] = {}
        self._pids: dict[LoadBalancerId, int | None] = {}
        self._patience: dict[LoadBalancerId, Patience] = {}
        self._files: dict[Path, tuple[Identity, RunningConfig | None]] = {}

    def collect(self, seconds: float) -> tuple[list[Part], frozenset[str] | None]:
        """Return each load balancer's part, and every configured listener (None when that is uncertain).

        Args:
            seconds: to be spent at most, all load balancers together.
        """
        parts: list[Part] = []
        known: set[str] = set()
        is_certain = True
        ids = self._loadbalancers()
        self._forget_others(ids)
        timeout = min(QUERY_TIMEOUT, max(SHORTEST_TIMEOUT, seconds / max(1, len(ids))))
        for lb_id in ids:
            subject = f"lb={lb_id}"
            try:
                configuration, part = self._collect_one(lb_id, timeout)
                known.update(configuration.listeners)
                parts.append(part)
                self._notices.clear(subject, "collected again")
            except Exception as error:  # noqa: BLE001  # whatever is wrong with one, the others are reported
                is_certain = False
                self._notices.report(subject, f"cannot collect: {error}", getattr(error, "detail", ""))
        return parts, frozenset(known) if is_certain else None

    def _collect_one(self, lb_id: LoadBalancerId, timeout: float) -> tuple[RunningConfig, Part]:
        paths = self._paths_of(lb_id)
        pid = self._pids[lb_id] = master_pid(paths, self._pids.get(lb_id))
        observation = observe(paths, pid, timeout, self._patience.setdefault(lb_id, Patience()))
        configuration = self._running_config(paths, observation)
        memory = self._memories.get(lb_id, Memory())
        hidden = _removing(paths)
        part, self._memories[lb_id] = report(observation, configuration.listeners, hidden, memory)
        self._log_observation(lb_id, observation, self._memories[lb_id].missed)
        return configuration, part

    def _log_observation(self, lb_id: LoadBalancerId, observation: Observation, missed: int) -> None:
        subject = f"haproxy lb={lb_id}"
        match observation:
            case Answered():
                self._notices.clear(subject, "answers")
            case Absent():
                self._notices.report(subject, "is not running; its listeners are not reported")
            case Silent(reason) if missed <= GRACE:
                self._notices.report(subject, "is silent; its last statuses are repeated", reason)
            case Silent(reason):
                self._notices.report(subject, "stays silent; its listeners are no longer reported", reason)

    def _loadbalancers(self) -> list[LoadBalancerId]:
        try:
            names = sorted(name for name in os.listdir(self._paths.base) if is_id(name))  # noqa: PTH208 - names alone
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not self._has_base:
                return []  # the agent of a fresh amphora makes it in a moment
            raise HostFailure(f"cannot list {self._paths.base}", error.strerror or str(error)) from error
        self._has_base = True
        ids = [LoadBalancerId(name) for name in names]
        return told_loadbalancers(self._paths, [each for each in ids if self._paths_of(each).config.is_file()])

    def _paths_of(self, lb_id: LoadBalancerId) -> LoadBalancerPaths:
        if lb_id not in self._own:
            self._own[lb_id] = self._paths.loadbalancer(lb_id)
        return self._own[lb_id]

    def _forget_others(self, ids: list[LoadBalancerId]) -> None:
        for lb_id in self._memories.keys() - set(ids):
            del self._memories[lb_id]
            self._pids.pop(lb_id, None)
            self._patience.pop(lb_id, None)
            paths = self._own.pop(lb_id, self._paths.loadbalancer(lb_id))
            self._files.pop(paths.applied, None)
            self._files.pop(paths.config, None)
            self._notices.forget(f"lb={lb_id}")
            self._notices.forget(f"haproxy lb={lb_id}")

    def _running_config(self, paths: LoadBalancerPaths, observation: Observation) -> RunningConfig:
        """Return what the current worker runs: the record, or the stored file where the record is not of it."""
        applied = self._read(paths.applied, _parse_record)
        if applied is not None and applied.worker is not None and not is_of_another(applied.worker, observation):
            return applied
        return self._read(paths.config, _parse_stored) or RunningConfig(())

    def _read(self, path: Path, parse_file: Callable[[bytes], RunningConfig | None]) -> RunningConfig | None:
        """Return a file's meaning, parsed once per change; None when there is no file or no meaning."""
        try:
            now = identity(path)
            if now is None:
                return None
            known = self._files.get(path)
            if known is None or known[0] != now:
                known = self._files[path] = now, parse_file(read_optional(path) or b"")
                give_back(now[2])
        except HostFailure as error:
            self._notices.report(str(path), "cannot be read", str(error))
            return None
        return known[1]


def _removing(paths: LoadBalancerPaths) -> Removing:
    try:
        return removing.decode(read_optional(paths.removing)) or {}
    except HostFailure:
        return {}


def _parse_record(data: bytes) -> RunningConfig | None:
    applied = applied_config.decode(data)
    return None if applied is None else RunningConfig(listener_ids(parse(applied.config)), applied.worker)


def _parse_stored(data: bytes) -> RunningConfig:
    return RunningConfig(listener_ids(parse(data.decode("utf-8", "replace"))))
