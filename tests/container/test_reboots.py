"""Reboots of an amphora with six NICs that come up in another order and under other names each time.

$AMPHORA_TEST_REBOOTS says how many, 20 by default; $AMPHORA_TEST_SEED repeats an order, which a failure shows.
The figures are logged: `pytest --log-cli-level=warning` shows them.
"""

from __future__ import annotations

import json
import logging
import os
import random
import statistics
import time

from testbed.scenario import MEMBER_ADDRESSES, MEMBER_PORT, VIP, VIP_MAC
from testbed.web_server import WebServer
from tests.container.load_balancer import LoadBalancer, apply, basic_config
from tests.container.machine import Machine

LOG = logging.getLogger(__name__)

REBOOTS = int(os.environ.get("AMPHORA_TEST_REBOOTS", "20"))
SECONDS_TO_ANSWER = 3.0
SECOND_VIP, IPV6_VIP = "10.11.0.100", "2001:db8:10::100"
VIPS = (VIP, SECOND_VIP, IPV6_VIP)
MEMBER_NETWORKS = 5
PLUG_VIP = {
    "subnet_cidr": "10.10.0.0/24",
    "gateway": "10.10.0.1",
    "mac_address": VIP_MAC,
    "vrrp_ip": "10.10.0.11",
    "mtu": 1450,
    "host_routes": [{"destination": "203.0.113.0/24", "nexthop": "10.10.0.7"}],
    "additional_vips": [
        {"ip_address": SECOND_VIP, "subnet_cidr": "10.11.0.0/24", "gateway": "10.11.0.1", "host_routes": []},
        {"ip_address": IPV6_VIP, "subnet_cidr": "2001:db8:10::/64", "gateway": "2001:db8:10::1", "host_routes": []},
    ],
}


def member_mac(number: int) -> str:
    return f"fa:16:3e:00:01:{number:02x}"


def kernel_state(machine: Machine) -> dict[str, object]:
    """Return addresses per NIC, routes and rules of the namespace, in an order of their own."""
    ip = ["ip", "-n", "amphora-haproxy", "-json"]
    links = json.loads(machine.exec([*ip, "address"]))
    addresses = {
        f"{link['ifname']} {link['address']} mtu={link['mtu']}": sorted(
            f"{info['local']}/{info['prefixlen']}" for info in link["addr_info"]
        )
        for link in links
    }
    tables = [["route", "show", "table", "all"], ["-6", "route", "show", "table", "all"], ["rule"], ["-6", "rule"]]
    facts = {
        " ".join(table): sorted(json.dumps(entry, sort_keys=True) for entry in json.loads(machine.exec([*ip, *table])))
        for table in tables
    }
    return {"addresses": addresses, **facts}


def settled_state(machine: Machine) -> dict[str, object]:
    """Return the state once no address is being checked for duplicates any more."""
    tentative = ["ip", "-n", "amphora-haproxy", "-6", "address", "show", "tentative"]
    machine.wait_for(lambda: not machine.exec(tentative), 10, "duplicate address detection")
    return kernel_state(machine)


def test_every_vip_answers_after_every_reboot() -> None:
    seed = int(os.environ.get("AMPHORA_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
    LOG.warning("AMPHORA_TEST_SEED=%d", seed)
    with Machine(shuffle=random.Random(seed)) as machine:  # noqa: S311 - an order to be repeated, not a secret
        clients = machine.network("vip")
        machine.add_nic(VIP_MAC, clients, "10.10.0.1/24", "10.10.0.7/24", "10.11.0.1/24", "2001:db8:10::1/64")
        networks = [machine.network("mem") for _ in range(MEMBER_NETWORKS)]
        for number, network in enumerate(networks):
            machine.add_nic(member_mac(number), network, f"10.2{number}.0.1/24")
        networks[0].ip(*(f"address add {address}/32 dev lo" for address in MEMBER_ADDRESSES))
        with WebServer(networks[0], MEMBER_ADDRESSES[0], MEMBER_PORT, "web1"):
            machine.boot()
            make_load_balancer(machine)
            balancer = LoadBalancer(machine=machine, clients=clients, members=networks[0])
            machine.wait_for(lambda: all(map(balancer.answers, VIPS)), 10, "all VIPs")
            before = settled_state(machine)
            reboot_again_and_again(balancer, before)


def make_load_balancer(machine: Machine) -> None:
    machine.wait_for_agent()
    assert machine.request("POST", f"/1.0/plug/vip/{VIP}", document=PLUG_VIP).status == 202
    for number in range(MEMBER_NETWORKS):
        fixed_ip = {"ip_address": f"10.2{number}.0.5", "subnet_cidr": f"10.2{number}.0.0/24", "host_routes": []}
        document = {"mac_address": member_mac(number), "fixed_ips": [fixed_ip], "mtu": 1450}
        assert machine.request("POST", "/1.0/plug/network", document=document).status == 202
    binds = "".join(f"    bind {vip}:80\n" for vip in VIPS)
    config = basic_config().replace(f"    bind {VIP}:80\n", binds)
    assert config.count("    bind ") == len(VIPS)
    second_member = next(line for line in config.splitlines() if MEMBER_ADDRESSES[1] in line)
    apply(machine, config.replace(second_member, ""))


def reboot_again_and_again(balancer: LoadBalancer, before: dict[str, object]) -> None:
    machine = balancer.machine
    boots: list[float] = []
    answers: list[float] = []
    for number in range(REBOOTS):
        machine.reboot()
        booted = time.monotonic()
        seconds = [balancer.seconds_until_answer(booted, vip) for vip in VIPS]
        assert max(seconds) < SECONDS_TO_ANSWER, (number, dict(zip(VIPS, seconds, strict=True)))
        assert settled_state(machine) == before, number
        assert machine.exec(["systemctl", "is-system-running"]) == "running\n"
        boots.append(machine.boot_seconds)
        answers.append(max(seconds))
    for what, seconds in (("boot", boots), ("last VIP after it", answers)):
        LOG.warning("%d x %s: median %.2f s, max %.2f s", REBOOTS, what, statistics.median(seconds), max(seconds))
