"""Everything the doctor wants to know, at one moment. Never fails: what cannot be seen is left out and named."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from amphora_agent.core.doctor.facts import Facts
from amphora_agent.core.paths import paths_of
from amphora_agent.core.settings import Settings, parse_settings
from amphora_agent.errors import AgentError, HostFailure
from amphora_agent.host import files
from amphora_agent.host.doctor import certificates, haproxy, machine, network
from amphora_agent.host.haproxy.binary import installed_version

Seen = TypeVar("Seen")


@dataclass(frozen=True, slots=True)
class _Looker:
    unseen: list[str] = field(default_factory=list)

    def at(self, what: str, look: Callable[[], Seen], otherwise: Seen) -> Seen:
        """Return what there is to see; what cannot be looked at is noted."""
        try:
            return look()
        except (AgentError, OSError, ValueError) as error:
            reason = error.detail if isinstance(error, AgentError) else str(error)
            self.unseen.append(f"{what}: {reason or error}")
            return otherwise


def read_settings(config_file: Path) -> tuple[Settings, str]:
    """Return the agent's settings, or the default ones and what is wrong with the file."""
    try:
        data = files.read_optional(config_file)
        if data is None:
            return Settings(), f"there is no {config_file}"
        return parse_settings(data.decode("utf-8")), ""
    except UnicodeDecodeError:
        return Settings(), f"{config_file} is no UTF-8"
    except AgentError as error:
        return Settings(), f"{config_file}: {error.detail}" if isinstance(error, HostFailure) else error.detail


def observe(config_file: Path, agent_trouble: str) -> Facts:
    """Return all that is seen of the amphora.

    Args:
        config_file: the agent's; it says where everything else is.
        agent_trouble: why the agent does not answer, empty when it does.
    """
    settings, settings_trouble = read_settings(config_file)
    paths = paths_of(settings)
    look = _Looker()
    return Facts(
        now=time.time(),
        settings=settings,
        settings_trouble=settings_trouble,
        agent_trouble=agent_trouble,
        file_systems=look.at("the file systems", lambda: tuple(machine.file_systems(paths)), ()),
        network=look.at("the namespace", lambda: network.observe(paths), None),
        heartbeat_troubles=look.at("the processes", lambda: machine.heartbeat_troubles(paths, config_file), None),
        haproxies=look.at("HAProxy", lambda: tuple(haproxy.observe(paths)), ()),
        haproxy_version=look.at("HAProxy's version", lambda: installed_version(settings.haproxy_cmd), None),
        available_memory=look.at("the memory", machine.available_memory, None),
        certificates=look.at("the certificates", lambda: tuple(certificates.observe(settings, paths)), ()),
        vrrp=look.at("keepalived", lambda: machine.vrrp(paths), None),
        lvs=look.at("UDP and SCTP listeners", lambda: machine.lvs(paths), {}),
        failed_units=look.at("the units", machine.failed_units, ()),
        unseen=tuple(look.unseen),
    )
