"""Our datagrams through Octavia's own health manager code, on a real database of its own models."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from testbed.amphora import AMPHORA_ID, CLIENT_ADDRESS, HEARTBEAT_KEY, HEARTBEAT_PORT, LB_ID
from testbed.heartbeat_receiver import Heartbeat, HeartbeatReceiver
from testbed.scenario import LISTENER_ID, MEMBER_IDS, Scenario, scenario
from tests.compat.conftest import fresh_amphora
from tests.compat.controller import POOL_ID, OctaviaController, OctaviaError, listener, pool, raw, world

EMPTY_LISTENER = "a1b2c3d4-0000-4000-8000-000000000082"
DISABLED_LISTENER = "a1b2c3d4-0000-4000-8000-000000000083"
EMPTY_POOL = "a1b2c3d4-0000-4000-8000-0000000000aa"


@pytest.fixture
def beating(octavia: OctaviaController) -> Iterator[tuple[Scenario, HeartbeatReceiver]]:
    """An amphora that beats every second, its surroundings, and the controller's socket, bound before it started."""
    with (
        fresh_amphora(heartbeats=True, started=False) as amphora,
        HeartbeatReceiver.listen(amphora.client, CLIENT_ADDRESS, HEARTBEAT_PORT, HEARTBEAT_KEY) as receiver,
    ):
        amphora.start()
        octavia.attach(amphora)
        with scenario(amphora) as surroundings:
            yield surroundings, receiver


def statuses(heartbeat: Heartbeat) -> dict[str, str]:
    """Return member id -> status, of all pools."""
    pools = heartbeat.message["pools"].values()
    return {member: status for pool in pools for member, status in pool["members"].items()}


def digest_until(
    octavia: OctaviaController, receiver: HeartbeatReceiver, wanted: dict[str, str], *, seconds: float = 20.0
) -> None:
    """Feed heartbeats to the health manager until the database shows these members' statuses."""
    deadline = time.monotonic() + seconds
    seen: dict[str, str] = {}
    while time.monotonic() < deadline:
        octavia.heartbeat(receiver.receive().envelope)
        assert octavia.warnings == []
        seen = octavia.call("status", model="Member")
        if wanted.items() <= seen.items():
            return
    raise AssertionError(f"the members are {seen}, never {wanted}")


def test_the_decoder_opens_ours_with_the_right_key_only(
    beating: tuple[Scenario, HeartbeatReceiver], octavia: OctaviaController
) -> None:
    """Trap T05."""
    _, receiver = beating
    heartbeat = receiver.receive()
    message = octavia.call("unwrap", envelope=raw(heartbeat.envelope), key=HEARTBEAT_KEY)
    assert message == heartbeat.message
    assert octavia.warnings == [], "opened at the first try, as a hexadecimal digest"
    assert {"id": AMPHORA_ID, "ver": 3, "listeners": {}, "pools": {}}.items() <= message.items()
    for wrong in ("insecurE", "", "insecure "):
        with pytest.raises(OctaviaError, match="InvalidHMAC"):
            octavia.call("unwrap", envelope=raw(heartbeat.envelope), key=wrong)
    assert receiver.receive().message["seq"] == message["seq"] + 1


def test_a_dead_web_server_is_seen(beating: tuple[Scenario, HeartbeatReceiver], octavia: OctaviaController) -> None:
    """The main job: members ONLINE; one dies: ERROR, pool and load balancer DEGRADED; both die; they come back."""
    balancer, receiver = beating
    octavia.call("insert", rows=world())
    balancer.plug()
    octavia.update_listeners()
    receiver.drain()
    first, second = MEMBER_IDS
    digest_until(octavia, receiver, {first: "ONLINE", second: "ONLINE"})
    assert octavia.call("status", model="LoadBalancer") == {LB_ID: "ONLINE"}

    balancer.web_servers[0].stop()
    digest_until(octavia, receiver, {first: "ERROR", second: "ONLINE"})
    assert octavia.call("status", model="Pool") == {POOL_ID: "DEGRADED"}
    assert octavia.call("status", model="LoadBalancer") == {LB_ID: "DEGRADED"}

    balancer.web_servers[1].stop()
    digest_until(octavia, receiver, {first: "ERROR", second: "ERROR"})
    assert octavia.call("status", model="Pool") == {POOL_ID: "ERROR"}
    assert octavia.call("status", model="LoadBalancer") == {LB_ID: "ERROR"}

    for server in balancer.web_servers:
        server.start()
    digest_until(octavia, receiver, {first: "ONLINE", second: "ONLINE"})
    assert octavia.call("status", model="LoadBalancer") == {LB_ID: "ONLINE"}
    assert octavia.call("status", model="Listener") == {LISTENER_ID: "ONLINE"}


def test_members_as_the_user_set_them(beating: tuple[Scenario, HeartbeatReceiver], octavia: OctaviaController) -> None:
    """Disabled is OFFLINE, weight 0 is DRAINING, no monitor is NO_MONITOR, back again is ONLINE."""
    balancer, receiver = beating
    first, second = MEMBER_IDS
    octavia.call("insert", rows=world())
    balancer.plug()
    octavia.call("update", model="Member", key=first, columns={"enabled": False})
    octavia.call("update", model="Member", key=second, columns={"weight": 0})
    octavia.update_listeners()
    receiver.drain()
    digest_until(octavia, receiver, {first: "OFFLINE", second: "DRAINING"})
    octavia.call("update", model="Member", key=first, columns={"enabled": True})
    octavia.call("update", model="Member", key=second, columns={"weight": 1})
    octavia.update_listeners()
    digest_until(octavia, receiver, {first: "ONLINE", second: "ONLINE"})


def test_the_amphora_stays_alive_in_every_state(
    beating: tuple[Scenario, HeartbeatReceiver], octavia: OctaviaController
) -> None:
    """Trap T01: health is refreshed only if the number of listeners is that of the enabled ones in the database."""
    balancer, receiver = beating
    octavia.call("insert", rows=[*world(monitor=False), pool(EMPTY_POOL)])
    more = [
        listener(EMPTY_LISTENER, port=82, default_pool_id=EMPTY_POOL),
        listener(DISABLED_LISTENER, port=83, enabled=False),
    ]
    octavia.call("insert", rows=more)
    balancer.plug()
    octavia.update_listeners()
    receiver.drain()
    octavia.heartbeat(receiver.receive_until(lambda message: message["listeners"]).envelope)
    assert octavia.warnings == []
    assert octavia.call("last_seen", amphora=AMPHORA_ID) is not None
    assert octavia.call("status", model="Listener") == {
        LISTENER_ID: "ONLINE",
        EMPTY_LISTENER: "ONLINE",
        DISABLED_LISTENER: "OFFLINE",
    }
    assert octavia.call("status", model="Member") == dict.fromkeys(MEMBER_IDS, "NO_MONITOR")

    octavia.call("update", model="Listener", key=EMPTY_LISTENER, columns={"enabled": False})
    octavia.update_listeners()
    octavia.heartbeat(receiver.receive_until(lambda message: len(message["listeners"]) == 1).envelope)
    assert octavia.warnings == []


def test_the_count_is_right_while_haproxy_reloads(
    beating: tuple[Scenario, HeartbeatReceiver], octavia: OctaviaController
) -> None:
    """Trap T01 again: no heartbeat during ten reloads has one listener more or less than the controller expects."""
    balancer, receiver = beating
    octavia.call("insert", rows=world())
    balancer.plug()
    octavia.update_listeners()
    receiver.drain()
    receiver.receive_until(lambda message: message["listeners"])
    for number in range(10):
        columns = {"timeout_client_data": 40000 + number}
        octavia.call("update", model="Listener", key=LISTENER_ID, columns=columns)
        octavia.update_listeners()
        octavia.heartbeat(receiver.receive().envelope)
        assert octavia.warnings == []


def test_statistics_add_up(beating: tuple[Scenario, HeartbeatReceiver], octavia: OctaviaController) -> None:
    """The controller adds our deltas; after a reload and a restart of the agent the sums are still the traffic."""
    balancer, receiver = beating
    octavia.call("insert", rows=world(monitor=False))
    balancer.plug()
    octavia.update_listeners()
    requests = 5
    for _ in range(requests):
        balancer.get()
    digest_connections(octavia, receiver, requests)

    octavia.call("update", model="Listener", key=LISTENER_ID, columns={"timeout_client_data": 41000})
    octavia.update_listeners()
    for _ in range(requests):
        balancer.get()
    digest_connections(octavia, receiver, 2 * requests)

    balancer.amphora.restart()
    balancer.get()
    totals = digest_connections(octavia, receiver, 2 * requests + 1)
    assert totals["bytes_in"] > 0
    assert totals["bytes_out"] > 0
    assert totals["request_errors"] == 0


def digest_connections(octavia: OctaviaController, receiver: HeartbeatReceiver, wanted: int) -> dict[str, int]:
    """Feed heartbeats to the health manager until it has counted this many connections; return the sums."""
    deadline = time.monotonic() + 10
    totals: dict[str, int] = {}
    while time.monotonic() < deadline:
        octavia.heartbeat(receiver.receive().envelope)
        totals = octavia.call("statistics").get(LISTENER_ID, {})
        if totals and totals["total_connections"] >= wanted:
            break
    assert totals["total_connections"] == wanted
    return totals


def test_a_new_key_is_used_without_a_restart(
    beating: tuple[Scenario, HeartbeatReceiver], octavia: OctaviaController
) -> None:
    """Trap T06."""
    balancer, receiver = beating
    receiver.receive()
    text = balancer.amphora.config().replace("heartbeat_key = insecure", "heartbeat_key = n€w key")
    octavia.client("update_agent_config", raw(text.encode()))
    fresh = HeartbeatReceiver(receiver.socket, "n€w key")
    receiver.drain()
    with contextlib.suppress(ValueError):  # one that was on its way when the configuration came
        fresh.receive()
    heartbeat = fresh.receive()
    assert octavia.call("unwrap", envelope=raw(heartbeat.envelope), key="n€w key") == heartbeat.message
