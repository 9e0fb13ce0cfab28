"""nftables in a real namespace: the SR-IOV filter and the masquerading, loaded, repeated, broken and deleted."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from amphora_agent.core.settings import Topology
from amphora_agent.host.network import netns
from amphora_agent.operations.network import interfaces
from tests.system.network.conftest import MEMBER_MAC, VIP_MAC, Machine, MakeMachine, client
from tests.system.network.test_plug import PLUG_NETWORK, PLUG_VIP

SRIOV_VIP = PLUG_VIP | {"is_sriov": True}
RULES_URL = "/1.0/interface/10.9.0.9/rules"
SAMPLES = Path(__file__).parents[3] / "testbed" / "samples" / "requests"


def rule(protocol: str, cidr: str | None, port: int) -> dict[str, Any]:
    return {"protocol": protocol, "cidr": cidr, "port": port}


def ruleset(machine: Machine) -> str:
    return machine.inside_run("nft", "list", "ruleset")


def vip_chain(machine: Machine) -> list[str]:
    text = machine.inside_run("nft", "list", "chain", "inet", "amphora_table", "amphora_vip_chain")
    return [line.strip() for line in text.splitlines() if "accept" in line]


def plugged(machine: Machine, body: dict[str, Any]) -> Any:
    machine.add_nic("ens5", VIP_MAC)
    agent = client(machine)
    answer = agent.post("/1.0/plug/vip/10.9.0.5", json=body)
    assert answer.status_code == 202, answer.json
    return agent


def test_an_sriov_vip_is_closed_until_rules_come(machine: Machine) -> None:
    agent = plugged(machine, SRIOV_VIP)
    assert vip_chain(machine) == []
    assert "policy drop" in ruleset(machine)
    assert machine.paths.nftables_rules.stat().st_mode & 0o777 == 0o600
    rules = [rule("TCP", "192.0.2.0/24", 80), rule("TCP", None, 443), rule("vrrp", "10.9.0.8/32", 112)]
    answer = agent.put(RULES_URL, json=rules)
    assert (answer.status_code, answer.json) == (200, {"message": "OK"})
    assert vip_chain(machine) == [
        "ip saddr 192.0.2.0/24 tcp dport 80 accept",
        "tcp dport 443 accept",
        "ip saddr 10.9.0.8 meta l4proto vrrp accept",
    ]
    assert agent.put(RULES_URL, json=rules).status_code == 200
    assert len(vip_chain(machine)) == 3
    assert agent.put(RULES_URL, json=[]).status_code == 200
    assert vip_chain(machine) == []


def test_ipv6_vrrp(machine: Machine) -> None:
    agent = plugged(machine, SRIOV_VIP)
    answer = agent.put(RULES_URL, json=[rule("vrrp", "2001:db8::8/128", 112), rule("SCTP", "2001:db8::/32", 3868)])
    assert answer.status_code == 200, answer.json
    assert [line.split()[:3] for line in vip_chain(machine)] == [
        ["ip6", "saddr", "2001:db8::8"],
        ["ip6", "saddr", "2001:db8::/32"],
    ]


@pytest.mark.parametrize("name", ["17-allowed-cidrs-rules-single.json", "17-allowed-cidrs-rules-active-standby.json"])
def test_the_controller_s_own_rules(machine: Machine, name: str) -> None:
    file = SAMPLES / name
    if not file.exists():
        pytest.skip(f"no sample {name}")
    agent = plugged(machine, SRIOV_VIP)
    rules = json.loads(file.read_bytes())
    assert agent.put(RULES_URL, json=rules).status_code == 200
    assert len(vip_chain(machine)) == len(rules)


def test_rules_survive_a_reboot_and_a_broken_file_closes_the_vip(machine: Machine) -> None:
    agent = plugged(machine, SRIOV_VIP)
    assert agent.put(RULES_URL, json=[rule("TCP", None, 443)]).status_code == 200
    machine.reboot([("ens5", VIP_MAC)])
    with machine.amphora.changing() as change:
        interfaces.bring_up_all(change)
    assert vip_chain(machine) == ["tcp dport 443 accept"]
    machine.paths.nftables_rules.write_text("table inet amphora_table {\n  chain amphora_vi", encoding="utf-8")
    machine.reboot([("ens5", VIP_MAC)])
    with machine.amphora.changing() as change:
        interfaces.bring_up_all(change)
    assert vip_chain(machine) == []
    assert "policy drop" in ruleset(machine)
    assert machine.addresses("eth1") == {"10.9.0.9/24", "10.9.0.5/32"}


def test_rules_are_for_the_vip_interface_alone(machine: Machine) -> None:
    agent = plugged(machine, SRIOV_VIP)
    machine.add_nic("ens6", MEMBER_MAC)
    assert agent.post("/1.0/plug/network", json=PLUG_NETWORK | {"is_sriov": True}).status_code == 202
    before = ruleset(machine)
    assert agent.put("/1.0/interface/10.20.0.5/rules", json=[]).status_code == 400
    assert agent.put("/1.0/interface/10.99.0.5/rules", json=[]).status_code == 404
    assert agent.put("/1.0/interface/banana/rules", json=[]).status_code == 400
    assert ruleset(machine) == before


def test_an_sriov_member_beside_a_plain_vip_has_no_filter(machine: Machine) -> None:
    agent = plugged(machine, PLUG_VIP)
    machine.add_nic("ens6", MEMBER_MAC)
    assert agent.post("/1.0/plug/network", json=PLUG_NETWORK | {"is_sriov": True}).status_code == 202
    assert "amphora_table" not in ruleset(machine)
    assert not machine.paths.nftables_rules.exists()


@pytest.mark.parametrize(
    "rules",
    [
        {},
        "x",
        [1],
        [{"protocol": "TCP", "cidr": None}],
        [rule("tcp", None, 80)],
        [rule("VRRP", None, 112)],
        [rule("TCP", "10.0.0.0/33", 80)],
        [rule("TCP", "10.0.0.1; drop", 80)],
        [rule("TCP", None, 0)],
        [rule("TCP", None, 65536)],
        [rule("TCP", None, 80) | {"more": 1}],
        [{"protocol": "TCP", "cidr": 7, "port": 80}],
        [{"protocol": "TCP", "cidr": None, "port": "80"}],
        [{"protocol": "TCP", "cidr": None, "port": True}],
    ],
)
def test_wrong_rules_change_nothing(machine: Machine, rules: Any) -> None:
    agent = plugged(machine, SRIOV_VIP)
    assert agent.put(RULES_URL, json=[rule("TCP", None, 443)]).status_code == 200
    before = ruleset(machine), machine.paths.nftables_rules.read_bytes()
    answer = agent.put(RULES_URL, json=rules)
    assert (answer.status_code, (answer.json or {})["error"]) == (400, "400 Bad Request: Invalid rules information")
    assert (ruleset(machine), machine.paths.nftables_rules.read_bytes()) == before


def connects(source: Path, address: str, port: int) -> bool:
    def connect() -> bool:
        try:
            socket.create_connection((address, port), timeout=0.5).close()
        except OSError:
            return False
        return True

    return netns.inside(source, connect)


def listen(namespace: Path, address: str, port: int) -> socket.socket:
    def bind() -> socket.socket:
        server = socket.create_server((address, port))
        threading.Thread(target=accept_all, args=(server,), daemon=True).start()
        return server

    return netns.inside(namespace, bind)


def accept_all(server: socket.socket) -> None:
    try:
        while True:
            server.accept()[0].close()
    except OSError:
        return


def test_traffic_through_the_filter_and_answers_of_a_plain_member(machine: Machine) -> None:
    peer = machine.add_nic("ens5", VIP_MAC)
    machine.outside_run("ip", "addr", "add", "10.9.0.50/24", "dev", peer)
    agent = client(machine)
    assert agent.post("/1.0/plug/vip/10.9.0.5", json=SRIOV_VIP).status_code == 202
    member = machine.add_nic("ens6", MEMBER_MAC)
    machine.outside_run("ip", "addr", "add", "10.20.0.50/24", "dev", member)
    assert agent.post("/1.0/plug/network", json=PLUG_NETWORK).status_code == 202
    inside, outside = machine.paths.netns, machine.outside
    with listen(inside, "10.9.0.5", 443), listen(inside, "10.20.0.5", 8080), listen(outside, "10.20.0.50", 80):
        assert not connects(outside, "10.9.0.5", 443)
        assert agent.put(RULES_URL, json=[rule("TCP", "10.9.0.0/24", 443)]).status_code == 200
        assert connects(outside, "10.9.0.5", 443)
        assert connects(inside, "10.20.0.50", 80), "a member that is no SR-IOV port must be able to answer"
        assert not connects(outside, "10.20.0.5", 8080), "nobody has business on a member interface"
        assert agent.put(RULES_URL, json=[rule("TCP", "192.0.2.0/24", 443)]).status_code == 200
        assert not connects(outside, "10.9.0.5", 443)


def elements(machine: Machine, version: int, name: str) -> set[str]:
    family = "ip" if version == 4 else "ip6"
    text = machine.inside_run("nft", "-j", "list", "set", family, f"octavia-ipv{version}", name)
    (found,) = [item["set"] for item in json.loads(text)["nftables"] if "set" in item]
    return set(found.get("elem", []))


def test_masquerading_is_there_once_and_per_interface_and_family(machine: Machine) -> None:
    agent = plugged(machine, PLUG_VIP)
    machine.add_nic("ens6", MEMBER_MAC)
    assert agent.post("/1.0/plug/network", json=PLUG_NETWORK).status_code == 202
    once = ruleset(machine)
    assert [
        once.count(f"chain {family}-{protocol}-masq") for family in ("ip", "ip6") for protocol in ("udp", "sctp")
    ] == [1] * 4
    assert once.count("notrack") == 4
    with machine.amphora.changing() as change:
        interfaces.bring_up_all(change)
    assert ruleset(machine) == once
    assert elements(machine, 4, "masqueraded") == {"eth1", "eth2"}
    assert elements(machine, 4, "untracked") == {"eth1", "eth2"}
    assert elements(machine, 6, "masqueraded") == set()


def test_a_family_that_comes_with_a_replug_is_masqueraded_and_one_that_goes_is_not(machine: Machine) -> None:
    agent = plugged(machine, PLUG_VIP)
    machine.add_nic("ens6", MEMBER_MAC)
    six: dict[str, Any] = {
        "ip_address": "2001:db8:20::5",
        "subnet_cidr": "2001:db8:20::/64",
        "host_routes": [],
        "gateway": None,
    }
    assert agent.post("/1.0/plug/network", json=PLUG_NETWORK).status_code == 202
    both = PLUG_NETWORK | {"fixed_ips": [*PLUG_NETWORK["fixed_ips"], six]}
    assert agent.post("/1.0/plug/network", json=both).status_code == 202
    assert elements(machine, 6, "masqueraded") == {"eth2"}
    assert agent.post("/1.0/plug/network", json=PLUG_NETWORK | {"fixed_ips": [six]}).status_code == 202
    assert elements(machine, 4, "masqueraded") == {"eth1"}
    assert elements(machine, 6, "masqueraded") == {"eth2"}


def test_the_script_of_old_interface_files(machine: Machine) -> None:
    plugged(machine, PLUG_VIP)

    def masquerade(*words: str) -> int:
        argv = [sys.executable, "-m", "amphora_agent.cmd.interface", "--config-file", str(machine.config)]
        return subprocess.run([*argv, "masquerade", *words], check=False, timeout=30).returncode

    assert masquerade("add", "ipv6", "eth5", "sriov") == 0
    assert elements(machine, 6, "masqueraded") == {"eth5"}
    assert elements(machine, 6, "untracked") == set()
    assert masquerade("delete", "ipv6", "eth5") == 0
    assert masquerade("delete", "ipv6", "eth5") == 0
    assert elements(machine, 6, "masqueraded") == set()
    assert elements(machine, 4, "masqueraded") == {"eth1"}
    assert masquerade("add", "ipv6") == 1
    assert masquerade("add", "ipv7", "eth5") == 1


def test_rules_an_old_agent_piled_up_are_gone(machine: Machine) -> None:
    netns.ensure(machine.paths.netns)
    old = """table ip octavia-ipv4 {
        chain ip-udp-masq { type nat hook postrouting priority 100; policy accept;
            oifname "eth1" meta l4proto udp masquerade
            oifname "eth1" meta l4proto udp masquerade
        }
    }"""
    netns.inside(machine.paths.netns, lambda: subprocess.run(["nft", "-f", "-"], input=old.encode(), check=True))
    plugged(machine, PLUG_VIP)
    chain = machine.inside_run("nft", "list", "chain", "ip", "octavia-ipv4", "ip-udp-masq")
    assert [line.strip() for line in chain.splitlines() if "masquerade" in line] == [
        "oifname @masqueraded meta l4proto udp masquerade"
    ]


def test_active_standby_with_sriov(make_machine: MakeMachine) -> None:
    machine = make_machine(Topology.ACTIVE_STANDBY)
    agent = plugged(machine, SRIOV_VIP)
    assert agent.put(RULES_URL, json=[rule("vrrp", "10.9.0.8/32", 112)]).status_code == 200
    assert len(vip_chain(machine)) == 1
