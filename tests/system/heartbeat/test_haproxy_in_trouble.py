"""What a heartbeat says while HAProxy is stopped, killed, reloaded or odd."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import threading
import uuid
from typing import Any

import pytest

from amphora_agent.core.heartbeat.document import Part
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.heartbeat.haproxy import HaproxyCollector
from amphora_agent.heartbeat.notices import Notices
from testbed.heartbeat_receiver import HeartbeatReceiver
from testbed.waiting import wait_for
from tests.system.heartbeat.rig import LB_ID, Rig, free_port, port_of
from tests.system.heartbeat.traffic import (
    LISTENER,
    MEMBERS,
    Member,
    exchange,
    listener,
    server,
)

pytestmark = pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")


def test_a_stopped_worker_keeps_the_beat_for_a_while_and_then_leaves_it(rig: Rig, receiver: HeartbeatReceiver) -> None:
    port = free_port()
    haproxy = rig.start_haproxy(listener(port, servers=server(MEMBERS[0], 9, "disabled")))
    rig.configure([f"127.0.0.1:{port_of(receiver)}"])
    rig.start_heartbeat()
    first = receiver.receive().message
    assert set(first["listeners"]) == {LISTENER}
    worker = haproxy.worker()
    os.kill(worker, signal.SIGSTOP)
    try:
        receiver.drain()
        receiver.receive_until(lambda _: "is silent" in rig.logged(), timeout=5)
        seen: list[Any] = []
        while not seen or seen[-1]["listeners"]:
            seen.append(receiver.receive(timeout=3).message)
            assert len(seen) < 6
        assert len(seen) >= 3
        assert all(m["listeners"] == first["listeners"] and m["pools"] == first["pools"] for m in seen[:-1])
        assert seen[-1]["pools"] == {}
    finally:
        os.kill(worker, signal.SIGCONT)
    receiver.receive_until(lambda m: m["listeners"] == first["listeners"] and m["pools"] == first["pools"])
    log = rig.logged()
    assert log.count("is silent") == 1
    assert log.count("stays silent") == 1


def test_a_killed_haproxy_leaves_an_empty_message(rig: Rig, receiver: HeartbeatReceiver) -> None:
    haproxy = rig.start_haproxy(listener(free_port()))
    rig.configure([f"127.0.0.1:{port_of(receiver)}"])
    rig.start_heartbeat()
    assert set(receiver.receive().message["listeners"]) == {LISTENER}
    haproxy.kill()
    gone = receiver.receive_until(lambda m: not m["listeners"], timeout=4).message
    assert gone["pools"] == {}
    receiver.receive()
    assert rig.logged().count("is not running") == 1


def test_the_pid_of_another_program_is_not_haproxy(rig: Rig, receiver: HeartbeatReceiver) -> None:
    haproxy = rig.start_haproxy(listener(free_port()))
    haproxy.kill()
    other = rig.spawn(["sleep", "60"])
    rig.paths.loadbalancer(LB_ID).pid.write_text(f"{other.pid}\n")
    rig.configure([f"127.0.0.1:{port_of(receiver)}"])
    rig.start_heartbeat()
    assert receiver.receive().message["listeners"] == {}


def test_an_old_haproxy_without_master_socket_is_asked_directly(rig: Rig, receiver: HeartbeatReceiver) -> None:
    with Member() as member:
        port = free_port()
        servers = server(MEMBERS[0], member.port)
        rig.start_haproxy(listener(port, servers=servers), has_master=False)
        rig.paths.loadbalancer(LB_ID).applied.unlink()
        exchange(member, port, sent=10, received=20)
        rig.configure([f"127.0.0.1:{port_of(receiver)}"])
        rig.start_heartbeat()
        values = receiver.receive().message["listeners"][LISTENER]["stats"]
        assert values == {"rx": 10, "tx": 20, "totconns": 1, "conns": 0, "ereq": 0}


def test_a_broken_load_balancer_does_not_silence_the_other(rig: Rig, receiver: HeartbeatReceiver) -> None:
    rig.start_haproxy(listener(free_port()))
    broken = LoadBalancerId("00000000-0000-4000-8000-00000000b0ce")
    rig.paths.loadbalancer(broken).directory.mkdir()
    rig.paths.loadbalancer(broken).config.write_bytes(b"\xff\xfe frontend")
    rig.paths.loadbalancer(broken).pid.mkdir()
    rig.paths.loadbalancer(broken).agent.mkdir(parents=True)
    rig.paths.loadbalancer(broken).applied.mkdir()
    rig.configure([f"127.0.0.1:{port_of(receiver)}"])
    rig.start_heartbeat()
    assert set(receiver.receive().message["listeners"]) == {LISTENER}


def has(looks: list[Part], enough: int) -> bool:
    return len(looks) >= enough


def test_reloads_never_cost_a_listener(rig: Rig) -> None:
    servers = "".join(server(str(uuid.uuid4()), 9) for _ in range(2000))
    body = listener(free_port(), servers=servers)
    haproxy = rig.start_haproxy(body)
    collector = HaproxyCollector(rig.paths, Notices())
    looks: list[Part] = []

    def reload_often() -> None:
        for _ in range(6):
            enough = len(looks) + 3
            haproxy.reload(body)
            wait_for(functools.partial(has, looks, enough), "enough looks")

    reloads = threading.Thread(target=reload_often)
    reloads.start()
    while reloads.is_alive():
        parts, known = collector.collect(5.0)
        assert known == frozenset({LISTENER})
        looks += parts
    assert len(looks) > 12
    assert all(set(part.listeners) == {LISTENER} for part in looks)
    assert {len(pool.members) for part in looks for pool in part.pools.values()} == {2000}
