"""How a reload is followed, against a scripted master: no time of HAProxy's own decides what is seen."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from amphora_agent.core.haproxy.process import Processes
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.core.paths import LoadBalancerPaths
from amphora_agent.core.process_id import ProcessId
from amphora_agent.errors import HostFailure
from amphora_agent.host.haproxy.master import await_master, await_reload
from amphora_agent.host.procfs import process_start_time

BEFORE = Processes(master_pid=10, reloads=0, failed=0, workers=(), old_workers=())


@pytest.fixture
def paths() -> Iterator[LoadBalancerPaths]:
    with tempfile.TemporaryDirectory() as name:
        own = LoadBalancerPaths(Path(name), Path(name), LoadBalancerId("lb"))
        own.agent.mkdir(parents=True)
        yield own


@contextlib.contextmanager
def answering(path: Path, answer: Callable[[], str]) -> Iterator[None]:
    """Answer every question on a socket."""
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(path))
        door.listen(8)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection = door.accept()[0]
                    with connection:
                        connection.recv(100)
                        connection.sendall(answer().encode())

        threading.Thread(target=serve, daemon=True).start()
        yield
        door.shutdown(socket.SHUT_RDWR)


@pytest.mark.hardening("C11")
def test_a_signal_that_was_lost_is_sent_again(paths: LoadBalancerPaths) -> None:
    signals: list[None] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            answering(
                paths.master_socket,
                lambda: f"10 master {len(signals)} [failed: 0] 0d0h0m1s 3.2\n# workers\n1 worker 0 0d0h0m1s\n",
            )
        )
        stack.enter_context(answering(paths.admin_socket, lambda: "Version: 3.2.0\nPid: 1\nStopping: 0\n"))
        worker = await_reload(paths, BEFORE, None, lambda: True, lambda: signals.append(None))
    assert worker == ProcessId(1, process_start_time(1) or 0)
    assert len(signals) == 1


_STARVED = """
import os, resource, sys
from pathlib import Path
from amphora_agent.errors import HostFailure
from amphora_agent.host.haproxy.master import await_master
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (os.dup(0), hard))
try:
    await_master(Path(sys.argv[1]), lambda: True, lambda: False)
except HostFailure as error:
    print(error.detail)
"""


def test_without_a_descriptor_to_ask_with_nobody_waits(paths: LoadBalancerPaths) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _STARVED, paths.master_socket], capture_output=True, text=True, timeout=100, check=True
    )
    assert done.stdout == "Too many open files\n"


@pytest.mark.parametrize("takes_signal", [True, False])
def test_a_silent_master_is_signalled_only_if_it_survives_that(paths: LoadBalancerPaths, *, takes_signal: bool) -> None:
    lives = iter([True] * 200)
    if takes_signal:
        assert await_master(paths.master_socket, lambda: True, lambda: True) is None
        return
    with pytest.raises(HostFailure, match="cannot reload"):
        await_master(paths.master_socket, lambda: next(lives, False), lambda: False)
