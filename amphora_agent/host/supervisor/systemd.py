"""The supervisor where pid 1 is systemd: what changes a unit is one `systemctl` with a deadline. Writes no unit files.

Decision: units are instances of shipped templates, so nothing of ours ever needs a daemon-reload: `enable --no-reload`
makes the symbolic link that the next boot follows, and systemd loads an instance by itself when it is started. The
price is that `systemctl list-dependencies` shows a new instance only after the next reload or boot.

Decision: the main process of an active unit is asked of systemd once and then of the kernel, and signalled directly:
a reload costs no `systemctl` at all. What the units' ExecReload says is for operators.
"""

from __future__ import annotations

import logging
from pathlib import Path
from signal import SIGUSR1

from amphora_agent.core.units import Unit
from amphora_agent.errors import HostFailure
from amphora_agent.host import commands, foreign, signals
from amphora_agent.host.files import exists, make_directory, write_volatile
from amphora_agent.host.procfs import process_start_time, systemd_unit

LOG = logging.getLogger(__name__)

RUNTIME_DIRECTORY = Path("/run/systemd/system")
BOOT_LINKS = Path("/etc/systemd/system/multi-user.target.wants")

QUERY_TIMEOUT = 10.0
# The controller waits 60 s; HAProxy may take 25 s to start with a large memory.
START_TIMEOUT = 50.0
# The units kill what has not ended 15 s after SIGTERM.
STOP_TIMEOUT = 40.0
LOG_LINES = "20"
# The drop-in of a unit whose HAProxy serves its last connections; gone with the next boot.
RETIRED = "amphora-retired.conf"
_ENDS_ALREADY = "deactivating"
_ALREADY = "Job is already running"
_UNKNOWN = ("does not exist", "not found", "not loaded")


def is_booted() -> bool:
    """Tell whether systemd is this machine's service manager. Source: sd_booted(3)."""
    return RUNTIME_DIRECTORY.is_dir()


class SystemdSupervisor:
    """Implements the `Supervisor` port with systemctl(1)."""

    def __init__(self) -> None:
        self._active: dict[str, tuple[int, int]] = {}  # unit -> main process, its start time

    def enable(self, unit: Unit) -> None:
        """Have the unit started at boot; nothing is asked of systemd when it is already."""
        if not exists(BOOT_LINKS / unit.name):
            _systemctl("enable", unit.name, "--no-reload", "--quiet", timeout=QUERY_TIMEOUT)

    def disable(self, unit: Unit) -> None:
        """Remove the boot link and forget a failed state; an unknown unit is fine."""
        _tolerant("disable", unit.name, "--no-reload", "--quiet")
        _tolerant("reset-failed", unit.name)

    def start(self, unit: Unit) -> None:
        """Start the unit unless it runs, and wait until it says it is ready.

        A unit that failed before starts with a clean slate: no limit and no pause is left over.

        Raises:
            HostFailure: it ended at once, or was not ready in time; systemd goes on trying.
        """
        _tolerant("reset-failed", unit.name)
        _systemctl("start", unit.name, timeout=START_TIMEOUT)

    def reload(self, unit: Unit) -> None:
        """Ask the running unit to read its configuration again; returns before it has.

        Raises:
            HostFailure: also when it does not run: the detail then says `is not active, cannot reload`.
        """
        pid = self.main_pid(unit)
        if pid is None or unit.name not in self._active:
            # A process that is not ready yet may die of the signal: systemd sends it when it is.
            _systemctl("reload", unit.name, timeout=START_TIMEOUT)
            return
        if not signals.send(pid, unit.reload_signal):
            raise HostFailure(f"cannot reload {unit.name}", "it ended")

    def stop(self, unit: Unit) -> None:
        """Stop the unit and wait until every process of it is gone."""
        _systemctl("stop", unit.name, timeout=STOP_TIMEOUT)

    def end_foreign(self, pid: int) -> None:
        """Stop the unit a process is the main one of, and keep it from the next boot; without one, end the process."""
        name = systemd_unit(pid)
        state = None if name is None else _state_of_main(pid, name)
        if name is not None and state is not None:
            _tolerant("disable", name, "--no-reload", "--quiet")
            if state != _ENDS_ALREADY:  # or systemd would wait for the last connection
                _systemctl("stop", name, timeout=STOP_TIMEOUT)
        if process_start_time(pid) is not None:
            foreign.end(pid)

    def retire_foreign(self, pid: int, seconds: int) -> None:
        """Ask it to end when its connections have, and keep its unit from the next boot and from starting it again.

        HAProxy tells systemd that it is stopping, and that begins the time a stop may take.
        """
        name = systemd_unit(pid)
        state = None if name is None else _state_of_main(pid, name)
        if state == _ENDS_ALREADY:
            return
        if name is not None and state is not None:
            _tolerant("disable", name, "--no-reload", "--quiet")
            text = f"[Service]\nRestart=no\nTimeoutStopSec={seconds}\n"
            make_directory(RUNTIME_DIRECTORY / f"{name}.d")
            write_volatile(RUNTIME_DIRECTORY / f"{name}.d" / RETIRED, text.encode(), 0o644)
            commands.check(("systemctl", "daemon-reload"), timeout=START_TIMEOUT)
        signals.send(pid, SIGUSR1)

    def main_pid(self, unit: Unit) -> int | None:
        """Return the unit's main process, ready or not yet; None while there is none, as between two restarts."""
        pid, started = self._active.get(unit.name, (0, 0))
        if started and process_start_time(pid) == started:
            return pid
        self._active.pop(unit.name, None)
        text = commands.check(("systemctl", "show", "--property=MainPID,ActiveState", unit.name), timeout=QUERY_TIMEOUT)
        fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        shown, state = fields.get("MainPID", "0"), fields.get("ActiveState")
        if not shown.isdigit() or shown == "0" or state in {"inactive", "failed"}:
            return None
        pid, started = int(shown), process_start_time(int(shown)) or 0
        if started and state == "active":
            self._active[unit.name] = pid, started
        return pid

    def adopt(self, unit: Unit) -> int | None:
        """Return the unit's main process; a unit is given no other one from outside."""
        return self.main_pid(unit)

    def log_tail(self, unit: Unit) -> str:
        """Return the unit's last lines in the journal."""
        argv = ("journalctl", "--unit", unit.name, "--lines", LOG_LINES, "--output", "cat", "--no-pager", "--quiet")
        try:
            return commands.check(argv, timeout=QUERY_TIMEOUT)
        except HostFailure as error:
            LOG.debug("cannot read the journal unit=%s: %s", unit.name, error.detail)
            return ""


def make_namespace(path: Path) -> None:
    """Have systemd run `ip netns add`, for an agent in a mount namespace of its own.

    What such an agent mounts, no other unit would see.

    Args:
        path: in the directory of iproute2, and no namespace yet; a plain file there is removed.

    Raises:
        HostFailure: systemd could not run it.
    """
    # Done when it is started: to wait for more, systemd-run wants a D-Bus daemon, which an image need not have.
    argv = ("systemd-run", "--quiet", "--collect", "--property=Type=oneshot", "--", "ip", "netns", "add", path.name)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise HostFailure(f"cannot remove {path}", error.strerror or str(error)) from error
    commands.check(argv, timeout=QUERY_TIMEOUT)


def outliving(description: str) -> tuple[str, ...]:
    """Return what to put before a command so that its processes are no part of the caller's unit.

    Without it a daemon dies when the unit that started it is restarted. The command runs as before, in the caller's
    namespaces; only its control group is another one. Nothing where systemd does not run.

    Args:
        description: what systemctl shows for the scope.

    Source: systemd-run(1), `--scope`.
    """
    return (
        ("systemd-run", "--scope", "--quiet", "--collect", f"--description={description}", "--") if is_booted() else ()
    )


def _state_of_main(pid: int, name: str) -> str | None:
    """Return the state of a unit, None when the process is not the main one of it."""
    done = commands.run(("systemctl", "show", "--property=MainPID,ActiveState", name), timeout=QUERY_TIMEOUT)
    fields = dict(line.split("=", 1) for line in done.output.splitlines() if "=" in line)
    return fields.get("ActiveState") if done.code == 0 and fields.get("MainPID") == str(pid) else None


def _systemctl(verb: str, unit: str, *options: str, timeout: float) -> None:
    done = commands.run(("systemctl", verb, *options, unit), timeout=timeout)
    if done.code != 0 and _ALREADY not in done.output:
        raise HostFailure(f"cannot {verb} {unit}", done.output.strip() or f"systemctl ended with {done.code}")


def _tolerant(verb: str, unit: str, *options: str) -> None:
    """Run a verb that may name an unknown unit; other failures are logged."""
    done = commands.run(("systemctl", verb, *options, unit), timeout=QUERY_TIMEOUT)
    if done.code != 0 and not any(words in done.output for words in _UNKNOWN):
        LOG.warning("cannot %s unit=%s: %s", verb, unit, done.output.strip())
