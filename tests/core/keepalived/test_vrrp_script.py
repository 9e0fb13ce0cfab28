"""The scripts as keepalived runs them: with the real shell, real processes and an empty environment."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from amphora_agent.core.keepalived import vrrp_script

FAILS = 1


def run(script: Path, *arguments: str) -> int:
    """Run a script by itself, as keepalived does."""
    script.chmod(0o700)
    return subprocess.run([script, *arguments], env={}, check=False, capture_output=True, timeout=10).returncode


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.fixture
def checks(tmp_path: Path) -> Path:
    directory = tmp_path / "check scripts"
    directory.mkdir()
    return directory


@pytest.fixture
def script(tmp_path: Path, checks: Path) -> Path:
    return write(tmp_path / "check_script.sh", vrrp_script.check_script(checks))


def test_no_check_is_success(script: Path) -> None:
    assert run(script) == 0


@pytest.mark.parametrize(("codes", "status"), [((0,), 0), ((0, 1), 1), ((1, 3), 4), ((200, 100), 255), ((255, 1), 255)])
def test_exit_codes_are_added_and_never_wrap(script: Path, checks: Path, codes: Sequence[int], status: int) -> None:
    for number, code in enumerate(codes):
        write(checks / f"{number}.sh", f"exit {code}")
    assert run(script) == status


def test_unfinished_write_is_not_run(script: Path, checks: Path) -> None:
    write(checks / ".haproxy_check_script.sh.x.agent-tmp", "exit 1")
    assert run(script) == 0


@pytest.mark.parametrize(
    ("has_loadbalancer", "has_lvs", "sockets", "text"),
    [
        (False, False, (), "exit 1"),
        (False, True, (), None),
        (True, False, ("/b/a.sock", "/b/c d.sock"), "check -x /b/a.sock '/b/c d.sock'; exit $?"),
        (True, True, ("/b/a.sock",), "check -x /b/a.sock; exit $?"),
        (True, False, (), "check -x; exit $?"),
    ],
)
def test_haproxy_check_follows_what_is_stored(
    sockets: Sequence[str], text: str | None, *, has_loadbalancer: bool, has_lvs: bool
) -> None:
    paths = [Path(path) for path in sockets]
    found = vrrp_script.haproxy_check(("check", "-x"), paths, has_loadbalancer=has_loadbalancer, has_lvs=has_lvs)
    assert found == text


@pytest.fixture
def named_keepalived(tmp_path: Path) -> Iterator[int]:
    """A process that the kernel calls keepalived."""
    program = tmp_path / "keepalived"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as process:
        yield process.pid
        process.kill()


def test_lvs_check_counts_parents_that_died(tmp_path: Path, named_keepalived: int) -> None:
    lvs = tmp_path / "lvs"
    lvs.mkdir()
    check = write(tmp_path / "lvs_udp_check.sh", "#!/bin/bash\n" + vrrp_script.lvs_check(lvs))
    assert run(check) == 0
    write(lvs / "octavia-keepalivedlvs-a.pid", f"{named_keepalived}\n")
    write(lvs / "octavia-keepalivedlvs-a.check.pid", "1\n")
    assert run(check) == 0
    write(lvs / "octavia-keepalivedlvs-b.pid", "1\n")
    assert run(check) == 3
    write(lvs / "octavia-keepalivedlvs-c.pid", "")
    assert run(check) == 6


def free_udp_port(family: socket.AddressFamily, address: str) -> int:
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_udp_check_fails_only_on_a_closed_port(tmp_path: Path, family: socket.AddressFamily, address: str) -> None:
    script = write(tmp_path / "udp_check.sh", vrrp_script.udp_check())
    port = str(free_udp_port(family, address))
    began = time.monotonic()
    assert run(script, address, port) == FAILS
    assert time.monotonic() - began < 0.9
    with socket.socket(family, socket.SOCK_DGRAM) as member:
        member.bind((address, int(port)))
        assert run(script, address, port) == 0, "a silent member is up"
        assert member.recv(10) == b"X"

        def answer() -> None:
            member.sendto(b"\0\nback", member.recvfrom(10)[1])

        threading.Thread(target=answer, daemon=True).start()
        assert run(script, address, port) == 0, "an answering member is up"


def test_udp_check_of_nonsense_fails(tmp_path: Path) -> None:
    script = write(tmp_path / "udp_check.sh", vrrp_script.udp_check())
    assert run(script, "no such host.invalid", "53") == FAILS
    assert run(script) == FAILS


def test_interpreter_of_the_check_is_absolute() -> None:
    assert Path(sys.executable).is_absolute()
