"""The direct supervisor, with real processes: they outlive it, are adopted, and come back when they crash."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from amphora_agent.core.units import Unit
from amphora_agent.errors import HostFailure
from amphora_agent.host.procfs import command_line
from amphora_agent.host.supervisor.direct import LOG_LIMIT, DirectSupervisor
from amphora_agent.operations.watchers import Watchers
from testbed.waiting import holds, wait_for

OWN_NETNS = Path("/proc/self/ns/net")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="entering a network namespace needs root")

# Counts its starts in a file, writes what SIGHUP and SIGTERM say, and lives until told to end.
PROGRAM = """
import signal, sys, time
from pathlib import Path
place = Path(sys.argv[1])
with (place / "starts").open("a") as file:
    file.write("x")
signal.signal(signal.SIGHUP, lambda *_: (place / "reloaded").touch())
print("ready", flush=True)
if (place / "crash").exists():
    sys.exit(3)
while True:
    signal.pause()
"""


@pytest.fixture
def unit(tmp_path: Path) -> Iterator[Unit]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    unit = Unit(
        name="test@1.service",
        argv=(sys.executable, str(program), str(tmp_path)),
        netns=OWN_NETNS,
        log=tmp_path / "unit.log",
    )
    yield unit
    DirectSupervisor(tmp_path / "units").stop(unit)


def supervisor(tmp_path: Path) -> DirectSupervisor:
    return DirectSupervisor(tmp_path / "units")


def starts(place: Path) -> int:
    try:
        return len((place / "starts").read_text())
    except FileNotFoundError:
        return 0


@needs_root
def test_start_is_idempotent_and_stop_waits(unit: Unit, tmp_path: Path) -> None:
    direct = supervisor(tmp_path)
    direct.start(unit)
    first = direct.main_pid(unit)
    wait_for(lambda: "ready" in direct.log_tail(unit), "the program starts")
    direct.start(unit)
    assert direct.main_pid(unit) == first is not None
    direct.stop(unit)
    assert direct.main_pid(unit) is None
    assert starts(tmp_path) == 1
    direct.stop(unit)


@pytest.mark.hardening("D21")
@needs_root
def test_a_log_is_bounded_at_the_start_and_while_the_unit_runs(unit: Unit, tmp_path: Path) -> None:
    direct = supervisor(tmp_path)
    unit.log.write_bytes(b"old\n" * (LOG_LIMIT // 2))
    direct.start(unit)
    wait_for(lambda: "ready" in direct.log_tail(unit), "the program starts")
    assert unit.log.stat().st_size < LOG_LIMIT
    inode = unit.log.stat().st_ino
    with unit.log.open("ab") as log:  # as the unit itself would
        log.write(b"chatter\n" * (LOG_LIMIT // 4))
    Watchers().start("units", direct.look_after)
    wait_for(lambda: unit.log.stat().st_size < LOG_LIMIT, "the log is cut")
    assert unit.log.stat().st_ino == inode, "the unit writes on"
    kept = unit.log.with_suffix(".log.1")
    assert kept.read_bytes().endswith(b"chatter\n")
    assert kept.stat().st_size <= LOG_LIMIT
    direct.stop(unit)


@needs_root
def test_reload_signals_and_refuses_what_does_not_run(unit: Unit, tmp_path: Path) -> None:
    direct = supervisor(tmp_path)
    with pytest.raises(HostFailure, match="cannot reload"):
        direct.reload(unit)
    direct.start(unit)
    wait_for(lambda: "ready" in direct.log_tail(unit), "the program starts")
    direct.reload(unit)
    wait_for((tmp_path / "reloaded").exists, "SIGHUP arrives")


def test_reload_of_what_ends_just_then_is_refused(unit: Unit, tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/true"]) as gone:
        pass

    class Late(DirectSupervisor):
        """It saw the process a moment ago."""

        def main_pid(self, unit: Unit) -> int | None:
            del unit
            return gone.pid

    with pytest.raises(HostFailure, match="cannot reload") as error:
        Late(tmp_path / "units").reload(unit)
    assert error.value.detail == "it ended"


@needs_root
def test_a_crashed_unit_comes_back_and_a_stopped_one_does_not(unit: Unit, tmp_path: Path) -> None:
    direct = supervisor(tmp_path)
    Watchers().start("units", direct.look_after)
    direct.start(unit)
    first = direct.main_pid(unit)
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: direct.main_pid(unit) not in (None, first), "the unit is restarted")
    wait_for(lambda: starts(tmp_path) >= 1, "the program starts")
    direct.stop(unit)
    before = starts(tmp_path)
    assert holds(lambda: starts(tmp_path) == before, 1.2)  # two rounds of the watcher


@needs_root
def test_a_unit_that_ends_while_it_is_looked_at_is_not_waited_for(unit: Unit, tmp_path: Path) -> None:
    """It was there when the watcher looked, and gone before it could be waited for."""

    class Unlucky(DirectSupervisor):
        is_unlucky = False

        def _keep_running(self, name: str) -> bool:
            is_settled = super()._keep_running(name)
            pid = self._running(name)
            if self.is_unlucky and pid is not None:
                os.kill(pid, signal.SIGKILL)
                wait_for(lambda: self._running(name) is None, "it is gone")
            return is_settled

    direct = Unlucky(tmp_path / "units")
    direct.start(unit)
    direct.look_after()  # the start itself, which is a reason to look again
    direct.is_unlucky = True
    look = threading.Thread(target=direct.look_after, daemon=True)
    look.start()
    look.join(10)
    assert not look.is_alive()


@needs_root
def test_a_unit_that_cannot_live_is_tried_ever_more_slowly(unit: Unit, tmp_path: Path) -> None:
    (tmp_path / "crash").touch()
    direct = supervisor(tmp_path)
    Watchers().start("units", direct.look_after)
    direct.start(unit)
    wait_for(lambda: starts(tmp_path) >= 3, "it is tried again")
    (tmp_path / "crash").unlink()
    wait_for(lambda: direct.main_pid(unit) is not None, "it lives in the end")


@needs_root
def test_units_outlive_their_supervisor_and_are_adopted(unit: Unit, tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from amphora_agent.core.units import Unit\n"
        "from amphora_agent.host.supervisor.direct import DirectSupervisor\n"
        "place = Path(sys.argv[1])\n"
        "unit = Unit(name='test@1.service', argv=tuple(sys.stdin.read().split()),"
        " netns=Path('/proc/self/ns/net'), log=place / 'log')\n"
        "DirectSupervisor(place / 'units').start(unit)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], input=" ".join(unit.argv), text=True, check=False)
    direct = supervisor(tmp_path)
    pid = direct.main_pid(unit)
    assert pid is not None
    direct.start(unit)
    assert direct.main_pid(unit) == pid


@needs_root
def test_a_lost_pid_file_does_not_make_a_second_process(unit: Unit, tmp_path: Path) -> None:
    direct = supervisor(tmp_path)
    direct.start(unit)
    wait_for(lambda: "ready" in direct.log_tail(unit), "the program starts")
    pid = direct.main_pid(unit)
    (tmp_path / "units" / f"{unit.name}.pid").unlink()
    later = supervisor(tmp_path)
    later.start(unit)
    assert later.main_pid(unit) == pid


@needs_root
def test_a_process_that_still_enters_its_namespace_is_adopted(unit: Unit, tmp_path: Path) -> None:
    slow = dataclasses.replace(unit, netns=tmp_path / "netns")
    os.mkfifo(slow.netns)  # opening it takes until somebody writes
    direct = supervisor(tmp_path)
    direct.start(slow)
    pid = direct.main_pid(slow)
    assert pid is not None
    wait_for(lambda: "nsenter" in command_line(pid), "the process is known by its command line")
    (tmp_path / "units" / f"{unit.name}.pid").unlink()
    later = supervisor(tmp_path)
    later.start(slow)
    assert later.main_pid(slow) == pid


@needs_root
@pytest.mark.parametrize("content", ["", "garbage", "1 1\n", "OWN 1\n", "-5 3\n", "99999999999 1\n"])
def test_a_stale_pid_file_names_no_running_unit(unit: Unit, tmp_path: Path, content: str) -> None:
    direct = supervisor(tmp_path)
    direct.enable(unit)
    (tmp_path / "units" / f"{unit.name}.pid").write_text(content.replace("OWN", str(os.getpid())))
    assert direct.main_pid(unit) is None
    direct.start(unit)
    assert direct.main_pid(unit) not in (None, os.getpid())


@needs_root
def test_pid_files_of_dead_processes_are_removed_before_a_start(unit: Unit, tmp_path: Path) -> None:
    """keepalived ends when any process has the pid that its file names."""
    stale = tuple(tmp_path / f"{number}.pid" for number in range(4))
    for path, content in zip(stale, (f"{os.getpid()}\n", "1\n", "", None), strict=True):
        if content is not None:
            path.write_text(content)
    writing = dataclasses.replace(unit, pid_files=stale)
    direct = supervisor(tmp_path)
    direct.start(writing)
    assert not any(path.exists() for path in stale)
    wait_for(lambda: "ready" in direct.log_tail(unit), "the program starts")
    pid = direct.main_pid(unit)
    stale[0].write_text(f"{pid}\n")
    later = supervisor(tmp_path)
    (tmp_path / "units" / f"{unit.name}.pid").unlink()
    later.start(writing)
    assert later.main_pid(unit) == pid
    assert stale[0].exists(), "the file of the adopted process"


@needs_root
def test_restarts_remove_them_too_unless_an_orphan_is_still_ending(unit: Unit, tmp_path: Path) -> None:
    """The record says which they are, so that the agent's next start knows."""
    stale, of_orphan = tmp_path / "stale.pid", tmp_path / "orphan.pid"
    supervisor(tmp_path).enable(dataclasses.replace(unit, pid_files=(stale, of_orphan)))
    record = tmp_path / "units" / f"{unit.name}.json"
    record.write_text(record.read_text().replace('"wanted": false', '"wanted": true'))
    stale.write_text("1\n")
    with subprocess.Popen(unit.argv, stdout=subprocess.DEVNULL) as orphan:
        of_orphan.write_text(f"{orphan.pid}\n")
        direct = supervisor(tmp_path)
        Watchers().start("units", direct.look_after)
        wait_for(lambda: direct.main_pid(unit) is not None, "the unit starts")
        orphan.kill()
    assert not stale.exists()
    assert of_orphan.exists()


@needs_root
def test_a_record_of_an_older_version_is_read(unit: Unit, tmp_path: Path) -> None:
    record = {"argv": unit.argv, "netns": str(unit.netns), "log": str(unit.log), "wanted": True}
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / f"{unit.name}.json").write_text(json.dumps(record))
    direct = supervisor(tmp_path)
    Watchers().start("units", direct.look_after)
    wait_for(lambda: direct.main_pid(unit) is not None, "the unit starts")


@needs_root
def test_a_corrupt_record_harms_no_other_unit(unit: Unit, tmp_path: Path) -> None:
    direct = supervisor(tmp_path)
    direct.start(unit)
    (tmp_path / "units" / "another@1.service.json").write_text("{")
    Watchers().start("units", direct.look_after)
    pid = direct.main_pid(unit)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: direct.main_pid(unit) not in (None, pid), "the good unit is restarted")
