"""A place for a heartbeat process, and a controller that hears it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbed.heartbeat_receiver import HeartbeatReceiver
from tests.system.heartbeat.rig import Rig, open_receiver


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig() as made:
        yield made


@pytest.fixture
def receiver() -> Iterator[HeartbeatReceiver]:
    with open_receiver() as made:
        yield made
