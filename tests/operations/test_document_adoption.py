"""What a controller wrote, taken over by a document: all of it or nothing, and nothing of the controller's is left."""

from __future__ import annotations

import pytest

from amphora_agent.core.haproxy.config import parse
from amphora_agent.core.ids import ListenerId, LoadBalancerId
from amphora_agent.errors import Conflict
from amphora_agent.operations import ownership
from amphora_agent.operations.actions import Action
from amphora_agent.operations.document import apply, store, watch
from amphora_agent.operations.document.refusals import NotApplied
from amphora_agent.operations.haproxy import drains
from amphora_agent.operations.inventory import lvs_listener_ids
from amphora_agent.operations.keepalived import lvs_listeners
from testbed.amphora import AMPHORA_ID, LB_ID
from testbed.operations import LB, Workbench
from testbed.pki import Pki
from testbed.refusal import Obstacle, refused, unmade
from testbed.scenario import MEMBER_IDS
from tests.operations.test_documents import Json, put, shop

UDP = ListenerId("7f699c35-164b-5869-a43d-47618ff89fe2")


@pytest.fixture
def desk(bench: Workbench) -> Workbench:
    """Return a workbench with a load balancer of a controller: HTTP, TLS and UDP."""
    for name in ("old-rsa.pem", "old-ca.pem"):
        bench.store_certificate(name, Pki.mint(AMPHORA_ID).issue("old.example.org"))
    bench.apply(bench.sample("haproxy/01-http-basic.cfg"))
    with bench.changing() as change:
        lvs_listeners.upload(
            change,
            UDP,
            bench.sample("lvs/10-udp-no-pool.conf").replace("amphora-haproxy", bench.netns.name).encode(),
        )
        lvs_listeners.perform(change, UDP, Action.START)
    return bench


def wide() -> Json:
    """Return a document with a UDP listener at the port of the controller's, and one at a port that may be taken."""
    tree = shop("w1")
    tree["listeners"] += [
        {"name": "other", "protocol": "HTTP", "protocol_port": 81, "default_pool": "web"},
        {"name": "dns", "protocol": "UDP", "protocol_port": 53},
    ]
    return tree


def controllers(desk: Workbench) -> tuple[object, ...]:
    """Return what there is of the controller's."""
    udp = lvs_listeners.is_alive(desk.amphora, UDP) and desk.paths.lvs(UDP).config.read_bytes()
    return desk.own.config.read_bytes(), udp, sorted(path.name for path in desk.own.certs.iterdir()), desk.worker()


def test_nothing_of_the_controllers_is_left(desk: Workbench) -> None:
    put(desk, wide(), LB)
    assert lvs_listener_ids(desk.paths) == ownership.listeners_of(desk.paths, LB)
    assert UDP not in lvs_listener_ids(desk.paths)
    assert not desk.paths.lvs(UDP).agent.exists()
    assert list(desk.own.certs.iterdir()) == []
    assert not desk.paths.document(LB).adopted.exists()
    with desk.changing() as change:
        for one in (LB, *map(LoadBalancerId, lvs_listener_ids(desk.paths))):
            with pytest.raises(Conflict):
                ownership.require_controllers(change, one)
        apply.delete(change, LB)
    assert desk.netns.pids() == ()
    assert lvs_listener_ids(desk.paths) == ()


def test_an_adoption_that_fails_leaves_what_the_controller_had(desk: Workbench) -> None:
    before = controllers(desk)
    with desk.netns.open_socket() as holder:
        holder.bind(("0.0.0.0", 81))
        holder.listen()
        with pytest.raises(NotApplied):
            put(desk, wide(), LB)
    assert controllers(desk) == before
    assert ownership.is_controllers(desk.paths, LB)
    assert lvs_listener_ids(desk.paths) == (UDP,)


def test_an_adoption_that_fails_at_its_end_leaves_what_the_controller_had(desk: Workbench) -> None:
    *before, _ = controllers(desk)
    with refused(desk.paths.document(LB).current), pytest.raises(NotApplied):
        put(desk, wide(), LB)
    *after, _ = controllers(desk)
    assert after == before
    assert desk.accepts()
    assert store.document_ids(desk.paths) == ()


def test_what_an_operator_drained_is_drained_again_after_an_adoption_in_vain(desk: Workbench) -> None:
    member = MEMBER_IDS[0]
    config = parse(desk.own.config.read_text())
    pool = next(section.name.partition(":")[0] for section in config.sections if section.kind == "backend")
    with desk.changing() as change:
        drains.drain(change, LB, pool, member, "uid 0")
    state = desk.members()[member]
    with refused(desk.paths.document(LB).current), pytest.raises(NotApplied):
        put(desk, wide(), LB)
    assert state != "0"
    assert (desk.members()[member], len(drains.drained(desk.amphora, LB))) == (state, 1)


@pytest.mark.parametrize(("name", "obstacle"), [("adopted.json", refused), ("unfinished.json", unmade)])
def test_an_adoption_that_cannot_begin_touches_nothing(desk: Workbench, name: str, obstacle: Obstacle) -> None:
    before = controllers(desk)
    directory = desk.paths.document(LB).directory
    with obstacle(directory / name), pytest.raises(NotApplied):
        put(desk, wide(), LB)
    watch.look(desk.amphora)
    assert controllers(desk) == before
    assert not directory.exists()


def test_a_stopped_load_balancer_is_stopped_again(desk: Workbench) -> None:
    desk.act(Action.STOP)
    with refused(desk.paths.document(LB).current), pytest.raises(NotApplied):
        put(desk, wide(), LB)
    assert desk.masters() == ()
    assert not desk.accepts()
    assert LB_ID in desk.own.config.read_text()


def test_a_load_balancer_of_udp_alone_is_the_controllers(bench: Workbench) -> None:
    with bench.changing() as change:
        text = bench.sample("lvs/10-udp-no-pool.conf").replace("amphora-haproxy", bench.netns.name)
        lvs_listeners.upload(change, UDP, text.encode())
    assert ownership.is_controllers(bench.paths, LB)
    put(bench, shop("w1"), LB)
    assert not ownership.is_controllers(bench.paths, LB)
    assert lvs_listener_ids(bench.paths) == ()
