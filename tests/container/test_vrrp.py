"""An amphora of an ACTIVE_STANDBY pair on systemd: keepalived holds the VIP whatever happens beside it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from testbed.amphora import SAMPLES
from testbed.scenario import VIP
from tests.container.load_balancer import LoadBalancer, load_balancer
from tests.container.machine import CONFIG, Machine

UNIT = "octavia-keepalived.service"
AGENT_RESTARTS = 3


@pytest.fixture(scope="module")
def balancer() -> Iterator[LoadBalancer]:
    config = CONFIG.replace("SINGLE", "ACTIVE_STANDBY")
    vrrp = (SAMPLES / "vrrp/01-ipv4-master.conf").read_text()

    def start_vrrp(machine: Machine) -> None:
        for path, body in (("upload", vrrp), ("start", None)):
            reply = machine.request("PUT", f"/1.0/vrrp/{path}", body)
            assert reply.status in {200, 202}, (reply, machine.journal("--unit=amphora-agent")[-4000:])

    with Machine(config=config) as machine:
        machine.boot()
        machine.wait_for_agent()
        with load_balancer(machine, before_apply=start_vrrp) as made:
            yield made


def transitions(machine: Machine) -> int:
    """Return how often keepalived changed its role in this boot."""
    return machine.journal("--unit", UNIT).count("STATE")


def test_keepalived_holds_the_vip(balancer: LoadBalancer) -> None:
    machine = balancer.machine
    assert VIP in machine.exec(["ip", "-n", "amphora-haproxy", "address", "show", "eth1"])
    assert machine.exec(["systemctl", "is-system-running"]) == "running\n"
    assert machine.main_pid(UNIT) == int(machine.exec(["cat", "/var/lib/octavia/vrrp/octavia-keepalived.pid"]))


def test_agent_restarts_and_starts_change_no_role(balancer: LoadBalancer) -> None:
    machine = balancer.machine
    before, pid = transitions(machine), machine.main_pid(UNIT)
    assert before > 0
    for _ in range(AGENT_RESTARTS):
        machine.exec(["systemctl", "restart", "amphora-agent.service"])
        assert machine.request("PUT", "/1.0/vrrp/start").status == 202
    assert machine.main_pid(UNIT) == pid
    assert transitions(machine) == before


def test_a_killed_keepalived_comes_back(balancer: LoadBalancer) -> None:
    machine, before = balancer.machine, balancer.machine.main_pid(UNIT)
    machine.exec(["kill", "-KILL", str(before)])
    machine.wait_for(lambda: machine.main_pid(UNIT) not in (0, before), 10, "a new keepalived")
    balancer.seconds_until_answer(time.monotonic())


def test_pid_files_that_a_power_cut_left_keep_nothing_down(balancer: LoadBalancer) -> None:
    """They name a process that runs; that of the child is in /run, where only a crash leaves it.

    This keepalived would not mind; older ones need them gone.
    """
    machine = balancer.machine
    machine.exec(["systemctl", "stop", UNIT])
    for path in ("/var/lib/octavia/vrrp/octavia-keepalived.pid", "/run/vrrp.pid"):
        machine.exec(["tee", path], stdin="1\n")
    machine.exec(["systemctl", "start", UNIT])
    assert machine.unit_property(UNIT, "NRestarts") == "0"
    assert "status=0" in machine.unit_property(UNIT, "ExecStartPre"), "the sandbox lets them be removed"

    def pid_in(path: str) -> str:
        return machine.try_exec(["cat", path]).stdout.strip()

    own = "/var/lib/octavia/vrrp/octavia-keepalived.pid"
    machine.wait_for(lambda: pid_in(own) == str(machine.main_pid(UNIT)), 10, "its pid file")
    # The unit knows where keepalived writes it.
    machine.wait_for(lambda: pid_in("/run/vrrp.pid").isdigit() and pid_in("/run/vrrp.pid") != "1", 10, "the child's")
    balancer.seconds_until_answer(time.monotonic())


def test_a_reboot_brings_the_vip_back(balancer: LoadBalancer) -> None:
    machine = balancer.machine
    machine.reboot()
    assert machine.exec(["systemctl", "is-system-running"]) == "running\n"
    # A check of 5 s has to succeed twice before keepalived takes the VIP.
    assert balancer.seconds_until_answer(machine.boot_started) < 25


def test_stop_gives_the_vip_up_until_start(balancer: LoadBalancer) -> None:
    machine = balancer.machine
    assert machine.request("PUT", "/1.0/vrrp/stop").status == 202
    assert VIP not in machine.exec(["ip", "-n", "amphora-haproxy", "address", "show", "eth1"])
    assert machine.main_pid(UNIT) == 0
    assert machine.request("PUT", "/1.0/vrrp/start").status == 202
    balancer.seconds_until_answer(time.monotonic())
