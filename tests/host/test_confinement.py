"""Programs that run with no more than they need."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from amphora_agent.errors import HostFailure
from amphora_agent.host.commands import Completed
from amphora_agent.host.confinement import Limits, run_confined

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
LIMITS = Limits(time=20.0, cpu=20, memory=0)
PYTHON = "/usr/bin/python3"
HAPROXY = "/usr/sbin/haproxy"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory closed to everybody but root, like those on its way."""
    assert not tmp_path.parent.parent.stat().st_mode & 0o001
    return tmp_path


def python(code: str, *readable: Path) -> Completed:
    if not Path(PYTHON).exists():
        pytest.skip("needs the machine's own Python")
    return run_confined([PYTHON, "-S", "-c", code], readable, LIMITS)


def secret(path: Path) -> Path:
    path.write_text("a secret\n")
    path.chmod(0o600)
    return path


def test_it_reads_its_own_files_though_they_are_roots(place: Path) -> None:
    folder = place / "certs"
    folder.mkdir(mode=0o700)
    secret(folder / "a.pem")
    done = python(
        f"print(open({str(folder / 'a.pem')!r}).read(), open({str(place / 'b')!r}).read())", folder, secret(place / "b")
    )
    assert (done.code, done.output) == (0, "a secret\n a secret\n\n")
    assert (folder / "a.pem").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["beside", "/etc/shadow", "link"])
def test_it_reads_nothing_else(place: Path, name: str) -> None:
    secret(place / "beside")
    (place / "folder").mkdir()
    (place / "folder" / "link").symlink_to("/etc/shadow")
    path = place / "folder" / "link" if name == "link" else place / name
    done = python(f"open({str(path)!r})", secret(place / "own"), place / "folder")
    assert done.code == 1
    assert "Error" in done.output
    assert "root:" not in done.output


def test_it_is_nobody_and_can_do_nothing() -> None:
    done = python(
        "import os; print(os.getresuid(), os.getresgid(), os.getgroups()); print(open('/proc/self/status').read())"
    )
    first, _, status = done.output.partition("\n")
    nobody = 65534
    assert first == f"{(nobody,) * 3} {(nobody,) * 3} []"
    assert "CapEff:\t0000000000000000" in status
    assert "CapPrm:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status


def test_it_writes_nothing_and_starts_nothing(place: Path) -> None:
    place.chmod(0o777)
    for code in (
        f"open({str(place / 'new')!r}, 'w')",
        "open('/tmp/amphora-agent-confinement', 'w')",
        "import os; os.execv('/bin/true', ['true'])",
    ):
        done = python(code, secret(place / "own"))
        assert done.code == 1
        assert "PermissionError" in done.output
    assert sorted(path.name for path in place.iterdir()) == ["own"]


def test_it_has_no_network() -> None:
    names = "import socket; print([name for _, name in socket.if_nameindex()], flush=True)"
    done = python(f"{names}; socket.create_connection(('::1', 1), 1)")
    assert done.output.startswith("['lo']")
    assert done.code == 1


def test_it_ends_in_time() -> None:
    done = run_confined([PYTHON, "-S", "-c", "import time; time.sleep(60)"], (), Limits(time=0.3, cpu=20, memory=0))
    assert done.code != 0


def test_its_cpu_time_and_memory_are_bounded() -> None:
    assert run_confined([PYTHON, "-S", "-c", "while True: pass"], (), Limits(time=20.0, cpu=1, memory=0)).code != 0
    done = python("bytearray(6 << 30)")
    assert "MemoryError" in done.output


def test_the_caller_keeps_everything(place: Path) -> None:
    secret(place / "own")
    before = {name: Path(f"/proc/self/ns/{name}").readlink() for name in ("net", "mnt")}
    run_confined(["true"], [place / "own"], LIMITS)
    assert before == {name: Path(f"/proc/self/ns/{name}").readlink() for name in ("net", "mnt")}
    assert os.geteuid() == 0
    assert (place / "own").read_text() == "a secret\n"
    assert str(place) not in Path("/proc/self/mountinfo").read_text()


def test_a_program_that_nobody_may_execute_runs_all_the_same(place: Path) -> None:
    """A link or a wrapper in a directory of root's: as root then, without capabilities."""
    (place / "link").symlink_to(PYTHON)
    (place / "script").write_text(f'#!/bin/sh\nexec {PYTHON} "$@"\n')
    (place / "script").chmod(0o755)
    for name in ("link", "script"):
        code = f"open({str(secret(place / 'own'))!r}); print(open('/proc/self/status').read())"
        done = run_confined([str(place / name), "-S", "-c", code], [place / "own"], LIMITS)
        assert done.code == 0, done.output
        assert "CapEff:\t0000000000000000" in done.output


def test_a_missing_program_is_a_host_failure() -> None:
    with pytest.raises(HostFailure, match="cannot run"):
        run_confined(["/does/not/exist"], (), LIMITS)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_without_the_right_to_change_users_it_runs_without_capabilities(place: Path) -> None:
    """As under a unit that bounds capabilities: root then, who owns its files, but can do nothing else."""
    own, beside = secret(place / "own"), secret(place / "beside")
    code = f"""
from pathlib import Path
from amphora_agent.host.confinement import Limits, run_confined
code = "print(open('/proc/self/status').read()); open({str(own)!r}); open({str(beside)!r})"
print(run_confined([{PYTHON!r}, "-S", "-c", code], [Path({str(own)!r})], Limits(time=20.0, cpu=20, memory=0)).output)
"""
    dropped = ["setpriv", "--bounding-set=-setuid,-setgid", sys.executable, "-c", code]
    done = subprocess.run(dropped, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert "CapEff:\t0000000000000000" in done.stdout
    assert f"PermissionError: [Errno 13] Permission denied: '{beside}'" in done.stdout


@pytest.mark.hardening("A")
@pytest.mark.skipif(not Path(HAPROXY).exists(), reason="needs HAProxy")
def test_lua_in_a_check_is_nobody_and_reads_no_secret(place: Path) -> None:
    script, config = place / "x.lua", place / "haproxy.cfg"
    script.write_text(
        f'local file = io.open("{secret(place / "beside")}")\n'
        'core.Alert("read " .. (file and file:read("a") or "nothing"))\n'
        'core.Alert("wrote " .. (io.open("/tmp/amphora-agent-lua", "w") and "something" or "nothing"))\n'
        'for line in io.open("/proc/self/status"):lines() do\n'
        '  if line:match("^Uid") then core.Alert((line:gsub("%s+", " "))) end\n'
        "end\n"
        'core.Alert("ran " .. tostring(os.execute("id")))\n'
    )
    config.write_text(f"global\n    lua-load {script}\n")
    done = run_confined([HAPROXY, "-c", "-f", str(config)], [config, script], LIMITS)
    if "unknown keyword 'lua-load'" in done.output:
        pytest.skip("this HAProxy has no Lua")
    assert "read nothing" in done.output
    assert "wrote nothing" in done.output
    assert "Uid: 65534 65534 65534 65534" in done.output
    assert "ran nil" in done.output
