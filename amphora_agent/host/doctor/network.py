"""What the doctor sees of the namespace: devices, addresses, routes, rules, neighbours. Changes nothing."""

from __future__ import annotations

import contextlib
from pathlib import Path

from amphora_agent.core.doctor.facts import Network
from amphora_agent.core.network.interface_file import parse_interface
from amphora_agent.core.network.model import Interface
from amphora_agent.core.network.nic_list import parse_plugged
from amphora_agent.core.paths import Paths
from amphora_agent.errors import AgentError
from amphora_agent.host import files
from amphora_agent.host.network import netlink, netns
from amphora_agent.host.network.state import link_states

_CONNTRACK = "net/netfilter/nf_conntrack"
_ARP = Path("/proc/thread-self/net/arp")
# Source: linux/if_arp.h, ATF_COM: the address was resolved.
_RESOLVED = 0x02


def observe(paths: Paths) -> Network | None:
    """Return what there is, None without the namespace.

    Raises:
        HostFailure: we may not look.
    """
    if not netns.exists(paths.netns):
        return None
    plugged = parse_plugged(files.read_optional(paths.plugged_interfaces) or b"")
    desired = tuple(_interfaces(paths))
    outside = netlink.mac_addresses()

    def look() -> Network:
        with netlink.connect() as kernel:
            return Network(
                plugged=plugged,
                desired=desired,
                links=kernel.links(),
                states=link_states(),
                routes=kernel.routes(),
                rules=kernel.rules(),
                outside=outside,
                silent=_silent(),
                conntrack=_conntrack(),
            )

    return netns.inside(paths.netns, look)


def _interfaces(paths: Paths) -> list[Interface]:
    found: list[Interface] = []
    for path in sorted(paths.interfaces.glob("*.json")):
        with contextlib.suppress(AgentError):
            found.append(parse_interface(files.read_optional(path) or b""))
    return found


def _silent() -> frozenset[str]:
    """Return the neighbours that were asked for and did not answer. Source: proc_pid_net(5), arp."""
    try:
        rows = [line.split() for line in _ARP.read_text(encoding="ascii").splitlines()[1:]]
    except (OSError, UnicodeDecodeError):
        return frozenset()
    return frozenset(row[0] for row in rows if len(row) > 2 and not int(row[2], 16) & _RESOLVED)


def _conntrack() -> tuple[int, int] | None:
    numbers = [netns.read_sysctl(f"{_CONNTRACK}_{each}") or "" for each in ("count", "max")]
    return (int(numbers[0]), int(numbers[1])) if all(number.isdigit() for number in numbers) else None
