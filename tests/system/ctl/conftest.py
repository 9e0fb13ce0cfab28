"""A plugged amphora and amphoractl on it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from testbed.amphora import CLIENT_ADDRESS, HEARTBEAT_KEY, HEARTBEAT_PORT, RunningAmphora
from testbed.heartbeat_receiver import HeartbeatReceiver
from testbed.scenario import VIP, Scenario, scenario

COMMAND = str(Path(sys.executable).parent / "amphoractl")
SHOP = f"""
name: shop
vips: [{{address: {VIP}, subnet: 10.10.0.0/24}}]
listeners: [{{name: plain, protocol: HTTP, protocol_port: 80, default_pool: web}}]
pools:
- name: web
  protocol: HTTP
  lb_algorithm: ROUND_ROBIN
  healthmonitor: {{type: TCP, delay: 1, timeout: 1, max_retries: 1}}
  members:
  - {{name: w1, address: 10.20.0.11, protocol_port: 8080}}
  - {{name: w2, address: 10.20.0.12, protocol_port: 8080}}
"""


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody on the amphora."""

    surroundings: Scenario

    @property
    def amphora(self) -> RunningAmphora:
        """Where they are."""
        return self.surroundings.amphora

    def ctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run amphoractl on the amphora; the output is one text."""
        return self.amphora.run([COMMAND, "--socket", str(self.amphora.api_socket), *words])

    def examine(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command that looks at the machine."""
        return self.ctl(*words, "--config-file", str(self.amphora.config_file))

    def apply(self, text: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Apply a document."""
        file = self.amphora.directory / "shop.yaml"
        file.write_text(text)
        return self.ctl("apply", str(file), *words)


@pytest.fixture
def operator() -> Iterator[Operator]:
    """Give an amphora whose heartbeats arrive."""
    with (
        RunningAmphora(started=False) as running,
        HeartbeatReceiver.listen(running.client, CLIENT_ADDRESS, HEARTBEAT_PORT, HEARTBEAT_KEY) as receiver,
        scenario(running) as surroundings,
    ):
        running.start()
        surroundings.plug()
        receiver.receive()
        yield Operator(surroundings)
