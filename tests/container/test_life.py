"""An amphora as installed, on systemd: what restarts, crashes and reboots do to the tenants' traffic."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.heartbeat_receiver import HeartbeatReceiver
from testbed.scenario import MEMBER_IDS
from tests.container.load_balancer import UNIT, LoadBalancer, Traffic, daemons, load_balancer
from tests.container.machine import CLIENT_ADDRESS, CONFIG, HEARTBEAT_KEY, HEARTBEAT_PORT, REPOSITORY, Machine

AGENT_RESTARTS = 20
AGENT, HEARTBEAT, NETNS = "amphora-agent.service", "amphora-heartbeat.service", "amphora-netns.service"


@pytest.fixture(scope="module")
def balancer() -> Iterator[LoadBalancer]:
    with Machine() as machine:
        machine.boot()
        machine.wait_for_agent()
        with load_balancer(machine) as made:
            yield made


@pytest.fixture
def receiver(balancer: LoadBalancer) -> Iterator[HeartbeatReceiver]:
    with HeartbeatReceiver.listen(balancer.machine.client, CLIENT_ADDRESS, HEARTBEAT_PORT, HEARTBEAT_KEY) as receiver:
        yield receiver


def test_nothing_failed_and_all_units_run(balancer: LoadBalancer) -> None:
    machine = balancer.machine
    assert machine.exec(["systemctl", "is-system-running"]) == "running\n"
    for unit in (AGENT, HEARTBEAT, NETNS, UNIT):
        assert machine.unit_property(unit, "ActiveState") == "active", unit


def test_details_tell_of_a_running_haproxy(balancer: LoadBalancer) -> None:
    details = balancer.machine.request("GET", "/1.0/details").json()
    assert details["haproxy_count"] == 1
    assert details["memory"]["total"] == 1006528
    assert set(details["networks"]) == {"eth1", "eth2"}


def test_an_unknown_nic_has_the_pci_buses_searched(balancer: LoadBalancer) -> None:
    document = {"mac_address": "fa:16:3e:00:00:99", "fixed_ips": []}
    reply = balancer.machine.request("POST", "/1.0/plug/network", document=document)
    assert reply.status == 404
    assert "No suitable network interface found" in reply.json()["details"]
    assert balancer.machine.exec(["cat", "/sys/bus/pci/rescan"]).strip() == "1"


def test_heartbeats_report_both_members(balancer: LoadBalancer, receiver: HeartbeatReceiver) -> None:
    def has_members(message: dict[str, dict[str, dict[str, dict[str, str]]]]) -> bool:
        return {member for pool in message["pools"].values() for member in pool["members"]} == set(MEMBER_IDS)

    assert balancer.answers()
    receiver.receive_until(has_members)


def test_the_doctor_finds_nothing_and_then_what_is_missing(balancer: LoadBalancer, receiver: HeartbeatReceiver) -> None:
    machine = balancer.machine

    def found() -> set[str]:
        done = machine.try_exec(["amphoractl", "doctor", "--json"])
        report = json.loads(done.stdout)
        assert done.returncode == (1 if report["findings"] else 0)
        assert report["unseen"] == []
        return {each["code"] for each in report["findings"]}

    receiver.receive()
    machine.wait_for(lambda: not found(), 30, "nothing to find")
    assert balancer.answers()
    assert "owner controller" in machine.exec(["amphoractl", "status"])
    machine.exec(["systemctl", "stop", AGENT])
    assert found() == {"E01", "E13"}
    machine.exec(["systemctl", "start", AGENT])
    machine.wait_for_agent()
    machine.wait_for(lambda: not found(), 30, "nothing to find")


def test_restarts_of_the_agent_disturb_nobody(balancer: LoadBalancer) -> None:
    machine = balancer.machine
    before = daemons(machine, "haproxy")
    with Traffic(balancer) as traffic:
        for _ in range(AGENT_RESTARTS):
            agent, heartbeat = machine.main_pid(AGENT), machine.main_pid(HEARTBEAT)
            machine.exec(["systemctl", "restart", AGENT])
            assert machine.main_pid(AGENT) not in (0, agent)
            assert machine.main_pid(HEARTBEAT) not in (0, heartbeat)
    assert traffic.failures == []
    assert {"web1", "web2", "web1 kept", "web2 kept"} == set(traffic.answers)
    assert min(traffic.answers.values()) >= AGENT_RESTARTS
    assert daemons(machine, "haproxy") == before
    machine.wait_for_agent()


def test_a_killed_agent_comes_back_and_heartbeats_go_on(balancer: LoadBalancer, receiver: HeartbeatReceiver) -> None:
    machine, before = balancer.machine, balancer.machine.main_pid(AGENT)
    machine.exec(["kill", "-KILL", str(before)])
    receiver.drain()
    receiver.receive(timeout=3)
    machine.wait_for(lambda: machine.main_pid(AGENT) not in (0, before), 10, "a new agent")
    machine.wait_for_agent()


def test_an_agent_that_cannot_start_does_not_silence_heartbeats(
    balancer: LoadBalancer, receiver: HeartbeatReceiver
) -> None:
    machine, certificate = balancer.machine, "/etc/octavia/certs/server.pem"
    machine.exec(["mv", certificate, f"{certificate}.away"])
    machine.exec(["kill", "-KILL", str(machine.main_pid(AGENT))])
    machine.wait_for(lambda: machine.unit_property(AGENT, "NRestarts") >= "3", 20, "crashes of the agent")
    receiver.drain()
    for _ in range(3):
        receiver.receive(timeout=5)
    machine.exec(["mv", f"{certificate}.away", certificate])
    machine.exec(["systemctl", "restart", AGENT])
    machine.wait_for_agent()


def test_a_killed_heartbeat_comes_back(balancer: LoadBalancer, receiver: HeartbeatReceiver) -> None:
    machine = balancer.machine
    before = machine.main_pid(HEARTBEAT)
    machine.exec(["kill", "-KILL", str(before)])
    machine.wait_for(lambda: machine.main_pid(HEARTBEAT) not in (0, before), 10, "a new heartbeat")
    receiver.drain()
    receiver.receive(timeout=10)


def test_a_hung_heartbeat_is_replaced_by_the_watchdog(balancer: LoadBalancer) -> None:
    machine = balancer.machine
    machine.write(f"/run/systemd/system/{HEARTBEAT}.d/soon.conf", "[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\n")
    machine.exec(["systemctl", "daemon-reload"])
    machine.exec(["systemctl", "restart", HEARTBEAT])
    before = machine.main_pid(HEARTBEAT)
    machine.exec(["kill", "-STOP", str(before)])
    machine.wait_for(lambda: machine.main_pid(HEARTBEAT) not in (0, before), 20, "the watchdog")
    machine.exec(["rm", "-r", f"/run/systemd/system/{HEARTBEAT}.d"])
    machine.exec(["systemctl", "daemon-reload"])
    machine.exec(["systemctl", "restart", HEARTBEAT])


def test_a_killed_haproxy_comes_back(balancer: LoadBalancer) -> None:
    machine = balancer.machine
    before = machine.main_pid(UNIT)
    machine.exec(["kill", "-KILL", str(before)])
    killed = time.monotonic()
    machine.wait_for(lambda: machine.main_pid(UNIT) not in (0, before), 10, "a new HAProxy")
    assert balancer.seconds_until_answer(killed) < 5
    assert machine.request("GET", "/1.0/details").json()["haproxy_count"] == 1


def test_reload_of_a_killed_haproxy_succeeds(balancer: LoadBalancer) -> None:
    machine = balancer.machine
    machine.exec(["kill", "-KILL", str(machine.main_pid(UNIT))])
    reply = machine.request("PUT", f"/1.0/loadbalancer/{UNIT[16:-8]}/reload")
    assert reply.status == 202, reply
    assert balancer.answers()


def test_a_reboot_brings_everything_back(balancer: LoadBalancer, receiver: HeartbeatReceiver) -> None:
    machine = balancer.machine
    machine.reboot()
    assert balancer.seconds_until_answer(machine.boot_started) < 10
    assert machine.exec(["systemctl", "is-system-running"]) == "running\n"
    machine.wait_for_agent()
    receiver.drain()
    receiver.receive_until(lambda message: bool(message["pools"]))


def test_a_power_cut_brings_everything_back(balancer: LoadBalancer) -> None:
    balancer.machine.cut_power()
    balancer.machine.boot()
    assert balancer.seconds_until_answer(balancer.machine.boot_started) < 10
    balancer.machine.wait_for_agent()


def test_a_lost_namespace_is_made_again_for_all_to_see(balancer: LoadBalancer) -> None:
    machine = balancer.machine
    machine.exec(["systemctl", "stop", UNIT])
    machine.exec(["ip", "netns", "delete", "amphora-haproxy"])
    reply = machine.request("PUT", f"/1.0/loadbalancer/{UNIT[16:-8]}/reload")
    assert "amphora-haproxy" in machine.exec(["ip", "netns"])
    assert reply.status == 202, reply


def test_cloud_init_delivers_the_configuration_late() -> None:
    with Machine(config=None) as machine:
        with HeartbeatReceiver.listen(machine.client, CLIENT_ADDRESS, HEARTBEAT_PORT, HEARTBEAT_KEY) as receiver:
            machine.boot()
            assert machine.exec(["systemctl", "is-system-running"]) == "running\n"
            machine.write("/etc/octavia/amphora-agent.conf", CONFIG, 0o600)
            began = time.monotonic()
            machine.exec(["systemctl", "restart", AGENT])
            machine.wait_for_agent()
            assert time.monotonic() - began < 5
            receiver.receive(timeout=5)
        assert machine.unit_property(AGENT, "ActiveState") == "active"
        assert Path(machine.disk, "run/amphora-agent.pid").read_text().strip() == str(machine.main_pid(AGENT))


def test_programs_of_the_machine_reach_the_agent_over_its_socket(balancer: LoadBalancer) -> None:
    machine = balancer.machine
    curl = ["curl", "--silent", "--unix-socket", "/run/amphora-agent.sock", "http://localhost/2.0/health"]
    assert machine.exec(["stat", "-c", "%a %U %G", "/run/amphora-agent.sock"]) == "600 root root\n"
    assert machine.exec(curl) == '{"status":"ok"}'
    described = machine.exec([*curl[:-1], "http://localhost/2.0/openapi.json"])
    assert json.loads(described) == json.loads((REPOSITORY / "amphora_agent/api/v2/openapi.json").read_text())
    config = machine.exec(["cat", "/etc/octavia/amphora-agent.conf"])
    try:
        grouped = config.replace("[amphora_agent]\n", "[amphora_agent]\napi_socket_group = daemon\n")
        machine.write("/etc/octavia/amphora-agent.conf", grouped, 0o600)
        machine.exec(["systemctl", "restart", AGENT])
        machine.wait_for_agent()
        assert machine.exec(["stat", "-c", "%a %U %G", "/run/amphora-agent.sock"]) == "660 root daemon\n"
        member = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--groups=daemon"]
        assert machine.exec([*member, *curl]) == '{"status":"ok"}'
        machine.exec(["systemctl", "stop", AGENT])
        assert machine.try_exec(["test", "-e", "/run/amphora-agent.sock"]).returncode == 1
    finally:
        machine.write("/etc/octavia/amphora-agent.conf", config, 0o600)
        machine.exec(["systemctl", "restart", AGENT])
        machine.wait_for_agent()
