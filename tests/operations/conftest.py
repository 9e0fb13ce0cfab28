"""What the operations rung works on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from testbed.operations import Workbench


@pytest.fixture
def bench() -> Iterator[Workbench]:
    """Give the test an amphora inside this process, without a load balancer yet."""
    if os.geteuid() != 0 or shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("needs root for network namespaces, and HAProxy")
    with Workbench() as workbench:
        yield workbench
