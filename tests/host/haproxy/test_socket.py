"""The CLI client against scripted sockets that answer, hang, drip and die; and against injected commands."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.errors import HostFailure, MalformedData
from amphora_agent.host.haproxy.socket import query

Serve = Callable[[socket.socket], None]


@contextlib.contextmanager
def scripted(path: Path, serve: Serve) -> Iterator[Path]:
    """Listen on a socket and let `serve` handle one connection."""
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(path))
    door.listen(1)

    def accept() -> None:
        with contextlib.suppress(OSError):
            connection, _ = door.accept()
            with connection:
                serve(connection)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            door.shutdown(socket.SHUT_RDWR)
        door.close()
        thread.join(5)


def test_one_command_and_the_whole_answer(tmp_path: Path) -> None:
    heard: list[bytes] = []
    answer = b"x" * 300_000 + b"\n\n"

    def serve(connection: socket.socket) -> None:
        heard.append(connection.recv(1000))
        connection.sendall(answer)

    with scripted(tmp_path / "s", serve) as path:
        assert query(path, "show stat -1 -1 -1", 5) == answer
    assert heard == [b"show stat -1 -1 -1\n"]


def test_an_answer_may_be_empty(tmp_path: Path) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(100)

    with scripted(tmp_path / "s", serve) as path:
        assert query(path, "set server x/y state ready", 5) == b""


def keep_silent(connection: socket.socket) -> None:
    """Take the command and say nothing until the other side hangs up."""
    connection.recv(100)
    hang_up = select.poll()
    hang_up.register(connection, 0)
    hang_up.poll(5000)


def drip(connection: socket.socket) -> None:
    """Send a byte now and then, for longer than anyone waits."""
    connection.recv(100)
    with contextlib.suppress(OSError):
        for _ in range(500):
            connection.sendall(b"x")
            time.sleep(0.01)  # noqa: TID251 - slowness is what is tried


@pytest.mark.parametrize("serve", [drip, keep_silent])
def test_the_deadline_is_for_the_whole_answer(tmp_path: Path, serve: Serve) -> None:
    began = time.monotonic()
    with scripted(tmp_path / "s", serve) as path, pytest.raises(HostFailure, match="answer"):
        query(path, "show info", 0.3)
    assert time.monotonic() - began < 2


def test_a_full_backlog_does_not_hold_us(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as door, contextlib.ExitStack() as stack:
        door.bind(str(tmp_path / "s"))
        door.listen(0)
        began = time.monotonic()
        for _ in range(3):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(str(tmp_path / "s"))
        with pytest.raises(HostFailure):
            query(tmp_path / "s", "show info", 0.3)
        assert time.monotonic() - began < 2


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(HostFailure, match="cannot ask"):
        query(tmp_path / "absent", "show info", 1)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "s"))
    with pytest.raises(HostFailure) as refused:
        query(tmp_path / "s", "show info", 1)
    assert "refused" in refused.value.detail
    with pytest.raises(HostFailure):
        query(tmp_path / ("long" * 60), "show info", 1)


@pytest.mark.parametrize(
    "command", ["show info;show stat", "show info\nshow stat", "a\rb", "a\0b", "a\x7fb", "a\u2028b", "\t"]
)
def test_a_command_that_is_more_than_one_is_never_sent(tmp_path: Path, command: str) -> None:
    with pytest.raises(MalformedData):
        query(tmp_path / "absent", command, 1)


@given(st.text())
def test_what_is_sent_is_one_line(command: str) -> None:
    with pytest.raises((MalformedData, HostFailure)) as refused:
        query(Path("/nonexistent/socket"), command, 1)
    if isinstance(refused.value, HostFailure):
        assert len(command.splitlines()) <= 1
        assert ";" not in command
