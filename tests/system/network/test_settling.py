"""What the kernel will not let be used yet is looked after until it can be used: addresses, then routes, then news."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from ipaddress import IPv6Address
from typing import Any

import pytest

from amphora_agent.host.network import netns
from amphora_agent.operations.network import advertisements, settling
from testbed.waiting import wait_for
from tests.system.network.conftest import MEMBER_MAC, VIP_MAC, Machine, client
from tests.system.network.neighbours import capture, dhcp_server
from tests.system.network.test_plug import PLUG_NETWORK, PLUG_VIP

VIP6 = "2001:db8:10::5"
ADDITIONAL = {
    "ip_address": VIP6,
    "subnet_cidr": "2001:db8:10::/64",
    "gateway": "2001:db8:10::1",
    "host_routes": [],
}
LET_GO_AFTER = 3.0


@pytest.fixture
def watched(machine: Machine) -> Iterator[Machine]:
    """A machine whose agent looks after its addresses."""
    amphora = machine.amphora
    watcher = settling.SettlingWatcher(amphora)
    running = [True]
    amphora.watchers.start(settling.WATCHER, lambda: watcher.look() if running else None)
    send = functools.partial(amphora.advertisements.send_due, amphora.paths.netns)
    amphora.watchers.start(advertisements.WATCHER, lambda: send() if running else None)
    yield machine
    running.clear()
    for name in (settling.WATCHER, advertisements.WATCHER):
        amphora.watchers.call(name)


def troubles(machine: Machine) -> list[str]:
    return [str(each) for each in settling.unsettled_now(machine.paths)]


@pytest.mark.hardening("B7")
def test_an_address_that_another_machine_had_is_used_once_that_lets_go(watched: Machine) -> None:
    """The old amphora of a failover still answers for the additional VIP when the new one adds it."""
    peer = watched.add_nic("ens5", VIP_MAC)
    watched.outside_run("ip", "-6", "addr", "add", f"{VIP6}/128", "dev", peer, "nodad")
    body: dict[str, Any] = PLUG_VIP | {"additional_vips": [ADDITIONAL]}
    assert client(watched).post("/1.0/plug/vip/10.9.0.5", json=body).status_code == 202
    # It is tried again and again, and checked for duplicates each time.
    named = [f"eth1 {VIP6}/128: another machine has the address"]
    wait_for(lambda: troubles(watched) == named, lambda: f"who has the address is named: {troubles(watched)}")
    assert not any(VIP6 in route for route in watched.routes("eth1", "1")), "no route can come from it yet"
    with capture(watched.outside, peer) as wire:
        let_go = time.monotonic() + LET_GO_AFTER
        wait_for(lambda: time.monotonic() > let_go, "the other machine lets go")
        watched.outside_run("ip", "-6", "addr", "del", f"{VIP6}/128", "dev", peer)
        wait_for(lambda: not troubles(watched), "the address can be used", seconds=30)
        wait_for(lambda: any(VIP6 in route for route in watched.routes("eth1", "1")), "its routes are there")
        assert len(wire.advertisements(IPv6Address(VIP6).packed, 1, 10)) == 1, "the neighbours are told"
    assert f"{VIP6}/128" in watched.addresses("eth1")


@pytest.mark.parametrize("loss", ["del", "deprecate"])
def test_an_address_that_something_took_away_comes_back(watched: Machine, loss: str) -> None:
    watched.add_nic("ens6", MEMBER_MAC)
    fixed: dict[str, Any] = {
        "ip_address": "2001:db8:20::5",
        "subnet_cidr": "2001:db8:20::/64",
        "host_routes": [],
        "gateway": None,
    }
    assert client(watched).post("/1.0/plug/network", json=PLUG_NETWORK | {"fixed_ips": [fixed]}).status_code == 202
    wait_for(lambda: not troubles(watched), "it is usable")
    change = {"del": ("del",), "deprecate": ("change", "preferred_lft", "0", "valid_lft", "forever")}[loss]
    watched.inside_run("ip", "-6", "addr", change[0], "2001:db8:20::5/64", "dev", "eth2", *change[1:])
    assert len(troubles(watched)) == 1
    watched.amphora.watchers.call(settling.WATCHER)
    wait_for(lambda: not troubles(watched), "it is usable again")


def test_a_link_without_a_carrier_is_named_and_finished_when_it_has_one(watched: Machine) -> None:
    peer = watched.add_nic("ens6", MEMBER_MAC)
    watched.outside_run("ip", "link", "set", peer, "down")
    fixed: dict[str, Any] = {
        "ip_address": "2001:db8:20::5",
        "subnet_cidr": "2001:db8:20::/64",
        "host_routes": [],
        "gateway": None,
    }
    netns.ensure(watched.paths.netns)
    assert client(watched).post("/1.0/plug/network", json=PLUG_NETWORK | {"fixed_ips": [fixed]}).status_code == 202
    assert troubles(watched) == ["eth2: the interface has no carrier"]
    watched.outside_run("ip", "link", "set", peer, "up")
    wait_for(lambda: not troubles(watched), "it can be used")


def test_a_client_without_a_lease_is_named_until_it_has_one(watched: Machine) -> None:
    peer = watched.add_nic("ens6", MEMBER_MAC)
    watched.outside_run("ip", "addr", "add", "10.20.0.1/24", "dev", peer)
    body = {key: value for key, value in PLUG_NETWORK.items() if key != "fixed_ips"}
    assert client(watched).post("/1.0/plug/network", json=body | {"fixed_ips": None}).status_code == 202
    try:
        assert troubles(watched) == ["eth2: no DHCP server has answered"]
        with dhcp_server(watched.outside, peer, "10.20.0.99"):
            wait_for(lambda: not troubles(watched), "the lease is there", seconds=40)
    finally:
        watched.inside_run("dhclient", "-x", "-pf", str(watched.paths.dhcp_pid("eth2")), "eth2")
