"""Addresses from a real DHCP client and from router advertisements."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv6Network
from pathlib import Path

import pytest

from amphora_agent.operations import interfaces
from amphora_agent.operations.reconcile import dhcp_client
from tests.system.network.conftest import MEMBER_MAC, VIP_MAC, Machine, client
from tests.system.network.neighbours import advertise_prefix, dhcp_server
from tests.system.network.test_plug import PLUG_NETWORK, PLUG_VIP

PREFIX = IPv6Network("2001:db8:77::/64")


@pytest.fixture
def clients_end(machine: Machine) -> Iterator[None]:
    yield
    for name in ("eth1", "eth2"):
        dhcp_client(machine.paths, name).stop()


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


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
    wait_until(lambda: len(machine.addresses("eth2")) == 2, "SLAAC")
    interfaces.bring_up_all(machine.amphora)
    assert len(machine.addresses("eth2")) == 2


@pytest.mark.usefixtures("clients_end")
def test_a_vip_port_without_an_address_of_its_own(machine: Machine) -> None:
    peer = machine.add_nic("ens5", VIP_MAC)
    machine.outside_run("ip", "addr", "add", "10.9.0.109/24", "dev", peer)
    body = {key: value for key, value in PLUG_VIP.items() if key != "vrrp_ip"}
    with dhcp_server(machine.outside, peer, "10.9.0.9"):
        assert client(machine).post("/1.0/plug/vip/10.9.0.5", json=body).status_code == 202
        assert machine.addresses("eth1") == {"10.9.0.9/24", "10.9.0.5/32"}
        interfaces.bring_up_all(machine.amphora)
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
        wait_until(lambda: not machine_sees(machine, dhcp.interface), "the client's end")
        interfaces.bring_up_all(machine.amphora)
        assert int(dhcp.pid_file.read_text()) != first
        assert machine.addresses("eth2") == {"10.20.0.1/24"}
        assert interfaces.bring_down(machine.paths, "eth2") == []
        assert 7 in seen, "no DHCPRELEASE"
    assert machine.addresses("eth2") == set()
    assert machine.inside_run("cat", "/proc/sys/net/ipv6/conf/eth2/accept_ra").strip() == "0"


def machine_sees(machine: Machine, name: str) -> bool:
    return name in machine.inside_run("sh", "-c", "ps -eo args | grep '[d]hclient' || true")


@pytest.mark.usefixtures("clients_end")
def test_from_automatic_to_fixed_and_back(machine: Machine) -> None:
    peer = machine.add_nic("ens6", MEMBER_MAC)
    machine.outside_run("ip", "addr", "add", "10.20.0.101/24", "dev", peer)
    agent = client(machine)
    assert agent.post("/1.0/plug/network", json=PLUG_NETWORK).status_code == 202
    with dhcp_server(machine.outside, peer, "10.20.0.1"):
        assert agent.post("/1.0/plug/network", json={"mac_address": MEMBER_MAC}).status_code == 202
        wait_until(lambda: machine.addresses("eth2") == {"10.20.0.1/24"}, "the lease")
        assert agent.post("/1.0/plug/network", json=PLUG_NETWORK).status_code == 202
        assert machine.addresses("eth2") == {"10.20.0.1/24", "10.20.0.5/24"}, "a lease is not ours to remove"


def test_no_server_does_not_fail_the_plug(machine: Machine) -> None:
    machine.add_nic("ens6", MEMBER_MAC)
    try:
        assert client(machine).post("/1.0/plug/network", json={"mac_address": MEMBER_MAC}).status_code == 202
        assert machine.addresses("eth2") == set()
    finally:
        dhcp_client(machine.paths, "eth2").stop()
