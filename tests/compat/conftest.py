"""Fixtures of the compatibility rung: the controller classes of several Octavia releases against the running agent.

What asks for `octavia` or `rendered` runs once for each release, or for those named in `AMPHORA_OCTAVIA_RELEASES`:
`tests/run` has one process of pytest for each, because importing Octavia takes seconds.

With `COMPAT_AGENT=existing` in the environment the same tests run against the existing agent from PyPI instead, which
tells a wrong test from a wrong agent. It fails where the contract asks for more than it does.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

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


_RELEASES = os.environ.get("AMPHORA_OCTAVIA_RELEASES", "").split() or list(octavia_venv.RELEASES)


@pytest.fixture(scope="session", params=_RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    """An Octavia release; its environment is made on first use."""
    octavia_venv.install(request.param)
    return str(request.param)


@pytest.fixture(scope="session")
def octavia(release: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OctaviaController]:
    """One process with Octavia's classes; importing them takes seconds."""
    python = octavia_venv.directory(release) / "bin" / "python"
    with OctaviaController(python, tmp_path_factory.mktemp("octavia")) as controller:
        yield controller


@pytest.fixture(scope="session")
def rendered(release: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the samples as this release renders them, named as those in `testbed/samples`."""
    directory = tmp_path_factory.mktemp("rendered")
    python = octavia_venv.directory(release) / "bin" / "python"
    script = Path(octavia_venv.__file__).with_name("render_samples.py")
    done = subprocess.run(
        [str(python), "-W", "ignore", str(script), str(directory)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return directory


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
