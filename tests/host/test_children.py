"""The direct supervisor, with real processes: they outlive it, are adopted, and come back when they crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from amphora_agent.core.units import Unit
from amphora_agent.errors import HostFailure
from amphora_agent.host.children import DirectSupervisor

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
        log=tmp_path / "log",
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


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


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


@needs_root
def test_reload_signals_and_refuses_what_does_not_run(unit: Unit, tmp_path: Path) -> None:
    direct = supervisor(tmp_path)
    with pytest.raises(HostFailure, match="cannot reload"):
        direct.reload(unit)
    direct.start(unit)
    wait_for(lambda: "ready" in direct.log_tail(unit), "the program starts")
    direct.reload(unit)
    wait_for((tmp_path / "reloaded").exists, "SIGHUP arrives")


@needs_root
def test_a_crashed_unit_comes_back_and_a_stopped_one_does_not(unit: Unit, tmp_path: Path) -> None:
    direct = supervisor(tmp_path)
    direct.adopt()
    direct.start(unit)
    first = direct.main_pid(unit)
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: direct.main_pid(unit) not in (None, first), "the unit is restarted")
    wait_for(lambda: starts(tmp_path) >= 1, "the program starts")
    direct.stop(unit)
    before = starts(tmp_path)
    time.sleep(1.2)  # two rounds of the watcher: that nothing happens can only be waited for
    assert starts(tmp_path) == before


@needs_root
def test_a_unit_that_cannot_live_is_tried_ever_more_slowly(unit: Unit, tmp_path: Path) -> None:
    (tmp_path / "crash").touch()
    direct = supervisor(tmp_path)
    direct.adopt()
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
        "from amphora_agent.host.children import DirectSupervisor\n"
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
    pid = direct.main_pid(unit)
    (tmp_path / "units" / f"{unit.name}.pid").unlink()
    later = supervisor(tmp_path)
    later.start(unit)
    assert later.main_pid(unit) == pid


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
def test_a_corrupt_record_harms_no_other_unit(unit: Unit, tmp_path: Path) -> None:
    direct = supervisor(tmp_path)
    direct.start(unit)
    (tmp_path / "units" / "another@1.service.json").write_text("{")
    direct.adopt()
    pid = direct.main_pid(unit)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: direct.main_pid(unit) not in (None, pid), "the good unit is restarted")
