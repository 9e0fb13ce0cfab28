"""UDP and SCTP listeners and VRRP: Octavia's client, driver and renderers against the agent and the real keepalived.

What keepalived does to the kernel's table is tested in the virtual machine (tests/image); without IPVS it runs here
as long as a listener has nothing to balance.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.amphora import (
    AMPHORA_ID,
    CLIENT_ADDRESS,
    HEARTBEAT_KEY,
    HEARTBEAT_PORT,
    LB_ID,
    SAMPLES,
    RunningAmphora,
)
from testbed.heartbeat_receiver import HeartbeatReceiver
from testbed.scenario import LISTENER_ID, VIP, Scenario, request_sample, scenario
from testbed.waiting import wait_for
from tests.compat.conftest import fresh_amphora
from tests.compat.controller import OctaviaController, OctaviaError, Row, listener, pool, row, world

LVS = sorted(path.name for path in (SAMPLES / "lvs").glob("*.conf"))
VRRP = sorted(path.name for path in (SAMPLES / "vrrp").glob("*.conf"))
IDLE = "10-udp-no-pool.conf"
UDP_ID = "a1b2c3d4-0000-4000-8000-000000000053"
UDP_POOL_ID = "a1b2c3d4-0000-4000-8000-000000000153"
PEER_ID = "ab8d33ec-d6e5-5c85-b8d4-359f65ca07ce"
VIP_SUBNET = {"cidr": "10.10.0.0/24", "gateway_ip": "10.10.0.1", "host_routes": []}
V6_VIP = "2001:db8:10::100"
V6_SUBNET = {"cidr": "2001:db8:10::/64", "gateway_ip": "2001:db8:10::1", "host_routes": []}
HAS_IPVS = Path("/proc/net/ip_vs").exists()


def processes(octavia: OctaviaController) -> int:
    return int(octavia.client("get_details")["lvs_listener_process_count"])


@pytest.fixture
def standby(octavia: OctaviaController) -> Iterator[Scenario]:
    """One amphora of an ACTIVE_STANDBY load balancer; the other one is known to Octavia's database only."""
    with fresh_amphora(heartbeats=True, topology="ACTIVE_STANDBY") as amphora, scenario(amphora) as surroundings:
        octavia.attach(amphora)
        yield surroundings


@pytest.fixture
def imaged(octavia: OctaviaController) -> Iterator[Scenario]:
    """One amphora with the namespace name that Octavia renders into keepalived's configuration."""
    with fresh_amphora(heartbeats=False, image=True) as amphora, scenario(amphora) as surroundings:
        octavia.attach(amphora)
        yield surroundings


@pytest.fixture
def heard(standby: Scenario) -> Iterator[HeartbeatReceiver]:
    with HeartbeatReceiver.listen(standby.amphora.client, CLIENT_ADDRESS, HEARTBEAT_PORT, HEARTBEAT_KEY) as receiver:
        yield receiver


@pytest.mark.parametrize("name", LVS)
def test_every_lvs_configuration_is_taken(
    amphora: RunningAmphora, octavia: OctaviaController, rendered: Path, name: str
) -> None:
    octavia.attach(amphora)
    text = amphora.localised((rendered / "lvs" / name).read_text())
    for _ in range(2):
        assert octavia.client("upload_udp_config", LISTENER_ID, text)["status"] == 200
    stored = amphora.request("GET", f"/1.0/listeners/{LISTENER_ID}/udp_listener")
    assert stored.body.decode() == text
    assert octavia.client("delete_listener", LISTENER_ID)["status"] == 200
    assert octavia.client("get_all_listeners") == []


def test_every_call_for_a_listener(amphora: RunningAmphora, octavia: OctaviaController) -> None:
    octavia.attach(amphora)
    octavia.client("upload_udp_config", LISTENER_ID, amphora.sample(f"lvs/{IDLE}"))
    assert processes(octavia) == 0
    for call in ("start_listener", "reload_listener", "start_listener"):
        assert octavia.client(call, LISTENER_ID)["status"] == 202
        assert processes(octavia) == 1
    assert octavia.client("get_all_listeners") == [{"status": "OFFLINE", "type": "UDP", "uuid": LISTENER_ID}]
    assert octavia.client("get_details")["listeners"] == [LISTENER_ID]
    # No controller stops one; it deletes it.
    assert amphora.request("PUT", f"/1.0/loadbalancer/{LISTENER_ID}/stop").status == 202
    assert processes(octavia) == 0
    for _ in range(2):
        assert octavia.client("delete_listener", LISTENER_ID)["status"] == 200
    for call in ("start_listener", "reload_listener"):
        with pytest.raises(OctaviaError) as error:
            octavia.client(call, LISTENER_ID)
        assert error.value.name == "NotFound"


@pytest.mark.skipif(HAS_IPVS, reason="this kernel has IPVS")
def test_keepalived_that_cannot_run_is_an_internal_error(amphora: RunningAmphora, octavia: OctaviaController) -> None:
    octavia.attach(amphora)
    octavia.client("upload_udp_config", LISTENER_ID, amphora.sample("lvs/01-udp-no-monitor.conf"))
    with pytest.raises(OctaviaError) as error:
        octavia.client("reload_listener", LISTENER_ID)
    assert error.value.name == "InternalServerError"
    assert any("ipvs" in line.lower() for line in octavia.warnings), octavia.warnings


def test_the_life_of_a_udp_listener_beside_an_http_one(imaged: Scenario, octavia: OctaviaController) -> None:
    """The driver creates, changes and deletes it; HTTP goes on meanwhile, with the same HAProxy."""
    octavia.call("insert", rows=world(monitor=False))
    imaged.plug()
    octavia.update_listeners()
    haproxy = imaged.amphora.base / LB_ID / f"{LB_ID}.pid"
    before = haproxy.read_text()
    octavia.call("insert", rows=[listener(UDP_ID, protocol="UDP", port=53)])
    octavia.update_listeners()
    kinds = {entry["uuid"]: entry["type"] for entry in octavia.client("get_all_listeners")}
    assert kinds == {LISTENER_ID: "HTTP", UDP_ID: "UDP"}
    keepalived = imaged.amphora.base / "lvs" / f"octavia-keepalivedlvs-{UDP_ID}.pid"
    pid = keepalived.read_text()
    # A disabled pool with no member: the file changes, and there is still nothing to balance.
    octavia.call("insert", rows=[pool(UDP_POOL_ID, protocol="UDP", enabled=False)])
    octavia.call("update", model="Listener", key=UDP_ID, columns={"default_pool_id": UDP_POOL_ID})
    octavia.update_listeners()
    assert keepalived.read_text() == pid
    assert haproxy.read_text() == before
    assert {imaged.get() for _ in range(6)} == {"web1", "web2"}
    octavia.drive("delete", row("Listener", UDP_ID))
    assert [entry["uuid"] for entry in octavia.client("get_all_listeners")] == [LISTENER_ID]
    assert haproxy.read_text() == before


@pytest.mark.parametrize("name", VRRP)
def test_every_vrrp_configuration_is_taken(
    standby: Scenario, octavia: OctaviaController, rendered: Path, name: str
) -> None:
    text = standby.amphora.localised((rendered / "vrrp" / name).read_text())
    for _ in range(2):
        assert octavia.client("upload_vrrp_config", text)["status"] == 200
    assert (standby.amphora.base / "vrrp" / "octavia-keepalived.conf").read_text() == text


def two_amphorae() -> list[Row]:
    """Return an ACTIVE_STANDBY load balancer; the amphora under test is to be the MASTER."""
    rows = world(topology="ACTIVE_STANDBY", monitor=False)
    common = {"vrrp_interface": "eth1", "vrrp_id": 1}
    next(columns for model, columns in rows if model == "Amphora").update(common, role="MASTER", vrrp_priority=100)
    # Of the other one Octavia needs no more than the address: it is not driven here.
    peer = {"id": PEER_ID, "load_balancer_id": LB_ID, "status": "ALLOCATED", "role": "BACKUP", "vrrp_ip": "10.10.0.12"}
    group = {"vrrp_group_name": "b0f4a1", "vrrp_auth_type": "PASS", "vrrp_auth_pass": "s3cr3t7", "advert_int": 1}
    return [
        *rows,
        ("Amphora", {**common, **peer, "lb_network_ip": "192.0.2.250", "ha_ip": VIP, "vrrp_priority": 90}),
        ("VRRPGroup", {"load_balancer_id": LB_ID, **group}),
    ]


def upload_rendered(octavia: OctaviaController, *more: dict[str, object]) -> None:
    """Have the driver render keepalived's configuration and upload it."""
    network = {AMPHORA_ID: {"vip_subnet": VIP_SUBNET, "additional_vip_data": list(more)}}
    octavia.drive("update_vrrp_conf", row("LoadBalancer", LB_ID), network, row("Amphora", AMPHORA_ID))


def test_vrrp_from_the_drivers_upload_to_its_stop(
    standby: Scenario, octavia: OctaviaController, heard: HeartbeatReceiver
) -> None:
    """Rendered by Octavia, run by keepalived: the VIP comes, serves, stays over a reload and goes."""
    amphora, me = standby.amphora, row("Amphora", AMPHORA_ID)
    octavia.call("insert", rows=two_amphorae())
    assert octavia.client("plug_vip", VIP, request_sample("plug-vip-dual-stack")["body"])["status"] == 202
    assert octavia.client("plug_network", request_sample("plug-network")["body"])["status"] == 202
    octavia.update_listeners()

    def addresses() -> str:
        return amphora.netns.run(["ip", "address", "show", "dev", "eth1"])

    upload_rendered(octavia, {"ip_address": V6_VIP, "subnet": V6_SUBNET})
    assert VIP not in addresses()
    octavia.drive("start_vrrp_service", me)
    wait_for(lambda: f"{VIP}/32" in addresses() and f"{V6_VIP}/128" in addresses(), "the VIPs do not come")
    standby.wait_for("web1")
    heard.drain()
    heard.receive(timeout=10)

    # Started again, as the controller does after a failover: a reload, and the VIP never leaves.
    pid = (amphora.base / "vrrp" / "octavia-keepalived.pid").read_text()
    upload_rendered(octavia)
    octavia.drive("start_vrrp_service", me)
    assert octavia.client("reload_vrrp")["status"] == 202
    wait_for(lambda: V6_VIP not in addresses(), "the VIP that is no longer configured stays")
    assert VIP in addresses()
    assert (amphora.base / "vrrp" / "octavia-keepalived.pid").read_text() == pid
    standby.wait_for("web2")

    stop_vrrp(octavia)
    assert VIP not in addresses()
    heard.drain()
    with pytest.raises(TimeoutError):
        heard.receive(timeout=3)  # keepalived is configured and not alive: the controller must hear nothing


def stop_vrrp(octavia: OctaviaController) -> None:
    """Have the driver stop keepalived here; the older releases only know how to on every ALLOCATED amphora."""
    if octavia.call("driver_has", method="stop_vrrp_service_on_amphora"):
        octavia.drive("stop_vrrp_service_on_amphora", row("Amphora", AMPHORA_ID))
        return
    octavia.call("update", model="Amphora", key=PEER_ID, columns={"status": "ERROR"})
    octavia.drive("stop_vrrp_service", row("LoadBalancer", LB_ID))


def test_vrrp_that_is_not_there_yet(standby: Scenario, octavia: OctaviaController) -> None:
    for call in ("start_vrrp", "reload_vrrp"):
        with pytest.raises(OctaviaError) as error:
            octavia.client(call)
        assert error.value.name in ("InternalServerError", "NotFound"), call
    assert standby.amphora.request("PUT", "/1.0/vrrp/dance").status == 400
    assert octavia.client("get_info")["api_version"] == "1.0"
