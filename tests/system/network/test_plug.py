"""Plug requests against a real kernel: names, addresses, routes, rules, and what is on disk."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from amphora_agent.core.settings import Topology
from amphora_agent.operations.network import interfaces
from tests.system.network.conftest import MEMBER_MAC, VIP_MAC, Machine, MakeMachine, client

SAMPLES = Path(__file__).parents[3] / "testbed" / "samples" / "requests"
PLUG_VIP: dict[str, Any] = {
    "subnet_cidr": "10.9.0.0/24",
    "gateway": "10.9.0.1",
    "mac_address": VIP_MAC,
    "vrrp_ip": "10.9.0.9",
    "mtu": 1450,
    "host_routes": [{"destination": "203.0.113.0/24", "nexthop": "10.9.0.7"}],
    "additional_vips": [],
    "is_sriov": False,
}
PLUG_NETWORK: dict[str, Any] = {
    "mac_address": MEMBER_MAC,
    "fixed_ips": [
        {"ip_address": "10.20.0.5", "subnet_cidr": "10.20.0.0/24", "host_routes": [], "gateway": "10.20.0.1"}
    ],
    "mtu": 1450,
    "is_sriov": False,
}


def test_vip_single(machine: Machine) -> None:
    machine.add_nic("ens5", VIP_MAC)
    answer = client(machine).post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP)
    assert (answer.status_code, answer.json) == (
        202,
        {"message": "OK", "details": "VIPs plugged on interface eth1: 10.9.0.5"},
    )
    assert machine.addresses("eth1") == {"10.9.0.9/24", "10.9.0.5/32"}
    assert machine.routes("eth1") == {
        "default via 10.9.0.1 proto static onlink",
        "203.0.113.0/24 via 10.9.0.7 proto static onlink",
        "10.9.0.0/24 proto kernel scope link src 10.9.0.9",
    }
    assert machine.routes("eth1", "1") == {
        "default via 10.9.0.1 proto static onlink",
        "203.0.113.0/24 via 10.9.0.7 proto static onlink",
        "10.9.0.0/24 proto static scope link src 10.9.0.5",
    }
    assert machine.rules() == {"32000: from 10.9.0.5 lookup 1 proto static"}
    assert machine.inside_json("link", "show", "eth1")[0]["mtu"] == 1450
    assert machine.paths.plugged_interfaces.read_text() == f"{VIP_MAC} eth1\n"
    assert json.loads(machine.paths.interface("eth1").read_bytes())["if_type"] == "vip"


def test_vip_twice_is_a_conflict_that_changes_nothing(machine: Machine) -> None:
    machine.add_nic("ens5", VIP_MAC)
    agent = client(machine)
    assert agent.post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP).status_code == 202
    before = machine.inside_run("ip", "addr"), machine.routes("eth1"), machine.routes("eth1", "1")
    answer = agent.post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP)
    assert answer.status_code == 409
    assert answer.json == {"message": "Interface already exists", "details": ""}
    assert before == (machine.inside_run("ip", "addr"), machine.routes("eth1"), machine.routes("eth1", "1"))


def test_vip_active_standby_leaves_the_vip_to_keepalived(make_machine: MakeMachine) -> None:
    machine = make_machine(Topology.ACTIVE_STANDBY)
    machine.add_nic("ens5", VIP_MAC)
    assert client(machine).post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP).status_code == 202
    assert machine.addresses("eth1") == {"10.9.0.9/24"}
    assert machine.routes("eth1", "1") == {"203.0.113.0/24 via 10.9.0.7 proto static onlink"}
    assert machine.rules() == set()


def test_vip_ipv6(machine: Machine) -> None:
    machine.add_nic("ens5", VIP_MAC)
    body = PLUG_VIP | {
        "subnet_cidr": "2001:db8:10::/64",
        "gateway": "2001:db8:10::1",
        "vrrp_ip": "2001:db8:10::9",
        "host_routes": [],
    }
    answer = client(machine).post("/1.0/plug/vip/2001:db8:10::5", json=body)
    assert answer.json == {
        "message": "OK",
        "details": "VIPs plugged on interface eth1: 2001:0db8:0010:0000:0000:0000:0000:0005",
    }
    assert machine.addresses("eth1") == {"2001:db8:10::9/64", "2001:db8:10::5/128"}
    assert "2001:db8:10::/64 src 2001:db8:10::5 proto static metric 1024" in {
        line.replace("proto static src 2001:db8:10::5", "src 2001:db8:10::5 proto static")
        for line in machine.routes("eth1", "1")
    }
    assert any(rule.startswith("32000: from 2001:db8:10::5 lookup 1") for rule in machine.rules())
    (link,) = machine.inside_json("-6", "addr", "show", "dev", "eth1")
    assert not any(address.get("tentative") for address in link["addr_info"] if address["scope"] == "global")
    assert any(address["scope"] == "link" for address in link["addr_info"])


def test_network_gets_the_first_free_name(machine: Machine) -> None:
    machine.add_nic("ens6", MEMBER_MAC)
    answer = client(machine).post("/1.0/plug/network", json=PLUG_NETWORK)
    assert (answer.status_code, answer.json) == (
        202,
        {"message": "OK", "details": "Plugged on interface eth2"},
    )
    assert machine.addresses("eth2") == {"10.20.0.5/24"}
    assert machine.routes("eth2") == {"10.20.0.0/24 proto kernel scope link src 10.20.0.5"}
    again = client(machine).post("/1.0/plug/network", json=PLUG_NETWORK)
    assert again.json == {"message": "OK", "details": "Updated existing interface eth2"}


def test_interface_of_an_address(machine: Machine) -> None:
    machine.add_nic("ens5", VIP_MAC)
    agent = client(machine)
    missing = agent.get("/1.0/interface/10.9.0.9")
    assert missing.status_code == 404
    assert (missing.json or {})["message"] == "Error interface not found for IP address"
    assert agent.post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP).status_code == 202
    assert agent.get("/1.0/interface/10.9.0.9").json == {"message": "OK", "interface": "eth1"}
    wrong = agent.get("/1.0/interface/banana")
    assert (wrong.status_code, (wrong.json or {})["message"]) == (400, "Invalid IP address")


def test_no_nic_is_the_sentence_the_controller_waits_for(machine: Machine) -> None:
    answer = client(machine).post("/1.0/plug/network", json=PLUG_NETWORK)
    assert answer.status_code == 404
    assert (answer.json or {})["details"] == "No suitable network interface found"
    assert not list(machine.paths.interfaces.glob("eth*"))


@pytest.mark.parametrize("name", ["eth2", "eth1", "ens9"])
def test_reboot_finds_nics_by_mac(machine: Machine, name: str) -> None:
    machine.add_nic("ens5", VIP_MAC)
    machine.add_nic("ens6", MEMBER_MAC)
    agent = client(machine)
    assert agent.post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP).status_code == 202
    assert agent.post("/1.0/plug/network", json=PLUG_NETWORK).status_code == 202
    machine.reboot([(name, VIP_MAC), ("eth7", MEMBER_MAC)])
    with machine.amphora.changing() as change:
        interfaces.bring_up_all(change)
    assert machine.addresses("eth1") == {"10.9.0.9/24", "10.9.0.5/32"}
    assert machine.addresses("eth2") == {"10.20.0.5/24"}
    assert machine.rules() == {"32000: from 10.9.0.5 lookup 1 proto static"}


def sample(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((SAMPLES / name).read_bytes())
    return body


@pytest.mark.parametrize("topology", list(Topology))
@pytest.mark.parametrize("name", ["plug-vip.json", "plug-vip-dual-stack.json", "plug-vip-sriov.json"])
def test_the_controller_s_own_requests(make_machine: MakeMachine, name: str, topology: Topology) -> None:
    machine = make_machine(topology)
    machine.add_nic("ens5", "fa:16:3e:00:00:01")
    machine.add_nic("ens6", "fa:16:3e:00:00:02")
    agent = client(machine)
    for request in (sample(name), sample("plug-network.json")):
        assert agent.post(f"/1.0/{request['path']}", json=request["body"]).status_code == 202
    before = machine.addresses("eth1"), machine.routes("eth1", "1"), machine.rules()
    replug = sample("plug-network-replug-vrrp-port.json")
    assert agent.post(f"/1.0/{replug['path']}", json=replug["body"]).status_code == 202
    assert machine.addresses("eth1") == before[0] | {"10.20.0.6/24"}
    assert machine.rules() == before[2]
    assert machine.addresses("eth2") == {"10.20.0.5/24"}


def test_an_address_that_another_machine_has_is_reported_and_not_waited_for(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    peer = machine.add_nic("ens6", MEMBER_MAC)
    machine.outside_run("ip", "-6", "addr", "add", "2001:db8:20::5/64", "dev", peer, "nodad")
    fixed: dict[str, Any] = {
        "ip_address": "2001:db8:20::5",
        "subnet_cidr": "2001:db8:20::/64",
        "host_routes": [],
        "gateway": None,
    }
    started = time.monotonic()
    answer = client(machine).post("/1.0/plug/network", json=PLUG_NETWORK | {"fixed_ips": [fixed]})
    assert answer.status_code == 202
    assert time.monotonic() - started < 15
    assert "another machine has the address: 2001:db8:20::5/64" in caplog.text


@pytest.mark.hardening("D23")
def test_many_subnets_with_many_routes_are_plugged_whole(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    machine.add_nic("ens6", MEMBER_MAC)
    fixed: list[dict[str, Any]] = [
        {
            "ip_address": f"10.30.{subnet}.5",
            "subnet_cidr": f"10.30.{subnet}.0/24",
            "gateway": None,
            "host_routes": [
                {"destination": f"10.{100 + subnet}.{number}.0/24", "nexthop": f"10.30.{subnet}.1"}
                for number in range(100)
            ],
        }
        for subnet in range(64)
    ]
    # One the kernel refuses, in the middle of the others.
    fixed[30]["host_routes"][50] = {"destination": "10.99.0.0/24", "nexthop": "127.0.0.1"}
    assert client(machine).post("/1.0/plug/network", json=PLUG_NETWORK | {"fixed_ips": fixed}).status_code == 202
    routes = machine.routes("eth2")
    assert len([route for route in routes if " via " in route]) == 64 * 100 - 1
    assert len(machine.addresses("eth2")) == 64
    assert caplog.text.count("cannot perform") == 1


def test_networks_larger_and_smaller_than_24_bits(machine: Machine) -> None:
    machine.add_nic("ens6", MEMBER_MAC)
    subnets = {"10.16.0.5": "10.16.0.0/20", "10.32.0.5": "10.32.0.5/32", "10.48.0.5": "10.48.0.4/30"}
    fixed: list[dict[str, Any]] = [
        {"ip_address": ip, "subnet_cidr": subnet, "host_routes": [], "gateway": None} for ip, subnet in subnets.items()
    ]
    assert client(machine).post("/1.0/plug/network", json=PLUG_NETWORK | {"fixed_ips": fixed}).status_code == 202
    assert machine.addresses("eth2") == {"10.16.0.5/20", "10.32.0.5/32", "10.48.0.5/30"}
