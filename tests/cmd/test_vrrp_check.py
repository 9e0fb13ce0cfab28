"""haproxy-vrrp-check as keepalived runs it: a process of its own, against scripted sockets."""

from __future__ import annotations

import contextlib
import resource
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from amphora_agent.operations.keepalived.vrrp import check_command

BUDGET = 0.060


def run(*sockets: Path) -> int:
    return subprocess.run([*check_command(), *sockets], env={}, check=False, timeout=20).returncode


@contextlib.contextmanager
def haproxy(path: Path, answer: bytes | None) -> Iterator[None]:
    """A stats socket that gives one answer to everybody; None: it accepts and says nothing."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(8)

        def serve() -> None:
            held = []
            while True:
                try:
                    connection = listening.accept()[0]
                except OSError:
                    return
                if answer is None:
                    held.append(connection)
                    continue
                with connection:
                    connection.recv(100)
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield
        listening.shutdown(socket.SHUT_RDWR)


def flag(path: Path, seconds: float) -> None:
    """Say that the HAProxy with this socket is being reloaded for so long."""
    file = path.parent / "agent" / path.name.removesuffix(".sock") / "reloading"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{time.clock_gettime(time.CLOCK_BOOTTIME) + seconds:.1f}\n")


def test_no_argument_is_success() -> None:
    assert run() == 0


def test_answers_are_counted(tmp_path: Path) -> None:
    good, empty, gone = tmp_path / "good.sock", tmp_path / "empty.sock", tmp_path / "gone.sock"
    with haproxy(good, b"Name: HAProxy\n"), haproxy(empty, b""):
        assert run(good) == 0
        assert run(good, good) == 0
        assert run(empty) == 1
        assert run(good, gone, empty) == 2


def test_many_failures_never_wrap_to_success(tmp_path: Path) -> None:
    assert run(*(tmp_path / f"{number}.sock" for number in range(256))) == 255


def test_hung_haproxy_fails_before_keepalived_asks_again(tmp_path: Path) -> None:
    first, second = tmp_path / "first.sock", tmp_path / "second.sock"
    with haproxy(first, None), haproxy(second, None):
        began = time.monotonic()
        assert run(first, second) == 2
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(("seconds", "status"), [(30, 0), (-1, 1), (100_000, 1)])
def test_reload_is_forgiven_for_its_time(tmp_path: Path, seconds: float, status: int) -> None:
    path = tmp_path / "lb.sock"
    flag(path, seconds)
    assert run(path) == status


@pytest.mark.parametrize("text", ["", "soon", "nan", "inf", "-", "9" * 400])
def test_odd_flag_forgives_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lb.sock"
    flag(path, 30)
    (tmp_path / "agent" / "lb" / "reloading").write_text(text)
    assert run(path) == 1


def cpu_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_it_starts_fast(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lb.sock"
    times = []
    with haproxy(path, b"Name: HAProxy\n"):
        for _ in range(15):
            began = cpu_seconds_of_children()
            assert run(path) == 0
            times.append(cpu_seconds_of_children() - began)
    with capsys.disabled():
        print(f"\n    haproxy-vrrp-check: median {statistics.median(times) * 1000:.0f} ms of CPU time")  # noqa: T201
    assert min(times) < BUDGET
