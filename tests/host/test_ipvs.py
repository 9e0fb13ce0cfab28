"""The IPVS table of a real namespace, on whatever kernel this is; the rest is tested in the virtual machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from amphora_agent.core.ipvs import Endpoint, Protocol, ServiceKey
from amphora_agent.core.lvs_change import AddDestination, RemoveDestination, RemoveService
from amphora_agent.errors import HostFailure
from amphora_agent.host import ipvs
from tests.namespaces import Namespace

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")

HAS_IPVS = Path("/proc/net/ip_vs").exists()
SERVICE = ServiceKey(Protocol.UDP, Endpoint(ip_address("192.0.2.1"), 53))
MEMBERS = tuple(Endpoint(ip_address(f"198.51.100.{number}"), 53) for number in (1, 2))


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


@pytest.mark.skipif(not HAS_IPVS, reason="this kernel has no IPVS")
def test_table_is_read_and_repaired(namespace: Namespace) -> None:
    assert ipvs.read(namespace.path) == {}
    namespace.run(["ipvsadm", "-A", "-u", "192.0.2.1:53", "-s", "wrr"])
    steps = tuple(AddDestination(SERVICE, member, 3, 98) for member in MEMBERS)
    ipvs.perform(namespace.path, (*steps, *steps))
    destinations = ipvs.read(namespace.path)[SERVICE].destinations
    assert {endpoint: found.weight for endpoint, found in destinations.items()} == dict.fromkeys(MEMBERS, 3)
    ipvs.perform(namespace.path, (RemoveDestination(SERVICE, MEMBERS[0]),) * 2)
    assert ipvs.read(namespace.path)[SERVICE].destinations.keys() == {MEMBERS[1]}
    ipvs.perform(namespace.path, (RemoveService(SERVICE),) * 2)
    assert ipvs.read(namespace.path) == {}
