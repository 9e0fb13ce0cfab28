"""What the agent says where there is no IPVS table to read; where there is one: tests/image/test_ipvs.py."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from amphora_agent.errors import HostFailure
from amphora_agent.host.keepalived import ipvs
from testbed.namespaces import Namespace

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")

HAS_IPVS = Path("/proc/net/ip_vs").exists()


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = Namespace.create("ipvs")
    yield made
    made.close()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_missing_namespace_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(HostFailure):
        ipvs.read(tmp_path / "none")


@pytest.mark.skipif(HAS_IPVS, reason="this kernel has IPVS")
def test_kernel_without_ipvs_says_so_and_leaks_nothing(namespace: Namespace) -> None:
    before = descriptors()
    for _ in range(20):
        with pytest.raises(HostFailure) as caught:
            ipvs.read(namespace.path)
        assert caught.value.detail == "this kernel has none"
    assert descriptors() == before
