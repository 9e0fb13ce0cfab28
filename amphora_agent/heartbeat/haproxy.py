"""Ask every HAProxy on this amphora what it serves. Changes nothing there; one in trouble never silences the others."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from amphora_agent.core.haproxy.config import frontends, parse
from amphora_agent.core.haproxy.process import parse_processes
from amphora_agent.core.haproxy.stats import (
    GRACE,
    INTERNAL,
    Absent,
    Answer,
    Answered,
    Memory,
    Observation,
    Silent,
    Table,
    parse_stat,
    report,
)
from amphora_agent.core.heartbeat.document import Part
from amphora_agent.core.ids import LoadBalancerId, is_id
from amphora_agent.core.paths import Paths
from amphora_agent.core.process_id import ProcessId
from amphora_agent.errors import HostFailure
from amphora_agent.heartbeat.notices import Notices
from amphora_agent.host.files import read_optional
from amphora_agent.host.haproxy.socket import query
from amphora_agent.host.procfs import is_program, process_start_time, read_pid

LOG = logging.getLogger(__name__)

EVERYTHING = "show stat -1 -1 -1"
FRONTENDS = "show stat -1 1 -1"
QUERY_TIMEOUT = 3.0
SHORTEST_TIMEOUT = 0.2
MASTER_TIMEOUT = 0.5
PAUSE = 0.05
QUICK_FAILURES = 1.0

Identity = tuple[int, int, int]
Hidden = dict[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Applied:
    """Listeners of one configuration file, and the worker it was given to if the file says so."""

    listeners: tuple[str, ...]
    worker: ProcessId | None = None


class HaproxyCollector:
    """Collects from all load balancers; remembers each one's last statuses and the parsed configurations."""

    def __init__(self, paths: Paths, program: str, notices: Notices) -> None:
        """Take where things are.

        Args:
            paths: of this amphora.
            program: file name of the HAProxy binary, to tell it from another process with its pid.
            notices: where troubles go.
        """
        self._paths = paths
        self._program = program
        self._notices = notices
        self._memories: dict[LoadBalancerId, Memory] = {}
        self._pids: dict[LoadBalancerId, int] = {}
        self._files: dict[Path, tuple[Identity, Applied | None]] = {}

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

    def _collect_one(self, lb_id: LoadBalancerId, timeout: float) -> tuple[Applied, Part]:
        observation = self._observe(lb_id, timeout)
        configuration = self._running_config(lb_id, observation)
        memory = self._memories.get(lb_id, Memory())
        part, self._memories[lb_id] = report(observation, configuration.listeners, self._hidden(lb_id), memory)
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
            names = sorted(entry.name for entry in self._paths.base.iterdir() if is_id(entry.name))
        except OSError as error:
            raise HostFailure(f"cannot list {self._paths.base}", error.strerror or str(error)) from error
        ids = [LoadBalancerId(name) for name in names]
        return [lb_id for lb_id in ids if self._paths.loadbalancer(lb_id).config.is_file()]

    def _forget_others(self, ids: list[LoadBalancerId]) -> None:
        for lb_id in self._memories.keys() - set(ids):
            del self._memories[lb_id]
            self._pids.pop(lb_id, None)
            self._files.pop(self._paths.loadbalancer(lb_id).applied, None)
            self._files.pop(self._paths.loadbalancer(lb_id).config, None)
            self._notices.forget(f"lb={lb_id}")
            self._notices.forget(f"haproxy lb={lb_id}")

    def _running_config(self, lb_id: LoadBalancerId, observation: Observation) -> Applied:
        """Return the configuration the current worker has.

        A worker other than the one on record has read the stored file: a supervisor restarted it, or a reload has
        just succeeded and is about to be recorded. The same goes when there is no record, or none that can be read.
        """
        applied = self._read(self._paths.loadbalancer(lb_id).applied, _parse_record)
        match observation:
            case Answered(worker=worker) if applied is not None and worker is not None:
                is_current = applied.worker in (worker, None)
            case _:
                is_current = applied is not None
        if applied is not None and is_current:
            return applied
        return self._read(self._paths.loadbalancer(lb_id).config, _parse_stored) or Applied(())

    def _read(self, path: Path, parse_file: Callable[[bytes], Applied | None]) -> Applied | None:
        """Return a file's meaning, parsed once per change; None when there is no file or no meaning."""
        try:
            stat = path.stat()
            identity = stat.st_ino, stat.st_mtime_ns, stat.st_size
            known = self._files.get(path)
            if known is None or known[0] != identity:
                known = self._files[path] = identity, parse_file(read_optional(path) or b"")
        except FileNotFoundError:
            return None
        except (OSError, HostFailure) as error:
            self._notices.report(str(path), "cannot be read", str(error))
            return None
        return known[1]

    def _hidden(self, lb_id: LoadBalancerId) -> Hidden:
        try:
            document: object = json.loads(read_optional(self._paths.loadbalancer(lb_id).removing) or b"{}")
        except (HostFailure, ValueError, RecursionError):
            return {}
        if not isinstance(document, dict):
            return {}
        return {
            str(pool): frozenset(str(member) for member in members)
            for pool, members in document.items()
            if isinstance(members, dict)
        }

    def _observe(self, lb_id: LoadBalancerId, timeout: float) -> Observation:
        if not self._is_running(lb_id):
            return Absent()
        began = time.monotonic()
        deadline = began + timeout
        while True:
            try:
                return self._ask_all(lb_id, deadline)
            except HostFailure as error:
                if time.monotonic() > min(deadline - PAUSE, began + QUICK_FAILURES):
                    return Silent(f"{error}: {error.detail}")
            time.sleep(PAUSE)

    def _ask_all(self, lb_id: LoadBalancerId, deadline: float) -> Answered:
        pids = self._workers(lb_id, deadline)
        if pids:
            return self._ask_workers(lb_id, pids, deadline)
        return Answered(None, _ask(self._paths.loadbalancer(lb_id).stats_socket, EVERYTHING, deadline))

    def _is_running(self, lb_id: LoadBalancerId) -> bool:
        """Tell whether the master lives; at a reload its pid file is empty for a moment."""
        pid = read_pid(self._paths.loadbalancer(lb_id).pid) or self._pids.get(lb_id)
        if pid is None or not is_program(pid, self._program):
            self._pids.pop(lb_id, None)
            return False
        self._pids[lb_id] = pid
        return True

    def _workers(self, lb_id: LoadBalancerId, deadline: float) -> tuple[int, ...]:
        """Return the workers the master names, the current one first; none when there is no master CLI.

        The master executes itself anew at a reload and does not answer for a while then; the stats socket does.
        """
        socket_path = self._paths.loadbalancer(lb_id).master_socket
        now = time.monotonic()
        deadline = now + min((deadline - now) / 2, MASTER_TIMEOUT)
        while socket_path.exists() and time.monotonic() < deadline:
            try:
                answer = query(socket_path, "show proc", _left(deadline))
            except HostFailure:
                time.sleep(PAUSE)
                continue
            processes = parse_processes(answer.decode("utf-8", "replace"))
            if processes is not None and processes.workers:
                return tuple(process.pid for process in (*processes.workers, *processes.old_workers))
            time.sleep(PAUSE)
        return ()

    def _ask_workers(self, lb_id: LoadBalancerId, pids: tuple[int, ...], deadline: float) -> Answered:
        """Ask the current worker for everything and the old ones for what they still serve.

        An old worker that does not answer is named without a table, so that what it had counted is remembered.
        """
        master = self._paths.loadbalancer(lb_id).master_socket
        current, *others = [ProcessId(pid, process_start_time(pid) or 0) for pid in pids]
        table = _ask(master, f"@!{current.pid} {EVERYTHING}", deadline)
        old: list[Answer] = []
        for worker in others:
            try:
                old.append(Answer(worker, _ask(master, f"@!{worker.pid} {FRONTENDS}", deadline)))
            except HostFailure:
                old.append(Answer(worker, None))
        final_sample = self._final_sample(lb_id)
        if final_sample is not None and final_sample.worker not in {current, *others}:
            old.append(final_sample)
        return Answered(current, table, tuple(old))

    def _final_sample(self, lb_id: LoadBalancerId) -> Answer | None:
        """Return what the agent heard from the worker it then had replaced, None when there is nothing usable."""
        try:
            document = json.loads(read_optional(self._paths.loadbalancer(lb_id).replaced_worker) or b"{}")
            worker = ProcessId(int(document["pid"]), int(document["started"]))
            table = parse_stat(str(document["stat"]).encode())
        except (HostFailure, ValueError, KeyError, TypeError, RecursionError):
            return None
        return Answer(worker, table, is_final=True) if table is not None else None


def _parse_record(data: bytes) -> Applied | None:
    """Return what a record of the applied configuration says of these two things, whatever else it may hold."""
    try:
        document = json.loads(data)
        config, worker = document["config"], document.get("worker", {})
        pid, started = worker.get("pid"), worker.get("started")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if not isinstance(config, str):
        return None
    is_named = isinstance(pid, int) and isinstance(started, int)
    return Applied(_listeners(config), ProcessId(pid, started) if is_named else None)


def _parse_stored(data: bytes) -> Applied:
    return Applied(_listeners(data.decode("utf-8", "replace")))


def _listeners(text: str) -> tuple[str, ...]:
    return tuple(frontend.id for frontend in frontends(parse(text)) if INTERNAL not in frontend.id)


def _ask(path: Path, command: str, deadline: float) -> Table:
    table = parse_stat(query(path, command, _left(deadline)))
    if table is None:
        raise HostFailure(f"cannot use the answer of {path}", "it is cut off or no table")
    return table


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise HostFailure("cannot ask HAProxy", "no time is left")
    return left
