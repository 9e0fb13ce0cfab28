"""Machines for this rung; a machine that cannot run containers skips it and says why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container import debian
from tests.container.machine import Machine

# The first test of a fresh machine also makes the Debian tree.
SECONDS_PER_TEST = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of this rung their time, and one process of pytest-xdist."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(SECONDS_PER_TEST))
            item.add_marker(pytest.mark.xdist_group("container"))


@pytest.fixture(scope="session", autouse=True)
def _able() -> None:
    reason = debian.reason_against()
    if reason is not None:
        pytest.skip(f"container rung: {reason}")


@pytest.fixture(scope="module")
def bare() -> Iterator[Machine]:
    """A booted machine with every unit installed and none enabled, shared by the tests of a module."""
    with Machine(units=()) as machine:
        machine.boot()
        yield machine
