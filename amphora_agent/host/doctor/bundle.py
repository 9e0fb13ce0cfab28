"""Reads what a bundle is made of: names of files, logs of our own units, HAProxy's counters. Everything is redacted."""

from __future__ import annotations

import contextlib
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from amphora_agent.core.doctor.facts import Facts
from amphora_agent.core.doctor.redaction import shown_configuration, shown_log, shown_settings
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.core.paths import LoadBalancerPaths, Paths, paths_of
from amphora_agent.errors import AgentError
from amphora_agent.host import files
from amphora_agent.host.commands import run
from amphora_agent.host.haproxy.socket import query
from amphora_agent.host.supervisor import systemd

_LOG_LINES = "2000"
_LOG_BYTES = 200_000
_TIMEOUT = 5.0
_OWN_UNITS = ("amphora-agent", "amphora-heartbeat", "amphora-netns", "prometheus-proxy")
_COMMANDS = {
    "versions.txt": (("uname", "-a"), ("haproxy", "-v"), ("keepalived", "--version"), ("python3", "--version")),
    "memory.txt": (("free", "-m"),),
    "disks.txt": (("df", "-h"), ("df", "-i")),
    "clock.txt": (("date", "-u", "+%FT%TZ"), ("uptime",)),
}
# Fields of `show info` that describe the process; none of them holds what a tenant wrote.
_INFO = re.compile(
    r"(?:Name|Version|Release_date|Nbthread|Pid|Uptime|Uptime_sec|Memmax_MB|PoolAlloc_MB|PoolUsed_MB|PoolFailed|Maxsock"
    r"|Maxconn|CurrConns|CumConns|CumReq|CurrSslConns|ConnRate|SessRate|SslRate|Tasks|Run_queue|Idle_pct|Stopping|Jobs"
    r"|Unstoppable Jobs|Listeners|ActivePeers|ConnectedPeers|DroppedLogs|BusyPolling|FailedResolutions): .*"
)
_VRRP_PASSWORD = re.compile(r"^\s*auth_pass\s+(\S+)", re.MULTILINE)


def collect(facts: Facts) -> Iterator[tuple[str, str]]:
    """Yield name -> text of every file of a bundle."""
    paths = paths_of(facts.settings)
    secrets = tuple(_secrets(facts, paths))
    yield "settings.txt", "".join(f"{name} = {value}\n" for name, value in shown_settings(facts.settings).items())
    yield "files.txt", "".join(f"{line}\n" for line in _listing(paths))
    for name, commands in _COMMANDS.items():
        yield name, "".join(_output(argv) for argv in commands)
    for each in facts.haproxies:
        yield from _of_haproxy(paths.loadbalancer(LoadBalancerId(each.loadbalancer)), secrets)
    for unit in _OWN_UNITS if systemd.is_booted() else ():
        argv = ("journalctl", "--unit", unit, "--lines", _LOG_LINES, "--output", "short-iso", "--no-pager", "--quiet")
        yield f"logs/{unit}.txt", shown_log(_output(argv), secrets)


def _secrets(facts: Facts, paths: Paths) -> Iterator[str]:
    """Yield what must not be quoted by a log: the key of the heartbeats and the password of VRRP."""
    if facts.settings.heartbeat_key:
        yield facts.settings.heartbeat_key
    with contextlib.suppress(AgentError):
        text = (files.read_optional(paths.vrrp.config) or b"").decode("utf-8", "replace")
        yield from _VRRP_PASSWORD.findall(text)


def _listing(paths: Paths) -> Iterator[str]:
    """Yield mode, size, time and name of every file of ours."""
    for top in (paths.base, paths.interfaces, paths.agent_cert.parent):
        for path in sorted(top.rglob("*")):
            with contextlib.suppress(OSError):
                found = path.lstat()
                yield f"{stat.filemode(found.st_mode)} {found.st_size:>10} {int(found.st_mtime)} {path}"


def _of_haproxy(own: LoadBalancerPaths, secrets: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    place = f"haproxy/{own.lb_id}"
    with contextlib.suppress(AgentError):
        yield f"{place}/haproxy.cfg", shown_configuration(_read(own.config))
    with contextlib.suppress(AgentError):
        yield f"{place}/haproxy-log.txt", shown_log(_read(own.log)[-_LOG_BYTES:], secrets)
    with contextlib.suppress(AgentError):
        lines = query(own.admin_socket, "show info", _TIMEOUT).decode("utf-8", "replace").splitlines()
        yield f"{place}/info.txt", "".join(f"{line}\n" for line in lines if _INFO.fullmatch(line))
    with contextlib.suppress(AgentError):
        yield f"{place}/processes.txt", query(own.master_socket, "show proc", _TIMEOUT).decode("utf-8", "replace")


def _read(path: Path) -> str:
    return (files.read_optional(path) or b"").decode("utf-8", "replace")


def _output(argv: tuple[str, ...]) -> str:
    """Return what a command printed; one that is not there is no reason to go without the rest."""
    try:
        return run(argv, timeout=_TIMEOUT).output
    except AgentError as error:
        return f"{error}\n"
