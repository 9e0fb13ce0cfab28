"""A controller and documents on one amphora: each changes its own, both are heard, heartbeats tell of all of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from amphora_agent.core.document.identity import Identity, loadbalancer_id
from testbed.amphora import AMPHORA_ID, CLIENT_ADDRESS, HEARTBEAT_KEY, HEARTBEAT_PORT, LB_ID, RunningAmphora
from testbed.heartbeat_receiver import HeartbeatReceiver
from testbed.scenario import MEMBER_ADDRESSES, MEMBER_PORT, VIP, Scenario, scenario
from testbed.waiting import wait_for

SHOP_ID = loadbalancer_id("shop")
SHOP = "/2.0/loadbalancers/shop"
MEMBERS = f"{SHOP}/pools/web/members"
DNS = Identity(SHOP_ID).listener("dns")
PLAIN = Identity(SHOP_ID).listener("plain")
Json = dict[str, Any]


def shop(*numbers: int) -> Json:
    """Return a load balancer with an HTTP and a UDP listener."""
    members = [
        {"name": f"w{number}", "address": MEMBER_ADDRESSES[number], "protocol_port": MEMBER_PORT} for number in numbers
    ]
    return {
        "name": "shop",
        "vips": [{"address": VIP, "subnet": "10.10.0.0/24"}],
        "listeners": [
            {"name": "plain", "protocol": "HTTP", "protocol_port": 8090, "default_pool": "web"},
            {"name": "dns", "protocol": "UDP", "protocol_port": 53},
        ],
        "pools": [{"name": "web", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": members}],
    }


@pytest.fixture(scope="module")
def plugged() -> Iterator[Scenario]:
    with RunningAmphora() as running, scenario(running) as surroundings:
        surroundings.plug()
        yield surroundings


def put(plugged: Scenario, tree: Json, path: str = SHOP) -> Json:
    reply = plugged.amphora.request("PUT", path, document=tree)
    assert reply.status == 200, reply
    found: Json = reply.json()
    return found


def refusals() -> Iterator[tuple[str, str, str | None]]:
    """Yield every mutation of API 1.0 of what a document made."""
    config = "defaults\n    mode http\n"
    yield "PUT", f"/1.0/loadbalancer/{AMPHORA_ID}/{SHOP_ID}/haproxy", config
    for action in ("start", "stop", "reload"):
        yield "PUT", f"/1.0/loadbalancer/{SHOP_ID}/{action}", None
        yield "PUT", f"/1.0/loadbalancer/{DNS}/{action}", None
    yield "DELETE", f"/1.0/listeners/{SHOP_ID}", None
    yield "DELETE", f"/1.0/listeners/{DNS}", None
    yield "PUT", f"/1.0/loadbalancer/{SHOP_ID}/certificates/a.pem", "pem"
    yield "DELETE", f"/1.0/loadbalancer/{SHOP_ID}/certificates/a.pem", None
    yield "PUT", f"/1.0/listeners/{AMPHORA_ID}/{DNS}/udp_listener", "net_namespace x\n"
    text = f"# Configuration for Loadbalancer {SHOP_ID}\n# Configuration for Listener {LB_ID}\n"
    yield "PUT", f"/1.0/listeners/{AMPHORA_ID}/{LB_ID}/udp_listener", text


def test_no_change_of_the_controller_touches_a_document(plugged: Scenario) -> None:
    put(plugged, shop(0))
    for method, path, body in refusals():
        reply = plugged.amphora.request(method, path, body)
        assert reply.status == 409, (method, path, reply)
        assert "API 2.0" in reply.json()["message"], reply
    assert plugged.amphora.request("GET", f"{SHOP}/plan").json()["decision"] == "nothing"
    assert plugged.get(port=8090) == "web1"


def test_the_controller_may_look(plugged: Scenario) -> None:
    put(plugged, shop(0))
    listed = plugged.amphora.request("GET", "/1.0/listeners").json()
    assert {PLAIN, DNS} <= {each["uuid"] for each in listed}
    config = plugged.amphora.request("GET", f"/1.0/loadbalancer/{SHOP_ID}/haproxy")
    assert (config.status, b"server" in config.body) == (200, True)
    assert plugged.amphora.request("GET", f"/1.0/listeners/{DNS}/udp_listener").status == 200
    assert plugged.amphora.request("GET", "/1.0/details").status == 200


def test_a_controllers_own_load_balancer_beside_it_is_the_controllers(plugged: Scenario) -> None:
    put(plugged, shop(0))
    plugged.apply(plugged.amphora.sample("haproxy/01-http-basic.cfg"))
    assert plugged.amphora.request("PUT", f"/2.0/loadbalancers/{LB_ID}", document=shop(0)).status == 409
    owners = {each["id"]: each["owner"] for each in plugged.amphora.request("GET", "/2.0/loadbalancers").json()}
    assert owners == {SHOP_ID: "api2", LB_ID: "controller"}
    assert plugged.amphora.request("DELETE", f"/1.0/listeners/{LB_ID}").status == 200
    assert plugged.get(port=8090) == "web1"


def test_heartbeats_tell_of_a_document(plugged: Scenario) -> None:
    put(plugged, shop(0, 1))
    identity = Identity(SHOP_ID)

    def tells(message: Json) -> bool:
        pool = message["pools"].get(identity.backend("web", "plain"), {})
        members = pool.get("members", {})
        return PLAIN in message["listeners"] and set(members) == {identity.member("web", f"w{n}") for n in (0, 1)}

    client = plugged.amphora.client
    with HeartbeatReceiver.listen(client, CLIENT_ADDRESS, HEARTBEAT_PORT, HEARTBEAT_KEY) as receiver:
        message = receiver.receive_until(tells).message
        assert message["listeners"][PLAIN]["status"] == "OPEN"
        assert plugged.amphora.request("DELETE", f"{MEMBERS}/w1").status == 200
        receiver.receive_until(lambda found: len(found["pools"][identity.backend("web", "plain")]["members"]) == 1)


def test_what_nobody_confirms_is_taken_back_over_a_restart(plugged: Scenario) -> None:
    put(plugged, shop(0))
    reply = put(plugged, shop(1), f"{SHOP}?confirm=3")
    assert reply["revert_at"] is not None
    began = time.monotonic()
    plugged.amphora.kill()
    plugged.amphora.start()

    def members() -> list[str]:
        return [each["name"] for each in plugged.amphora.request("GET", MEMBERS).json()]

    wait_for(lambda: members() == ["w0"], "the change is taken back", seconds=30)
    assert time.monotonic() - began > 1
    assert plugged.get(port=8090) == "web1"
    status = plugged.amphora.request("GET", f"{SHOP}/status").json()
    assert (status["last_apply"]["by"], status["generation"]) == ("agent", reply["generation"] + 1)


def test_a_power_cut_brings_back_a_document_with_what_was_drained(plugged: Scenario) -> None:
    put(plugged, shop(0, 1))
    assert plugged.amphora.request("POST", f"{MEMBERS}/w0/drain").status == 200
    plugged.amphora.power_off()
    assert plugged.amphora.run(["amphora-interface", "--config-file", str(plugged.amphora.config_file), "up", "all"])
    plugged.amphora.start()

    def status() -> Json:
        found: Json = plugged.amphora.request("GET", f"{SHOP}/status").json()
        return found

    def is_programmed() -> bool:
        return all(each["status"] for each in status()["conditions"] if each["type"] == "Programmed")

    wait_for(is_programmed, lambda: str(status()), seconds=60)
    members = status()["listeners"][0]["pools"][0]["members"]
    assert [member["operating"] for member in members] == ["DRAINING", "NO_MONITOR"]
    assert {plugged.get(port=8090) for _ in range(6)} == {"web2"}
