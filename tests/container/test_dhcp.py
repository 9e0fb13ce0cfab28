"""Interfaces configured from outside, on systemd: the DHCP client outlives the agent, SLAAC is on in the sandbox."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.container.load_balancer import daemons
from tests.container.machine import Machine

MAC = "fa:16:3e:00:00:02"


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine() as machine:
        machine.add_nic(MAC, machine.network("mem"))
        machine.boot()
        machine.wait_for_agent()
        reply = machine.request("POST", "/1.0/plug/network", document={"mac_address": MAC, "fixed_ips": None})
        assert reply.status == 202, (reply, machine.journal("--unit=amphora-agent"))
        yield machine


def test_slaac_is_on(machine: Machine) -> None:
    argv = ["ip", "netns", "exec", "amphora-haproxy", "sysctl", "--values", "net.ipv6.conf.eth2.accept_ra"]
    assert machine.exec(argv) == "2\n"


def test_the_dhcp_client_outlives_restarts_of_agent_and_namespace_unit(machine: Machine) -> None:
    before = daemons(machine, "dhclient")
    assert len(before) == 1
    machine.exec(["systemctl", "restart", "amphora-agent.service"])
    machine.exec(["systemctl", "restart", "amphora-netns.service"])
    # A client that is about to run its script is two of the name for a moment.
    machine.wait_for(lambda: daemons(machine, "dhclient") == before, 10, "the one client")
    document = {"mac_address": MAC, "fixed_ips": None}
    assert machine.request("POST", "/1.0/plug/network", document=document).status == 202
    machine.wait_for(lambda: daemons(machine, "dhclient") == before, 10, "the one client")


def test_a_reboot_starts_one_client_again(machine: Machine) -> None:
    machine.reboot()
    machine.wait_for_agent()
    assert len(daemons(machine, "dhclient")) == 1
    assert machine.exec(["systemctl", "is-system-running"]) == "running\n"
