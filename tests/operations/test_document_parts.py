"""UDP listeners and the pair in a document, next to HAProxy: one change with it, and taken back with it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from amphora_agent.core.document.identity import Identity
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.core.keepalived.process import KEEPALIVED
from amphora_agent.core.units import Unit
from amphora_agent.errors import AgentError, Conflict
from amphora_agent.host.procfs import process_start_time, read_pid
from amphora_agent.host.supervisor.direct import DirectSupervisor
from amphora_agent.operations import ownership
from amphora_agent.operations.actions import Action
from amphora_agent.operations.document import apply, rotation, status, store, texts
from amphora_agent.operations.document.refusals import InvalidDocument, NotApplied
from amphora_agent.operations.inventory import lvs_listener_ids
from amphora_agent.operations.keepalived import life_cycle, lvs_listeners, vrrp
from testbed.operations import ADDRESS, LB, Workbench
from testbed.waiting import wait_for
from tests.operations.test_documents import BY, SHOP, Json, desk, put, shop, wanted

__all__ = ["desk"]

DNS = Identity(SHOP).listener("dns")
VIP = "10.10.0.100"
UDP = {"name": "dns", "protocol": "UDP", "protocol_port": 53}


def with_udp(*names: str, **more: object) -> Json:
    """Return the shop with a UDP listener; without a pool, for this kernel has no IPVS."""
    tree = shop(*names)
    tree["listeners"].append({**UDP, **more})
    return tree


def with_pair(*names: str, priority: int = 100) -> Json:
    """Return the shop of a pair."""
    return {
        **shop(*names),
        "vrrp": {"own": "10.10.0.11", "peer": "10.10.0.12", "auth": "pair", "priority": priority},
    }


@pytest.fixture
def pair(desk: Workbench) -> Workbench:
    """Return a workbench that is one of a pair, with an interface for the VIP and the pair's password."""
    config = desk.amphora.settings_file.path
    config.write_text(config.read_text().replace("SINGLE", "ACTIVE_STANDBY"))
    desk.netns.ip(f"address del {ADDRESS}/32 dev lo", "link add eth1 type veth peer name far", "link set eth1 up")
    desk.netns.ip("link set far up", "address add 10.10.0.11/24 dev eth1")
    with desk.changing() as change:
        rotation.put(change, "pair", b"s3cr3t7\n", BY)
    return desk


def has_vip(desk: Workbench) -> bool:
    links = json.loads(desk.netns.run(["ip", "-j", "address", "show", "dev", "eth1"]))
    return any(address["local"] == VIP for link in links for address in link["addr_info"])


class WithoutKeepalived(DirectSupervisor):
    """Starts a program that ends at once where it is to start keepalived."""

    def start(self, unit: Unit) -> None:
        """Start a unit, or what stands for it."""
        super().start(replace(unit, argv=("/bin/false",)) if unit.argv[0] == KEEPALIVED else unit)


def break_keepalived(desk: Workbench) -> None:
    """Have every keepalived that is started from now on end at once."""
    desk.amphora = replace(desk.amphora, supervisor=WithoutKeepalived(desk.paths.agent / "units"))


def test_a_udp_listener_beside_http(desk: Workbench) -> None:
    with desk.changing() as change:
        planned = apply.plan(change, SHOP, wanted(with_udp("w1")))
    applied = put(desk, with_udp("w1"))
    assert (planned.plan, applied.plan.decision) == (applied.plan, "start")
    assert ("serve", "listener dns") in [(step.do, step.subject) for step in applied.plan.steps]
    assert lvs_listeners.is_alive(desk.amphora, DNS)
    assert desk.accepts()
    assert status.report(desk.amphora, SHOP).trouble == ""
    assert set(texts.running(desk.amphora, SHOP).lvs) == {"dns"}
    pid = read_pid(desk.paths.lvs(DNS).pid)
    assert put(desk, with_udp("w1")).plan.decision == "nothing"
    assert put(desk, with_udp("w1", "w2")).plan.steps[0].do == "add"
    assert read_pid(desk.paths.lvs(DNS).pid) == pid, "nobody touched it"
    gone = put(desk, shop("w1", "w2"))
    assert [(step.do, step.subject) for step in gone.plan.steps] == [("stop serving", "listener dns")]
    assert lvs_listener_ids(desk.paths) == ()
    assert not desk.paths.lvs(DNS).agent.exists()
    assert pid is not None
    assert process_start_time(pid) is None


def test_a_load_balancer_of_udp_alone(desk: Workbench) -> None:
    tree = with_udp()
    del tree["listeners"][0]
    put(desk, shop("w1"))
    applied = put(desk, tree)
    assert [(step.do, step.subject) for step in applied.plan.steps] == [("stop", "HAProxy"), ("serve", "listener dns")]
    assert not desk.own.directory.exists()
    assert not desk.accepts()
    assert status.report(desk.amphora, SHOP).trouble == ""
    assert put(desk, tree).plan.decision == "nothing"
    with desk.changing() as change:
        apply.delete(change, SHOP)
    assert desk.netns.pids() == ()


def test_keepalived_that_cannot_start_takes_all_back(desk: Workbench) -> None:
    put(desk, shop("w1"))
    worker = desk.worker()
    text = desk.own.config.read_bytes()
    break_keepalived(desk)
    with pytest.raises(NotApplied):
        put(desk, with_udp("w1", "w2"))
    assert desk.own.config.read_bytes() == text
    assert desk.worker() == worker
    assert (lvs_listener_ids(desk.paths), ownership.listeners_of(desk.paths, SHOP)) == ((), ())
    assert not store.is_unfinished(desk.amphora, SHOP)
    assert status.report(desk.amphora, SHOP).trouble == ""


def test_keepalived_that_cannot_start_makes_no_load_balancer(desk: Workbench) -> None:
    break_keepalived(desk)
    with pytest.raises(NotApplied):
        put(desk, with_udp("w1"))
    assert store.document_ids(desk.paths) == ()
    assert desk.netns.pids() == ()


def test_a_dead_keepalived_is_started_by_the_same_document(desk: Workbench) -> None:
    put(desk, with_udp("w1"))
    with desk.changing() as change:
        change.supervisor.stop(life_cycle.of_listener(change.paths, DNS).unit)
    assert status.report(desk.amphora, SHOP).trouble == "the keepalived of listener dns does not run"
    applied = put(desk, with_udp("w1"))
    assert [(step.do, step.subject) for step in applied.plan.steps] == [("start", "listener dns")]
    assert status.report(desk.amphora, SHOP).trouble == ""


def test_one_port_may_pass_from_one_udp_listener_to_another(desk: Workbench) -> None:
    put(desk, with_udp("w1"))
    put(desk, with_udp("w1", name="other"))
    assert lvs_listener_ids(desk.paths) == (Identity(SHOP).listener("other"),)


def test_a_pair_is_refused_where_the_amphora_stands_alone(desk: Workbench) -> None:
    with desk.changing() as change:
        rotation.put(change, "pair", b"s3cr3t7\n", BY)
    with pytest.raises(InvalidDocument) as refusal:
        put(desk, with_pair("w1"))
    assert [each.pointer for each in refusal.value.problems] == ["/vrrp"]
    assert not desk.paths.vrrp.config.exists()


def test_a_pair_holds_the_vip_until_the_document_has_none(pair: Workbench) -> None:
    applied = put(pair, with_pair("w1"))
    assert ("start", "keepalived of the pair") in [(step.do, step.subject) for step in applied.plan.steps]
    wait_for(lambda: has_vip(pair), "keepalived takes the VIP", seconds=30)
    assert "s3cr3t7" not in str(texts.rendered(pair.amphora, SHOP)) + str(texts.running(pair.amphora, SHOP))
    assert put(pair, with_pair("w1")).plan.decision == "nothing"
    pid = read_pid(pair.paths.vrrp.pid)
    changed = put(pair, with_pair("w1", priority=90))
    assert [(step.do, step.subject) for step in changed.plan.steps] == [("reload", "keepalived of the pair")]
    assert read_pid(pair.paths.vrrp.pid) == pid
    with pair.changing() as change, pytest.raises(Conflict):
        ownership.require_controllers_vrrp(change)
    gone = put(pair, shop("w1"))
    assert [(step.do, step.subject) for step in gone.plan.steps][-1] == ("stop", "keepalived of the pair")
    assert not vrrp.is_alive(pair.amphora)
    assert not has_vip(pair)
    assert not pair.paths.vrrp.config.exists()
    with pair.changing() as change:
        ownership.require_controllers_vrrp(change)


def test_a_pair_that_cannot_start_takes_all_back(pair: Workbench) -> None:
    put(pair, shop("w1"))
    text = pair.own.config.read_bytes()
    break_keepalived(pair)
    with pytest.raises(NotApplied):
        put(pair, with_pair("w1", "w2"))
    assert pair.own.config.read_bytes() == text
    assert not pair.paths.vrrp.config.exists()
    assert ownership.vrrp_owner(pair.paths) is None
    assert not has_vip(pair)


def test_the_password_of_the_pair_is_rotated(pair: Workbench) -> None:
    put(pair, with_pair("w1"))
    pid = read_pid(pair.paths.vrrp.pid)
    with pair.changing() as change:
        (applied,) = rotation.put(change, "pair", b"0ther\n", BY)
        with pytest.raises(AgentError):
            rotation.put(change, "pair", b"much too long for keepalived\n", BY)
    assert [step.do for step in applied.plan.steps] == ["reload"]
    assert "auth_pass 0ther" in pair.paths.vrrp.config.read_text()
    assert (read_pid(pair.paths.vrrp.pid), vrrp.is_alive(pair.amphora)) == (pid, True)
    assert put(pair, with_pair("w1")).plan.decision == "nothing"
    assert not store.is_unfinished(pair.amphora, SHOP)


def test_two_load_balancers_cannot_both_have_the_pair(pair: Workbench) -> None:
    put(pair, with_pair("w1"))
    other = {**with_pair("w1"), "name": "other"}
    other["listeners"][0]["protocol_port"] = 81
    with pytest.raises(InvalidDocument):
        put(pair, other, LoadBalancerId("0d3f4b42-5d2a-4f7e-9a56-5f6b5b0a3d11"))


def test_the_pair_of_a_controller_is_taken_over_or_left(pair: Workbench) -> None:
    pair.lb_id = LB
    text = pair.sample("vrrp/01-ipv4-master.conf").replace("amphora-haproxy", pair.netns.name)
    pair.apply(pair.sample("haproxy/01-http-basic.cfg"))
    with pair.changing() as change:
        vrrp.upload(change, text.encode())
        vrrp.perform(change, Action.START)
    pid = read_pid(pair.paths.vrrp.pid)
    with pytest.raises(InvalidDocument):
        put(pair, shop("w1"), LB)
    put(pair, with_pair("w1"), LB)
    assert (read_pid(pair.paths.vrrp.pid), ownership.vrrp_owner(pair.paths)) == (pid, LB)
    assert pair.paths.vrrp.config.read_text() != text
