"""Re-plugs: changed addresses in place, member subnets behind the VIP's port, interrupted plugs, and other mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from amphora_agent.core.settings import Topology
from amphora_agent.operations.network import interfaces
from tests.system.network.conftest import MEMBER_MAC, VIP_MAC, Machine, MakeMachine, client
from tests.system.network.test_plug import PLUG_NETWORK, PLUG_VIP

SIX_VIP: dict[str, Any] = {
    "ip_address": "2001:db8:10::5",
    "subnet_cidr": "2001:db8:10::/64",
    "gateway": "2001:db8:10::1",
    "host_routes": [],
}
OWN_IP: dict[str, Any] = {
    "ip_address": "10.9.0.9",
    "subnet_cidr": "10.9.0.0/24",
    "host_routes": [],
    "gateway": "10.9.0.1",
}
BEHIND: dict[str, Any] = {
    "ip_address": "10.20.0.6",
    "subnet_cidr": "10.20.0.0/24",
    "host_routes": [{"destination": "192.0.2.0/24", "nexthop": "10.20.0.7"}],
    "gateway": "10.20.0.1",
}


def fixed(ip: str) -> dict[str, Any]:
    return {"ip_address": ip, "subnet_cidr": "10.20.0.0/24", "host_routes": [], "gateway": None}


def replug_vip(*fixed_ips: dict[str, Any]) -> dict[str, Any]:
    info = {key: value for key, value in PLUG_VIP.items() if key != "additional_vips"}
    net = info | {"vip": "10.9.0.5", "additional_vips": []}
    return {"mac_address": VIP_MAC, "fixed_ips": list(fixed_ips), "mtu": 1450, "is_sriov": False, "vip_net_info": net}


def post(agent: FlaskClient, url: str, body: dict[str, Any]) -> Any:
    answer = agent.post(f"/1.0/plug/{url}", json=body)
    assert answer.status_code == 202, answer.json
    return answer.json


def test_fixed_ips_come_and_go_on_an_interface_that_stays_up(machine: Machine) -> None:
    machine.add_nic("ens6", MEMBER_MAC)
    agent = client(machine)
    post(agent, "network", PLUG_NETWORK | {"fixed_ips": [fixed("10.20.0.5"), fixed("10.20.0.6")]})
    assert machine.addresses("eth2") == {"10.20.0.5/24", "10.20.0.6/24"}
    post(agent, "network", PLUG_NETWORK | {"fixed_ips": [fixed("10.20.0.6"), fixed("10.20.0.7")], "mtu": 1400})
    assert machine.addresses("eth2") == {"10.20.0.6/24", "10.20.0.7/24"}
    assert machine.inside_json("link", "show", "eth2")[0]["mtu"] == 1400


def test_a_member_subnet_behind_the_vip_port_keeps_the_additional_vips(machine: Machine) -> None:
    machine.add_nic("ens5", VIP_MAC)
    agent = client(machine)
    post(agent, "vip/10.9.0.5", PLUG_VIP | {"additional_vips": [SIX_VIP]})
    before = machine.addresses("eth1"), machine.routes("eth1"), machine.routes("eth1", "1"), machine.rules()
    stored = json.loads(machine.paths.interface("eth1").read_bytes())
    assert post(agent, "network", replug_vip(OWN_IP, BEHIND))["details"] == "Updated existing interface eth1"
    assert machine.addresses("eth1") == before[0] | {"10.20.0.6/24"}
    assert machine.rules() == before[3]
    extra = {"192.0.2.0/24 via 10.20.0.7 proto static onlink", "10.20.0.0/24 proto kernel scope link src 10.20.0.6"}
    assert machine.routes("eth1") == before[1] | extra
    post(agent, "network", replug_vip(OWN_IP))
    assert (machine.addresses("eth1"), machine.routes("eth1"), machine.routes("eth1", "1"), machine.rules()) == before
    assert json.loads(machine.paths.interface("eth1").read_bytes())["rules"] == stored["rules"]


def test_keepalived_s_own_is_left_alone(make_machine: MakeMachine) -> None:
    machine = make_machine(Topology.ACTIVE_STANDBY)
    machine.add_nic("ens5", VIP_MAC)
    agent = client(machine)
    post(agent, "vip/10.9.0.5", PLUG_VIP | {"additional_vips": [SIX_VIP]})
    for words in (
        "addr add 10.9.0.5/32 dev eth1",
        "-6 addr add 2001:db8:10::5/128 dev eth1 nodad",
        "route add default via 10.9.0.1 dev eth1 onlink table 1 proto 18",
        "route add 10.9.0.0/24 dev eth1 src 10.9.0.5 scope link table 1 proto 18",
        "rule add from 10.9.0.5/32 table 1 priority 100 protocol 18",
    ):
        machine.inside_run("ip", *words.split())
    before = machine.addresses("eth1"), machine.routes("eth1", "1"), machine.rules()
    assert agent.post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP | {"additional_vips": [SIX_VIP]}).status_code == 409
    with machine.amphora.changing() as change:
        interfaces.bring_up_all(change)
    post(agent, "network", replug_vip(OWN_IP))
    assert (machine.addresses("eth1"), machine.routes("eth1", "1"), machine.rules()) == before


def test_what_others_added_by_hand_goes_and_what_is_not_ours_stays(machine: Machine) -> None:
    machine.add_nic("ens5", VIP_MAC)
    agent = client(machine)
    post(agent, "vip/10.9.0.5", PLUG_VIP)
    for words in (
        "addr add 10.99.0.1/24 dev eth1",
        "route add 198.51.100.0/24 via 10.9.0.7 dev eth1 proto static",
        "rule add from 10.99.0.1 table 1 priority 32001",
        "route add 198.51.101.0/24 via 10.9.0.7 dev eth1 proto dhcp",
        "addr add 10.98.0.1/24 dev eth1 valid_lft 3600 preferred_lft 3600",
        "rule add from 10.98.0.1 table 1 priority 90 protocol 18",
    ):
        machine.inside_run("ip", *words.split())
    with machine.amphora.changing() as change:
        interfaces.bring_up_all(change)
    assert machine.addresses("eth1") == {"10.9.0.9/24", "10.9.0.5/32", "10.98.0.1/24"}
    routes = machine.routes("eth1")
    assert not any(route.startswith("198.51.100.0") for route in routes)
    assert any(route.startswith("198.51.101.0") for route in routes)
    assert {rule.split(":")[0] for rule in machine.rules()} == {"32000", "90"}
    assert "::1/128" in machine.addresses("lo")


@pytest.mark.parametrize("loss", ["rule", "route", "address", "down", "name", "file", "list"])
def test_a_half_configured_vip_is_finished_before_the_conflict(machine: Machine, loss: str) -> None:
    machine.add_nic("ens5", VIP_MAC)
    agent = client(machine)
    post(agent, "vip/10.9.0.5", PLUG_VIP)
    before = machine.addresses("eth1"), machine.routes("eth1"), machine.routes("eth1", "1"), machine.rules()
    match loss:
        case "rule":
            machine.inside_run("ip", "rule", "del", "from", "10.9.0.5", "table", "1")
        case "route":
            machine.inside_run("ip", "route", "flush", "table", "1")
        case "address":
            machine.inside_run("ip", "addr", "flush", "dev", "eth1")
        case "down":
            machine.inside_run("ip", "link", "set", "eth1", "down")
        case "name":
            machine.inside_run("ip", "link", "set", "eth1", "down")
            machine.inside_run("ip", "link", "set", "eth1", "name", "ens5")
        case "file":
            machine.paths.interface("eth1").write_text("{", encoding="utf-8")
            machine.inside_run("ip", "addr", "flush", "dev", "eth1")
        case _:
            machine.paths.plugged_interfaces.unlink()
    answer = agent.post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP)
    assert (answer.status_code, (answer.json or {})["message"]) == (409, "Interface already exists")
    assert (machine.addresses("eth1"), machine.routes("eth1"), machine.routes("eth1", "1"), machine.rules()) == before
    assert machine.paths.plugged_interfaces.read_text() == f"{VIP_MAC} eth1\n"


def test_a_repeated_vip_plug_keeps_what_a_replug_added(machine: Machine) -> None:
    machine.add_nic("ens5", VIP_MAC)
    agent = client(machine)
    post(agent, "vip/10.9.0.5", PLUG_VIP)
    post(agent, "network", replug_vip(OWN_IP, BEHIND))
    assert agent.post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP).status_code == 409
    assert "10.20.0.6/24" in machine.addresses("eth1")


def test_the_vip_s_nic_is_not_made_a_member_s_and_a_member_s_not_the_vip_s(machine: Machine) -> None:
    machine.add_nic("ens5", VIP_MAC)
    machine.add_nic("ens6", MEMBER_MAC)
    agent = client(machine)
    post(agent, "vip/10.9.0.5", PLUG_VIP)
    post(agent, "network", PLUG_NETWORK)
    before = files_of(machine.paths.interfaces)
    for url, body in (
        ("network", PLUG_NETWORK | {"mac_address": VIP_MAC}),
        ("network", replug_vip(OWN_IP) | {"mac_address": MEMBER_MAC}),
        ("vip/10.9.0.5", PLUG_VIP | {"mac_address": MEMBER_MAC}),
    ):
        assert agent.post(f"/1.0/plug/{url}", json=body).status_code == 400
    assert files_of(machine.paths.interfaces) == before
    assert machine.addresses("eth2") == {"10.20.0.5/24"}


def files_of(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def test_another_vip_s_nic_does_not_take_the_name(machine: Machine) -> None:
    machine.add_nic("ens5", VIP_MAC)
    machine.add_nic("ens6", MEMBER_MAC)
    agent = client(machine)
    post(agent, "vip/10.9.0.5", PLUG_VIP)
    before = files_of(machine.paths.interfaces), machine.paths.plugged_interfaces.read_bytes()
    answer = agent.post("/1.0/plug/vip/10.9.0.6", json=PLUG_VIP | {"mac_address": MEMBER_MAC})
    assert (answer.status_code, (answer.json or {})["message"]) == (500, "Error plugging VIP")
    assert (files_of(machine.paths.interfaces), machine.paths.plugged_interfaces.read_bytes()) == before


def test_nonsense_host_routes_do_not_fail_the_plug(machine: Machine) -> None:
    machine.add_nic("ens5", VIP_MAC)
    nonsense = [
        {"destination": "0.0.0.0/0", "nexthop": "10.9.0.3"},
        {"destination": "2001:db8::/64", "nexthop": "2001:db8::1"},
        {"destination": "198.51.100.0/24", "nexthop": "0.0.0.0"},
        {"destination": "198.51.100.0/24", "nexthop": "10.9.0.9"},
        {"destination": "203.0.113.0/24", "nexthop": "10.9.0.7"},
        {"destination": "203.0.113.0/24", "nexthop": "10.9.0.8"},
        {"destination": "203.0.113.9/24", "nexthop": "224.0.0.1"},
    ]
    agent = client(machine)
    post(agent, "vip/10.9.0.5", PLUG_VIP | {"host_routes": nonsense})
    assert "203.0.113.0/24 via 10.9.0.7 proto static onlink" in machine.routes("eth1")
    assert "default via 10.9.0.1 proto static onlink" in machine.routes("eth1")
    assert machine.rules() == {"32000: from 10.9.0.5 lookup 1 proto static"}


def test_a_gateway_that_changes_and_one_that_goes(machine: Machine) -> None:
    machine.add_nic("ens5", VIP_MAC)
    agent = client(machine)
    post(agent, "vip/10.9.0.5", PLUG_VIP)
    other = replug_vip(OWN_IP)
    other["vip_net_info"]["gateway"] = "10.9.0.2"
    other["fixed_ips"][0] = OWN_IP | {"gateway": None}
    post(agent, "network", other)
    for table in ("main", "1"):
        assert "default via 10.9.0.2 proto static onlink" in machine.routes("eth1", table)
        assert len([route for route in machine.routes("eth1", table) if route.startswith("default")]) == 1
    other["vip_net_info"]["gateway"] = None
    post(agent, "network", other)
    assert not any(route.startswith("default") for table in ("main", "1") for route in machine.routes("eth1", table))
