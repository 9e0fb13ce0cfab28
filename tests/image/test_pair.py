"""Two virtual machines as ACTIVE_STANDBY: keepalived's VRRP between them, and the power of the MASTER taken away."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace

import pytest

from testbed.amphora import SAMPLES
from tests.image.emulator import Hardware
from tests.image.listener import PLUG_MEMBERS, PLUG_VIP, VIP, Controller
from tests.image.machine import TEST_SECONDS, VirtualMachine
from tests.image.test_hardware import HTTP, SERVE_SECONDS, answers, networks

pytestmark = pytest.mark.timeout(2 * TEST_SECONDS)
FAILOVER_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One of the two: its id, the sample that is its keepalived's configuration, and its addresses and MACs."""

    amphora_id: str
    sample: str
    vrrp_ip: str
    member_ip: str
    vip_mac: str
    member_mac: str


MASTER = Role(
    amphora_id="aaaaaaaa-0000-4000-8000-000000000001",
    sample="01-ipv4-master",
    vrrp_ip="10.10.0.11",
    member_ip="10.20.0.5",
    vip_mac="fa:16:3e:00:01:01",
    member_mac="fa:16:3e:00:01:02",
)
BACKUP = Role(
    amphora_id="bbbbbbbb-0000-4000-8000-000000000002",
    sample="02-ipv4-backup",
    vrrp_ip="10.10.0.12",
    member_ip="10.20.0.6",
    vip_mac="fa:16:3e:00:02:01",
    member_mac="fa:16:3e:00:02:02",
)


def configure(machine: VirtualMachine, role: Role) -> None:
    """Do what the controller does with each amphora of a pair."""
    controller = Controller(machine)
    with contextlib.closing(controller):
        for mac in (role.vip_mac, role.member_mac):
            machine.plug(mac)
        vip = {**PLUG_VIP, "mac_address": role.vip_mac, "vrrp_ip": role.vrrp_ip, "additional_vips": []}
        controller.expect(202, "POST", f"/1.0/plug/vip/{VIP}", document=vip)
        address: dict[str, object] = {
            "ip_address": role.member_ip,
            "subnet_cidr": "10.20.0.0/24",
            "gateway": None,
            "host_routes": [],
        }
        members = {**PLUG_MEMBERS, "mac_address": role.member_mac, "fixed_ips": [address]}
        controller.expect(202, "POST", "/1.0/plug/network", document=members)
        controller.apply_http(HTTP)
        controller.expect(200, "PUT", "/1.0/vrrp/upload", (SAMPLES / f"vrrp/{role.sample}.conf").read_text())
        controller.expect(202, "PUT", "/1.0/vrrp/start")


def holds_vip(machine: VirtualMachine) -> bool:
    """Tell whether the machine has the VIP."""
    return f"inet {VIP}/" in machine.inside("amphora-haproxy", ["ip", "address", "show", "eth1"])


def test_the_other_one_serves_when_the_master_loses_its_power() -> None:
    hardware = Hardware(memory_mib=512)
    with networks() as (clients, members), contextlib.ExitStack() as stack:
        machines = []
        for role in (MASTER, BACKUP):
            cables = {role.vip_mac: clients.cable(), role.member_mac: members.cable()}
            machine = VirtualMachine(
                hardware=replace(hardware, cables=cables), amphora_id=role.amphora_id, topology="ACTIVE_STANDBY"
            )
            machines.append(stack.enter_context(machine))
            machine.switch_on()
        for machine in machines:
            machine.wait_until_ready()
            machine.wait_for(machine.agent_answers, SERVE_SECONDS, "the agent")
        for machine, role in zip(machines, (MASTER, BACKUP), strict=True):
            configure(machine, role)
        machines[0].wait_for(
            lambda: [holds_vip(machine) for machine in machines].count(True) == 1, FAILOVER_SECONDS, "one MASTER"
        )
        machines[0].wait_for(lambda: answers(clients), SERVE_SECONDS, "an answer through the VIP")
        master, backup = sorted(machines, key=holds_vip, reverse=True)
        master.switch_off()
        backup.wait_for(lambda: holds_vip(backup), FAILOVER_SECONDS, "the VIP at the other one")
        backup.wait_for(lambda: answers(clients), FAILOVER_SECONDS, "an answer of the other one")
