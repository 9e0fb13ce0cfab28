"""Reloads that go wrong, with every HAProxy here: what serves goes on, is seen, and can be reloaded afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from amphora_agent.core.haproxy.process import Processes, parse_processes
from amphora_agent.errors import HostFailure
from amphora_agent.host.haproxy.socket import query
from amphora_agent.operations.keepalived import vrrp
from testbed.amphora import CLIENT_ADDRESS, HEARTBEAT_KEY, HEARTBEAT_PORT, LB_ID, RunningAmphora
from testbed.heartbeat_receiver import HeartbeatReceiver
from testbed.scenario import LISTENER_ID, VIP, Scenario, scenario
from testbed.waiting import wait_for
from tests.system.runtime.haproxies import Binary, binaries, command_of
from tests.system.runtime.tenants import reload

HTTP_OK = 202
TAKEN_PORT = 8081


@pytest.fixture(params=binaries(), ids=str)
def beating(request: pytest.FixtureRequest) -> Iterator[tuple[Scenario, HeartbeatReceiver]]:
    """An amphora with its heartbeats; HAProxy is started through a wrapper script."""
    binary: Binary = request.param
    with (
        command_of(binary) as command,
        wrapped(command) as wrapper,
        RunningAmphora(
            started=False,
            # What takes a busy machine longer to answer has a part of this time.
            options={"haproxy_amphora": {"haproxy_cmd": wrapper}, "health_manager": {"heartbeat_interval": "2"}},
        ) as running,
        HeartbeatReceiver.listen(running.client, CLIENT_ADDRESS, HEARTBEAT_PORT, HEARTBEAT_KEY) as receiver,
    ):
        running.start()
        with scenario(running) as made:
            made.plug()
            made.apply(running.sample("haproxy/01-http-basic.cfg"))
            yield made, receiver


@contextlib.contextmanager
def wrapped(command: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="wrapper-") as name:
        path = Path(name) / "start-it"
        path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        path.chmod(0o755)
        yield str(path)


def with_port(config: str, port: int) -> str:
    line = f"bind {VIP}:80"
    assert line in config
    return config.replace(line, f"{line}\n    bind {VIP}:{port}")


def workers(amphora: RunningAmphora) -> tuple[int, ...]:
    """Return all workers, the current one first."""
    processes = shown(amphora)
    return () if processes is None else tuple(one.pid for one in (*processes.workers, *processes.old_workers))


def shown(amphora: RunningAmphora) -> Processes | None:
    """Return what the master says, None while it does not."""
    with contextlib.suppress(HostFailure):
        return parse_processes(query(master_socket(amphora), "show proc", 2.0).decode())
    return None


def master_socket(amphora: RunningAmphora) -> Path:
    return amphora.base / "agent" / LB_ID / "master.sock"


def master(amphora: RunningAmphora) -> int:
    return int((amphora.base / LB_ID / f"{LB_ID}.pid").read_text())


def vrrp_check(amphora: RunningAmphora) -> int:
    return subprocess.run(
        [*vrrp.check_command(), str(amphora.base / f"{LB_ID}.sock")], check=False, timeout=20
    ).returncode


def shows_the_listener(message: dict[str, dict[str, object]]) -> bool:
    return set(message["listeners"]) == {LISTENER_ID}


@pytest.mark.hardening("B1", "B6")
@pytest.mark.timeout(300)
def test_reloads_that_failed_leave_what_serves_in_sight(beating: tuple[Scenario, HeartbeatReceiver]) -> None:
    made, receiver = beating
    amphora = made.amphora
    good = amphora.sample("haproxy/01-http-basic.cfg")
    receiver.receive_until(shows_the_listener)
    # The signal itself, so that nothing of ours is in its way.
    with amphora.netns.open_socket() as holder:
        holder.bind((VIP, TAKEN_PORT))
        holder.listen()
        stored = amphora.base / LB_ID / "haproxy.cfg"
        stored.write_text(with_port(good, TAKEN_PORT))
        serving = workers(amphora)[0]
        for _ in range(2):
            os.kill(master(amphora), signal.SIGUSR2)
            wait_for(lambda: _failures(amphora) > 0 and workers(amphora) == (serving,), "the reload fails", seconds=20)
        receiver.drain()
        before = made.get()
        assert before.startswith("web")
        assert vrrp_check(amphora) == 0
        message = receiver.receive_until(lambda m: shows_the_listener(m) and _served(m) > 0, timeout=40).message
        assert set(message["pools"])
        stored.write_text(good)
    made.apply(good)
    wait_for(lambda: vrrp_check(amphora) == 0, "the check passes")
    receiver.receive_until(shows_the_listener)


def _served(message: dict[str, dict[str, dict[str, dict[str, int]]]]) -> int:
    return sum(listener["stats"]["totconns"] for listener in message["listeners"].values())


def _failures(amphora: RunningAmphora) -> int:
    processes = shown(amphora)
    return 0 if processes is None else processes.failed


@pytest.mark.hardening("B2")
@pytest.mark.timeout(300)
def test_an_old_worker_that_hangs_keeps_no_reload_back(beating: tuple[Scenario, HeartbeatReceiver]) -> None:
    made, receiver = beating
    amphora = made.amphora
    good = amphora.sample("haproxy/01-http-basic.cfg")
    with held_connection(made):
        made.apply(with_port(good, 81))
        wait_for(lambda: len(workers(amphora)) == 2, "the old worker holds on")
        old = workers(amphora)[1]
        os.kill(old, signal.SIGSTOP)
        try:
            # Fill what the master has room for, as every question of ours and of others would in time.
            with hanging_questions(amphora, old, 12):
                receiver.drain()
                receiver.receive_until(shows_the_listener)
                for port in (82, 83):
                    assert made.upload(with_port(good, port)).status == HTTP_OK
                    assert reload(amphora) == HTTP_OK
                    made.get(port=port)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(old, signal.SIGCONT)


@pytest.mark.hardening("B2")
@pytest.mark.timeout(300)
def test_heartbeats_spare_a_worker_that_hangs(beating: tuple[Scenario, HeartbeatReceiver]) -> None:
    made, receiver = beating
    amphora = made.amphora
    with held_connection(made):
        made.apply(with_port(amphora.sample("haproxy/01-http-basic.cfg"), 81))
        wait_for(lambda: len(workers(amphora)) == 2, "the old worker holds on")
        old = workers(amphora)[1]
        os.kill(old, signal.SIGSTOP)
        try:
            receiver.drain()
            for _ in range(14):
                receiver.receive(timeout=5.0)
            assert workers(amphora)[1] == old, "the master answers still"
        finally:
            os.kill(old, signal.SIGCONT)


@contextlib.contextmanager
def held_connection(made: Scenario) -> Iterator[socket.socket]:
    """Hold a connection whose request never ends, so that its worker cannot end either."""
    with made.clients.open_socket() as connection:
        connection.settimeout(5)
        connection.connect((VIP, 80))
        connection.sendall(b"POST / HTTP/1.1\r\nHost: held\r\nContent-Length: 100000\r\n\r\nx")
        yield connection


@contextlib.contextmanager
def hanging_questions(amphora: RunningAmphora, pid: int, count: int) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            connection.settimeout(1.0)
            with contextlib.suppress(OSError):  # as soon as there is no more room
                connection.connect(str(master_socket(amphora)))
                connection.sendall(f"@!{pid} show info\n".encode())
        yield


@pytest.mark.hardening("C11")
@pytest.mark.timeout(300)
def test_a_reload_right_after_a_crash_is_not_lost(beating: tuple[Scenario, HeartbeatReceiver]) -> None:
    made, _ = beating
    amphora = made.amphora
    good = amphora.sample("haproxy/01-http-basic.cfg")
    for port in (84, 85, 86):
        wait_for(lambda: len(workers(amphora)) > 0, "HAProxy is back", seconds=30)
        os.kill(workers(amphora)[0], signal.SIGSEGV)
        assert made.upload(with_port(good, port)).status == HTTP_OK
        assert reload(amphora) == HTTP_OK
        made.get(port=port)
