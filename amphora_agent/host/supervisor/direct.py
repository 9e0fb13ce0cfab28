"""The direct supervisor: keeps units running where pid 1 is not systemd. Its processes outlive the agent.

Decision: each unit has a record on disk (what to run, whether it is wanted) and a pid file with the process's start
time, so a restarted agent adopts what still runs and starts again what does not. `look_after` waits for the end of
any of them and restarts it, after a doubling pause when it ends again and again; it never gives up, since a load
balancer without HAProxy is worth nothing.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

from amphora_agent.core.backoff import Backoff
from amphora_agent.core.units import Unit
from amphora_agent.core.wake_ups import aligned
from amphora_agent.errors import HostFailure
from amphora_agent.host import foreign, signals
from amphora_agent.host.deadline import Deadline
from amphora_agent.host.files import exists, make_directory, read_optional, remove, write_atomic, write_volatile
from amphora_agent.host.procfs import command_line, process_start_time, read_pid
from amphora_agent.host.wake_up import WakeUp

LOG = logging.getLogger(__name__)

WATCH_INTERVAL = 60.0
RETRY_INTERVAL = 0.1
POLL_INTERVAL = 0.01
STOP_TIMEOUT = 20.0
FRESH = Backoff(first=0.2, longest=10.0, settled_after=20.0)
LOG_TAIL = 4096
LOG_LIMIT = 4 * 1024 * 1024
LOG_KEPT = 1024 * 1024
LOG_MODE = 0o600


class DirectSupervisor:
    """Implements the `Supervisor` port with child processes.

    Args:
        directory: where records and pid files live, usually `base/agent/units`.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.RLock()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._backoff: dict[str, Backoff] = {}
        self._changed = WakeUp()

    def look_after(self) -> float:
        """Start what is wanted and does not run, then wait until a unit ends or is started; called again and again.

        Returns: the seconds to pause.

        Raises:
            HostFailure, OSError: such as no descriptor left, for a while.
        """
        names = [path.name.removesuffix(".json") for path in sorted(self._directory.glob("*.json"))]
        for name in names:
            self._bound_log(name)
        settled = {name for name in names if self._keep_running(name)}
        pids = {name: self._running(name) for name in names}
        # One that has ended since cannot be waited for, and would be missed.
        ended = {name for name in settled if pids[name] is None and self._is_wanted(name)}
        is_done = len(settled) == len(names) and not ended
        running = [pid for pid in pids.values() if pid is not None]
        self._changed.wait(aligned(WATCH_INTERVAL, time.monotonic()) if is_done else RETRY_INTERVAL, running)
        return 0.0

    def enable(self, unit: Unit) -> None:
        """Record the unit; it is started at the next agent start if it ran before."""
        with self._lock:
            make_directory(self._directory, 0o700)
            self._record(unit, wanted=self._is_wanted(unit.name))

    def disable(self, unit: Unit) -> None:
        """Drop the record."""
        with self._lock:
            remove(self._record_path(unit.name))
            remove(self._pid_path(unit.name))
            self._backoff.pop(unit.name, None)

    def start(self, unit: Unit) -> None:
        """Start the unit unless it runs."""
        with self._lock:
            make_directory(self._directory, 0o700)
            self._record(unit, wanted=True)
            self._backoff.pop(unit.name, None)
            if self._running(unit.name) is None:
                self._spawn(unit)

    def reload(self, unit: Unit) -> None:
        """Send the unit's signal to its main process."""
        pid = self.main_pid(unit)
        if pid is None:
            raise HostFailure(f"cannot reload {unit.name}", "it is not running")
        if not signals.send(pid, unit.reload_signal):
            raise HostFailure(f"cannot reload {unit.name}", "it ended")

    def stop(self, unit: Unit) -> None:
        """Terminate the unit's main process, then whatever is left of its process group."""
        with self._lock:
            if exists(self._record_path(unit.name)):
                self._record(unit, wanted=False)
            pid = self._running(unit.name)
            if pid is not None:
                signals.send(pid, signal.SIGTERM)
                if not self._wait_gone(unit.name, STOP_TIMEOUT):
                    LOG.warning("killing a unit that does not stop unit=%s pid=%d", unit.name, pid)
                signals.send(pid, signal.SIGKILL, to_group=True)
                if not self._wait_gone(unit.name, STOP_TIMEOUT):
                    raise HostFailure(f"cannot stop {unit.name}", f"pid {pid} survives SIGKILL")
            remove(self._pid_path(unit.name))

    def end_foreign(self, pid: int) -> None:
        """End a process and its children; nobody else looks after units here."""
        foreign.end(pid)

    def retire_foreign(self, pid: int, seconds: int) -> None:
        """Ask it to end when its connections have; nobody looks after it here, or ends it sooner."""
        del seconds
        signals.send(pid, signal.SIGUSR1)

    def main_pid(self, unit: Unit) -> int | None:
        """Return the pid while the process we started still is the one we started."""
        return self._running(unit.name)

    def adopt(self, unit: Unit) -> int | None:
        """Return the unit's process, one included whose pid an agent could not write down before it died."""
        with self._lock:
            if self._running(unit.name) is None and (survivor := _find_process(unit)) is not None:
                make_directory(self._directory, 0o700)
                self._write_pid(unit.name, survivor)
                LOG.info("adopted unit=%s pid=%d", unit.name, survivor)
            return self._running(unit.name)

    def log_tail(self, unit: Unit) -> str:
        """Return the end of the unit's output file."""
        with contextlib.suppress(OSError), unit.log.open("rb") as file:
            file.seek(max(0, unit.log.stat().st_size - LOG_TAIL))
            return file.read().decode("utf-8", "replace")
        return ""

    def _keep_running(self, name: str) -> bool:
        """Start a unit that is wanted and does not run; tell whether that is needed no more."""
        with self._lock:
            if self._running(name) is not None:
                return True
            try:
                unit, wanted = _read_record(self._record_path(name))
                if unit is not None and wanted and self._may_start(name):
                    self._spawn(unit)
            except HostFailure as error:
                LOG.warning("cannot look after a unit unit=%s: %s: %s", name, error, error.detail)
                return False
            return unit is None or not wanted

    def _bound_log(self, name: str) -> None:
        """Keep what a running unit prints from filling the disk; it writes on into the same file."""
        try:
            unit, _ = _read_record(self._record_path(name))
            if unit is not None:
                bound_log(unit.log)
        except HostFailure as error:
            LOG.warning("cannot bound a log unit=%s: %s: %s", name, error, error.detail)

    def _may_start(self, name: str) -> bool:
        """Tell whether a unit's pause is over; if so the next one begins."""
        before, now = self._backoff.get(name, FRESH), time.monotonic()
        if not before.is_over(now):
            return False
        self._backoff[name] = before.after_start(now)
        if before.started is not None:
            LOG.warning("restarting a unit that ended unit=%s next_pause=%.1f", name, self._backoff[name].pause)
        return True

    def _spawn(self, unit: Unit) -> None:
        if self.adopt(unit) is not None:
            return
        _remove_stale_pid_files(unit)
        self._bound_log(unit.name)
        try:
            with unit.log.open("ab") as log:
                child = subprocess.Popen(
                    _entering(unit),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise HostFailure(f"cannot start {unit.name}", str(error)) from error
        self._children[unit.name] = child
        self._backoff.setdefault(unit.name, FRESH.after_start(time.monotonic()))
        self._write_pid(unit.name, child.pid)
        self._changed.call()
        LOG.info("started unit=%s pid=%d", unit.name, child.pid)

    def _write_pid(self, name: str, pid: int) -> None:
        write_volatile(self._pid_path(name), f"{pid} {process_start_time(pid)}\n".encode(), 0o644)

    def _running(self, name: str) -> int | None:
        child = self._children.get(name)
        if child is not None and child.poll() is not None and self._children.get(name) is child:
            self._children.pop(name, None)  # another thread may have been faster
        fields = (read_optional(self._pid_path(name)) or b"").split()
        if len(fields) != 2 or not fields[0].isdigit():
            return None
        pid = int(fields[0])
        started = process_start_time(pid)
        return pid if started is not None and str(started).encode() == fields[1] else None

    def _wait_gone(self, name: str, timeout: float) -> bool:
        return any(self._running(name) is None for _ in Deadline.after(timeout).attempts(POLL_INTERVAL))

    def _is_wanted(self, name: str) -> bool:
        return _read_record(self._record_path(name))[1]

    def _record(self, unit: Unit, *, wanted: bool) -> None:
        pid_files = [str(path) for path in unit.pid_files]
        record = {"argv": unit.argv, "netns": str(unit.netns), "log": str(unit.log), "pid_files": pid_files}
        data = json.dumps(record | {"wanted": wanted}).encode()
        if read_optional(self._record_path(unit.name)) != data:
            write_atomic(self._record_path(unit.name), data)

    def _record_path(self, name: str) -> Path:
        return self._directory / f"{name}.json"

    def _pid_path(self, name: str) -> Path:
        return self._directory / f"{name}.pid"


def _read_record(path: Path) -> tuple[Unit | None, bool]:
    try:
        record = json.loads(read_optional(path) or b"{}")
        unit = Unit(
            name=path.name.removesuffix(".json"),
            argv=tuple(str(part) for part in record["argv"]),
            netns=Path(record["netns"]),
            log=Path(record["log"]),
            pid_files=tuple(Path(path) for path in record.get("pid_files", ())),  # not in records of older versions
        )
        return unit, record["wanted"] is True
    except (ValueError, KeyError, TypeError):
        return None, False


def _find_process(unit: Unit) -> int | None:
    """Return a process that already runs the unit: one whose pid the agent could not write down before it died.

    HAProxy's master adds options to its command line at each reload and its workers share it, so the command line
    has to contain the unit's, and of several the one whose parent is none of them counts. We start each unit in a
    session of its own: what does not lead one is an orphan of a unit that died, and about to end as well.
    """
    import psutil  # noqa: PLC0415 - 4 MB that only a start needs

    found: dict[int, int] = {}
    for process in psutil.process_iter(["pid", "ppid", "cmdline", "status"]):
        facts = process.info
        pid = facts["pid"]
        alive = facts["status"] != psutil.STATUS_ZOMBIE and _leads_session(pid)
        if not alive:
            continue
        arguments = facts["cmdline"] or command_line(pid)
        if arguments == _entering(unit) or (_runs(unit, arguments) and _is_inside(pid, unit.netns)):
            found[pid] = facts["ppid"]
    return next((pid for pid, parent in found.items() if parent not in found), None)


def _leads_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except OSError:
        return False


def _is_inside(pid: int, netns: Path) -> bool:
    """Tell whether a process is in the namespace; another amphora on the machine may use the very same paths."""
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino == netns.stat().st_ino
    except OSError:
        return False


def _entering(unit: Unit) -> list[str]:
    """Return what starts a unit; it is the process's command line until it has entered the namespace."""
    return ["nsenter", f"--net={unit.netns}", "--", *unit.argv]


def _runs(unit: Unit, command_line: list[str]) -> bool:
    return command_line[:1] == [unit.argv[0]] and set(unit.argv) <= set(command_line)


def _remove_stale_pid_files(unit: Unit) -> None:
    """Remove what dead processes of the unit wrote; an orphan that is about to end keeps its file.

    Such a file is what has a new keepalived end, to be tried again, instead of running beside the orphan.
    """
    for path in unit.pid_files:
        pid = read_pid(path)
        if pid is None or not _runs(unit, command_line(pid)):
            remove(path)


def bound_log(path: Path) -> None:
    """Move what a log that is too long ends with to a second file and empty it in place; its writers append.

    What is printed during the move may be lost. A log that is missing is fine.

    Raises:
        HostFailure: the disk refused.
    """
    try:
        with path.open("r+b") as log:
            size = os.fstat(log.fileno()).st_size
            if size <= LOG_LIMIT:
                return
            log.seek(size - LOG_KEPT)
            write_volatile(path.with_suffix(".log.1"), log.read(LOG_KEPT), LOG_MODE)
            log.truncate(0)
    except FileNotFoundError:
        return
    except OSError as error:
        raise HostFailure(f"cannot cut {path}", error.strerror or str(error)) from error
