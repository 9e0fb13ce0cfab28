"""What the controller is told when systemd, or whoever keeps HAProxy running, does not do as asked."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from amphora_agent.core.haproxy.config import peer_name
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.core.paths import paths_of
from amphora_agent.core.units import Unit
from amphora_agent.errors import HostFailure
from amphora_agent.host.settings_file import SettingsFile
from amphora_agent.operations import info
from amphora_agent.operations.actions import Action
from amphora_agent.operations.amphora import Amphora
from amphora_agent.operations.haproxy import follow, store
from testbed.amphora import AMPHORA_ID, LB_ID

pytestmark = pytest.mark.skipif(not Path("/usr/sbin/haproxy").exists(), reason="needs HAProxy")
LB = LoadBalancerId(LB_ID)
CONFIG = b"defaults\n    timeout connect 1s\n    timeout client 1s\n    timeout server 1s\n"


class BrokenSupervisor:
    """Refuses everything, as systemd does when it gets no memory."""

    def enable(self, unit: Unit) -> None:
        """Refuse."""
        raise HostFailure("cannot run systemctl", f"enable {unit.name}: timed out")

    def start(self, unit: Unit) -> None:
        """Refuse."""
        self.enable(unit)

    disable = stop = reload = start

    def end_foreign(self, pid: int) -> None:
        """Refuse."""
        raise HostFailure("cannot run systemctl", f"stop {pid}: timed out")

    def retire_foreign(self, pid: int, seconds: int) -> None:
        """Refuse."""
        raise HostFailure("cannot run systemctl", f"retire {pid} in {seconds}: timed out")

    def main_pid(self, unit: Unit) -> int | None:
        """Refuse."""
        raise HostFailure("cannot run systemctl", f"show {unit.name}: timed out")

    adopt = main_pid

    def log_tail(self, unit: Unit) -> str:
        """Return nothing."""
        del unit
        return ""


@pytest.fixture
def base() -> Iterator[Path]:
    """A directory whose name leaves room for the paths of sockets."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@pytest.fixture
def amphora(base: Path) -> Amphora:
    file = base / "amphora-agent.conf"
    file.write_text(f"[haproxy_amphora]\nbase_path = {base}\nbase_cert_dir = {base / 'certs'}\n")
    settings_file = SettingsFile(file)
    settings = settings_file.current()
    amphora = Amphora(
        settings_file=settings_file, started=settings, paths=paths_of(settings), supervisor=BrokenSupervisor()
    )
    amphora.paths.loadbalancer(LB).directory.mkdir()
    amphora.paths.loadbalancer(LB).config.write_bytes(CONFIG)
    return amphora


def test_details_come_all_the_same(amphora: Amphora) -> None:
    assert info.details(amphora).haproxy_count == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda amphora: store.upload(amphora, peer_name(AMPHORA_ID), LB, CONFIG),
            "Error enabling octavia-keepalived service",
        ),
        (lambda amphora: follow.perform(amphora, LB, Action.STOP), "Error stoping haproxy"),
        (lambda amphora: store.delete(amphora, LB), "Error stopping haproxy"),
    ],
)
def test_the_contracts_words_and_the_reason(amphora: Amphora, call: Callable[[Amphora], object], message: str) -> None:
    with pytest.raises(HostFailure, match=message) as caught:
        call(amphora)
    assert "timed out" in caught.value.detail
    assert amphora.paths.loadbalancer(LB).config.read_bytes() == CONFIG
