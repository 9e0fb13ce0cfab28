"""The playground as its user runs it: what it prints, how it ends, and that nothing stays behind however it ends."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.namespaces import DIRECTORY, Namespace, unique

ROOT = Path(__file__).parent.parent.parent
MARK = "PLAYGROUND_TEST"
NOBODY = 65534

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy"),
    pytest.mark.timeout(180),
]


@pytest.fixture
def name() -> Iterator[str]:
    """The name of a playground of the test's own; whatever the test does, it is ended."""
    name = unique("play")
    yield name
    playground(name, "--end")


def command(name: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "playground", "--name", name, *options]


def playground(name: str, *options: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run the playground to its end; standard error goes with standard output."""
    return subprocess.run(
        command(name, *options),
        cwd=ROOT,
        env={**os.environ, MARK: name},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )


@contextlib.contextmanager
def started(name: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start the playground and, in the end, make sure that it is over."""
    # Whoever runs the tests may have hang-ups ignored, and a child would inherit that.
    with subprocess.Popen(
        ["env", "--default-signal=HUP", *command(name, *options)],
        cwd=ROOT,
        env={**os.environ, MARK: name},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[bytes], text: str, *, timeout: float = 60) -> str:
    """Return what the process prints up to and including a text."""
    assert process.stdout is not None
    deadline, seen = time.monotonic() + timeout, b""
    while text.encode() not in seen:
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        chunk = os.read(process.stdout.fileno(), 4096) if ready else b""
        assert chunk, f"never printed {text!r}:\n{seen.decode()}"
        seen += chunk
    return seen.decode()


def leftovers(name: str) -> list[str]:
    """Return the namespaces, directories and processes of a playground that exist."""
    found = [str(path) for path in DIRECTORY.glob(f"{name}-*")]
    found += [str(path) for path in Path("/var/lib").glob(f"amphora-{name}*")]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command_line = (process / "cmdline").read_bytes()
            traces = command_line + (process / "environ").read_bytes()
            if f"amphora-{name}/".encode() in traces or f"{MARK}={name}\0".encode() in traces:
                found.append(f"{process.name}: {command_line!r}")
    return found


def answers(output: str) -> list[list[str]]:
    """Return who answered in each round of requests."""
    return [line.split() for line in output.splitlines() if re.fullmatch(r" +(web-\d |web-\d$|nobody |nobody$)+", line)]


def test_the_whole_story(name: str) -> None:
    result = playground(name)
    output = result.stdout
    assert result.returncode == 0, output
    before, dead, after = answers(output)
    for both in (before, after):
        assert both in (["web-1", "web-2"] * 5, ["web-2", "web-1"] * 5)
    assert dead == ["web-1"] * 10
    down = output.index("web-2 is DOWN after")
    assert output.index("web-2 DOWN") < down < output.index("web-2 is UP after"), output
    assert output.count("signature ok") >= 3
    for call in ("POST /1.0/plug/vip/10.10.0.100 -> 202", "POST /1.0/plug/network -> 202", "/reload -> 202"):
        assert call in output
    assert "\033" not in output, "colours belong on terminals only"
    assert leftovers(name) == []


def test_the_same_scene_by_an_operator(name: str) -> None:
    result = playground(name, "--api", "2", "--keep")
    output = result.stdout
    assert result.returncode == 0, output
    both, drained, ready = answers(output)
    assert set(both) == {"web-1", "web-2"}
    assert drained == ["web-1"] * 10
    assert set(ready) == {"web-1", "web-2"}
    assert "~ pool web, member web-2  weight 1 -> 3" in output
    assert re.search(r"all answer: web-1 \d+ times, web-2 \d+ times", output)
    commands = [line.strip() for line in output.splitlines() if "amphoractl --socket" in line]
    status = next(each for each in commands if each.endswith(" status"))
    done = subprocess.run(status.split(), cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "web-2" in done.stdout) == (0, True), done
    assert playground(name, "--end").returncode == 0
    assert leftovers(name) == []


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("Mint a PKI", signal.SIGINT),
        ("Build the networks", signal.SIGINT),
        ("Start the agent", signal.SIGINT),
        ("Plug the VIP's NIC", signal.SIGHUP),
        ("Heartbeats until web-2 is DOWN", signal.SIGINT),
        ("Start web-2 again", signal.SIGTERM),
    ],
)
def test_an_interrupted_run_leaves_nothing(name: str, moment: str, number: signal.Signals) -> None:
    with started(name) as process:
        read_until(process, moment)
        process.send_signal(number)
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 130, output.decode()
        assert b"Traceback" not in output
        assert b"Removed all" in output
    assert leftovers(name) == []


def test_a_reader_that_goes_away_ends_it(name: str) -> None:
    with started(name) as process:
        read_until(process, "Start two web servers")
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(30) == 1
    assert leftovers(name) == []


def test_a_failure_shows_the_log_and_leaves_nothing(name: str) -> None:
    with started(name) as process:
        read_until(process, "Which HAProxy?")
        Namespace(f"{name}-amphora").kill_all()
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 1
    assert b"FAILED" in output
    assert b"The end of the agent's log:" in output
    assert b"heartbeats begin" in output
    assert b"Traceback" not in output
    assert leftovers(name) == []


def test_keep_look_around_and_end(name: str) -> None:
    # A run that is killed outright cannot clean up; the next one does.
    with started(name) as process:
        read_until(process, "Reload")
        second = playground(name)
        assert second.returncode == 1
        assert "another run" in second.stdout
        process.kill()
    assert leftovers(name) != []

    kept = playground(name, "--keep")
    assert kept.returncode == 0, kept.stdout
    assert "did not clean up" in kept.stdout
    assert "All as it should be" in kept.stdout
    shown = [line.strip() for line in kept.stdout.splitlines()]
    (as_client,) = [line for line in shown if line.endswith("curl http://10.10.0.100/")]
    assert subprocess.run(as_client.split(), capture_output=True, check=True).stdout in (b"web-1", b"web-2")
    (as_controller,) = [line for line in shown if "--cacert" in line]
    rest = shown[shown.index(as_controller) + 1]
    details = subprocess.run(
        [*as_controller.removesuffix("\\").split(), *rest.split()], capture_output=True, check=True
    )
    assert b'"haproxy_count"' in details.stdout

    again = playground(name)
    assert again.returncode == 1
    assert "stands already" in again.stdout
    assert "--end" in again.stdout
    with started(name, "--heartbeats") as process:
        read_until(process, "web-2 UP")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0

    ended = playground(name, "--end")
    assert ended.returncode == 0
    assert leftovers(name) == []
    ended = playground(name, "--end")
    assert ended.returncode == 0
    assert "no playground" in ended.stdout
    assert leftovers(name) == []
    assert playground(name, "--heartbeats").returncode == 1


def test_namespaces_of_others_are_left_alone(name: str) -> None:
    theirs = Namespace.create_named(f"{name}-client")
    try:
        for option in ("--keep", "--end"):
            result = playground(name, option)
            assert result.returncode == 1, result.stdout
            assert theirs.name in result.stdout
            assert theirs.path.exists()
        assert leftovers(name) == [str(theirs.path)]
    finally:
        theirs.close()


def test_without_root_it_says_so() -> None:
    # A copy that nobody may read: the repository may well be below /root.
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        run = Path(place) / "playground" / "run"
        run.parent.mkdir(mode=0o755)
        shutil.copy(ROOT / "playground" / "run", run)
        result = subprocess.run(
            ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "bash", str(run)],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        assert result.returncode == 1
    assert "without root" in result.stderr
    assert "sudo" in result.stderr


def test_a_name_that_is_no_name_is_refused() -> None:
    for name in ("..", "a/b", "A", "x" * 17, "-a"):
        result = playground(name)
        assert result.returncode == 2, result.stdout
