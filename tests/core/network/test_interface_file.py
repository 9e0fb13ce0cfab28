"""Interface files: the contract's keys and nothing else, in its order; every reader's spelling."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.network.desired import LOOPBACK, FixedIp, Port, VipNet, member_interface, vip_interface
from amphora_agent.core.network.interface_file import parse_interface, render_interface
from amphora_agent.core.network.model import Interface
from amphora_agent.core.settings import Topology
from amphora_agent.errors import MalformedData
from tests.core.network.test_desired import NET, PORT
from tests.core.network.values import fixed_ips, ports, vip_nets

KEYS = ["name", "if_type", "addresses", "routes", "rules", "scripts", "is_sriov", "mtu"]


@given(vip_nets(), ports(), st.sampled_from(Topology), st.lists(fixed_ips(), max_size=2))
def test_parse_of_render_is_the_same_vip_interface(
    net: VipNet, port: Port, topology: Topology, fixed: list[FixedIp]
) -> None:
    interface = vip_interface(net, port, topology, fixed)
    assert parse_interface(render_interface(interface)) == interface


@given(ports(), st.lists(fixed_ips(), max_size=3))
def test_parse_of_render_is_the_same_member_interface(port: Port, fixed: list[FixedIp]) -> None:
    interface = member_interface("eth2", port, fixed)
    assert parse_interface(render_interface(interface)) == interface


def test_the_keys_and_their_order() -> None:
    document = json.loads(render_interface(vip_interface(NET, PORT, Topology.SINGLE)))
    assert list(document) == KEYS
    assert document["addresses"][1] == {"address": "10.9.0.5", "prefixlen": 32, "octavia_owned": True}
    assert document["routes"][1] == {"dst": "0.0.0.0/0", "gateway": "10.9.0.1", "flags": ["onlink"], "table": 1}
    assert document["routes"][2] == {"dst": "10.9.0.0/24", "scope": "link"}
    assert document["routes"][3] == {"dst": "10.9.0.0/24", "prefsrc": "10.9.0.5", "scope": "link", "table": 1}
    assert document["rules"] == [{"src": "10.9.0.5", "src_len": 32, "table": 1}]
    assert document["scripts"]["up"] == [{"command": "/usr/local/bin/lvs-masquerade.sh add ipv4 eth1"}]


def test_an_mtu_that_is_not_set_has_no_key() -> None:
    assert list(json.loads(render_interface(LOOPBACK))) == KEYS[:-1]
    automatic = json.loads(render_interface(member_interface("eth2", Port(mac=PORT.mac), [])))
    assert automatic["addresses"] == [{"dhcp": True, "ipv6auto": True}]


def test_an_old_agent_s_file_is_read() -> None:
    data = b"""{
        "name": "eth1", "if_type": "vip", "mtu": 0,
        "addresses": [{"address": "2001:db8:0::5", "prefixlen": 128}, {"dhcp": true}],
        "routes": [{"dst": "2001:0db8:0000:0000:0000:0000:0000:0000/64", "scope": "link"}],
        "rules": [{"src": "2001:db8::5", "src_len": 128, "table": 1}],
        "scripts": {"up": [], "down": []}
    }"""
    interface = parse_interface(data)
    assert (interface.mtu, interface.is_sriov) == (None, False)
    assert str(interface.routes[0].destination) == "2001:db8::/64"
    assert parse_interface(render_interface(interface)) == interface


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"name": "eth1", "if_type": "bridge"}',
        b'{"name": "eth1", "if_type": "vip", "addresses": {}}',
        b'{"name": "eth1", "if_type": "vip", "addresses": [3]}',
        b'{"name": "eth1", "if_type": "vip", "addresses": [{"address": "10.0.0.1", "prefixlen": 33}]}',
        b'{"name": "eth1", "if_type": "vip", "routes": [{"dst": "banana"}]}',
        b'{"name": "eth1", "if_type": "vip", "rules": [{"src": "10.0.0.1", "src_len": true}]}',
        b'{"name": "eth1", "if_type": "vip", "mtu": -1}',
        b'{"name": "eth1", "if_type": "vip", "scripts": {"up": [{"command": 1}]}}',
    ],
)
def test_nonsense_is_one_error(data: bytes) -> None:
    with pytest.raises(MalformedData):
        parse_interface(data)


def test_the_name_is_part_of_the_value() -> None:
    interface = member_interface("eth2", PORT, [])
    other: Interface = replace(interface, name="eth3")
    assert parse_interface(render_interface(other)).name == "eth3"
