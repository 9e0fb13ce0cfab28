"""Documents of API 2.0, applied by operations with real HAProxy: what serves, what is remembered, what comes back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from amphora_agent.core.document.identity import loadbalancer_id
from amphora_agent.core.document.reading import Reading, read_tree
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.operations.document import apply, members, status, store
from amphora_agent.operations.document.apply import Applied, Wanted
from amphora_agent.operations.document.refusals import InvalidDocument, NotApplied
from amphora_agent.operations.haproxy.instance import instance_of
from testbed.operations import Workbench

SHOP = loadbalancer_id("shop")
BY = "uid 0"
Json = dict[str, Any]


def shop(*names: str) -> Json:
    """Return a load balancer with one HTTP listener and these members."""
    return {
        "name": "shop",
        "vips": [{"address": "10.10.0.100", "subnet": "10.10.0.0/24"}],
        "listeners": [{"name": "plain", "protocol": "HTTP", "protocol_port": 80, "default_pool": "web"}],
        "pools": [
            {
                "name": "web",
                "protocol": "HTTP",
                "lb_algorithm": "ROUND_ROBIN",
                "members": [
                    {"name": name, "address": f"192.0.2.{number}", "protocol_port": 8080}
                    for number, name in enumerate(names, 11)
                ],
            }
        ],
    }


def wanted(tree: Json, **options: Any) -> Wanted:
    read = read_tree(tree)
    assert isinstance(read, Reading), read
    return Wanted(document=read.document, by=BY, **options)


@pytest.fixture
def desk(bench: Workbench) -> Workbench:
    """Return a workbench that looks at the document's load balancer."""
    bench.lb_id = SHOP
    return bench


def put(desk: Workbench, tree: Json, lb_id: LoadBalancerId = SHOP, **options: Any) -> Applied:
    with desk.changing() as change:
        return apply.apply(change, lb_id, wanted(tree, **options))


def test_a_document_serves_and_is_remembered(desk: Workbench) -> None:
    applied = put(desk, shop("w1", "w2"))
    assert (applied.plan.decision, applied.stored.generation) == ("start", 1)
    assert desk.accepts()
    stored = store.get(desk.amphora, SHOP)
    assert stored == applied.stored
    assert not store.is_unfinished(desk.amphora, SHOP)
    assert [each.generation for each in store.revisions(desk.amphora, SHOP)] == [1]


def test_a_member_is_added_to_the_running_worker_as_was_planned(desk: Workbench) -> None:
    put(desk, shop("w1", "w2"))
    worker = desk.worker()
    with desk.changing() as change:
        planned = apply.plan(change, SHOP, wanted(shop("w1", "w2", "w3")))
    assert planned.is_dry_run
    assert planned.plan.decision == "runtime"
    assert [(step.do, step.subject) for step in planned.plan.steps] == [("add", "member web/w3")]
    assert len(desk.members()) == 2
    applied = put(desk, shop("w1", "w2", "w3"))
    assert applied.plan == planned.plan
    assert [str(each) for each in applied.differences] == ["+ pool web, member w3 192.0.2.13:8080"]
    assert (desk.worker(), len(desk.members())) == (worker, 3)


def test_the_same_document_again_changes_nothing(desk: Workbench) -> None:
    first = put(desk, shop("w1"))
    second = put(desk, shop("w1"))
    assert (second.plan.decision, second.stored.generation) == ("nothing", first.stored.generation)
    assert len(store.revisions(desk.amphora, SHOP)) == 1


def test_a_drained_member_has_no_weight_until_it_is_ready_again(desk: Workbench) -> None:
    put(desk, shop("w1", "w2"))
    worker = desk.worker()
    with desk.changing() as change:
        applied = members.drain(change, SHOP, "web", "w1", BY)
    assert [(step.do, step.subject) for step in applied.plan.steps] == [("set weight 0", "member web/w1")]
    assert applied.stored.generation == 1
    put(desk, shop("w1", "w2", "w3"))
    assert [each.member for each in store.get(desk.amphora, SHOP).drained] == ["w1"]
    with desk.changing() as change:
        members.make_ready(change, SHOP, "web", "w1", BY)
    assert store.get(desk.amphora, SHOP).drained == ()
    assert desk.worker() == worker


def test_a_document_that_the_machine_cannot_serve_leaves_the_one_before(desk: Workbench) -> None:
    put(desk, shop("w1"))
    worker = desk.worker()
    taken = shop("w1")
    taken["listeners"].append({"name": "other", "protocol": "HTTP", "protocol_port": 81, "default_pool": "web"})
    with desk.netns.open_socket() as holder:
        holder.bind(("0.0.0.0", 81))
        holder.listen()
        with pytest.raises(NotApplied) as failure:
            put(desk, taken)
    assert "81" in failure.value.detail
    assert store.get(desk.amphora, SHOP).generation == 1
    assert not store.is_unfinished(desk.amphora, SHOP)
    assert desk.accepts()
    assert desk.worker() == worker
    assert put(desk, shop("w1")).plan.decision == "nothing"


def test_what_serves_is_what_the_document_says_whatever_the_order_of_its_members(desk: Workbench) -> None:
    put(desk, shop("w1", "w2"))
    turned = shop("w1", "w2")
    turned["pools"][0]["members"].reverse()
    assert put(desk, turned).plan.decision == "nothing"
    assert status.report(desk.amphora, SHOP).trouble == ""
    text = desk.own.config.read_text()
    desk.own.config.write_text(text.replace("weight 1", "weight 7"))
    assert "backend" in status.report(desk.amphora, SHOP).trouble
    desk.own.config.write_text(text)
    with desk.changing() as change:
        change.supervisor.stop(instance_of(change, SHOP).unit)
    assert status.report(desk.amphora, SHOP).trouble == "HAProxy is not running"


def test_an_invalid_document_touches_nothing(desk: Workbench) -> None:
    broken = shop("w1")
    broken["listeners"][0]["default_pool"] = "nowhere"
    with pytest.raises(InvalidDocument) as refusal:
        put(desk, broken)
    assert [each.pointer for each in refusal.value.problems] == ["/listeners/0/default_pool"]
    assert store.document_ids(desk.paths) == ()


def test_a_deleted_load_balancer_leaves_nothing(desk: Workbench) -> None:
    put(desk, shop("w1"))
    with desk.changing() as change:
        apply.delete(change, SHOP)
    assert desk.netns.pids() == ()
    assert not desk.accepts()
    assert store.document_ids(desk.paths) == ()
    assert not desk.own.config.exists()


def test_after_a_crash_in_the_middle_the_document_before_serves(desk: Workbench) -> None:
    put(desk, shop("w1"))
    text = desk.own.config.read_text()
    with desk.changing() as change:
        store.begin(change, SHOP)
    desk.upload(text.replace("192.0.2.11", "192.0.2.99"))
    with desk.changing() as change:
        apply.recover(change, SHOP)
    assert desk.own.config.read_text() == text
    assert not store.is_unfinished(desk.amphora, SHOP)


def test_a_stored_document_survives_its_encoding(desk: Workbench) -> None:
    applied = put(desk, shop("w1"), confirm=60.0)
    assert applied.stored.revert is not None
    assert applied.stored.revert.generation == 0
    assert msgspec.json.decode(desk.paths.document(SHOP).current.read_bytes())["generation"] == 1
    assert store.get(desk.amphora, SHOP) == applied.stored


def test_the_generation_is_among_the_metrics(desk: Workbench) -> None:
    tree = shop("w1")
    tree["listeners"].append({"name": "metrics", "protocol": "PROMETHEUS", "protocol_port": 8088})
    put(desk, tree)
    put(desk, tree | {"name": "shop", "pools": shop("w1", "w2")["pools"]})
    lines = desk.amphora.paths.agent_metrics.read_text().splitlines()
    assert f'amphora_loadbalancer_generation{{loadbalancer="{SHOP}"}} 2' in lines
