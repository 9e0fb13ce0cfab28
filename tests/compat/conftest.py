"""Fixtures of the compatibility rung: Octavia's own controller classes against the running agent.

With `COMPAT_AGENT=existing` in the environment the same tests run against the existing agent from PyPI instead, which
tells a wrong test from a wrong agent. It fails where the contract asks for more than it does.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from bench.existing_agent import existing_agent
from testbed import octavia_venv
from testbed.amphora import RunningAmphora
from testbed.scenario import Scenario, scenario
from tests.compat.controller import OctaviaController


@contextlib.contextmanager
def fresh_amphora(
    *, heartbeats: bool, started: bool = True, topology: str = "SINGLE", image: bool = False
) -> Iterator[RunningAmphora]:
    """Yield a new amphora with the agent under test; with `image` it has the names that Octavia renders."""
    ours = RunningAmphora(heartbeats=heartbeats, started=started, topology=topology, image=image)
    is_existing = os.environ.get("COMPAT_AGENT") == "existing"
    with existing_agent(started=started, topology=topology) if is_existing else ours as amphora:
        yield amphora


@pytest.fixture(scope="session")
def octavia(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OctaviaController]:
    """One process with Octavia's classes; importing them takes seconds."""
    python = octavia_venv.install() / "bin" / "python"
    with OctaviaController(python, tmp_path_factory.mktemp("octavia")) as controller:
        yield controller


@pytest.fixture
def amphora() -> Iterator[RunningAmphora]:
    """A fresh amphora without heartbeats."""
    with fresh_amphora(heartbeats=False) as running:
        yield running


@pytest.fixture
def balancer(amphora: RunningAmphora, octavia: OctaviaController) -> Iterator[Scenario]:
    """The amphora with its networks, attached to Octavia."""
    octavia.attach(amphora)
    with scenario(amphora) as surroundings:
        yield surroundings
