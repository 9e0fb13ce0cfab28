"""Atomic writes: the old content or the new, never half of it, whatever fails."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from amphora_agent.errors import HostFailure
from amphora_agent.host import files
from testbed.refusal import refused

OLD, NEW = b"old\n" * 1000, b"new\n" * 2000


def test_content_and_mode_are_exact(tmp_path: Path) -> None:
    target = tmp_path / "file"
    previous = os.umask(0o077)
    try:
        files.write_atomic(target, NEW, 0o644)
    finally:
        os.umask(previous)
    assert target.read_bytes() == NEW
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    files.write_atomic(target, b"", 0o600)
    assert target.read_bytes() == b""
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_missing_directory_is_a_host_failure(tmp_path: Path) -> None:
    with pytest.raises(HostFailure, match="cannot write"):
        files.write_atomic(tmp_path / "none" / "file", NEW)


def test_a_killed_write_leaves_the_old_content(tmp_path: Path) -> None:
    """SIGKILL at each system call of the write: strace is not needed, the interpreter's own trace will do."""
    target = tmp_path / "file"
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from amphora_agent.host import files\n"
        "left = int(sys.argv[2])\n"
        "def trace(frame, event, arg):\n"
        "    global left\n"
        "    if event == 'c_call' and frame.f_globals.get('__name__') in {'amphora_agent.host.files', 'pathlib'}:\n"
        "        left -= 1\n"
        "        if left == 0:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.setprofile(trace)\n"
        "files.write_atomic(Path(sys.argv[1]), b'new\\n' * 2000)\n"
    )
    killed = 0
    for step in range(1, 60):
        target.write_bytes(OLD)
        done = subprocess.run([sys.executable, "-c", script, str(target), str(step)], check=False)
        assert target.read_bytes() in (OLD, NEW)
        files.remove_temporaries(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["file"]
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        killed += 1
    assert killed >= 8
    assert target.read_bytes() == NEW


def test_a_full_disk_leaves_the_old_content(tmp_path: Path) -> None:
    """In a mount namespace of its own: a file system of 64 kB."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from amphora_agent.errors import HostFailure\n"
        "from amphora_agent.host import files\n"
        "target = Path(sys.argv[1]) / 'file'\n"
        "files.write_atomic(target, b'old')\n"
        "try:\n"
        "    files.write_atomic(target, b'x' * 1_000_000)\n"
        "except HostFailure as error:\n"
        "    assert 'space' in error.detail, error.detail\n"
        "    assert target.read_bytes() == b'old'\n"
        "    assert [p.name for p in target.parent.iterdir()] == ['file']\n"
        "    sys.exit(7)\n"
    )
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mount = f'mount -t tmpfs -o size=64k tmpfs {tmp_path} && exec {sys.executable} -c "$0" {tmp_path}'
    done = subprocess.run(["unshare", "--mount", "sh", "-c", mount, script], check=False)
    assert done.returncode == 7


def test_reading_follows_no_link_and_waits_for_no_pipe(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    assert files.read_optional(tmp_path / "missing") is None
    assert files.read_optional(tmp_path / "secret" / "below") is None
    assert files.read_optional(tmp_path / "secret") == b"secret"
    with pytest.raises(HostFailure):
        files.read_optional(tmp_path / "link")
    assert files.read_optional(tmp_path / "pipe") == b""


def test_removing_is_idempotent_and_keeps_what_a_link_names(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    tree = tmp_path / "tree"
    (tree / "below").mkdir(parents=True)
    (tree / "link").symlink_to(outside)
    files.remove(tree)
    files.remove(tree)
    assert not tree.exists()
    assert (outside / "file").exists()
    link = tmp_path / "link"
    link.symlink_to(outside)
    files.remove(link)
    assert (outside / "file").exists()


def test_a_file_is_written_again_only_for_another_content_or_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert files.write_if_changed(path, b"a", 0o640)
    before = files.identity(path)
    assert not files.write_if_changed(path, b"a", 0o640)
    assert files.identity(path) == before
    assert files.write_if_changed(path, b"b", 0o640)
    assert files.identity(path) != before
    assert files.write_if_changed(path, b"b", 0o600)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"b", 0o600)


def test_what_is_not_there_has_no_identity(tmp_path: Path) -> None:
    assert files.identity(tmp_path / "missing") is None
    (tmp_path / "file").touch()
    assert files.identity(tmp_path / "file" / "below") is None


def test_what_an_interrupted_write_left_beside_one_file_goes(tmp_path: Path) -> None:
    mine, other = tmp_path / ".amphora-agent.conf.1-2.agent-tmp", tmp_path / ".other.conf.1-2.agent-tmp"
    for path in (mine, other):
        path.touch()
    files.remove_temporaries_of(tmp_path / "amphora-agent.conf")
    assert list(tmp_path.iterdir()) == [other]


def test_two_files_at_once_are_the_same_and_apart_again_afterwards(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    files.write_atomic(second, OLD)
    files.write_atomic_twice(first, second, NEW)
    assert (first.read_bytes(), second.read_bytes(), second.stat().st_mode & 0o777) == (NEW, NEW, 0o600)
    files.write_atomic(second, OLD)
    assert first.read_bytes() == NEW
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]


def test_of_two_files_the_second_is_the_last(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    files.write_atomic(second, OLD)
    with refused(first), pytest.raises(HostFailure):
        files.write_atomic_twice(first, second, NEW)
    assert (first.exists(), second.read_bytes()) == (False, OLD)
    with refused(second), pytest.raises(HostFailure):
        files.write_atomic_twice(first, second, NEW)
    assert (first.read_bytes(), second.read_bytes()) == (NEW, OLD)


def test_an_empty_file_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "mark"
    files.create_durable(path)
    files.create_durable(path)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"", 0o600)
    with pytest.raises(HostFailure):
        files.create_durable(tmp_path / "missing" / "mark")
