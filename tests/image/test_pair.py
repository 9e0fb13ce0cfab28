"""Two images as an ACTIVE_STANDBY pair on two kinds of machine: NICs that are plugged live, balancing, failing over."""

from __future__ import annotations

import http.client
import json
import logging
import ssl
import time
from collections.abc import Iterator

import pytest

from testbed.amphora import LB_ID, SAMPLES
from testbed.namespaces import Namespace
from testbed.pki import Pki
from testbed.scenario import LISTENER_ID, VIP
from testbed.waiting import holds
from testbed.web_server import get
from tests.image import built_image
from tests.image.machine import TEST_SECONDS
from tests.image.pair import NICS, Pair, expect, holds_vip, pair

LOG = logging.getLogger(__name__)

pytestmark = pytest.mark.timeout(TEST_SECONDS)

CERTIFICATES = f"/var/lib/octavia/certs/{LB_ID}"


@pytest.fixture(scope="module")
def both() -> Iterator[Pair]:
    if (reason := built_image.reason_against()) is not None:
        pytest.skip(f"image rung: {reason}")
    with pair() as made:
        for machine in made.machines:
            LOG.warning("commands taken %.1f s after power on", machine.boot_seconds)
        yield made


def test_both_machines_are_configured_by_their_drives(both: Pair) -> None:
    for machine in both.machines:
        assert machine.exec(["hostname"]) == "amphora-test\n"
        assert machine.exec(["systemctl", "is-system-running", "--wait"], timeout=300) == "running\n"
        assert machine.exec(["cat", "/etc/octavia/amphora-agent.conf"]).strip() == machine.config().strip()
        assert machine.exec(["stat", "--format=%a", "/etc/octavia/certs/server.pem"]) == "600\n"
    # What the controller's template escaped is as it was before.
    assert 'queue.type="linkedList"' in both.machines[0].exec(["cat", "/etc/rsyslog.d/10-rsyslog.conf"])


def test_hot_plugged_nics_are_in_the_namespace_and_nowhere_else(both: Pair) -> None:
    for machine, (vip_mac, member_mac, address, _) in zip(both.machines, NICS, strict=True):
        inside = json.loads(machine.exec(["ip", "-n", "amphora-haproxy", "-json", "address"]))
        found = {link["ifname"]: link["address"] for link in inside}
        assert (found["eth1"], found["eth2"]) == (vip_mac, member_mac)
        eth1 = next(link for link in inside if link["ifname"] == "eth1")
        assert address in {entry["local"] for entry in eth1["addr_info"]}
        outside = json.loads(machine.exec(["ip", "-json", "link"]))
        assert {link["address"] for link in outside if link["link_type"] == "ether"} == {"52:54:00:00:00:01"}


def test_exactly_one_holds_the_vip_and_balances(both: Pair) -> None:
    both.machines[0].wait_for(lambda: both.holder() is not None and both.answers(), 180, "one holder of the VIP")
    assert {get(both.clients, VIP, 80, timeout=10.0) for _ in range(4)} == {"web1", "web2"}
    for machine in both.machines:
        machine.heartbeats.drain()
        machine.heartbeats.receive_until(
            lambda message: message["listeners"].get(LISTENER_ID, {}).get("status") == "OPEN", timeout=60
        )


def scrape(clients: Namespace) -> str:
    connection = http.client.HTTPConnection(VIP, timeout=60)
    connection.sock = clients.connect(VIP, 8088, timeout=60)
    connection.request("GET", "/metrics")
    return connection.getresponse().read().decode()


def test_the_prometheus_listener_answers(both: Pair) -> None:
    metrics = scrape(both.clients)
    assert "octavia_loadbalancer_cpu" in metrics
    assert LISTENER_ID in metrics


def fetch_over_tls(clients: Namespace, name: str, ca: bytes) -> str:
    context = ssl.create_default_context(cadata=ca.decode())
    with context.wrap_socket(clients.connect(VIP, 443, timeout=60), server_hostname=name) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(4096), b"")).decode()


def test_a_tls_listener_has_its_key_in_memory_alone(both: Pair) -> None:
    pki = Pki.mint("shop")
    config = (SAMPLES / "haproxy/04-terminated-https-sni.cfg").read_text()
    for machine in both.machines:
        path = f"/1.0/loadbalancer/{LB_ID}/certificates"
        expect(machine, 200, "PUT", f"{path}/one.pem", pki.server.decode())
        expect(machine, 200, "PUT", f"{path}/{LISTENER_ID}.pem", f"{CERTIFICATES}/one.pem\n")
        both.apply(machine, config)
        assert machine.exec(["findmnt", "--noheadings", "--output=SOURCE", "--target", CERTIFICATES]) == (
            "/dev/mapper/certs-ramfs\n"
        )
    assert "web" in fetch_over_tls(both.clients, "shop", pki.ca)


def test_the_other_one_serves_when_the_power_of_the_first_goes(both: Pair) -> None:
    active = both.holder()
    assert active is not None
    standby = next(machine for machine in both.machines if machine is not active)
    for machine in both.machines:
        both.apply(machine, (SAMPLES / "haproxy/15-prometheus.cfg").read_text())
    assert both.answers()
    began = time.monotonic()
    active.switch_off()
    standby.wait_for(both.answers, 120, "an answer of the other one")
    LOG.warning("served again %.1f s after the power went", time.monotonic() - began)
    assert holds_vip(standby)
    standby.heartbeats.drain()
    assert standby.heartbeats.receive(timeout=60).message["id"] == standby.amphora_id
    # The NICs are in the machine from the start now, and no controller says a word to it.
    active.boot()
    active.wait_for(active.agent_answers, 300, "the agent")
    assert holds(both.answers, 5)
    assert both.holder() is standby
