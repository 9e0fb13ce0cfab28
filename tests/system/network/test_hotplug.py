"""NICs that come late, change their names under our hands, go away, and come back in another order."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from amphora_agent.host.network import netns
from amphora_agent.operations.network import interfaces, nic_watch, nics
from testbed.waiting import wait_for
from tests.system.network.conftest import MEMBER_MAC, VIP_MAC, Machine, client, run
from tests.system.network.test_plug import PLUG_NETWORK, PLUG_VIP


def member(number: int) -> dict[str, Any]:
    fixed: dict[str, Any] = {
        "ip_address": f"10.{number}.0.5",
        "subnet_cidr": f"10.{number}.0.0/24",
        "host_routes": [],
        "gateway": None,
    }
    return {"mac_address": mac(number), "fixed_ips": [fixed]}


def mac(number: int) -> str:
    return f"fa:16:3e:00:01:{number:02x}"


@pytest.mark.parametrize("delay", [0.1, 2.0])
def test_a_nic_that_appears_while_we_wait(machine: Machine, delay: float) -> None:
    here = netns.inside(machine.outside, lambda: None)
    timer = threading.Timer(delay, lambda: machine.add_nic("ens6", MEMBER_MAC))
    timer.start()
    try:
        answer = client(machine).post("/1.0/plug/network", json=PLUG_NETWORK)
    finally:
        timer.join()
    assert (answer.status_code, here) == (202, None)
    assert machine.addresses("eth2") == {"10.20.0.5/24"}


def test_a_nic_that_something_else_takes_in_while_we_wait(machine: Machine) -> None:
    netns.ensure(machine.paths.netns)

    def take_in() -> None:
        machine.inside_run("ip", "link", "add", "eth7", "address", MEMBER_MAC, "type", "veth", "peer", "name", "far7")

    timer = threading.Timer(0.3, take_in)
    timer.start()
    try:
        answer = client(machine).post("/1.0/plug/network", json=PLUG_NETWORK)
    finally:
        timer.join()
    assert answer.status_code == 202, answer.json
    assert machine.addresses("eth7") == {"10.20.0.5/24"}


def test_a_nic_that_goes_and_comes_between_the_wait_and_the_change(machine: Machine) -> None:
    machine.add_nic("ens5", MEMBER_MAC)
    agent = client(machine)
    assert agent.post("/1.0/plug/network", json=PLUG_NETWORK).status_code == 202
    timer = threading.Timer(0.5, lambda: machine.add_nic("ens6", MEMBER_MAC))
    with ThreadPoolExecutor() as pool:
        with machine.amphora.changing():
            answer = pool.submit(lambda: client(machine).post("/1.0/plug/network", json=PLUG_NETWORK))
            wait_for(lambda: machine.amphora.lock._waiting > 0, "the plug waits for the change before it")
            machine.inside_run("ip", "link", "del", "eth2")
        timer.start()
        reply = answer.result()
    timer.join()
    assert reply.status_code == 202, reply.json
    assert machine.addresses((reply.json or {})["details"].rpartition(" ")[2]) == {"10.20.0.5/24"}


@pytest.mark.hardening("C10")
def test_waiting_for_a_nic_delays_nobody_else(machine: Machine) -> None:
    machine.add_nic("ens5", VIP_MAC)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(lambda: client(machine).post("/1.0/plug/network", json=PLUG_NETWORK).status_code)
        assert client(machine).post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP).status_code == 202
        assert not waiting.done()
        assert waiting.result() == 404


def test_a_mac_in_upper_case_and_a_name_that_is_taken_outside(machine: Machine) -> None:
    machine.add_nic("eth1", MEMBER_MAC)
    machine.add_nic("eth2", VIP_MAC)
    agent = client(machine)
    assert agent.post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP | {"mac_address": VIP_MAC.upper()}).status_code == 202
    assert agent.post("/1.0/plug/network", json=PLUG_NETWORK | {"mac_address": MEMBER_MAC.upper()}).status_code == 202
    assert machine.addresses("eth1") == {"10.9.0.9/24", "10.9.0.5/32"}
    assert machine.addresses("eth2") == {"10.20.0.5/24"}
    assert machine.paths.plugged_interfaces.read_text() == f"{VIP_MAC} eth1\n{MEMBER_MAC} eth2\n"
    assert agent.post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP | {"mac_address": VIP_MAC.upper()}).status_code == 409


def test_renames_while_plugging(machine: Machine) -> None:
    machine.add_nic("storm0", VIP_MAC)
    stop = threading.Event()

    def rename_over_and_over() -> None:
        for number in range(1, 100_000):
            done = subprocess.run(
                ["ip", "link", "set", f"storm{number - 1}", "name", f"storm{number}"], capture_output=True, check=False
            )
            if done.returncode or stop.is_set():
                return

    storm = threading.Thread(target=rename_over_and_over)
    storm.start()
    try:
        answer = client(machine).post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP)
    finally:
        stop.set()
        storm.join()
    assert answer.status_code == 202, answer.json
    assert machine.addresses("eth1") == {"10.9.0.9/24", "10.9.0.5/32"}


def test_eight_plugs_at_once(machine: Machine) -> None:
    for number in range(2, 10):
        machine.add_nic(f"ens{number}", mac(number))

    def plug(number: int) -> tuple[int, str]:
        answer = client(machine).post("/1.0/plug/network", json=member(number))
        return answer.status_code, (answer.json or {})["details"]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(plug, range(2, 10)))
    assert {code for code, _ in answers} == {202}
    assert sorted(text for _, text in answers) == [f"Plugged on interface eth{number}" for number in range(2, 10)]
    for number, (_, text) in enumerate(answers, start=2):
        assert machine.addresses(text.rpartition(" ")[2]) == {f"10.{number}.0.5/24"}


def test_a_nic_that_is_gone_gives_its_name_free_and_is_forgotten(machine: Machine) -> None:
    agent = client(machine)
    for number in (2, 3):
        machine.add_nic(f"ens{number}", mac(number))
        assert agent.post("/1.0/plug/network", json=member(number)).status_code == 202
    machine.inside_run("ip", "link", "del", "eth2")
    assert interfaces.bring_up_everything(machine.paths) == []
    machine.add_nic("ens4", mac(4))
    answer = agent.post("/1.0/plug/network", json=member(4))
    assert (answer.json or {})["details"] == "Plugged on interface eth2"
    assert machine.addresses("eth2") == {"10.4.0.5/24"}
    assert [(nic.mac, nic.name) for nic in nics.plugged(machine.paths)] == [(mac(3), "eth3"), (mac(4), "eth2")]
    machine.reboot([("ens7", mac(4)), ("ens8", mac(3))])
    assert interfaces.bring_up_everything(machine.paths) == []
    assert (machine.addresses("eth2"), machine.addresses("eth3")) == ({"10.4.0.5/24"}, {"10.3.0.5/24"})


def test_prune_forgets_what_is_gone_but_not_while_nothing_is_there_yet(machine: Machine) -> None:
    agent = client(machine)
    for number in (2, 3):
        machine.add_nic(f"ens{number}", mac(number))
        assert agent.post("/1.0/plug/network", json=member(number)).status_code == 202
    machine.reboot([])
    with machine.amphora.changing() as change:
        interfaces.bring_up_all(change)
    with machine.amphora.changing() as change:
        interfaces.prune(change)
    assert len(nics.plugged(machine.paths)) == 2
    machine.add_nic("ens3", mac(3))
    with machine.amphora.changing() as change:
        interfaces.bring_up_all(change)
    with machine.amphora.changing() as change:
        interfaces.prune(change)
    assert [nic.name for nic in nics.plugged(machine.paths)] == ["eth3"]
    assert not machine.paths.interface("eth2").exists()
    assert machine.paths.interface("eth3").exists()


def test_a_late_nic_keeps_its_name_and_is_taken_in(machine: Machine) -> None:
    agent = client(machine)
    for number in (2, 3):
        machine.add_nic(f"ens{number}", mac(number))
        assert agent.post("/1.0/plug/network", json=member(number)).status_code == 202
    machine.reboot([("ens3", mac(3))])
    with machine.amphora.changing() as change:
        interfaces.bring_up_all(change)
    machine.amphora.watchers.start(nic_watch.WATCHER, nic_watch.NicWatcher(machine.amphora).look)
    machine.add_nic("ens2", mac(2))
    wait_for(
        lambda: "eth2" in machine.inside_run("ip", "-br", "addr") and machine.addresses("eth2") == {"10.2.0.5/24"},
        "the late NIC is taken in",
    )
    assert machine.addresses("eth3") == {"10.3.0.5/24"}


def test_a_nic_inside_under_another_name_has_its_line_corrected(machine: Machine) -> None:
    agent = client(machine)
    machine.add_nic("ens2", mac(2))
    assert agent.post("/1.0/plug/network", json=member(2)).status_code == 202
    machine.inside_run("ip", "link", "set", "eth2", "down")
    machine.inside_run("ip", "link", "set", "eth2", "name", "eth7")
    with machine.amphora.changing() as change:
        interfaces.bring_up_all(change)
    assert [nic.name for nic in nics.plugged(machine.paths)] == ["eth7"]
    answer = agent.post("/1.0/plug/network", json=member(2))
    assert (answer.json or {})["details"] == "Updated existing interface eth7"


@pytest.mark.parametrize("order", ["forward", "backward"])
def test_boot_of_eight_interfaces_by_the_command(machine: Machine, order: str) -> None:
    agent = client(machine)
    machine.add_nic("ens5", VIP_MAC)
    assert agent.post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP).status_code == 202
    for number in range(2, 9):
        machine.add_nic(f"ens{number + 20}", mac(number))
        assert agent.post("/1.0/plug/network", json=member(number)).status_code == 202
    macs = [VIP_MAC, *(mac(number) for number in range(2, 9))]
    ordered = macs if order == "forward" else macs[::-1]
    machine.reboot([(f"eth{number}", address) for number, address in enumerate(ordered)])
    run("ip", "link", "property", "add", "dev", "eth3", "altname", "enp0s3")
    command = [sys.executable, "-m", "amphora_agent.cmd.interface", "--config-file", str(machine.config), "up", "all"]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    took = time.monotonic() - started
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert machine.addresses("eth1") == {"10.9.0.9/24", "10.9.0.5/32"}
    for number in range(2, 9):
        assert machine.addresses(f"eth{number}") == {f"10.{number}.0.5/24"}
    print(f"boot of eight interfaces: {took:.3f} s")  # noqa: T201 - a figure for the log
    assert took < 5, f"{took:.2f} s; alone on the machine it takes less than 1 s"


def test_the_command_inside_the_namespace_as_old_units_call_it(machine: Machine) -> None:
    agent = client(machine)
    machine.add_nic("ens2", mac(2))
    assert agent.post("/1.0/plug/network", json=member(2)).status_code == 202
    machine.inside_run("ip", "addr", "flush", "dev", "eth2")
    command = [sys.executable, "-m", "amphora_agent.cmd.interface", "--config-file", str(machine.config)]
    machine.inside_run(*command, "up", "all")
    assert machine.addresses("eth2") == {"10.2.0.5/24"}
    machine.inside_run(*command, "down", "eth2")
    assert machine.addresses("eth2") == set()
    assert "UP" not in machine.inside_json("link", "show", "eth2")[0]["flags"]
    machine.inside_run(*command, "up", "eth2")
    assert machine.addresses("eth2") == {"10.2.0.5/24"}


def test_the_command_reports_each_failure_and_goes_on(machine: Machine) -> None:
    agent = client(machine)
    machine.add_nic("ens2", mac(2))
    assert agent.post("/1.0/plug/network", json=member(2)).status_code == 202
    machine.inside_run("ip", "addr", "flush", "dev", "eth2")
    machine.paths.interface("eth0").write_text("{", encoding="utf-8")
    run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other")
    run("ip", "link", "set", "eth0", "netns", str(machine.paths.netns))
    command = [sys.executable, "-m", "amphora_agent.cmd.interface", "--config-file", str(machine.config)]
    done = subprocess.run([*command, "up", "all"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stdout.startswith("Error: ")
    assert machine.addresses("eth2") == {"10.2.0.5/24"}
    for words in (["up"], ["sideways", "eth2"], []):
        assert subprocess.run([*command, *words], capture_output=True, check=False, timeout=60).returncode == 1
    assert subprocess.run([*command, "up", "eth9"], capture_output=True, check=False, timeout=60).returncode == 2


def with_route(number: int) -> dict[str, Any]:
    body = member(number)
    body["fixed_ips"][0]["host_routes"] = [{"destination": "203.0.113.0/24", "nexthop": f"10.{number}.0.7"}]
    return body


def route_holders(machine: Machine) -> list[str]:
    routes = machine.inside_json("route", "show", "203.0.113.0/24")
    return [route["dev"] for route in routes]


def test_a_route_two_subnets_want_goes_to_the_other_when_its_holder_drops_it(machine: Machine) -> None:
    agent = client(machine)
    for number in (2, 3):
        machine.add_nic(f"ens{number}", mac(number))
        assert agent.post("/1.0/plug/network", json=with_route(number)).status_code == 202
    assert route_holders(machine) == ["eth2"]
    assert agent.post("/1.0/plug/network", json=member(2)).status_code == 202
    assert route_holders(machine) == ["eth3"]


def test_a_route_two_subnets_want_goes_to_the_other_when_its_holder_is_unplugged(machine: Machine) -> None:
    agent = client(machine)
    for number in (2, 3):
        machine.add_nic(f"ens{number}", mac(number))
        assert agent.post("/1.0/plug/network", json=with_route(number)).status_code == 202
    machine.amphora.watchers.start(nic_watch.WATCHER, nic_watch.NicWatcher(machine.amphora).look)
    machine.inside_run("ip", "link", "del", "eth2")
    wait_for(lambda: route_holders(machine) == ["eth3"], "the route is the other's")
