"""Secrets under trouble: two load balancers of which one cannot follow, files that go behind our back, a full disk."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from amphora_agent.core.document.identity import loadbalancer_id
from amphora_agent.core.document.place import Place
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.errors import AgentError
from amphora_agent.host.haproxy.socket import query
from amphora_agent.operations import startup
from amphora_agent.operations.actions import Action
from amphora_agent.operations.document import apply, rotation, secrets, status, store, watch
from amphora_agent.operations.document.refusals import InvalidDocument, NotApplied
from testbed.amphora import AMPHORA_ID
from testbed.operations import Workbench
from testbed.pki import Pki
from testbed.refusal import Obstacle, refused, unmade
from tests.operations.test_documents import BY, SHOP, Json, desk, put, shop

__all__ = ["desk"]

OTHER = loadbalancer_id("other")
PKI = Pki.mint(AMPHORA_ID)
FIRST, SECOND = PKI.issue("first.example.org"), PKI.issue("second.example.org")


def with_tls(*names: str, name: str = "shop", port: int = 443) -> Json:
    """Return a load balancer with a TLS listener of the certificate that both use."""
    tree = {**shop(*names), "name": name}
    tree["listeners"] = [
        {
            "name": "tls",
            "protocol": "TERMINATED_HTTPS",
            "protocol_port": port,
            "default_pool": "web",
            "default_tls_container_ref": "rsa",
        }
    ]
    return tree


def rotate(desk: Workbench, data: bytes) -> None:
    with desk.changing() as change:
        rotation.put(change, "rsa", data, BY)


def serial(desk: Workbench, lb_id: LoadBalancerId) -> int:
    """Return the number of the certificate that a load balancer's HAProxy has loaded."""
    place = Place(lb_id, desk.paths)
    socket = desk.paths.loadbalancer(lb_id).admin_socket
    text = query(socket, f"show ssl cert {place.secret_file('rsa')}", 5.0).decode()
    (line,) = (line for line in text.splitlines() if line.startswith("Serial: "))
    return int(line.removeprefix("Serial: "), 16)


def number_of(data: bytes) -> int:
    return x509.load_pem_x509_certificate(data).serial_number


@pytest.fixture
def two(desk: Workbench) -> Workbench:
    """Return a workbench with two load balancers that use one certificate."""
    rotate(desk, FIRST)
    put(desk, with_tls("w1"))
    put(desk, with_tls("w1", name="other", port=444), OTHER)
    return desk


def assert_both(desk: Workbench, data: bytes) -> None:
    """Hold what both serve, and what is kept, against one certificate."""
    assert {serial(desk, SHOP), serial(desk, OTHER)} == {number_of(data)}
    assert secrets.read(desk.amphora, "rsa") == data
    for lb_id in (SHOP, OTHER):
        assert not store.is_unfinished(desk.amphora, lb_id)
        assert status.report(desk.amphora, lb_id).trouble == ""


def test_both_follow(two: Workbench) -> None:
    rotate(two, SECOND)
    assert_both(two, SECOND)


@pytest.mark.parametrize("failing", [SHOP, OTHER])
@pytest.mark.parametrize(("name", "obstacle"), [("current", refused), ("unfinished", unmade)])
def test_one_that_cannot_follow_keeps_both_at_the_first(
    two: Workbench, failing: LoadBalancerId, name: str, obstacle: Obstacle
) -> None:
    with obstacle(getattr(two.paths.document(failing), name)), pytest.raises(AgentError):
        rotate(two, SECOND)
    watch.look(two.amphora)
    assert_both(two, FIRST)


def test_a_file_that_cannot_be_written_keeps_both_at_the_first(two: Workbench) -> None:
    place = Place(OTHER, two.paths)
    with refused(Path(place.secret_file("rsa"))), pytest.raises(NotApplied):
        rotate(two, SECOND)
    assert_both(two, FIRST)


def test_a_secret_that_cannot_be_stored_changes_nothing(two: Workbench) -> None:
    with refused(two.paths.secrets / "rsa"), pytest.raises(AgentError):
        rotate(two, SECOND)
    assert_both(two, FIRST)


def test_a_secret_that_went_behind_our_back(two: Workbench) -> None:
    (two.paths.secrets / "rsa").unlink()
    with pytest.raises(InvalidDocument) as refusal:
        put(two, with_tls("w1", "w2"))
    assert [each.pointer for each in refusal.value.problems] == ["/listeners/0/default_tls_container_ref"]
    with two.changing() as change:  # as after a crash
        store.begin(change, SHOP)
        apply.recover(change, SHOP)
    assert serial(two, SHOP) == number_of(FIRST)
    two.act(Action.RELOAD)
    assert serial(two, SHOP) == number_of(FIRST), "what serves needs it still"
    rotate(two, SECOND)
    assert_both(two, SECOND)


@pytest.fixture
def small(desk: Workbench) -> Iterator[Workbench]:
    """Return a workbench whose files are on a disk of half a megabyte."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(desk.paths.base)], check=True)
    try:
        desk.paths.user_group.write_text("global\n    group nogroup\n")
        startup.prepare(desk.amphora)
        rotate(desk, FIRST)
        put(desk, with_tls("w1"))
        yield desk
    finally:
        desk.netns.kill_all()
        subprocess.run(["umount", "--lazy", str(desk.paths.base)], check=True)


@contextlib.contextmanager
def filled(desk: Workbench, left: int) -> Iterator[None]:
    """Leave so many bytes on the disk for the length of the block."""
    ballast = desk.paths.base / "ballast"
    free = os.statvfs(desk.paths.base)
    size = free.f_bavail * free.f_frsize - left
    ballast.write_bytes(b"x" * max(0, size))
    try:
        yield
    finally:
        ballast.unlink()


def test_a_full_disk_leaves_the_old_or_the_new(small: Workbench) -> None:
    text, refusals, successes = "w1", 0, 0
    for pages in range(16):
        wanted = f"n{pages}"
        with filled(small, pages * 4096):
            try:
                put(small, with_tls(wanted))
                text, successes = wanted, successes + 1
            except AgentError:
                refusals += 1
        watch.look(small.amphora)
        stored = store.get(small.amphora, SHOP)
        assert stored.document.pools[0].members[0].name == text
        assert next(each.generation for each in store.revisions(small.amphora, SHOP)) == stored.generation
        assert status.report(small.amphora, SHOP).trouble == ""
        assert list(small.members().values()).count("0") == 1
        assert serial(small, SHOP) == number_of(FIRST)
    assert refusals
    assert successes


def test_a_full_disk_leaves_the_old_secret_or_the_new(small: Workbench) -> None:
    served, refusals, successes = FIRST, 0, 0
    for pages in range(12):
        aim = SECOND if served == FIRST else FIRST
        with filled(small, pages * 4096):
            try:
                rotate(small, aim)
                served, successes = aim, successes + 1
            except AgentError:
                refusals += 1
        watch.look(small.amphora)
        assert (serial(small, SHOP), secrets.read(small.amphora, "rsa")) == (number_of(served), served)
        assert status.report(small.amphora, SHOP).trouble == ""
    assert refusals
    assert successes


def test_a_full_disk_does_not_keep_a_load_balancer_from_going(small: Workbench) -> None:
    with filled(small, 0), small.changing() as change, contextlib.suppress(AgentError):
        apply.delete(change, SHOP)
    watch.look(small.amphora)
    if store.document_ids(small.paths):
        assert status.report(small.amphora, SHOP).trouble == ""
        with small.changing() as change:
            apply.delete(change, SHOP)
    assert small.netns.pids() == ()
    assert not small.own.certs.exists()
