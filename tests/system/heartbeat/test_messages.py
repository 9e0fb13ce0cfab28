"""What a heartbeat says of a real HAProxy: all of it, and each number once."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import time
from typing import Any

import pytest

from amphora_agent.host.haproxy.socket import query
from testbed.heartbeat_receiver import HeartbeatReceiver
from testbed.waiting import wait_for
from tests.system.heartbeat.rig import AMPHORA_ID, LB_ID, Rig, end, free_port, port_of
from tests.system.heartbeat.traffic import (
    LISTENER,
    MEMBERS,
    POOL,
    SECOND,
    STATISTICS,
    Member,
    carry,
    exchange,
    listener,
    server,
)

pytestmark = pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")


def add(totals: dict[str, int], message: Any) -> dict[str, int]:
    """Add a message's numbers to the totals and return these."""
    for values in message["listeners"].values():
        for key, value in values["stats"].items():
            totals[key] += value
    return totals


def receiver_has_more(receiver: HeartbeatReceiver) -> bool:
    receiver.socket.settimeout(0.05)
    with contextlib.suppress(TimeoutError, BlockingIOError):
        return bool(receiver.socket.recv(1, socket.MSG_PEEK))
    return False


def stats(rig: Rig) -> bytes:
    return query(rig.paths.loadbalancer(LB_ID).stats_socket, "show stat -1 4 -1", 2)


def test_the_first_message_is_immediate_and_complete(rig: Rig, receiver: HeartbeatReceiver) -> None:
    with Member() as member:
        port = free_port()
        servers = (
            server(MEMBERS[0], member.port)
            + server(MEMBERS[1], member.port, "weight 0 check inter 1s")
            + server(MEMBERS[2], member.port, "disabled")
            + server(MEMBERS[3], free_port(), "check inter 100ms fall 1")
            + server(MEMBERS[4], member.port, "check inter 1s")
        )
        haproxy = rig.start_haproxy(listener(port, servers=servers))
        wait_for(lambda: b"DOWN" in stats(rig) and stats(rig).count(b"L4OK") == 2, "the checks")
        rig.configure([f"127.0.0.1:{port_of(receiver)}"])
        began = time.monotonic()
        rig.start_heartbeat()
        first = receiver.receive().message
        assert time.monotonic() - began < 3
        assert (first["id"], first["seq"], first["ver"]) == (AMPHORA_ID, 0, 3)
        assert first["listeners"] == {LISTENER: {"status": "OPEN", "stats": dict.fromkeys(STATISTICS, 0)}}
        assert first["pools"][f"{POOL}:{LISTENER}"] == {
            "status": "UP",
            "members": {
                MEMBERS[0]: "no check",
                MEMBERS[1]: "DRAIN",
                MEMBERS[2]: "MAINT",
                MEMBERS[3]: "DOWN",
                MEMBERS[4]: "UP",
            },
        }
        assert receiver.receive().message["seq"] == 1
        assert haproxy.process.poll() is None


def test_traffic_is_counted_once_across_restarts_of_the_process(rig: Rig, receiver: HeartbeatReceiver) -> None:
    with Member() as member:
        port = free_port()
        rig.start_haproxy(listener(port, servers=server(MEMBERS[0], member.port)))
        rig.configure([f"127.0.0.1:{port_of(receiver)}"])
        totals = dict.fromkeys(STATISTICS, 0)
        for round_number in range(3):
            exchange(member, port, sent=1000 + round_number, received=30000)
            process = rig.start_heartbeat()
            for _ in range(2):
                add(totals, receiver.receive().message)
            assert end(process) == 0
            while receiver_has_more(receiver):
                add(totals, receiver.receive().message)
        assert totals == {"rx": 3003, "tx": 90000, "totconns": 3, "conns": 0, "ereq": 0}
        assert json.loads(rig.paths.counters.read_bytes())[LISTENER]["bin"] == 3003
        assert rig.paths.counters.stat().st_mode & 0o777 == 0o640


@pytest.mark.hardening("D29")
def test_connections_and_bytes_of_old_workers_are_counted(rig: Rig, receiver: HeartbeatReceiver) -> None:
    with Member() as member:
        port = free_port()
        body = listener(port, servers=server(MEMBERS[0], member.port), options="    option contstats\n")
        body = body.replace("    bind", "    option contstats\n    bind")
        haproxy = rig.start_haproxy(body)
        rig.configure([f"127.0.0.1:{port_of(receiver)}"])
        rig.start_heartbeat()
        receiver.receive()
        totals = dict.fromkeys(STATISTICS, 0)
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
                accepted = stack.enter_context(member.accept())
                carry(client, accepted, 10_000)
                haproxy.reload(body)
                carry(accepted, client, 5_000)
            assert len(haproxy.workers()) == 4

            def counted() -> bool:
                message = receiver.receive().message
                add(totals, message)
                return bool(message["listeners"][LISTENER]["stats"]["conns"] == 3 and totals["rx"] >= 30_000)

            wait_for(counted, "the connections are counted")
            wait_for(lambda: counted() and totals["tx"] >= 15_000, "the bytes are counted")
        receiver.receive_until(
            lambda m: add(totals, m)["conns"] >= 0 and m["listeners"][LISTENER]["stats"]["conns"] == 0
        )
        assert (totals["rx"], totals["tx"], totals["totconns"]) == (30_000, 15_000, 3)


def test_the_applied_configuration_names_the_listeners(rig: Rig, receiver: HeartbeatReceiver) -> None:
    port = free_port()
    body = listener(port) + f"\nfrontend prometheus-exporter-internal-endpoint\n    bind 127.0.0.1:{free_port()}\n"
    rig.start_haproxy(body)
    rig.store(listener(port) + listener(free_port(), SECOND))
    rig.configure([f"127.0.0.1:{port_of(receiver)}"])
    rig.start_heartbeat()
    assert set(receiver.receive().message["listeners"]) == {LISTENER}


def test_members_on_their_way_out_are_not_shown(rig: Rig, receiver: HeartbeatReceiver) -> None:
    servers = server(MEMBERS[0], 9) + server(MEMBERS[1], 9, "disabled") + server(MEMBERS[2], 9, "disabled")
    rig.start_haproxy(listener(free_port(), servers=servers))
    rig.paths.loadbalancer(LB_ID).removing.write_text(
        json.dumps({f"{POOL}:{LISTENER}": {MEMBERS[0]: 1.0, MEMBERS[1]: 2.0}})
    )
    rig.configure([f"127.0.0.1:{port_of(receiver)}"])
    rig.start_heartbeat()
    members = receiver.receive().message["pools"][f"{POOL}:{LISTENER}"]["members"]
    assert members == {MEMBERS[0]: "no check", MEMBERS[2]: "MAINT"}
    rig.paths.loadbalancer(LB_ID).removing.write_text("[garbage")
    shown = receiver.receive_until(lambda m: len(m["pools"][f"{POOL}:{LISTENER}"]["members"]) == 3)
    assert set(shown.message["listeners"]) == {LISTENER}


def test_counters_that_cannot_be_stored_stop_nothing(rig: Rig, receiver: HeartbeatReceiver) -> None:
    rig.start_haproxy(listener(free_port()))
    rig.paths.counters.mkdir()
    rig.configure([f"127.0.0.1:{port_of(receiver)}"])
    rig.start_heartbeat()
    assert [set(receiver.receive().message["listeners"]) for _ in range(3)] == [{LISTENER}] * 3
    assert rig.logged().count("counters are not stored") == 1


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'{"x": [], "%s": {"bin": "many"}}' % LISTENER.encode(), b"\xff"]
)
def test_a_damaged_counters_file_starts_from_the_present_values(
    rig: Rig, receiver: HeartbeatReceiver, content: bytes
) -> None:
    with Member() as member:
        port = free_port()
        rig.start_haproxy(listener(port, servers=server(MEMBERS[0], member.port)))
        exchange(member, port, sent=1000, received=2000)
        rig.paths.counters.write_bytes(content)
        rig.configure([f"127.0.0.1:{port_of(receiver)}"])
        rig.start_heartbeat()
        assert receiver.receive().message["listeners"][LISTENER]["stats"]["tx"] == 0
        exchange(member, port, sent=10, received=20)
        totals = dict.fromkeys(STATISTICS, 0)
        receiver.receive_until(lambda m: add(totals, m)["totconns"] > 0)
        assert (totals["rx"], totals["tx"], totals["totconns"]) == (10, 20, 1)
    assert "counters file is damaged" in rig.logged()


def test_a_controller_that_does_not_listen_costs_no_numbers(rig: Rig, receiver: HeartbeatReceiver) -> None:
    with Member() as member:
        port = free_port()
        rig.start_haproxy(listener(port, servers=server(MEMBERS[0], member.port)))
        rig.configure([f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}", f"127.0.0.1:{port_of(receiver)}"])
        rig.start_heartbeat()
        totals = dict.fromkeys(STATISTICS, 0)
        for _ in range(6):
            exchange(member, port, sent=100, received=200)
            time.sleep(0.4)  # noqa: TID251 - over some heartbeats
        receiver.receive_until(lambda m: add(totals, m)["totconns"] >= 6, timeout=10)
        assert (totals["rx"], totals["tx"], totals["totconns"]) == (600, 1200, 6)
    assert rig.logged().count("does not get its messages") == 1
