"""Whether a pid file tells the truth, for real processes and for every kind of stale file."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amphora_agent.host import procfs
from amphora_agent.host.procfs import (
    command_line,
    process_start_time,
    read_pid,
    reads_config,
    running_pid,
    takes_signal,
)
from testbed.namespaces import Namespace

ADDRESSES = ("10.10.0.100", "2001:db8:10::100", "10.10.0.10", "10.10.0.0", "2001:db8:10::10")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Return a program of our own with a long name that contains what confuses readers of /proc/<pid>/stat."""
    path = tmp_path / "a (long) name) of a program"
    shutil.copy(shutil.which("tail") or "/usr/bin/tail", path)
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "one.conf"
    path.touch()
    return path


@pytest.fixture
def process(program: Path, config: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([str(program), "-f", str(config)]) as started:
        yield started
        started.kill()


@pytest.fixture
def pid_file(tmp_path: Path, process: subprocess.Popen[bytes]) -> Path:
    path = tmp_path / "pid"
    path.write_text(f"{process.pid}\n99999999\nmore\n")
    return path


def test_a_living_program_runs(pid_file: Path, program: Path, config: Path, process: subprocess.Popen[bytes]) -> None:
    assert running_pid(pid_file, program.name, config) == process.pid
    assert running_pid(pid_file, "haproxy", config) is None


def test_the_same_program_with_another_configuration_is_another_one(
    pid_file: Path, program: Path, config: Path
) -> None:
    assert running_pid(pid_file, program.name, config.with_name("two.conf")) is None
    assert running_pid(pid_file, program.name, config.parent) is None


@pytest.mark.parametrize("form", ["{}", "-n{}", "--lines={}"])
def test_every_form_of_an_argument_is_known(tmp_path: Path, form: str) -> None:
    config, pid_file = Path("/some where/one.conf"), tmp_path / "pid"
    with subprocess.Popen(["/bin/sh", "-c", "read _", form.format(config)], stdin=subprocess.PIPE) as started:
        pid_file.write_text(str(started.pid))
        assert running_pid(pid_file, Path("/bin/sh").resolve().name, config) == started.pid
        assert command_line(started.pid)[-1] == form.format(config)


def test_a_program_is_known_from_its_first_moment(tmp_path: Path, program: Path, config: Path) -> None:
    """Popen returns when the program's file is open, before the kernel knows its arguments."""
    pid_file = tmp_path / "pid"
    for _ in range(50):
        with subprocess.Popen([str(program), "-f", str(config)]) as started:
            pid_file.write_text(str(started.pid))
            known = running_pid(pid_file, program.name, config)
            started.kill()
        assert known == started.pid


def test_a_replaced_program_still_runs(
    pid_file: Path, program: Path, config: Path, process: subprocess.Popen[bytes]
) -> None:
    program.unlink()
    assert running_pid(pid_file, program.name, config) == process.pid


def test_a_dead_program_does_not_run(
    pid_file: Path, program: Path, config: Path, process: subprocess.Popen[bytes]
) -> None:
    process.kill()
    deadline = time.monotonic() + 5
    while "Z" not in Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2]:
        assert time.monotonic() < deadline
    assert running_pid(pid_file, program.name, config) is None, "a zombie is no running program"
    assert command_line(process.pid) == []
    process.wait()
    assert running_pid(pid_file, program.name, config) is None
    assert command_line(process.pid) == []
    assert process_start_time(process.pid) is None


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"\n1\n", b"x", b"-1", b"0", b"1.0", b"9" * 500, b"\xff\x00", b"\xd9\xa3", b"1 2"]
)
def test_a_garbled_file_names_nobody(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pid"
    path.write_bytes(content)
    assert read_pid(path) is None
    assert running_pid(path, "haproxy", Path("haproxy.cfg")) is None


def test_a_file_that_cannot_be_read_names_nobody(tmp_path: Path) -> None:
    assert read_pid(tmp_path / "absent") is None
    assert read_pid(tmp_path) is None


@given(content=st.binary(max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_content_is_taken(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pid"
    path.write_bytes(content)
    pid = read_pid(path)
    assert pid is None or pid > 0


def test_start_times_order_processes(process: subprocess.Popen[bytes]) -> None:
    own = process_start_time(os.getpid())
    later = process_start_time(process.pid)
    assert own is not None
    assert later is not None
    assert own <= later
    assert process_start_time(0) is None


@pytest.mark.hardening("B6")
def test_a_process_is_known_by_its_configuration_whatever_it_is_called(
    process: subprocess.Popen[bytes], config: Path
) -> None:
    assert reads_config(process.pid, config)
    assert not reads_config(process.pid, config.with_name("two.conf"))
    process.kill()
    process.wait()
    assert not reads_config(process.pid, config)


def test_a_process_takes_the_signals_it_has_handlers_for() -> None:
    before = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        assert takes_signal(os.getpid(), signal.SIGUSR2)
        signal.signal(signal.SIGUSR2, signal.SIG_DFL)
        assert not takes_signal(os.getpid(), signal.SIGUSR2)
        held_back = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        assert takes_signal(os.getpid(), signal.SIGUSR2)
        signal.pthread_sigmask(signal.SIG_SETMASK, held_back)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert not takes_signal(99999999, signal.SIGUSR2)


def test_addresses_of_a_process_are_those_of_its_network_namespace() -> None:
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    namespace = Namespace.create("addresses")
    try:
        namespace.ip(
            "link add d0 type veth peer name d1",
            "address add 10.10.0.100/24 dev d0",
            "address add 2001:db8:10::100/128 dev d0 nodad",
            "link set d0 up",
        )
        with namespace.entered():
            process = subprocess.Popen(["sleep", "60"])
        try:
            here = [procfs.has_local_address(process.pid, ip_address(text)) for text in ADDRESSES]
            assert here == [True, True, False, False, False]
            assert not procfs.has_local_address(os.getpid(), ip_address(ADDRESSES[0]))
        finally:
            process.kill()
            process.wait()
        assert not procfs.has_local_address(process.pid, ip_address(ADDRESSES[0]))
    finally:
        namespace.close()
