"""A whole agent with members that answer, once for every HAProxy here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbed.amphora import RunningAmphora
from testbed.scenario import Scenario, scenario
from testbed.web_server import WebServer
from tests.system.runtime.haproxies import Binary, binaries, command_of
from tests.system.runtime.tenants import EchoServer


@pytest.fixture(params=binaries(), ids=str)
def surroundings(request: pytest.FixtureRequest) -> Iterator[Scenario]:
    binary: Binary = request.param
    with (
        command_of(binary) as command,
        RunningAmphora(heartbeats=False, options={"haproxy_amphora": {"haproxy_cmd": command}}) as running,
        scenario(running) as made,
    ):
        made.plug()
        # Every address from .128 on is a member.
        made.members.ip("route add local 10.20.0.128/25 dev lo")
        with WebServer(made.members, "0.0.0.0", 80, "web"), EchoServer(made.members):
            yield made
