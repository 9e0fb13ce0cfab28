"""The fresh Debians of this rung, and the figures it prints; a machine that cannot make one skips it and says why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container import debian
from tests.fresh.installation import Installation

# The first test also makes the tree, and the longest one runs stages of the tests.
SECONDS_PER_TEST = 900
SUITES = {"Debian 12": "bookworm", "Debian 13": "trixie"}
FIGURE = "figure"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of this rung their time."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(SECONDS_PER_TEST))


@pytest.fixture(
    scope="module",
    params=[pytest.param(suite, id=name, marks=pytest.mark.xdist_group(name)) for name, suite in SUITES.items()],
)
def fresh(request: pytest.FixtureRequest) -> Iterator[Installation]:
    """One Debian on which the tests of a module are one story, told in the order of the file."""
    reason = debian.reason_against()
    if reason is not None:
        pytest.skip(f"fresh rung: {reason}")
    with Installation(request.param) as installation:
        yield installation


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the tests measured, though nothing depends on it."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == FIGURE:
                terminalreporter.write_line(f"{report.nodeid.rpartition('[')[2].rstrip(']')}: {value}")
