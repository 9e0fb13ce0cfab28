"""Collecting a hundred UDP listeners: what the files cost. What the kernel's answer costs: `test_ipvs_messages`."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from amphora_agent.core.ids import ListenerId
from amphora_agent.core.paths import Paths, paths_of
from amphora_agent.core.settings import parse_settings
from amphora_agent.heartbeat.lvs import LvsCollector
from amphora_agent.heartbeat.notices import Notices
from testbed.namespaces import unique

LISTENERS, MEMBERS = 100, 20
# The other half of the 50 ms is for the kernel's answer.
BUDGET = 0.025


@pytest.fixture
def keepalived(tmp_path: Path, paths: Paths) -> Iterator[int]:
    """A process that the kernel calls keepalived and that was given every listener's configuration."""
    program = tmp_path / "keepalived"
    program.symlink_to("/usr/bin/tail")
    configs = [paths.lvs(listener_id(number)).config for number in range(LISTENERS)]
    with subprocess.Popen([program, "-f", "/dev/null", *configs], stderr=subprocess.DEVNULL) as process:
        yield process.pid
        process.kill()


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = paths_of(
        parse_settings(f"[haproxy_amphora]\nbase_path = {tmp_path}\n[amphora_agent]\nnetns = {unique('no')}\n")
    )
    made.lvs_directory.mkdir()
    return made


def listener_id(number: int) -> ListenerId:
    return ListenerId(f"00000000-0000-4000-8000-{number:012d}")


def write(paths: Paths, number: int, keepalived: int) -> ListenerId:
    listener = listener_id(number)
    lines = [f"# Configuration for Listener {listener}", "net_namespace amphora-haproxy"]
    lines += ["virtual_server_group ipv4-group {", f"10.10.{number}.1 53", "}", "virtual_server group ipv4-group {"]
    lines += ["protocol UDP", "delay_loop 5", f"# Configuration for Pool {number:08x}-0000-4000-8000-000000000000"]
    for member in range(MEMBERS):
        lines.append(f"# Configuration for Member {number:08x}-{member:04x}-4000-8000-000000000000")
        lines += [
            f"real_server 10.20.{number}.{member + 1} 8080 {{",
            "weight 1",
            "MISC_CHECK {",
            "misc_timeout 3",
            "}",
            "}",
        ]
    paths.lvs(listener).config.write_text("\n".join([*lines, "}"]))
    paths.lvs(listener).pid.write_text(f"{keepalived}\n")
    paths.lvs(listener).check_pid.write_text(f"{keepalived}\n")
    return listener


def test_files_of_a_hundred_listeners_cost_little(
    paths: Paths, keepalived: int, capsys: pytest.CaptureFixture[str]
) -> None:
    listeners = frozenset(write(paths, number, keepalived) for number in range(LISTENERS))
    collector = LvsCollector(paths, Notices())
    times = []
    for _ in range(6):
        began = time.process_time()
        parts, known = collector.collect()
        times.append(time.process_time() - began)
        assert known == listeners
        assert sum(len(pool.members) for part in parts for pool in part.pools.values()) == LISTENERS * MEMBERS
    with capsys.disabled():
        print(f"\n    {LISTENERS} LVS listeners: first {times[0] * 1000:.0f} ms, then {min(times) * 1000:.1f} ms CPU")  # noqa: T201
    assert min(times[1:]) < BUDGET


def test_listener_that_cannot_be_read_is_still_reported(paths: Paths, keepalived: int) -> None:
    good, odd = write(paths, 1, keepalived), listener_id(2)
    paths.lvs(odd).config.symlink_to("/dev/null")
    paths.lvs(odd).pid.write_text(f"{keepalived}\n")
    parts, known = LvsCollector(paths, Notices()).collect()
    assert known == frozenset({good, odd})
    assert {name: listener.status for part in parts for name, listener in part.listeners.items()} == {
        good: "OPEN",
        odd: "OPEN",
    }
    assert [len(part.pools) for part in parts] == [1, 0]


def test_listener_whose_keepalived_does_not_run_is_known_and_silent(paths: Paths) -> None:
    gone = write(paths, 1, 2**22)
    parts, known = LvsCollector(paths, Notices()).collect()
    assert parts == []
    assert known == frozenset({gone})


def test_keepalived_of_another_listener_is_not_its_own(paths: Paths, keepalived: int) -> None:
    """A pid file that a power cut left names whatever has the pid now."""
    good, stale = write(paths, 1, keepalived), write(paths, LISTENERS, keepalived)
    parts, known = LvsCollector(paths, Notices()).collect()
    assert known == frozenset({good, stale})
    assert [part.listeners.keys() for part in parts] == [{good}]


def test_no_listener_at_all(paths: Paths) -> None:
    paths.lvs_directory.rmdir()
    assert LvsCollector(paths, Notices()).collect() == ([], frozenset())
