"""What the neighbours hear: the bytes on the wire, how often, and through which interface."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable
from ipaddress import ip_address

import pytest

from amphora_agent.core.addresses import Address
from amphora_agent.core.settings import Topology
from amphora_agent.operations.network import interfaces
from testbed.waiting import wait_for
from tests.system.network.conftest import MEMBER_MAC, VIP_MAC, Machine, MakeMachine, client
from tests.system.network.neighbours import capture
from tests.system.network.test_plug import PLUG_NETWORK, PLUG_VIP

ARP = 0x0806
BROADCAST = "ffffffffffff"


def packed(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def gratuitous(mac: str, ip: str) -> bytes:
    address = ip_address(ip).packed
    return b"".join(
        (
            bytes.fromhex(BROADCAST),
            packed(mac),
            bytes.fromhex("0806 0001 0800 06 04 0001"),
            packed(mac),
            address,
            bytes.fromhex(BROADCAST),
            address,
        )
    )


def announce(machine: Machine, addresses: Iterable[Address]) -> None:
    """Ask for it, which waits for none of it."""
    with machine.amphora.changing() as change:
        interfaces.advertise(change, addresses)


def test_a_vip_is_announced_three_times_byte_by_byte(machine: Machine) -> None:
    peer = machine.add_nic("ens5", VIP_MAC)
    assert client(machine).post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP).status_code == 202
    with capture(machine.outside, peer) as wire:
        announce(machine, [ip_address("10.9.0.5")])
        frames = wire.frames(ARP, 4, timeout=1.5)
    assert frames == [gratuitous(VIP_MAC, "10.9.0.5")] * 3
    assert len(frames[0]) == 42


def test_an_ipv6_vip_is_announced_on_its_own_interface(machine: Machine) -> None:
    peer = machine.add_nic("ens5", VIP_MAC)
    other = machine.add_nic("ens6", MEMBER_MAC)
    body = PLUG_VIP | {
        "subnet_cidr": "2001:db8:10::/64",
        "gateway": None,
        "vrrp_ip": "2001:db8:10::9",
        "host_routes": [],
    }
    agent = client(machine)
    assert agent.post("/1.0/plug/network", json=PLUG_NETWORK).status_code == 202
    assert agent.post("/1.0/plug/vip/2001:db8:10::5", json=body).status_code == 202
    machine.inside_run("ip", "-6", "route", "add", "table", "local", "ff02::/16", "dev", "eth2", "metric", "1")
    vip = ip_address("2001:db8:10::5").packed
    with capture(machine.outside, peer) as wire, capture(machine.outside, other) as elsewhere:
        announce(machine, [ip_address("2001:db8:10::5")])
        frames = wire.advertisements(vip, 3, timeout=1.5)
        assert elsewhere.advertisements(vip, 1, timeout=0.1) == []
    assert len(frames) == 3
    for frame in frames:
        assert frame[:6] == bytes.fromhex("333300000001")
        assert frame[6:12] == packed(VIP_MAC)
        assert frame[21] == 255
        assert frame[22:38] == vip
        assert frame[38:54] == ip_address("ff02::1").packed
        message = frame[54:86]
        assert message[:2] + message[4:8] == bytes.fromhex("8800 a0000000")
        assert message[8:] == vip + bytes.fromhex("0201") + packed(VIP_MAC)
        assert checksum(frame[22:54] + struct.pack("!II", 32, 58) + message) == 0


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


@pytest.mark.parametrize("topology", list(Topology))
def test_a_member_address_is_announced_when_it_is_plugged_and_a_vip_is_not(
    make_machine: MakeMachine, topology: Topology
) -> None:
    machine = make_machine(topology)
    peer = machine.add_nic("ens6", MEMBER_MAC)
    vip_peer = machine.add_nic("ens5", VIP_MAC)
    agent = client(machine)
    with capture(machine.outside, peer) as wire, capture(machine.outside, vip_peer) as vip_wire:
        assert agent.post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP).status_code == 202
        for _ in range(2):
            assert agent.post("/1.0/plug/network", json=PLUG_NETWORK).status_code == 202
            assert wire.frames(ARP, 3, timeout=3) == [gratuitous(MEMBER_MAC, "10.20.0.5")] * 3
        assert vip_wire.frames(ARP, 1, timeout=0.1) == []


def test_addresses_that_are_not_there_do_not_end_the_round(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    peer = machine.add_nic("ens5", VIP_MAC)
    assert client(machine).post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP).status_code == 202
    wanted = [ip_address(text) for text in ("192.0.2.1", "127.0.0.1", "::1", "10.9.0.5", "2001:db8::1")]
    with capture(machine.outside, peer) as wire, caplog.at_level(logging.WARNING):
        announce(machine, wanted)
        assert wire.frames(ARP, 3, timeout=3) == [gratuitous(VIP_MAC, "10.9.0.5")] * 3
    assert caplog.records == []


def test_an_interface_that_is_down_is_logged_and_nothing_raised(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.add_nic("ens5", VIP_MAC)
    assert client(machine).post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP).status_code == 202
    machine.inside_run("ip", "link", "set", "eth1", "down")
    with caplog.at_level(logging.WARNING):
        announce(machine, [ip_address("10.9.0.5")])
        wait_for(lambda: caplog.records, "it is logged")
    assert "cannot advertise" in caplog.text
