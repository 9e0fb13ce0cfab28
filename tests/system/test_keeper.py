"""Who keeps the agent's processes running: its own small parent, or a service manager that hears from it directly."""

from __future__ import annotations

import http.client
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from testbed.amphora import RunningAmphora
from testbed.waiting import wait_for

SERVING, SENDING = "amphora-agent", "amphora-hbeat"


@pytest.fixture
def impatient() -> Iterator[RunningAmphora]:
    """Yield an amphora whose requests may hang for two seconds."""
    with RunningAmphora(options={"amphora_agent": {"agent_request_read_timeout": "2"}}) as amphora:
        yield amphora


def named(amphora: RunningAmphora, name: str) -> int:
    """Return the child of that name, 0 when there is none at the moment."""
    assert amphora.agent is not None
    children = psutil.Process(amphora.agent.pid).children()
    return next((child.pid for child in children if child.name() == name), 0)


def pids(amphora: RunningAmphora) -> tuple[int, ...]:
    return amphora.agent_pids()


def answers(amphora: RunningAmphora) -> bool:
    try:
        return amphora.request("GET", "/", timeout=2).status == 200
    except (OSError, http.client.HTTPException):
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_serving_process_that_died_or_hangs_is_replaced(impatient: RunningAmphora, number: signal.Signals) -> None:
    before, sending = named(impatient, SERVING), named(impatient, SENDING)
    os.kill(before, number)
    wait_for(lambda: named(impatient, SERVING) not in {0, before} and answers(impatient), "another one serves")
    assert named(impatient, SENDING) == sending
    assert impatient.stop() == 0


def test_a_sending_process_that_died_is_replaced(impatient: RunningAmphora) -> None:
    before, serving = named(impatient, SENDING), named(impatient, SERVING)
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: named(impatient, SENDING) not in {0, before}, "another one sends")
    assert named(impatient, SERVING) == serving


def test_all_end_with_a_parent_that_was_killed(impatient: RunningAmphora) -> None:
    assert impatient.agent is not None
    impatient.agent.kill()
    wait_for(lambda: not pids(impatient), "all end")
    impatient.agent.wait()
    impatient.agent = None


def test_an_address_that_is_taken_is_an_exit_and_no_loop() -> None:
    with RunningAmphora(started=False) as amphora:
        with amphora.management.open_socket() as taken:
            taken.bind(("0.0.0.0", 9443))
            taken.listen()
            done = amphora.run(["amphora-agent", "--config-file", amphora.inner(amphora.config_file)])
        assert done.returncode == 1
        assert "cannot listen" in done.stdout


def test_a_service_manager_hears_from_the_one_process(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        with RunningAmphora(heartbeats=False, started=False) as amphora:
            environment = (f"NOTIFY_SOCKET={tmp_path}/notify", "WATCHDOG_USEC=2000000")
            amphora.command = ("env", *environment, *amphora.command)
            amphora.start()
            assert manager.recv(100) == b"READY=1"
            assert [manager.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
            assert amphora.agent is not None
            assert pids(amphora) == (amphora.agent.pid,)
            assert amphora.stop() == 0
