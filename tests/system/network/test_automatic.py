"""Addresses from a real DHCP client and from router advertisements."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv6Network, ip_interface
from pathlib import Path

import pytest

from amphora_agent.core.network.model import StaticAddress
from amphora_agent.core.paths import paths_of
from amphora_agent.core.settings import Settings
from amphora_agent.host.network import netns
from amphora_agent.operations.network import interfaces, nic_watch, reconcile
from amphora_agent.operations.network.reconcile import dhcp_client
from testbed.waiting import wait_for
from tests.system.network.conftest import MEMBER_MAC, VIP_MAC, Machine, client
from tests.system.network.neighbours import advertise_prefix, dhcp_server
from tests.system.network.test_plug import PLUG_NETWORK, PLUG_VIP

PREFIX = IPv6Network("2001:db8:77::/64")


@pytest.fixture
def clients_end(machine: Machine) -> Iterator[None]:
    yield
    for name in ("eth1", "eth2"):
        dhcp_client(machine.paths, name).stop()


@pytest.mark.usefixtures("clients_end")
@pytest.mark.parametrize("lease", [3600, 0xFFFFFFFF])
def test_a_member_without_fixed_ips_asks_for_addresses(machine: Machine, lease: int) -> None:
    peer = machine.add_nic("ens6", MEMBER_MAC)
    machine.outside_run("ip", "addr", "add", "10.20.0.101/24", "dev", peer)
    resolver = Path("/etc/resolv.conf").read_bytes()
    with dhcp_server(machine.outside, peer, "10.20.0.1", lease) as seen:
        assert client(machine).post("/1.0/plug/network", json={"mac_address": MEMBER_MAC}).status_code == 202
        assert machine.addresses("eth2") == {"10.20.0.1/24"}
        asked = len(seen)
        for _ in range(2):
            assert client(machine).post("/1.0/plug/network", json={"mac_address": MEMBER_MAC}).status_code == 202
        assert machine.addresses("eth2") == {"10.20.0.1/24"}
        assert len(seen) == asked
    assert not any(route.startswith("default") for route in machine.routes("eth2"))
    assert Path("/etc/resolv.conf").read_bytes() == resolver
    advertise_prefix(machine.outside, peer, PREFIX)
    wait_for(lambda: len(machine.addresses("eth2")) == 2, "SLAAC")
    with machine.amphora.changing() as change:
        interfaces.bring_up_all(change)
    assert len(machine.addresses("eth2")) == 2


@pytest.mark.usefixtures("clients_end")
def test_a_vip_port_without_an_address_of_its_own(machine: Machine) -> None:
    peer = machine.add_nic("ens5", VIP_MAC)
    machine.outside_run("ip", "addr", "add", "10.9.0.109/24", "dev", peer)
    body = {key: value for key, value in PLUG_VIP.items() if key != "vrrp_ip"}
    with dhcp_server(machine.outside, peer, "10.9.0.9"):
        assert client(machine).post("/1.0/plug/vip/10.9.0.5", json=body).status_code == 202
        assert machine.addresses("eth1") == {"10.9.0.9/24", "10.9.0.5/32"}
        with machine.amphora.changing() as change:
            interfaces.bring_up_all(change)
        assert machine.addresses("eth1") == {"10.9.0.9/24", "10.9.0.5/32"}


@pytest.mark.usefixtures("clients_end")
def test_a_client_that_died_is_started_again_and_down_releases(machine: Machine) -> None:
    peer = machine.add_nic("ens6", MEMBER_MAC)
    machine.outside_run("ip", "addr", "add", "10.20.0.101/24", "dev", peer)
    dhcp = dhcp_client(machine.paths, "eth2")
    with dhcp_server(machine.outside, peer, "10.20.0.1") as seen:
        assert client(machine).post("/1.0/plug/network", json={"mac_address": MEMBER_MAC}).status_code == 202
        first = int(dhcp.pid_file.read_text())
        os.kill(first, 9)
        wait_for(lambda: not machine_sees(machine, dhcp.interface), "the client's end")
        with machine.amphora.changing() as change:
            interfaces.bring_up_all(change)
        assert int(dhcp.pid_file.read_text()) != first
        assert machine.addresses("eth2") == {"10.20.0.1/24"}
        assert interfaces.bring_down(machine.paths, "eth2") == []
        assert 7 in seen, "no DHCPRELEASE"
    assert machine.addresses("eth2") == set()
    assert machine.inside_run("cat", "/proc/sys/net/ipv6/conf/eth2/accept_ra").strip() == "0"


@pytest.mark.usefixtures("clients_end")
def test_no_request_waits_for_the_lease_of_a_late_nic(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    machine.add_nic("ens6", MEMBER_MAC)
    assert client(machine).post("/1.0/plug/network", json={"mac_address": MEMBER_MAC}).status_code == 202
    dhcp_client(machine.paths, "eth2").stop()
    machine.reboot([])
    with machine.amphora.changing() as change:
        interfaces.bring_up_all(change)
    caplog.clear()
    machine.amphora.watchers.start(nic_watch.WATCHER, nic_watch.NicWatcher(machine.amphora).look)
    machine.add_nic("ens7", MEMBER_MAC)
    dhcp = dhcp_client(machine.paths, "eth2")
    wait_for(lambda: netns.inside(machine.paths.netns, dhcp.is_running), "a DHCP client, which nobody answers")
    with machine.amphora.changing():
        assert "went on without a DHCP lease" not in caplog.text


def machine_sees(machine: Machine, name: str) -> bool:
    return name in machine.inside_run("sh", "-c", "ps -eo args | grep '[d]hclient' || true")


@pytest.mark.usefixtures("clients_end")
def test_from_fixed_to_automatic_and_back(machine: Machine) -> None:
    peer = machine.add_nic("ens6", MEMBER_MAC)
    machine.outside_run("ip", "addr", "add", "10.20.0.101/24", "dev", peer)
    agent = client(machine)
    assert agent.post("/1.0/plug/network", json=PLUG_NETWORK).status_code == 202
    fixed = automatic_state(machine)
    with dhcp_server(machine.outside, peer, "10.20.0.1"):
        for _ in range(2):
            assert agent.post("/1.0/plug/network", json={"mac_address": MEMBER_MAC}).status_code == 202
            wait_for(lambda: machine.addresses("eth2") == {"10.20.0.1/24"}, "the lease")
            advertise_prefix(machine.outside, peer, PREFIX)
            wait_for(lambda: len(machine.addresses("eth2")) == 2, "SLAAC")
            wait_for(lambda: any(" proto ra " in route for route in machine.routes("eth2")), "the router")
            assert automatic_state(machine) == ("2", True)
            assert agent.post("/1.0/plug/network", json=PLUG_NETWORK).status_code == 202
            assert machine.addresses("eth2") == {"10.20.0.5/24"}
            assert machine.routes("eth2") == FIXED_ROUTES
            assert automatic_state(machine) == ("0", False)
            advertise_prefix(machine.outside, peer, PREFIX)
            with machine.amphora.changing() as change:
                interfaces.bring_up_all(change)
            assert machine.addresses("eth2") == {"10.20.0.5/24"}
    assert fixed == ("1", False), "an interface that never was automatic keeps the kernel's settings"


FIXED_ROUTES = {"10.20.0.0/24 proto kernel scope link src 10.20.0.5"}


def automatic_state(machine: Machine) -> tuple[str, bool]:
    """Return accept_ra of the member interface, and whether it has a DHCP client."""
    accept_ra = machine.inside_run("cat", "/proc/sys/net/ipv6/conf/eth2/accept_ra").strip()
    return accept_ra, netns.inside(machine.paths.netns, dhcp_client(machine.paths, "eth2").is_running)


@pytest.mark.usefixtures("clients_end")
def test_automatic_addresses_that_become_fixed_are_permanent_and_never_away(machine: Machine) -> None:
    peer = machine.add_nic("ens6", MEMBER_MAC)
    machine.outside_run("ip", "addr", "add", "10.20.0.101/24", "dev", peer)
    agent = client(machine)
    with dhcp_server(machine.outside, peer, "10.20.0.5"):
        assert agent.post("/1.0/plug/network", json={"mac_address": MEMBER_MAC}).status_code == 202
        advertise_prefix(machine.outside, peer, PREFIX)
        wait_for(lambda: len(machine.addresses("eth2")) == 2, "SLAAC")
        (own,) = (address for address in machine.addresses("eth2") if ":" in address)
        six = {"ip_address": own.removesuffix("/64"), "subnet_cidr": str(PREFIX), "gateway": None}
        body = PLUG_NETWORK | {"fixed_ips": [*PLUG_NETWORK["fixed_ips"], PLUG_NETWORK["fixed_ips"][0] | six]}
        with watched_addresses(machine) as events:
            assert agent.post("/1.0/plug/network", json=body).status_code == 202
    assert "Deleted" not in events.read_text()
    (link,) = machine.inside_json("addr", "show", "dev", "eth2")
    assert all("dynamic" not in address and address["valid_life_time"] == 2**32 - 1 for address in link["addr_info"])
    assert machine.addresses("eth2") == {"10.20.0.5/24", own}
    assert machine.routes("eth2") == FIXED_ROUTES | {f"{PREFIX} proto kernel metric 256"}


def reports(machine: Machine, log: Path, address: str) -> bool:
    machine.inside_run("ip", "addr", "replace", address, "dev", "lo")
    return address in log.read_text()


@contextlib.contextmanager
def watched_addresses(machine: Machine) -> Iterator[Path]:
    """Write what happens to addresses of the amphora to a file, whole at the end."""
    log = machine.paths.base / "events"
    with log.open("wb") as output:
        argv = ["ip", "monitor", "address"]
        monitor = netns.inside(machine.paths.netns, lambda: subprocess.Popen(argv, stdout=output))
        try:
            wait_for(lambda: reports(machine, log, "127.9.9.8/32"), "the monitor")
            yield log
            wait_for(lambda: reports(machine, log, "127.9.9.9/32"), "the last event")
        finally:
            monitor.terminate()
            monitor.wait()


@pytest.mark.usefixtures("clients_end")
def test_what_a_crash_left_of_automatic_addresses_goes_at_the_next_start(machine: Machine) -> None:
    peer = machine.add_nic("ens6", MEMBER_MAC)
    machine.outside_run("ip", "addr", "add", "10.20.0.101/24", "dev", peer)
    agent = client(machine)
    with dhcp_server(machine.outside, peer, "10.20.0.1"):
        assert agent.post("/1.0/plug/network", json={"mac_address": MEMBER_MAC}).status_code == 202
        advertise_prefix(machine.outside, peer, PREFIX)
        wait_for(lambda: len(machine.addresses("eth2")) == 2, "SLAAC")
        desired = reconcile.load(machine.paths, "eth2")
        assert desired is not None
        reconcile.store(machine.paths, replace(desired, addresses=(StaticAddress(ip_interface("10.20.0.5/24")),)))
        dhcp_client(machine.paths, "eth2").stop()
        machine.inside_run("sysctl", "-qw", "net.ipv6.conf.eth2.accept_ra=0")
        assert len(machine.addresses("eth2")) == 2
        assert interfaces.bring_up_everything(machine.paths) == []
    assert machine.addresses("eth2") == {"10.20.0.5/24"}
    assert machine.routes("eth2") == FIXED_ROUTES


def test_no_server_does_not_fail_the_plug(machine: Machine) -> None:
    machine.add_nic("ens6", MEMBER_MAC)
    try:
        assert client(machine).post("/1.0/plug/network", json={"mac_address": MEMBER_MAC}).status_code == 202
        assert machine.addresses("eth2") == set()
    finally:
        dhcp_client(machine.paths, "eth2").stop()


def test_the_apparmor_profile_allows_every_file_of_the_dhcp_client() -> None:
    text = (Path(__file__).parents[3] / "etc/apparmor.d/local/sbin.dhclient").read_text()
    rules = re.findall(r"^(/\S+) (\w+),$", text, re.MULTILINE)
    # Of Debian's own profile.
    rules.append(("/run/dhclient*.pid", "lrw"))
    for name in ("amphora-haproxy", "another"):
        words = dhcp_client(paths_of(replace(Settings(), netns=name)), "eth2").files()
        for option, needed in (("-cf", "r"), ("-sf", "Uxr"), ("-lf", "lrw"), ("-pf", "lrw")):
            file = Path(words[words.index(option) + 1])
            assert [permissions for pattern, permissions in rules if file.match(pattern)] == [needed], file
