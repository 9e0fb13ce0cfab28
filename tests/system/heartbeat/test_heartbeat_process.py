"""The heartbeat process as installed, beside a real HAProxy, heard by a real UDP socket."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from amphora_agent.core.heartbeat.document import Part
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.heartbeat.haproxy import HaproxyCollector
from amphora_agent.heartbeat.notices import Notices
from amphora_agent.host.haproxy.socket import query
from testbed.heartbeat_receiver import HeartbeatReceiver
from tests.system.heartbeat.rig import AMPHORA_ID, LB_ID, Rig, end, free_port, open_receiver, port_of, until

pytestmark = pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")

LISTENER = "00000011-0000-4000-8000-000000000011"
SECOND = "00000012-0000-4000-8000-000000000012"
POOL = "00000021-0000-4000-8000-000000000021"
MEMBERS = tuple(f"0000003{n}-0000-4000-8000-00000000003{n}" for n in range(6))
STATISTICS = {"tx", "rx", "conns", "totconns", "ereq"}


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig() as made:
        yield made


@pytest.fixture
def receiver() -> Iterator[HeartbeatReceiver]:
    with open_receiver() as made:
        yield made


def listener(port: int, name: str = LISTENER, servers: str = "", options: str = "") -> str:
    """Return a frontend and its backend as HAProxy configuration."""
    return f"""
frontend {name}
    bind 127.0.0.1:{port}
    default_backend {POOL}:{name}
backend {POOL}:{name}
{options}{servers}"""


def server(name: str, port: int, rest: str = "") -> str:
    return f"    server {name} 127.0.0.1:{port} {rest}\n"


class Member:
    """A TCP server that answers each line with an equally long one."""

    def __init__(self) -> None:
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._door.getsockname()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._door.close()

    def accept(self) -> socket.socket:
        """Return the next connection."""
        self._door.settimeout(5)
        return self._door.accept()[0]


def exchange(member: Member, port: int, *, sent: int, received: int) -> None:
    """Make one whole connection through HAProxy that carries exactly so many bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client, member.accept() as accepted:
        carry(client, accepted, sent)
        carry(accepted, client, received)


def carry(source: socket.socket, target: socket.socket, size: int) -> None:
    source.sendall(b"x" * size)
    target.settimeout(5)
    while size > 0:
        size -= len(target.recv(size))


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
        until(lambda: b"DOWN" in stats(rig) and stats(rig).count(b"L4OK") == 2)
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


def stats(rig: Rig) -> bytes:
    return query(rig.paths.loadbalancer(LB_ID).stats_socket, "show stat -1 4 -1", 2)


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


def receiver_has_more(receiver: HeartbeatReceiver) -> bool:
    receiver.socket.settimeout(0.05)
    with contextlib.suppress(TimeoutError, BlockingIOError):
        return bool(receiver.socket.recv(1, socket.MSG_PEEK))
    return False


def add(totals: dict[str, int], message: Any) -> dict[str, int]:
    """Add a message's numbers to the totals and return these."""
    for values in message["listeners"].values():
        for key, value in values["stats"].items():
            totals[key] += value
    return totals


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

            until(counted)
            until(lambda: counted() and totals["tx"] >= 15_000)
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
    collector = HaproxyCollector(rig.paths, "haproxy", Notices())
    looks: list[Part] = []

    def reload_often() -> None:
        for _ in range(6):
            enough = len(looks) + 3
            haproxy.reload(body)
            until(functools.partial(has, looks, enough))

    reloads = threading.Thread(target=reload_often)
    reloads.start()
    while reloads.is_alive():
        parts, known = collector.collect(5.0)
        assert known == frozenset({LISTENER})
        looks += parts
    assert len(looks) > 12
    assert all(set(part.listeners) == {LISTENER} for part in looks)
    assert {len(pool.members) for part in looks for pool in part.pools.values()} == {2000}


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


def test_a_new_key_list_and_interval_need_no_restart(rig: Rig, receiver: HeartbeatReceiver) -> None:
    rig.configure([f"127.0.0.1:{port_of(receiver)}"], heartbeat_interval="3600")
    process = rig.start_heartbeat()
    assert receiver.receive().message["listeners"] == {}
    with open_receiver("another") as other:
        rig.configure([f"127.0.0.1:{port_of(other)}"], heartbeat_key="another")
        for _ in range(3):
            other.receive(timeout=6)
    assert receiver.drain() == 0
    assert process.poll() is None


def test_two_controllers_take_turns(rig: Rig, receiver: HeartbeatReceiver) -> None:
    with open_receiver() as other:
        rig.configure(
            ["nonsense", f"127.0.0.1:{port_of(receiver)}", "[::ffff:127.0.0.1]:1x", f"127.0.0.1:{port_of(other)}"]
        )
        rig.start_heartbeat()
        assert [receiver.receive().message["seq"] for _ in range(2)] == [0, 2]
        assert [other.receive().message["seq"] for _ in range(2)] == [1, 3]
    log = rig.logged()
    assert log.count("no host:port") == 2


def test_a_new_list_is_begun_at_its_head(rig: Rig, receiver: HeartbeatReceiver) -> None:
    with open_receiver() as second, open_receiver() as third:
        rig.configure([f"127.0.0.1:{port_of(receiver)}", f"127.0.0.1:{port_of(second)}"], heartbeat_interval="2")
        rig.start_heartbeat()
        second.receive_until(lambda m: m["seq"] == 1)
        receiver.receive_until(lambda m: m["seq"] == 2)
        rig.configure([f"127.0.0.1:{port_of(receiver)}", f"127.0.0.1:{port_of(third)}"], heartbeat_interval="2")
        assert receiver.receive().message["seq"] == 3
        assert third.receive().message["seq"] == 4


def test_a_missing_base_directory_is_said_once_and_survived(rig: Rig, receiver: HeartbeatReceiver) -> None:
    rig.configure([f"127.0.0.1:{port_of(receiver)}"])
    config = rig.config_file.read_text()
    rig.config_file.write_text(config.replace(f"base_path = {rig.base}", f"base_path = {rig.base}/later"))
    rig.start_heartbeat()
    with pytest.raises(TimeoutError):
        receiver.receive(timeout=2.5)
    (rig.base / "later").mkdir()
    receiver.receive(timeout=3)
    until(lambda: "works again" in rig.logged())  # said after the message is sent
    assert rig.logged().count("cannot list") == 1


def test_without_a_configuration_it_says_so_and_ends(rig: Rig) -> None:
    assert rig.start_heartbeat().wait(10) == 1
    assert "cannot read" in rig.logged()


def test_a_controller_that_does_not_listen_costs_no_numbers(rig: Rig, receiver: HeartbeatReceiver) -> None:
    with Member() as member:
        port = free_port()
        rig.start_haproxy(listener(port, servers=server(MEMBERS[0], member.port)))
        rig.configure([f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}", f"127.0.0.1:{port_of(receiver)}"])
        rig.start_heartbeat()
        totals = dict.fromkeys(STATISTICS, 0)
        for _ in range(6):
            exchange(member, port, sent=100, received=200)
            time.sleep(0.4)
        receiver.receive_until(lambda m: add(totals, m)["totconns"] >= 6, timeout=10)
        assert (totals["rx"], totals["tx"], totals["totconns"]) == (600, 1200, 6)
    assert rig.logged().count("does not get its messages") == 1


@pytest.mark.parametrize("options", [{"amphora_id": ""}, {"amphora_id": "CHANGEME"}, {"heartbeat_key": ""}])
def test_without_id_or_key_nothing_is_sent(rig: Rig, receiver: HeartbeatReceiver, options: dict[str, str]) -> None:
    rig.configure([f"127.0.0.1:{port_of(receiver)}"], **options)
    rig.start_heartbeat()
    until(lambda: "nothing is sent" in rig.logged())
    with pytest.raises(TimeoutError):
        receiver.receive(timeout=2.5)
    assert rig.logged().count("nothing is sent") == 1
    rig.configure([f"127.0.0.1:{port_of(receiver)}"])
    assert receiver.receive(timeout=3).message["seq"] == 0


def test_the_id_of_the_first_message_stays(rig: Rig, receiver: HeartbeatReceiver) -> None:
    rig.configure([f"127.0.0.1:{port_of(receiver)}"])
    rig.start_heartbeat()
    receiver.receive()
    rig.configure([f"127.0.0.1:{port_of(receiver)}"], amphora_id="000000a2-0000-4000-8000-0000000000a2")
    until(lambda: "another amphora_id is ignored" in rig.logged())
    receiver.drain()
    assert receiver.receive().message["id"] == AMPHORA_ID


def test_silent_while_keepalived_should_run_and_does_not(rig: Rig, receiver: HeartbeatReceiver, tmp_path: Path) -> None:
    rig.paths.vrrp.config.parent.mkdir()
    rig.paths.vrrp.config.write_text("vrrp_instance x {}\n")
    other = rig.spawn(["sleep", "60"])
    rig.paths.vrrp.pid.write_text(f"{other.pid}\n")
    rig.configure([f"127.0.0.1:{port_of(receiver)}"])
    rig.start_heartbeat()
    with pytest.raises(TimeoutError):
        receiver.receive(timeout=2.5)
    stand_in = tmp_path / "keepalived"
    shutil.copy(shutil.which("tail") or "", stand_in)
    another = rig.spawn([str(stand_in), "-f", "/dev/null"])
    rig.paths.vrrp.pid.write_text(f"{another.pid}\n")
    with pytest.raises(TimeoutError):
        receiver.receive(timeout=2.5)
    keepalived = rig.spawn([str(stand_in), "-f", str(rig.paths.vrrp.config)])
    rig.paths.vrrp.pid.write_text(f"{keepalived.pid}\n")
    assert receiver.receive(timeout=3).message["seq"] == 0
    end(keepalived)
    receiver.drain()
    with pytest.raises(TimeoutError):
        receiver.receive(timeout=2.5)


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


def test_ten_thousand_members_still_make_a_heartbeat(rig: Rig, receiver: HeartbeatReceiver) -> None:
    names = [str(uuid.uuid4()) for _ in range(10_000)]
    small = listener(free_port(), SECOND, server(MEMBERS[0], 9))
    large = listener(free_port(), servers="".join(server(name, 9, "check inter 600s") for name in names))
    rig.start_haproxy(small + large)
    rig.configure([f"127.0.0.1:{port_of(receiver)}"], heartbeat_interval="4")
    rig.start_heartbeat()
    beat = receiver.receive(timeout=20)
    assert len(beat.envelope) <= 65507
    assert set(beat.message["listeners"]) == {LISTENER, SECOND}
    assert set(beat.message["pools"]) == {f"{POOL}:{SECOND}"}
    assert "does not fit one datagram" in rig.logged()


def test_sigterm_ends_it_at_once_and_the_service_manager_is_told(rig: Rig, receiver: HeartbeatReceiver) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(rig.base / "notify"))
        manager.settimeout(5)
        rig.configure([f"127.0.0.1:{port_of(receiver)}"], heartbeat_interval="60")
        process = rig.start_heartbeat({"NOTIFY_SOCKET": str(rig.base / "notify")})
        assert manager.recv(100) == b"READY=1"
        assert manager.recv(100) == b"WATCHDOG=1"
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
        assert b"STOPPING=1" in iter(lambda: manager.recv(100), b"")


def test_memory_stays_within_its_budget(rig: Rig, receiver: HeartbeatReceiver) -> None:
    rig.start_haproxy(listener(free_port(), servers="".join(server(str(uuid.uuid4()), 9) for _ in range(1000))))
    rig.configure([f"127.0.0.1:{port_of(receiver)}"])
    process = rig.start_heartbeat()
    for _ in range(4):
        receiver.receive()
    assert resident(process) < 24 * 1024


def resident(process: subprocess.Popen[bytes]) -> int:
    """Return a process's resident memory in KiB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
