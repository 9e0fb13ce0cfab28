"""Interfaces of API 2.0 against a real kernel: planned as they are then made, made once, refused without a trace."""

from __future__ import annotations

import json
import os
import random
import threading
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any

import pytest
from flask.testing import FlaskClient

from amphora_agent.api.v2.app import create_app
from amphora_agent.core.settings import Topology
from amphora_agent.operations.network import interfaces
from amphora_agent.operations.network.reconcile import dhcp_client
from tests.system.network import test_bad_input, test_plug
from tests.system.network.conftest import MEMBER_MAC, VIP_MAC, Machine, MakeMachine, client
from tests.system.network.neighbours import dhcp_server

Json = dict[str, Any]

VIP: Json = {
    "addresses": ["10.9.0.9/24"],
    "vips": ["10.9.0.5"],
    "gateways": ["10.9.0.1"],
    "mtu": 1450,
    "routes": [{"destination": "203.0.113.0/24", "nexthop": "10.9.0.7"}],
}
MEMBER: Json = {
    "addresses": ["10.20.0.5/24", "2001:db8:20::5/64"],
    "mtu": None,
    "routes": [{"destination": "10.0.0.0/8", "nexthop": "10.20.0.1"}],
}


@pytest.fixture
def agent(machine: Machine) -> FlaskClient:
    """API 2.0 of a machine with two NICs, neither in the namespace."""
    machine.add_nic("ens5", VIP_MAC)
    machine.add_nic("ens6", MEMBER_MAC)
    return create_app(machine.amphora).test_client()


def put(agent: FlaskClient, named: str, body: object, query: str = "") -> Json:
    answer = agent.put(f"/2.0/interfaces/{named}{query}", json=body)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json or {}
    return found


def refused(agent: FlaskClient, named: str, body: object, status: int) -> Json:
    answer = agent.put(f"/2.0/interfaces/{named}", json=body)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json"), answer.text
    problem: Json = json.loads(answer.data)
    return problem


def test_a_vip_interface_is_made_by_its_mac_address(machine: Machine, agent: FlaskClient) -> None:
    planned = put(agent, VIP_MAC, VIP, "?dry_run=true")
    assert planned["steps"] == [
        f"move {VIP_MAC} inside as eth1",
        "set the MTU to 1450",
        "bring the link up",
        "add address 10.9.0.9/24",
        "add address 10.9.0.5/32",
        "add route 0.0.0.0/0 via 10.9.0.1",
        "add route 0.0.0.0/0 via 10.9.0.1 in table 1",
        "add route 10.9.0.0/24 from 10.9.0.5 in table 1",
        "add route 203.0.113.0/24 via 10.9.0.7",
        "add route 203.0.113.0/24 via 10.9.0.7 in table 1",
        "add rule from 10.9.0.5/32 look up table 1",
    ]
    assert planned["dry_run"] is True
    assert agent.get("/2.0/interfaces").json == []
    assert not machine.paths.netns.exists()
    assert not machine.paths.interfaces.exists()
    done = put(agent, VIP_MAC.upper().replace(":", "-"), VIP)
    assert done == planned | {"dry_run": False}
    assert machine.addresses("eth1") == {"10.9.0.9/24", "10.9.0.5/32"}
    assert machine.rules() == {"32000: from 10.9.0.5 lookup 1 proto static"}
    assert "default via 10.9.0.1 proto static onlink" in machine.routes("eth1") & machine.routes("eth1", "1")
    assert agent.get("/2.0/interfaces").json == [{"name": "eth1", "mac": VIP_MAC, **VIP}]
    for named in (VIP_MAC, "eth1"):
        assert put(agent, named, VIP)["steps"] == []


def test_a_controller_s_plug_is_the_same_interface(machine: Machine, agent: FlaskClient) -> None:
    assert client(machine).post("/1.0/plug/vip/10.9.0.5", json=test_plug.PLUG_VIP).status_code == 202
    assert client(machine).post("/1.0/plug/network", json=test_plug.PLUG_NETWORK).status_code == 202
    before = machine.paths.interface("eth1").read_bytes(), machine.paths.interface("eth2").read_bytes()
    vip, member = agent.get("/2.0/interfaces").json or []
    assert vip == {"name": "eth1", "mac": VIP_MAC, **VIP}
    for each in (vip, member):
        body = {key: value for key, value in each.items() if key not in {"name", "mac"}}
        assert put(agent, each["name"], body)["steps"] == []
    assert (machine.paths.interface("eth1").read_bytes(), machine.paths.interface("eth2").read_bytes()) == before


def test_what_a_request_leaves_out_goes_away(machine: Machine, agent: FlaskClient) -> None:
    put(agent, MEMBER_MAC, MEMBER)
    assert machine.addresses("eth2") == {"10.20.0.5/24", "2001:db8:20::5/64"}
    wanted = {"addresses": ["10.30.0.5/24"], "mtu": 1400}
    planned = put(agent, "eth2", wanted, "?dry_run=true")
    assert planned["steps"] == [
        "set the MTU to 1400",
        "add address 10.30.0.5/24",
        "remove address 10.20.0.5/24",
        "remove address 2001:db8:20::5/64",
        "remove route 10.0.0.0/8 via 10.20.0.1",
    ]
    assert machine.addresses("eth2") == {"10.20.0.5/24", "2001:db8:20::5/64"}
    assert put(agent, "eth2", wanted) == planned | {"dry_run": False}
    assert machine.addresses("eth2") == {"10.30.0.5/24"}
    assert machine.routes("eth2") == {"10.30.0.0/24 proto kernel scope link src 10.30.0.5"}


def test_drift_is_planned_and_repaired(machine: Machine, agent: FlaskClient) -> None:
    put(agent, VIP_MAC, VIP)
    machine.inside_run("ip", "addr", "del", "10.9.0.5/32", "dev", "eth1")
    machine.inside_run("ip", "addr", "add", "10.66.0.1/24", "dev", "eth1")
    planned = put(agent, "eth1", VIP, "?dry_run=1")["steps"]
    assert {"add address 10.9.0.5/32", "remove address 10.66.0.1/24"} <= set(planned)
    assert put(agent, "eth1", VIP)["steps"] == planned
    assert machine.addresses("eth1") == {"10.9.0.9/24", "10.9.0.5/32"}
    assert put(agent, "eth1", VIP)["steps"] == []


def test_a_renamed_nic_gets_its_name_back(machine: Machine, agent: FlaskClient) -> None:
    put(agent, MEMBER_MAC, MEMBER)
    machine.inside_run("ip", "link", "set", "eth2", "down")
    machine.inside_run("ip", "link", "set", "eth2", "name", "odd0")
    assert put(agent, "eth2", MEMBER, "?dry_run=1")["steps"][0] == "rename odd0 to eth2"
    assert put(agent, "eth2", MEMBER)["steps"][0] == "rename odd0 to eth2"
    assert machine.addresses("eth2") == {"10.20.0.5/24", "2001:db8:20::5/64"}


def test_keepalived_s_vips_are_left_to_it(make_machine: MakeMachine) -> None:
    machine = make_machine(Topology.ACTIVE_STANDBY)
    machine.add_nic("ens5", VIP_MAC)
    agent = create_app(machine.amphora).test_client()
    put(agent, VIP_MAC, VIP)
    assert machine.addresses("eth1") == {"10.9.0.9/24"}
    assert agent.get("/2.0/interfaces").json == [{"name": "eth1", "mac": VIP_MAC, **VIP}]
    assert put(agent, "eth1", VIP)["steps"] == []


def test_without_addresses_they_are_asked_for(machine: Machine) -> None:
    peer = machine.add_nic("ens6", MEMBER_MAC)
    machine.outside_run("ip", "addr", "add", "10.20.0.101/24", "dev", peer)
    agent = create_app(machine.amphora).test_client()
    try:
        with dhcp_server(machine.outside, peer, "10.20.0.1"):
            steps = put(agent, MEMBER_MAC, {})["steps"]
        assert steps[1:] == ["take router advertisements", "bring the link up", "start the DHCP client"]
        assert machine.addresses("eth2") == {"10.20.0.1/24"}
        assert put(agent, "eth2", {})["steps"] == []
        assert put(agent, "eth2", MEMBER)["steps"][:2] == ["stop the DHCP client", "take no router advertisements"]
        assert put(agent, "eth2", MEMBER)["steps"] == []
    finally:
        dhcp_client(machine.paths, "eth2").stop()


def test_a_reboot_brings_it_back(machine: Machine, agent: FlaskClient) -> None:
    put(agent, VIP_MAC, VIP)
    put(agent, MEMBER_MAC, MEMBER)
    machine.reboot([("eth1", MEMBER_MAC), ("eth7", VIP_MAC)])
    assert put(agent, "eth2", MEMBER, "?dry_run=1")["steps"][0] == f"move {MEMBER_MAC} inside as eth2"
    with machine.amphora.changing() as change:
        interfaces.bring_up_all(change)
    assert put(agent, "eth1", VIP)["steps"] == put(agent, "eth2", MEMBER)["steps"] == []


def test_a_nic_that_is_attached_at_this_moment_is_waited_for(machine: Machine) -> None:
    agent = create_app(machine.amphora).test_client()
    timer = threading.Timer(0.2, lambda: machine.add_nic("ens6", MEMBER_MAC))
    timer.start()
    try:
        assert put(agent, MEMBER_MAC, MEMBER)["name"] == "eth2"
    finally:
        timer.join()


def test_identities_are_not_exchanged(machine: Machine, agent: FlaskClient) -> None:
    put(agent, VIP_MAC, VIP)
    put(agent, MEMBER_MAC, MEMBER)
    before = test_bad_input.state(machine)
    assert refused(agent, "eth2", VIP, 409)["title"] == "The interface is a member's"
    assert refused(agent, "eth1", MEMBER, 409)["title"] == "The interface is the VIP's"
    assert refused(agent, "eth1", {}, 409)["title"] == "The interface is the VIP's"
    machine.add_nic("ens7", "fa:16:3e:00:00:03")
    assert "eth1 is fa:16:3e:00:00:01" in refused(agent, "fa:16:3e:00:00:03", VIP, 409)["detail"]
    assert test_bad_input.state(machine) == before


@pytest.mark.parametrize(
    ("named", "status"),
    [
        ("eth9", 404),
        ("lo", 404),
        ("fa:16:3e:00:00:99", 404),
        ("01:00:5e:00:00:01", 400),
        ("00:00:00:00:00:00", 400),
        ("fa:16:3e:00:00:0g", 400),
        ("..%2f..%2fetc", 404),
        ("%00", 404),
        ("x" * 4000, 404),
        ("", 404),
    ],
)
def test_unknown_names(machine: Machine, agent: FlaskClient, named: str, status: int) -> None:
    put(agent, VIP_MAC, VIP)
    before = test_bad_input.state(machine)
    refused(agent, named, MEMBER, status)
    assert test_bad_input.state(machine) == before


TEXT: list[Any] = [1, True, None, {}, 1.5, "", "banana", "\0", "10.0.0.1\n", "::1%lo", "1" * 5000, "\ud83d\ude00"]
FIELDS: dict[str, list[Any]] = {
    "addresses": [*TEXT, "10.0.0.1/24", [[]], [None], ["10.0.0.1/24"] * 257, ["10.0.0.1/24", "10.0.0.1/16"]],
    "addresses/0": [*TEXT, "10.0.0.1", "10.0.0.0/24", "10.0.0.1/33", "127.0.0.1/8", "::/0", "::ffff:10.0.0.1/96"],
    "vips/0": [*TEXT, "10.9.0.9", "10.9.0.5/32", "127.0.0.1", "255.255.255.255", "fe80::1", "ff02::1"],
    "vips": [*TEXT, ["10.9.0.5", "10.9.0.5"]],
    "gateways": [*TEXT, ["10.9.0.1", "10.9.0.2"], ["10.9.0.1"] * 3],
    "gateways/0": [*TEXT, "10.9.0.9", "10.9.0.5", "10.9.0.255", "0.0.0.0", "2001:db8::1", "224.0.0.1"],
    "mtu": ["1450", True, 1450.5, -1, 67, 65536, 10**30, [], {}],
    "routes": [*TEXT, [[]], [{}], [VIP["routes"][0]] * 2, [VIP["routes"][0]] * 1025],
    "routes/0": [*TEXT, {"destination": "10.0.0.0/8"}, {**VIP["routes"][0], "dev": "eth0"}],
    "routes/0/destination": [*TEXT, "10.0.0.1/8", "0.0.0.0/0", "10.9.0.0/24", "127.0.0.0/8"],
    "routes/0/nexthop": [*TEXT, "10.9.0.9", "10.9.0.0", "127.0.0.1", "2001:db8::1", "224.0.0.1"],
    "netns": list(TEXT),
}


def test_each_field_is_refused_by_its_pointer_and_nothing_changes(machine: Machine, agent: FlaskClient) -> None:
    put(agent, VIP_MAC, VIP)
    before = test_bad_input.state(machine)
    for path, values in FIELDS.items():
        for value in values:
            if (path, value) == ("mtu", None):
                continue
            problem = refused(agent, "eth1", _wrong(path, value), 422)
            pointers = [error["pointer"] for error in problem["errors"]]
            assert any(f"/{path}".startswith(pointer) or pointer.startswith(f"/{path}") for pointer in pointers), (
                path,
                value,
                pointers,
            )
    for body in (b"", b"\xff", b"[]", b"{" * 5000, b'{"mtu": 1400, "mtu": 1500}'):
        answer = agent.put("/2.0/interfaces/eth1", data=body, content_type="application/json")
        assert answer.status_code == 422, answer.text
    assert agent.put("/2.0/interfaces/eth1", data=b"mtu: 1", content_type="text/yaml").status_code == 415
    assert agent.put("/2.0/interfaces/eth1?dry_run=perhaps", json=VIP).status_code == 400
    assert agent.delete("/2.0/interfaces/eth1").status_code == 405
    assert test_bad_input.state(machine) == before


def _wrong(path: str, value: object) -> Json:
    changed: Any = json.loads(json.dumps(VIP))
    *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    place = changed
    for part in parents:
        place = place[part]
    place[last] = value
    return dict(changed)


def test_random_edits_are_planned_as_they_are_then_made(machine: Machine, agent: FlaskClient) -> None:
    chance = random.Random(os.environ["AMPHORA_SEED"])  # noqa: S311 - for tests
    hosts = ["10.20.0.5/24", "10.20.0.6/24", "10.30.0.5/20", "198.51.100.7/32"]
    routes = [{"destination": f"10.{n}.0.0/16", "nexthop": f"10.20.0.{n}"} for n in range(101, 106)]
    put(agent, MEMBER_MAC, {"addresses": hosts[:1]})
    for _ in range(25):
        wanted: Json = {
            "addresses": chance.sample(hosts, chance.randint(1, 4)),
            "mtu": chance.choice([None, 1400, 1500]),
            "routes": chance.sample(routes, chance.randint(0, 5)),
        }
        planned = put(agent, "eth2", wanted, "?dry_run=true")
        assert put(agent, "eth2", wanted) == planned | {"dry_run": False}
        assert machine.addresses("eth2") == set(wanted["addresses"])
        via = {line.split(" via ")[0] for line in machine.routes("eth2") if " via " in line}
        assert via == {each["destination"] for each in wanted["routes"]}
        assert put(agent, "eth2", wanted)["steps"] == []


def test_the_kernel_takes_whatever_is_not_refused_before(machine: Machine, agent: FlaskClient) -> None:
    chance = random.Random(os.environ["AMPHORA_SEED"])  # noqa: S311 - for tests
    put(agent, VIP_MAC, VIP)
    machine.inside_run("sysctl", "-qw", "net.ipv6.conf.eth1.accept_dad=0")
    made = 0
    for _ in range(150):
        wanted = _anything(chance)
        answer = agent.put("/2.0/interfaces/eth1", json=wanted)
        assert answer.status_code in {200, 422}, (wanted, answer.text)
        if answer.status_code == 200:
            made += 1
            assert put(agent, "eth1", wanted)["steps"] == [], wanted
    assert made > 10


def _anything(chance: random.Random) -> Json:
    """Return a VIP interface of odd values, about half of which no kernel would take."""

    def address(version: int) -> str:
        if version == 4:
            odd = ["0.0.0.1", "10.9.0.5", "100.64.0.1", "169.254.1.1", "198.18.0.1", "239.1.1.1", "240.0.0.1"]
            return chance.choice([*odd, str(IPv4Address(chance.getrandbits(32))), f"10.9.0.{chance.randrange(256)}"])
        odd = [
            "::2",
            "::ffff:10.0.0.1",
            "64:ff9b::1",
            "2001:db8::5",
            "2002::1",
            "fc00::1",
            "fe80::1",
            "fec0::1",
            "ff0e::1",
        ]
        return chance.choice([*odd, str(IPv6Address(chance.getrandbits(128))), f"2001:db8::{chance.randrange(256):x}"])

    def network(version: int) -> str:
        host = f"{address(version)}/{chance.randrange(33 if version == 4 else 129)}"
        return str(ip_network(host, strict=False))

    version = chance.choice([4, 4, 6])
    lengths = [8, 24, 30, 31, 32] if version == 4 else [48, 64, 127, 128]
    return {
        "addresses": [f"{address(version)}/{chance.choice(lengths)}" for _ in range(chance.randint(1, 2))],
        "vips": [address(version)],
        "gateways": [address(version)] if chance.random() < 0.5 else [],
        "routes": [{"destination": network(version), "nexthop": address(version)} for _ in range(chance.randint(0, 2))],
    }
