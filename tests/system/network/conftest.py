"""A machine of its own for each test: network namespace, files, and NICs whose other ends the test holds."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from amphora_agent.api.app import create_app
from amphora_agent.core.paths import NETNS_DIR, Paths, paths_of
from amphora_agent.core.settings import Topology
from amphora_agent.host.network import netns
from amphora_agent.host.settings_file import SettingsFile
from amphora_agent.host.supervisor.direct import DirectSupervisor
from amphora_agent.operations.amphora import Amphora
from amphora_agent.operations.network import advertisements
from testbed.namespaces import Namespace

CLONE_NEWNET = 0x40000000
MNT_DETACH = 2
LIBC = ctypes.CDLL(None, use_errno=True)
VIP_MAC = "fa:16:3e:00:00:01"
MEMBER_MAC = "fa:16:3e:00:00:02"


def run(*argv: str) -> str:
    """Run a command that must succeed, in the thread's namespace, and return its output."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


def client(machine: Machine) -> FlaskClient:
    """Return a client of the machine's API, without the network between."""
    return create_app(machine.amphora).test_client()


@dataclass(frozen=True, slots=True)
class Machine:
    """An amphora's machine; `outside` is a namespace with the other ends of its NICs."""

    amphora: Amphora
    outside: Path

    @property
    def paths(self) -> Paths:
        """Its files."""
        return self.amphora.paths

    @property
    def config(self) -> Path:
        """Its configuration file."""
        return self.amphora.settings_file.path

    def add_nic(self, name: str, mac: str) -> str:
        """Attach a NIC; return the name of its other end, which is up."""
        peer = f"{name}-peer"
        run("ip", "link", "add", name, "address", mac, "type", "veth", "peer", "name", peer)
        run("ip", "link", "set", peer, "netns", str(self.outside))
        self.outside_run("ip", "link", "set", peer, "up")
        return peer

    def reboot(self, nics: list[tuple[str, str]]) -> None:
        """Lose the namespace with all that is in it, and attach NICs anew in this order."""
        for name in [link["ifname"] for link in self.inside_json("link") if link["ifname"] != "lo"]:
            self.inside_run("ip", "link", "del", name)
        assert LIBC.umount2(bytes(self.paths.netns), MNT_DETACH) == 0
        self.paths.netns.unlink()
        for name, mac in nics:
            self.add_nic(name, mac)

    def inside_run(self, *argv: str) -> str:
        """Run a command in the amphora's namespace."""
        return netns.inside(self.paths.netns, lambda: run(*argv))

    def outside_run(self, *argv: str) -> str:
        """Run a command where the other ends are."""
        return netns.inside(self.outside, lambda: run(*argv))

    def inside_json(self, *argv: str) -> Any:
        """Return what `ip -j ...` prints in the amphora's namespace."""
        return json.loads(self.inside_run("ip", "-j", *argv) or "[]")

    def addresses(self, name: str) -> set[str]:
        """Return an interface's addresses without IPv6 link-local ones."""
        (link,) = self.inside_json("addr", "show", "dev", name)
        found = {ip_interface(f"{a['local']}/{a['prefixlen']}") for a in link["addr_info"] if a}
        return {str(address) for address in found if address.version == 4 or not address.is_link_local}

    def routes(self, name: str, table: str = "main") -> set[str]:
        """Return an interface's routes as `ip route` writes them, without counters and the link-local one."""
        every = [self.inside_run("ip", family, "route", "show", "table", "all") for family in ("-4", "-6")]
        found = set()
        for line in "\n".join(every).splitlines():
            words = line.replace("pref medium", "").split()
            in_table = words[words.index("table") + 1] if "table" in words else "main"
            if f"dev {name}" not in " ".join(words) or in_table != table or words[0].startswith(("fe80", "ff00")):
                continue
            found.add(" ".join(words).replace(f" dev {name}", "").replace(f" table {table}", ""))
        return found

    def rules(self) -> set[str]:
        """Return the rules of both families with a source."""
        lines = (self.inside_run("ip", "rule") + self.inside_run("ip", "-6", "rule")).splitlines()
        return {" ".join(line.split()) for line in lines if "from all" not in line}


MakeMachine = Callable[[Topology], Machine]


@pytest.fixture
def make_machine(tmp_path: Path) -> Iterator[MakeMachine]:
    """Give the test a machine without any NIC but `lo`; the test's own thread is in its initial namespace."""
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")
    name = f"amphora-{uuid.uuid4().hex[:8]}"
    outside = NETNS_DIR / f"{name}-outside"
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    assert LIBC.unshare(CLONE_NEWNET) == 0
    try:
        run("ip", "link", "set", "lo", "up")
        netns.ensure(outside)
        yield lambda topology: Machine(_amphora(tmp_path, name, topology), outside)
    finally:
        LIBC.setns(home, CLONE_NEWNET)
        os.close(home)
        for path in (outside, NETNS_DIR / name):
            Namespace(path.name, path.parent).kill_all()  # a DHCP client stays, as it does when the agent ends
            LIBC.umount2(bytes(path), MNT_DETACH)
            path.unlink(missing_ok=True)


def _amphora(root: Path, name: str, topology: Topology) -> Amphora:
    config = root / "amphora-agent.conf"
    config.write_text(
        f"""[haproxy_amphora]
base_path = {root}/octavia
base_cert_dir = {root}/octavia/certs
[amphora_agent]
agent_server_network_dir = {root}/interfaces
agent_server_cert = {root}/server.pem
agent_server_ca = {root}/client_ca.pem
netns = {name}
[controller_worker]
loadbalancer_topology = {topology.value}
""",
        encoding="utf-8",
    )
    settings_file = SettingsFile(config)
    paths = paths_of(settings_file.current())
    paths.base.mkdir(exist_ok=True)
    amphora = Amphora(
        settings_file=settings_file,
        started=settings_file.current(),
        paths=paths,
        supervisor=DirectSupervisor(paths.agent / "units"),
    )
    amphora.watchers.start(advertisements.WATCHER, partial(amphora.advertisements.send_due, paths.netns))
    return amphora


@pytest.fixture
def machine(make_machine: MakeMachine) -> Machine:
    """Give the test a machine with the topology SINGLE."""
    return make_machine(Topology.SINGLE)
