"""What the doctor sees of the machine: file systems, memory, units, and the processes around HAProxy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from amphora_agent.core.doctor.facts import FileSystem, Vrrp
from amphora_agent.core.ids import ListenerId, is_id
from amphora_agent.core.keepalived import lvs_config
from amphora_agent.core.keepalived.process import PROGRAM
from amphora_agent.core.keepalived.vrrp_config import peers, vips
from amphora_agent.core.paths import Paths
from amphora_agent.core.records import troubles
from amphora_agent.host import files, machine, procfs
from amphora_agent.host.commands import run
from amphora_agent.host.supervisor import systemd

_MOUNTS = Path("/proc/self/mountinfo")
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_HEARTBEAT_NAMES = ("amphora-hbeat", "amphora-heartbeat")
_UNITS = ("amphora-*", "octavia-*", "prometheus-proxy*", "certs-ramfs*", "haproxy*", "keepalived*")
_TIMEOUT = 2.0


def file_systems(paths: Paths) -> Iterator[FileSystem]:
    """Yield each file system that something of ours is on, once."""
    uses = {
        Path("/"): "the system",
        paths.base: "configurations",
        paths.certs: "certificates",
        paths.interfaces: "interfaces",
        Path("/var/log"): "logs",
        Path("/run"): "sockets",
        Path("/tmp"): "temporary files",  # noqa: S108 - looked at, never written to
    }
    kinds = _kinds()
    seen: set[int] = set()
    for path, use in uses.items():
        try:
            device, found = path.stat().st_dev, os.statvfs(path)
        except OSError:
            continue
        if device not in seen:
            seen.add(device)
            yield FileSystem(
                path=str(path),
                use=use,
                is_memory=kinds.get(f"{os.major(device)}:{os.minor(device)}") in _IN_MEMORY,
                size=found.f_blocks * found.f_frsize,
                free=found.f_bavail * found.f_frsize,
                files=found.f_files,
                free_files=found.f_favail,
            )


def _kinds() -> dict[str, str]:
    """Return the type of the file system of each device. Source: proc_pid_mountinfo(5), fields 3 and 9."""
    found: dict[str, str] = {}
    try:
        lines = _MOUNTS.read_text("utf-8", "replace").splitlines()
    except OSError:
        return found
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, rest = before.split(), after.split()
        if len(fields) > 2 and rest:
            found[fields[2]] = rest[0]
    return found


def available_memory() -> int:
    """Return how many bytes a new process could have."""
    return machine.memory().get("MemAvailable", 0) * 1024


def failed_units() -> tuple[str, ...]:
    """Return the units of an amphora that have failed; none where systemd does not run."""
    if not systemd.is_booted():
        return ()
    argv = ("systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager", *_UNITS)
    return tuple(line.split()[0] for line in run(argv, timeout=_TIMEOUT).output.splitlines() if line.strip())


def heartbeat_troubles(paths: Paths, config_file: Path) -> dict[str, str] | None:
    """Return what the heartbeat process says is wrong, None when it does not run.

    Raises:
        HostFailure: the processes cannot be listed.
    """
    if not any(_is_heartbeat(pid, str(config_file)) for pid in procfs.pids()):
        return None
    return dict(troubles.decode(files.read_optional(paths.heartbeat_troubles)) or {})


def _is_heartbeat(pid: int, config_file: str) -> bool:
    """Tell whether a process sends this amphora's heartbeats: as a command, or as the agent's companion."""
    is_one = any(procfs.is_program(pid, name) for name in _HEARTBEAT_NAMES)
    return is_one and any(word.endswith(config_file) for word in procfs.command_line(pid))


def vrrp(paths: Paths) -> Vrrp | None:
    """Return how keepalived's VRRP fares, None when none is configured."""
    own = paths.vrrp
    data = files.read_optional(own.config)
    if data is None:
        return None
    text = data.decode("utf-8", "replace")
    return Vrrp(
        is_running=procfs.running_pid(own.pid, PROGRAM, own.config) is not None,
        has_resigned=own.resigned.exists(),
        vips=vips(text),
        peers=peers(text),
    )


def lvs(paths: Paths) -> dict[str, bool]:
    """Return of each UDP and SCTP listener that was started and has something to serve whether its keepalived runs."""
    prefix, suffix = "octavia-keepalivedlvs-", ".conf"
    names = (
        path.name.removeprefix(prefix).removesuffix(suffix)
        for path in sorted(paths.lvs_directory.glob(f"{prefix}*{suffix}"))
    )
    found: dict[str, bool] = {}
    for name in names:
        if is_id(name):
            own = paths.lvs(ListenerId(name))
            text = (files.read_optional(own.config) or b"").decode("utf-8", "replace")
            if not own.pid.exists() or not lvs_config.parse(text).has_virtual_server:
                continue
            found[name] = procfs.running_pid(own.pid, PROGRAM, own.config) is not None
    return found
