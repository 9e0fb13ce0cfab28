"""System tests need root for namespaces; everything else they make themselves."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from testbed.amphora import RunningAmphora
from testbed.scenario import Scenario, scenario


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="network namespaces need root"))


@pytest.fixture
def amphora() -> Iterator[RunningAmphora]:
    with RunningAmphora(heartbeats=False) as running:
        yield running


@pytest.fixture
def plugged() -> Iterator[Scenario]:
    with RunningAmphora(heartbeats=False) as running, scenario(running) as surroundings:
        surroundings.plug()
        yield surroundings
