"""The harness itself: a machine keeps its disk over a reboot, and leaves nothing behind whatever ends the test run."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from testbed.waiting import wait_for
from tests.container import debian
from tests.container.machine import REPOSITORY, Machine, remove_leftovers

_RUN = """
from tests.container.machine import Machine
import time
with Machine(units=()) as machine:
    machine.boot()
    print(machine.leader, machine.directory, machine.root.name, flush=True)
    time.sleep(600)
"""


def test_reboot_keeps_the_disk_and_replugs_nics(bare: Machine) -> None:
    far = bare.network("net")
    bare.add_nic("fa:16:3e:00:00:02", far, "10.20.0.1/24")
    bare.write("/var/lib/note", "kept\n")
    bare.write("/run/note", "lost\n")
    bare.reboot()
    assert bare.exec(["cat", "/var/lib/note"]) == "kept\n"
    assert bare.try_exec(["cat", "/run/note"]).returncode != 0
    assert "fa:16:3e:00:00:02" in bare.exec(["ip", "link"])
    assert "10.20.0.1/24" in far.run(["ip", "address"])
    assert bare.exec(["systemctl", "is-system-running"]) == "running\n"


def test_a_killed_test_run_leaves_nothing() -> None:
    command = [sys.executable, "-c", _RUN]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        leader, directory, namespace = run.stdout.readline().split()
        assert Path(f"/proc/{leader}").exists()
        run.kill()
    wait_for(lambda: not Path(f"/proc/{leader}").exists(), "the container ends with its test run")
    remove_leftovers()
    assert not Path(directory).exists()
    assert not Path("/run/netns", namespace).exists()
    assert str(debian.DIRECTORY) not in Path("/proc/self/mounts").read_text()


def test_programs_of_the_tree_run_on_this_machine(tmp_path: Path) -> None:
    haproxy = tmp_path / "haproxy"
    debian.write_wrapper("/usr/sbin/haproxy", haproxy)
    assert "HAProxy version 3.0" in subprocess.run([haproxy, "-v"], capture_output=True, text=True, check=True).stdout
    config, master_socket = tmp_path / "haproxy.cfg", tmp_path / "master.sock"
    config.write_text(f"global\n    stats socket {tmp_path}/admin.sock\n")
    command = [str(part) for part in (haproxy, "-W", "-S", master_socket, "-f", config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as master:
        assert master.stderr is not None
        try:
            wait_for_line(master.stderr, "Loading success")
            # The master executes itself once more after these words, and forgets a signal that comes meanwhile.
            assert "master" in ask_master(master_socket)
            master.send_signal(signal.SIGUSR2)
            wait_for_line(master.stderr, "Loading success")
        finally:
            master.terminate()


def ask_master(path: Path) -> str:
    """Return what the master's command line says of its processes, as soon as it serves."""

    def answer() -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(path))
                connection.sendall(b"show proc\n")
                return connection.recv(65536).decode()
            except OSError:
                return ""

    return wait_for(answer, "the master's answer")


def wait_for_line(lines: Iterable[str], text: str) -> None:
    """Read lines until one holds the text; the test's time limit bounds it."""
    seen = []
    for line in lines:
        if text in line:
            return
        seen.append(line)
    raise AssertionError(f"{text!r} is not in {seen}")
