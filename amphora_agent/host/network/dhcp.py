"""Addresses from outside: the DHCP client and router advertisements of one interface, in the thread's namespace."""

from __future__ import annotations

import logging
import os
import re
import signal
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from amphora_agent.errors import HostFailure
from amphora_agent.host import commands, files, signals
from amphora_agent.host.deadline import Deadline
from amphora_agent.host.network import netns
from amphora_agent.host.supervisor import systemd

LOG = logging.getLogger(__name__)

# The address is all that is taken from the server: gateways and routes come from the controller, and the machine's
# resolver belongs to the management network.
# A request that is lost, because the port has just been attached, is repeated after a second. Source: dhclient.conf(5).
_CONFIG = b"request subnet-mask, broadcast-address;\ninitial-interval 1;\nbackoff-cutoff 15;\nretry 30;\n"
# dhclient's own script would obey the routers and resolvers that a server sends unasked. Source: dhclient-script(8).
_SCRIPT = b"""\
#!/bin/sh
case "$reason" in
PREINIT)
    ip link set dev "$interface" up ;;
BOUND | RENEW | REBIND | REBOOT)
    lease=${new_dhcp_lease_time:-forever}
    ip -4 addr replace "$new_ip_address/$new_subnet_mask" dev "$interface" valid_lft "$lease" preferred_lft "$lease"
    if [ -n "$old_ip_address" ] && [ "$old_ip_address" != "$new_ip_address" ]; then
        ip -4 addr del "$old_ip_address/$old_subnet_mask" dev "$interface"
    fi ;;
EXPIRE | FAIL | RELEASE | STOP)
    if [ -n "$old_ip_address" ]; then
        ip -4 addr del "$old_ip_address/$old_subnet_mask" dev "$interface"
    fi ;;
TIMEOUT)
    exit 1 ;;
esac
exit 0
"""
_START_TIMEOUT = 5.0
_STOP_TIMEOUT = 2.0
_POLL = 0.01
_FIXED_ADDRESS = re.compile(rb"^[ \t]*fixed-address (\d{1,3}(?:\.\d{1,3}){3});", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class DhcpClient:
    """The dhclient(8) of one interface, with a lease file and a pid file of its own."""

    interface: str
    leases: Path
    pid_file: Path

    def is_running(self) -> bool:
        """Tell whether the client serves the interface, and in the calling thread's namespace."""
        return self._pid() is not None

    def start(self) -> None:
        """Start the client unless it runs; it goes on asking in the background.

        Raises:
            HostFailure: it cannot be started.
        """
        if self.is_running():
            return
        files.make_directory(self.leases.parent)
        files.make_directory(self.pid_file.parent)
        files.write_atomic(self._config, _CONFIG, 0o644)
        files.write_atomic(self._script, _SCRIPT, 0o755)
        prefix = systemd.outliving(f"DHCP client of {self.interface}")
        commands.check([*prefix, "dhclient", "-nw", *self.files(), self.interface])
        # It writes its pid when it is in the background already.
        if not any(self.is_running() for _ in Deadline.after(_START_TIMEOUT).attempts(_POLL)):
            raise HostFailure("cannot start dhclient", f"no process after {_START_TIMEOUT:g} s")

    def release(self) -> None:
        """Give the lease back and end the client.

        Raises:
            HostFailure: the client cannot be run.
        """
        commands.check(["dhclient", "-r", *self.files(), self.interface])

    def stop(self) -> None:
        """End the client, whatever its namespace, and wait until it has; none is fine.

        It neither gives the lease back nor takes the address away. Returns with a warning when it does not end.

        Raises:
            HostFailure: it cannot be signalled.
        """
        pid = self._recorded_pid()
        if pid is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._is_client(pid):
                signals.send(pid, number)
            if any(not self._is_client(pid) for _ in Deadline.after(_STOP_TIMEOUT).attempts(_POLL)):
                return
        LOG.warning("cannot end the DHCP client ifname=%s pid=%s", self.interface, pid)

    def leased(self) -> frozenset[IPv4Address]:
        """Return every address the lease file names; with an endless lease it looks static to the kernel."""
        data = files.read_optional(self.leases) or b""
        return frozenset(IPv4Address(match.decode()) for match in _FIXED_ADDRESS.findall(data))

    @property
    def _config(self) -> Path:
        return self.leases.with_suffix(".conf")

    @property
    def _script(self) -> Path:
        return self.leases.with_suffix(".script")

    def files(self) -> tuple[str, ...]:
        """Return the options that name its files; etc/apparmor.d/local/sbin.dhclient allows what they say."""
        files_of = (("-cf", self._config), ("-sf", self._script), ("-lf", self.leases), ("-pf", self.pid_file))
        return tuple(str(word) for pair in files_of for word in pair)

    def _pid(self) -> int | None:
        pid = self._recorded_pid()
        if pid is None or not self._is_client(pid) or not netns.is_beside(pid):
            return None
        return pid

    def _recorded_pid(self) -> int | None:
        text = (files.read_optional(self.pid_file) or b"").strip()
        return int(text) if re.fullmatch(rb"[1-9]\d{0,9}", text) else None

    def _is_client(self, pid: int) -> bool:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return Path(os.fsdecode(words[0])).name == "dhclient" and os.fsencode(self.interface) in words


def slaac_is_enabled(interface: str) -> bool:
    """Tell whether the interface, or one by `default`, takes router advertisements although the namespace forwards."""
    place = f"net/ipv6/conf/{interface}"
    return netns.read_sysctl(f"{place}/accept_ra") == "2" and netns.read_sysctl(f"{place}/autoconf") == "1"


def enable_slaac(interface: str) -> None:
    """Take router advertisements; 2 because the namespace forwards.

    `accept_ra` is set last here and first in `disable_slaac`: a crash in between leaves them off.
    """
    for option, value in (("autoconf", "1"), ("accept_ra", "2")):
        netns.write_sysctl(f"net/ipv6/conf/{interface}/{option}", value)


def disable_slaac(interface: str) -> None:
    """Take no router advertisements any more."""
    for option in ("accept_ra", "autoconf"):
        netns.write_sysctl(f"net/ipv6/conf/{interface}/{option}", "0")
