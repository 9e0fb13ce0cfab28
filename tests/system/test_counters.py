"""Traffic as the controller adds it up: every connection once, whatever happens between two heartbeats."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from testbed.amphora import CLIENT_ADDRESS, HEARTBEAT_KEY, HEARTBEAT_PORT, RunningAmphora
from testbed.heartbeat_receiver import HeartbeatReceiver
from testbed.scenario import LISTENER_ID, VIP, Scenario, scenario

BASIC = "haproxy/01-http-basic.cfg"
TCP = "haproxy/02-tcp-leastconn-tcp-monitor.cfg"
SECONDS = 20.0


@pytest.fixture
def counted() -> Iterator[tuple[Scenario, HeartbeatReceiver]]:
    with contextlib.ExitStack() as stack:
        amphora = stack.enter_context(RunningAmphora(started=False))
        receiver = HeartbeatReceiver.listen(amphora.client, CLIENT_ADDRESS, HEARTBEAT_PORT, HEARTBEAT_KEY)
        stack.enter_context(receiver)
        amphora.start()
        surroundings = stack.enter_context(scenario(amphora))
        surroundings.plug()
        yield surroundings, receiver


def add_up(receiver: HeartbeatReceiver, total: int, wanted: int) -> int:
    """Return the sum of the deltas once it has reached `wanted` and one more heartbeat has come."""
    deadline = time.monotonic() + SECONDS
    extra = 2
    while extra and time.monotonic() < deadline:
        listeners = receiver.receive().message["listeners"]
        total += listeners.get(LISTENER_ID, {"stats": {"totconns": 0}})["stats"]["totconns"]
        extra -= total >= wanted
    return total


def test_connections_right_before_reloads_are_counted(counted: tuple[Scenario, HeartbeatReceiver]) -> None:
    balancer, receiver = counted
    config = balancer.amphora.sample(BASIC)
    balancer.apply(config)
    asked = heard = 0
    for number in range(3):
        for _ in range(7):
            balancer.get()
            asked += 1
        balancer.apply(config.replace("timeout client 50000", f"timeout client {50001 + number}"))
        heard = add_up(receiver, heard, asked)
        assert heard == asked, balancer.amphora.log[-2000:]


def test_connections_right_before_an_agents_death_are_counted(counted: tuple[Scenario, HeartbeatReceiver]) -> None:
    balancer, receiver = counted
    balancer.apply(balancer.amphora.sample(BASIC))
    for _ in range(5):
        balancer.get()
    balancer.amphora.kill()
    for _ in range(5):
        balancer.get()
    balancer.amphora.start()
    assert add_up(receiver, 0, 10) == 10


def test_a_listener_that_is_disabled_and_enabled_again_is_not_billed_twice(
    counted: tuple[Scenario, HeartbeatReceiver],
) -> None:
    balancer, receiver = counted
    config = balancer.amphora.sample(TCP)
    frontend = config[config.index("frontend ") : config.index("\nbackend ")]
    port = int(config.partition(f"bind {VIP}:")[2].split()[0])
    balancer.apply(config)
    # While it is open, the worker that counted it lives.
    with balancer.clients.connect(VIP, port, timeout=20):
        heard = add_up(receiver, 0, 1)
        balancer.apply(config.replace(frontend, ""))
        receiver.drain()
        receiver.receive_until(lambda message: LISTENER_ID not in message["listeners"])
        receiver.receive()
        balancer.apply(config)
        with balancer.clients.connect(VIP, port, timeout=20):
            assert add_up(receiver, heard, 2) == 2, balancer.amphora.log[-2000:]
