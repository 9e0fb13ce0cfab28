"""Giving the VIP away is decided under the lock: an operation that explains what was seen has the last word."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.core.keepalived.mastership import Memory
from amphora_agent.core.paths import paths_of
from amphora_agent.host.settings_file import SettingsFile
from amphora_agent.host.supervisor.direct import DirectSupervisor
from amphora_agent.operations.amphora import Amphora, ChangeLock
from amphora_agent.operations.keepalived.mastership import look
from testbed.amphora import LB_ID
from testbed.namespaces import unique

LB = LoadBalancerId(LB_ID)
GONE = 2**22


class LateLock(ChangeLock):
    """A lock that somebody has whose operation ends when the lock is waited for."""

    def __init__(self, end: Callable[[], object]) -> None:
        super().__init__()
        self._end = end

    @contextlib.contextmanager
    def hold_politely(self, patience: float) -> Iterator[bool]:
        """Wait for the end of the operation."""
        assert patience > 0
        self._end()
        with super().hold_politely(patience) as is_held:
            yield is_held


@pytest.fixture
def amphora(tmp_path: Path) -> Iterator[Amphora]:
    """Half of a pair with one load balancer, a process that the kernel calls keepalived, and no HAProxy."""
    config = tmp_path / "amphora-agent.conf"
    config.write_text(
        f"[haproxy_amphora]\nbase_path = {tmp_path}/octavia\nhaproxy_cmd = {tmp_path}/haproxy\n"
        f"[amphora_agent]\nnetns = {unique('no')}\n[controller_worker]\nloadbalancer_topology = ACTIVE_STANDBY\n"
    )
    settings_file = SettingsFile(config)
    paths = paths_of(settings_file.current())
    for path in (paths.vrrp.config, paths.loadbalancer(LB).config, paths.loadbalancer(LB).stopped):
        path.parent.mkdir(parents=True)
    paths.vrrp.config.touch()
    paths.loadbalancer(LB).config.touch()
    paths.loadbalancer(LB).pid.write_text(f"{GONE}\n")
    program = tmp_path / "keepalived"
    program.symlink_to(shutil.which("tail") or "/usr/bin/tail")
    with subprocess.Popen([program, "-f", paths.vrrp.config]) as keepalived:
        paths.vrrp.pid.write_text(f"{keepalived.pid}\n")
        yield Amphora(
            settings_file=settings_file,
            started=settings_file.current(),
            paths=paths,
            supervisor=DirectSupervisor(paths.agent / "units"),
        )
        keepalived.kill()


@pytest.fixture
def haproxy(amphora: Amphora, tmp_path: Path) -> Iterator[int]:
    """A process that reads the load balancer's configuration, as HAProxy does."""
    program = tmp_path / "haproxy"
    program.symlink_to(shutil.which("tail") or "/usr/bin/tail")
    with subprocess.Popen([program, "-f", amphora.paths.loadbalancer(LB).config]) as process:
        yield process.pid
        process.kill()


def lose(amphora: Amphora, haproxy: int, end: Callable[[], object]) -> Memory:
    """Look at a HAProxy that was there and is gone for too long, while an operation is about to end."""
    paths = amphora.paths
    paths.loadbalancer(LB).pid.write_text(f"{haproxy}\n")
    memory = look(amphora, {}, 0.0)
    paths.loadbalancer(LB).pid.write_text(f"{GONE}\n")
    memory = look(amphora, memory, 10.0)
    assert not paths.vrrp.resigned.exists()
    lock = LateLock(end)
    memory = look(replace(amphora, lock=lock), memory, 20.0)
    with lock.hold():  # it was let go of, or this would be refused to the holder
        return memory


def test_haproxy_that_stays_away_costs_the_mastership(amphora: Amphora, haproxy: int) -> None:
    lose(amphora, haproxy, lambda: None)
    assert amphora.paths.vrrp.resigned.exists()
    assert not amphora.paths.vrrp.pid.exists()


def test_haproxy_that_a_reload_brought_back_costs_nothing(amphora: Amphora, haproxy: int) -> None:
    memory = lose(amphora, haproxy, lambda: amphora.paths.loadbalancer(LB).pid.write_text(f"{haproxy}\n"))
    assert not amphora.paths.vrrp.resigned.exists()
    assert memory[LB].is_there
    assert amphora.paths.vrrp.pid.exists()


def test_load_balancer_that_was_deleted_costs_nothing(amphora: Amphora, haproxy: int) -> None:
    assert lose(amphora, haproxy, amphora.paths.loadbalancer(LB).config.unlink) == {}
    assert not amphora.paths.vrrp.resigned.exists()


def test_load_balancer_that_was_stopped_costs_nothing(amphora: Amphora, haproxy: int) -> None:
    assert lose(amphora, haproxy, amphora.paths.loadbalancer(LB).stopped.touch) == {}
    assert not amphora.paths.vrrp.resigned.exists()


def test_a_start_by_the_controller_has_the_last_word(amphora: Amphora, haproxy: int) -> None:
    """The note that the agent resigned is gone by the time it may act, and nothing is left to be done."""
    paths = amphora.paths
    paths.loadbalancer(LB).pid.write_text(f"{haproxy}\n")
    memory = look(amphora, {}, 0.0)
    paths.vrrp.agent.mkdir()
    paths.vrrp.resigned.touch()
    before = paths.vrrp.pid.read_text()
    look(replace(amphora, lock=LateLock(paths.vrrp.resigned.unlink)), memory, 10.0)
    assert paths.vrrp.pid.read_text() == before
