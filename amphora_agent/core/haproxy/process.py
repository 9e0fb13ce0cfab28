"""How HAProxy is started and what its master says of its workers. Builds and parses text; starts nothing.

Decision: everything we need from HAProxy beyond the controller's file stands in a second file of ours: an admin
socket (the controller's is `level user`), a bound on old workers, and `no strict-limits`, since a machine that cannot
raise the file limit must still start HAProxy (the systemd unit sets the real limit). The controller's file is
never altered for it. It costs one more small file per load balancer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from signal import SIGUSR2

from amphora_agent.core.haproxy.version import Version, parse_version
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.core.numbers import parse_number
from amphora_agent.core.paths import LoadBalancerPaths
from amphora_agent.core.settings import Settings
from amphora_agent.core.units import Unit

_UPTIME = re.compile(r"(\d{1,9})d(\d{1,9})h(\d{1,9})m(\d{1,9})s\Z", re.ASCII)
_FAILED = re.compile(r"\[failed:\s*(\d{1,18})\]", re.ASCII)
_BANNER = "haproxy version is"
_HAS_HTTP_CLIENT = Version(2, 6)


def agent_config(own: LoadBalancerPaths, settings: Settings, version: Version, group: str | None) -> str:
    """Return our own HAProxy file for one load balancer.

    Args:
        own: where the sockets go.
        settings: the bounds on old workers.
        version: of the installed binary.
        group: group of the workers, None where the image's own file names it.

    Source: HAProxy configuration guide, section 3.1: `stats socket`, `hard-stop-after`, `mworker-max-reloads`,
    `httpclient.ssl.verify`.
    """
    lines = ["global"]
    if group is not None:
        lines.append(f"    group {group}")
    if version >= _HAS_HTTP_CLIENT:
        # HAProxy's HTTP client loads every CA at start (20 ms); unused here.
        lines.append("    httpclient.ssl.verify none")
    lines += [
        "    no strict-limits",
        f"    stats socket {own.admin_socket} mode 600 level admin",
        f"    hard-stop-after {settings.hard_stop_after}s",
        f"    mworker-max-reloads {settings.max_old_workers}",
    ]
    return "\n".join(lines) + "\n"


def config_files(own: LoadBalancerPaths, controller_file: Path, group_file: Path | None) -> tuple[Path, ...]:
    """Return the files HAProxy reads, in order: the controller's, the image's group where there is one, ours."""
    group = () if group_file is None else (group_file,)
    return (controller_file, *group, own.agent_config)


def check_argv(command: str, files: Sequence[Path], peer: str) -> tuple[str, ...]:
    """Return the command that validates exactly what `haproxy_unit` would run."""
    return (command, "-c", "-L", peer, *_file_options(files))


def haproxy_unit(own: LoadBalancerPaths, network: Path, command: str, files: Sequence[Path], peer: str) -> Unit:
    """Return the process that serves one load balancer, in the network namespace `network`."""
    return Unit(
        name=unit_name(own.lb_id),
        argv=(command, "-Ws", *process_options(own, files), "-L", peer),
        netns=network,
        log=own.log,
        reload_signal=SIGUSR2,
    )


def unit_name(lb_id: LoadBalancerId) -> str:
    """Return the instance of the template unit."""
    return f"amphora-haproxy@{lb_id}.service"


def process_options(own: LoadBalancerPaths, files: Sequence[Path]) -> tuple[str, ...]:
    """Return what follows `-Ws`: files, pid file and master CLI."""
    return (
        *_file_options(files),
        "-p",
        str(own.pid),
        "-S",
        f"{own.master_socket},mode,600",
    )


def environment(own: LoadBalancerPaths, command: str, files: Sequence[Path], peer: str) -> str:
    """Return the EnvironmentFile of the template unit: HAPROXY, OPTIONS and PEER."""
    return f"HAPROXY={command}\nOPTIONS={' '.join(process_options(own, files))}\nPEER={peer}\n"


def environment_peer(text: str) -> str | None:
    """Return the PEER of an EnvironmentFile, None when it has none."""
    return next((line.removeprefix("PEER=") for line in text.split("\n") if line.startswith("PEER=")), None)


def _file_options(files: Sequence[Path]) -> tuple[str, ...]:
    return tuple(part for file in files for part in ("-f", str(file)))


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerProcess:
    """One HAProxy worker; `reloads` counts the reloads since it started, so the current one has 0."""

    pid: int
    reloads: int
    uptime: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """The master's view: `reloads` asked of it, how many of the last ones `failed` in a row, workers, old workers."""

    master_pid: int
    reloads: int
    failed: int
    workers: tuple[WorkerProcess, ...]
    old_workers: tuple[WorkerProcess, ...]

    @property
    def current_pids(self) -> frozenset[int]:
        """The workers that no reload has replaced."""
        return frozenset(worker.pid for worker in self.workers if worker.reloads == 0)

    @property
    def by_youth(self) -> tuple[int, ...]:
        """All workers, the likelier one to serve first; only asking tells which does.

        After failed reloads it is an old one: HAProxy 3.1 and later name no current one then.
        """
        return tuple(worker.pid for worker in (*self.workers, *sorted(self.old_workers, key=lambda one: one.reloads)))


class ReloadStage(Enum):
    """What has become of a reload."""

    UNDER_WAY = auto()
    FAILED = auto()
    SUCCEEDED = auto()
    MASTER_REPLACED = auto()


def reload_stage(before: Processes | None, now: Processes) -> ReloadStage:
    """Return how far the reload asked for after `before` is; the new worker may be silent yet when it has succeeded.

    Args:
        before: None when the master was silent: what it says at all, it says after the reload then.
        now: what it says now.
    """
    if before is None:
        return ReloadStage.FAILED if now.failed > 0 else ReloadStage.SUCCEEDED
    if now.master_pid != before.master_pid:
        return ReloadStage.MASTER_REPLACED
    if now.reloads <= before.reloads:
        return ReloadStage.UNDER_WAY
    return ReloadStage.FAILED if now.failed > 0 else ReloadStage.SUCCEEDED


@dataclass(frozen=True, slots=True)
class Info:
    """What a worker says of itself; `version` is that of the process, the binary on disk may be another.

    `is_stopping`: it was replaced and serves only the connections it has.
    """

    pid: int
    version: Version | None
    is_stopping: bool = False


def parse_info(text: str) -> Info | None:
    """Return what `show info` says, None when it is no such answer.

    Source: HAProxy management guide, section 9.3, "show info".
    """
    fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    pid = parse_number(fields.get("Pid", "").strip())
    is_stopping = fields.get("Stopping", "0").strip() not in {"", "0"}
    return None if pid is None else Info(pid, parse_version(text), is_stopping)


def parse_processes(text: str) -> Processes | None:
    """Return what `show proc` says, None when it is no such answer (the master is being replaced).

    A good reload moves the worker to "old workers". A failed one leaves it under "workers" with a positive count; from
    3.1 on it moves it to "old workers" as well, though it serves on, and names no worker at all.

    Source: HAProxy management guide, section 9.4; observed on 2.6, 3.0 and 3.2.
    """
    section = ""
    master: tuple[int, int, int] | None = None
    found: dict[str, list[WorkerProcess]] = {"workers": [], "old workers": []}
    for line in text.splitlines():
        fields = line.split()
        if line.startswith("#"):
            section = line[1:].strip()
        elif len(fields) >= 4:
            pid, reloads = parse_number(fields[0]), parse_number(fields[2])
            if pid is None or reloads is None:
                continue
            if fields[1] == "master":
                failed = _FAILED.search(line)
                master = (pid, reloads, int(failed[1]) if failed else 0)
            elif section in found:
                found[section].append(WorkerProcess(pid=pid, reloads=reloads, uptime=_seconds(fields[3])))
    if master is None:
        return None
    return Processes(
        master_pid=master[0],
        reloads=master[1],
        failed=master[2],
        workers=tuple(found["workers"]),
        old_workers=tuple(found["old workers"]),
    )


def _seconds(uptime: str) -> int:
    match = _UPTIME.match(uptime)
    if match is None:
        return 0
    days, hours, minutes, seconds = (int(part) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def last_words(log: str) -> str:
    """Return what HAProxy printed since it last read its configuration, without the lines every start prints."""
    lines = log.splitlines()
    reading = [number for number, line in enumerate(lines) if _BANNER in line]
    since = lines[reading[-1] :] if reading else lines
    return "\n".join(line for line in since if _BANNER not in line and "path to executable" not in line)
