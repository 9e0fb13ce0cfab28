"""What the operations rung works on."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

import pytest

from testbed.operations import Workbench
from tests.system.runtime.haproxies import Binary, command_of


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[Workbench]:
    """Give the test an amphora inside this process, without a load balancer yet; with another HAProxy as parameter."""
    if os.geteuid() != 0 or shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("needs root for network namespaces, and HAProxy")
    binary: Binary | None = getattr(request, "param", None)
    with contextlib.ExitStack() as stack:
        command = "" if binary is None else stack.enter_context(command_of(binary))
        yield stack.enter_context(Workbench(haproxy=command))
