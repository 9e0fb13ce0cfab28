"""The shipped `prometheus-proxy.service`: there while a listener wants it, as a user of its own, after reboots too."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from testbed.amphora import LB_ID, SAMPLES
from testbed.scenario import VIP
from tests.container.load_balancer import LoadBalancer, basic_config, load_balancer
from tests.container.machine import Machine

UNIT = "prometheus-proxy.service"
METRICS_PORT = 8088
MEMORY_KIBIBYTES = 12 * 1024


@pytest.fixture(scope="module")
def balancer() -> Iterator[LoadBalancer]:
    with Machine() as machine:
        machine.boot()
        machine.wait_for_agent()
        with load_balancer(machine) as made:
            yield made


def status(balancer: LoadBalancer) -> int:
    """Return how a scrape at the VIP was answered, 0 when it was not."""
    connection = http.client.HTTPConnection(VIP, METRICS_PORT, timeout=10)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.sock = balancer.clients.connect(VIP, METRICS_PORT)
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        body = response.read()
        wanted = (b"octavia_member_status{", b"amphora_build_info{", b"amphora_beats_total{")
        return response.status if all(name in body for name in wanted) else response.status + 1000
    return 0


def memory(machine: Machine, pid: int) -> int:
    """Return a process's resident memory in KiB."""
    lines = machine.exec(["cat", f"/proc/{pid}/status"]).splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def with_metrics() -> str:
    return (SAMPLES / "haproxy/15-prometheus.cfg").read_text()


def test_it_runs_while_a_listener_wants_it(balancer: LoadBalancer) -> None:
    machine = balancer.machine
    assert machine.unit_property(UNIT, "ActiveState") == "inactive"
    balancer.apply(with_metrics())
    machine.wait_for(lambda: status(balancer) == 200, 20, "metrics at the VIP")
    pid = machine.main_pid(UNIT)
    assert memory(machine, pid) <= MEMORY_KIBIBYTES
    with ThreadPoolExecutor(8) as scrapers:
        assert set(scrapers.map(lambda _: status(balancer), range(40))) == {200}
    assert memory(machine, pid) <= MEMORY_KIBIBYTES
    facts = dict(line.split(":", 1) for line in machine.exec(["cat", f"/proc/{pid}/status"]).splitlines())
    assert int(facts["Uid"].split()[0]) != 0
    assert int(facts["CapEff"], 16) == 0
    machine.exec(["systemctl", "restart", "amphora-agent.service", "amphora-netns.service"])
    machine.wait_for_agent()
    balancer.apply(with_metrics())
    assert machine.main_pid(UNIT) == pid
    balancer.apply(basic_config())
    assert machine.unit_property(UNIT, "ActiveState") == "inactive"
    assert machine.exec(["systemctl", "is-system-running"]) == "running\n"


def test_a_reboot_brings_it_back(balancer: LoadBalancer) -> None:
    machine = balancer.machine
    balancer.apply(with_metrics())
    machine.reboot()
    machine.wait_for(lambda: status(balancer) == 200, 30, "metrics at the VIP")


def test_it_follows_into_a_namespace_that_was_made_anew(balancer: LoadBalancer) -> None:
    machine = balancer.machine
    machine.wait_for_agent()
    balancer.apply(with_metrics())
    machine.exec(["systemctl", "stop", f"amphora-haproxy@{LB_ID}.service"])
    machine.exec(["ip", "netns", "delete", "amphora-haproxy"])
    balancer.apply(with_metrics())
    expected = machine.exec(["stat", "-L", "-c", "%i", "/run/netns/amphora-haproxy"])
    assert machine.exec(["stat", "-L", "-c", "%i", f"/proc/{machine.main_pid(UNIT)}/ns/net"]) == expected


def test_an_older_images_unit_starts_it_outside(balancer: LoadBalancer) -> None:
    """Started in the machine's own namespace, as such a unit does, it enters the load balancer's by itself."""
    machine = balancer.machine
    machine.exec(["systemctl", "stop", UNIT])
    machine.exec(["systemd-run", "--unit=older", "--quiet", "/usr/local/bin/prometheus-proxy"])
    curl = ["ip", "netns", "exec", "amphora-haproxy", "curl", "--silent", "--fail", "http://127.0.0.1:9102/metrics"]
    try:
        machine.wait_for(lambda: machine.try_exec(curl).returncode == 0, 20, "metrics inside")
    finally:
        machine.exec(["systemctl", "stop", "older.service"])
