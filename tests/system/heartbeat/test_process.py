"""The heartbeat process itself: its end, its size, and how much it can carry."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import uuid
from pathlib import Path

import pytest

from testbed.heartbeat_receiver import HeartbeatReceiver
from tests.system.heartbeat.rig import Rig, free_port, port_of
from tests.system.heartbeat.traffic import (
    LISTENER,
    MEMBERS,
    POOL,
    SECOND,
    listener,
    server,
)

pytestmark = pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")


def resident(process: subprocess.Popen[bytes]) -> int:
    """Return a process's resident memory in KiB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


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


@pytest.mark.hardening("D30")
def test_the_first_message_needs_no_directory_yet(rig: Rig, receiver: HeartbeatReceiver) -> None:
    rig.configure([f"127.0.0.1:{port_of(receiver)}"])
    text = rig.config_file.read_text()
    rig.config_file.write_text(text.replace(f"base_path = {rig.base}", f"base_path = {rig.base}/later"))
    rig.start_heartbeat()
    assert receiver.receive(timeout=10).message["listeners"] == {}
    assert "failed" not in rig.logged()
    assert "cannot" not in rig.logged()
