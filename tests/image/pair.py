"""Two amphorae of an ACTIVE_STANDBY pair, wired to networks outside of them by NICs that are plugged while they run."""

from __future__ import annotations

import contextlib
import http.client
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from testbed.amphora import AMPHORA_ID, LB_ID, SAMPLES
from testbed.namespaces import Namespace
from testbed.scenario import MEMBER_ADDRESSES, MEMBER_PORT, VIP, request_sample
from testbed.web_server import WebServer, get
from tests.image.cables import Network, network
from tests.image.emulator import Bus, Hardware
from tests.image.machine import DHCP, VirtualMachine

ANOTHER_AMPHORA_ID = "0b0b0b0b-b45d-4d8b-80bb-35dbe5e82999"
# Of each: the VIP NIC, the member NIC, the address of its own on the VIP's network, the VRRP sample.
NICS = (
    ("fa:16:3e:00:01:01", "fa:16:3e:00:01:02", "10.10.0.11", "01-ipv4-master"),
    ("fa:16:3e:00:02:01", "fa:16:3e:00:02:02", "10.10.0.12", "02-ipv4-backup"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The first is a q35 started by UEFI, configured by user data and DHCP; the other an i440fx with a virtio drive."""

    machines: tuple[VirtualMachine, VirtualMachine]
    clients: Namespace
    members: Namespace

    def answers(self) -> bool:
        """Tell whether a client gets an answer from a member through the VIP."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return get(self.clients, VIP, 80, timeout=3.0).startswith("web")
        return False

    def holder(self) -> VirtualMachine | None:
        """Return which machine has the VIP; None unless it is exactly one."""
        found = [machine for machine in self.machines if machine.is_on and holds_vip(machine)]
        return found[0] if len(found) == 1 else None

    def apply(self, machine: VirtualMachine, config: str) -> None:
        """Upload a configuration and reload."""
        for path, body in ((f"{machine.amphora_id}/{LB_ID}/haproxy", config), (f"{LB_ID}/reload", None)):
            expect(machine, 202, "PUT", f"/1.0/loadbalancer/{path}", body)


def holds_vip(machine: VirtualMachine) -> bool:
    """Tell whether the VIP is on the machine's interface."""
    return f" {VIP}/" in machine.exec(["ip", "-n", "amphora-haproxy", "address", "show", "eth1"])


def expect(
    machine: VirtualMachine, status: int, method: str, path: str, body: str | None = None, document: object = None
) -> None:
    """Send a request that must be answered so; the journal tells why it was not."""
    reply = machine.request(method, path, body, document=document)
    assert reply.status == status, (path, reply, machine.journal("-u", "amphora-agent", "-n", "60"))


@contextlib.contextmanager
def pair() -> Iterator[Pair]:
    """Have both machines, made a load balancer of with `samples/haproxy/15-prometheus.cfg`."""
    with contextlib.ExitStack() as stack:
        addresses = ("10.10.0.1/24", "10.10.0.7/24")
        clients = stack.enter_context(network("vip", addresses))
        members = stack.enter_context(network("mem", ("10.20.0.1/24", *(f"{a}/24" for a in MEMBER_ADDRESSES))))
        for number, address in enumerate(MEMBER_ADDRESSES, start=1):
            stack.enter_context(WebServer(members.namespace, address, MEMBER_PORT, f"web{number}"))
        first, second = (_cables(stack, nics, clients, members) for nics in NICS)
        topology = "ACTIVE_STANDBY"
        one = VirtualMachine(
            hardware=Hardware(is_q35=True, cables=first, memory_mib=512, cpus=1),
            amphora_id=AMPHORA_ID,
            topology=topology,
            is_user_data=True,
            network=DHCP,
        )
        other = VirtualMachine(
            hardware=Hardware(drive=Bus.VIRTIO, cables=second, memory_mib=512, cpus=1),
            amphora_id=ANOTHER_AMPHORA_ID,
            topology=topology,
        )
        machines = (stack.enter_context(one), stack.enter_context(other))
        for machine in machines:
            machine.switch_on()
        made = Pair(machines=machines, clients=clients.namespace, members=members.namespace)
        with ThreadPoolExecutor(2) as both:
            list(both.map(lambda pick: _make(made, *pick), zip(machines, NICS, strict=True)))
        yield made


def _cables(
    stack: contextlib.ExitStack, nics: tuple[str, str, str, str], clients: Network, members: Network
) -> dict[str, int]:
    cables = {}
    for mac, where in ((nics[0], clients), (nics[1], members)):
        cables[mac] = where.cable(f"tap{mac.replace(':', '')[-6:]}")
        stack.callback(os.close, cables[mac])
    return cables


def _make(made: Pair, machine: VirtualMachine, nics: tuple[str, str, str, str]) -> None:
    """Make an amphora of a machine, call by call as the controller does."""
    vip_mac, member_mac, address, sample = nics
    machine.wait_until_ready()
    machine.wait_for(machine.agent_answers, 300, "the agent")
    for name, mac, changes in (("plug-vip", vip_mac, {"vrrp_ip": address}), ("plug-network", member_mac, {})):
        machine.plug(mac)
        call = request_sample(name)
        body = call["body"]
        assert isinstance(body, dict)
        # A late hot-plug is the agent's to wait for.
        expect(machine, 202, "POST", f"/1.0/{call['path']}", document={**body, "mac_address": mac, **changes})
    expect(machine, 200, "PUT", "/1.0/vrrp/upload", (SAMPLES / f"vrrp/{sample}.conf").read_text())
    expect(machine, 202, "PUT", "/1.0/vrrp/start")
    made.apply(machine, (SAMPLES / "haproxy/15-prometheus.cfg").read_text())
