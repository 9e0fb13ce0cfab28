"""Plans in the document's own names, and what differs between two documents."""

from __future__ import annotations

import copy
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from amphora_agent.core.document.differences import Kind, differences
from amphora_agent.core.document.model import Document
from amphora_agent.core.document.place import Place
from amphora_agent.core.document.plan import PlannedStep, plan_of, text_difference
from amphora_agent.core.document.reading import Reading, read_tree
from amphora_agent.core.document.render import render
from amphora_agent.core.haproxy import config as haproxy_config
from amphora_agent.core.haproxy.change import Decision, Nothing, Permissions, Reload, Runtime, Stored, decide
from amphora_agent.core.haproxy.version import Version
from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.core.paths import paths_of
from amphora_agent.core.process_id import ProcessId
from amphora_agent.core.settings import Settings
from tests.core.document.documents import Json, documents

PLACE = Place(LoadBalancerId("shop-1"), paths_of(Settings()))
RUNNING = ProcessId(7, 7)
SHOP: Json = {
    "name": "shop",
    "vips": [{"address": "10.10.0.100", "subnet": "10.10.0.0/24"}],
    "listeners": [
        {"name": "plain", "protocol": "HTTP", "protocol_port": 80, "default_pool": "web"},
        {"name": "tls", "protocol": "TERMINATED_HTTPS", "protocol_port": 443, "default_pool": "web",
         "default_tls_container_ref": "shop-rsa"},
    ],
    "pools": [
        {
            "name": "web",
            "protocol": "HTTP",
            "lb_algorithm": "LEAST_CONNECTIONS",
            "members": [
                {"name": "w1", "address": "192.0.2.11", "protocol_port": 8080},
                {"name": "w2", "address": "2001:db8::12", "protocol_port": 8080},
            ],
        }
    ],
}  # fmt: skip


def document(tree: Json) -> Document:
    reading = read_tree(tree)
    assert isinstance(reading, Reading), reading
    return reading.document


def stored(meant: Document, contents: dict[str, str]) -> Stored:
    found = render(meant, PLACE, {"pair": "s3cr3t7"})
    assert found.haproxy is not None
    digests = {path: contents.get(name, name) for path, name in found.secret_files.items()}
    digests |= found.crt_lists
    text = haproxy_config.render(found.haproxy)
    return Stored(config=text, parsed=found.haproxy, digests=digests, crt_lists=found.crt_lists)


def decision(old: Json, new: Json, contents: dict[str, str] | None = None) -> Decision:
    before = stored(document(old), {})
    return decide(
        before.applied_to(RUNNING),
        stored(document(new), contents or {}),
        RUNNING,
        Permissions(version=Version(3, 0, 11)),
    )


def shown(old: Json, new: Json) -> list[str]:
    return [str(each) for each in differences(document(old), document(new))]


def test_members_change_without_a_reload_and_by_name() -> None:
    new = copy.deepcopy(SHOP)
    members = new["pools"][0]["members"]
    members[1]["weight"] = 5
    del members[0]
    members.append({"name": "w3", "address": "192.0.2.13", "protocol_port": 8080})
    plan = plan_of(decision(SHOP, new), PLACE, (document(SHOP), document(new)))
    assert (plan.decision, plan.reload) == ("runtime", False)
    assert set(plan.steps) == {
        PlannedStep("add", "member web/w3"),
        PlannedStep("remove", "member web/w1"),
        PlannedStep("set weight 5", "member web/w2"),
    }
    assert shown(SHOP, new) == [
        "~ pool web, member w2 weight 1 -> 5",
        "+ pool web, member w3 192.0.2.13:8080",
        "- pool web, member w1 192.0.2.11:8080",
    ]


def test_a_renewed_secret_is_exchanged_under_its_name() -> None:
    plan = plan_of(decision(SHOP, SHOP, {"shop-rsa": "renewed"}), PLACE, (document(SHOP),))
    assert (plan.decision, plan.steps) == ("runtime", (PlannedStep("exchange", "secret shop-rsa"),))


def test_one_more_certificate_is_served_without_a_reload() -> None:
    new = copy.deepcopy(SHOP)
    new["listeners"][1]["sni_container_refs"] = ["api"]
    both = (document(SHOP), document(new))
    assert plan_of(decision(SHOP, new), PLACE, both).steps == (PlannedStep("serve on tls", "secret api"),)
    assert plan_of(decision(new, SHOP), PLACE, both).steps == (PlannedStep("stop serving on tls", "secret api"),)


def test_the_rest_is_a_reload() -> None:
    new = copy.deepcopy(SHOP)
    new["listeners"][0]["protocol_port"] = 81
    plan = plan_of(decision(SHOP, new), PLACE, (document(new),))
    assert (plan.decision, plan.reload, plan.steps) == ("reload", True, ())
    assert plan.reason
    assert shown(SHOP, new) == ["~ listener plain protocol_port 80 -> 81"]


def test_new_and_gone_load_balancers() -> None:
    shop = document(SHOP)
    assert [str(each) for each in differences(None, shop)] == ["+ load balancer shop"]
    assert [str(each) for each in differences(shop, None)] == ["- load balancer shop"]
    assert differences(None, None) == ()


def test_the_order_of_vips_is_a_difference() -> None:
    new = copy.deepcopy(SHOP)
    new["vips"] = [{"address": "10.11.0.1", "subnet": "10.11.0.0/24"}, *SHOP["vips"]]
    assert shown(SHOP, new) == ["+ VIP 10.11.0.1"]
    turned = {**new, "vips": new["vips"][::-1]}
    assert shown(new, turned) == ["~ the document order of vips"]


@given(documents(), documents())
@settings(deadline=None)
def test_documents_differ_in_nothing_when_they_are_equal(one: Json, other: Json) -> None:
    first, second = document(one), document(other)
    assert differences(first, document(json.loads(json.dumps(one)))) == ()
    assert (differences(first, second) == ()) == (first == second)


@given(documents())
def test_the_same_document_is_no_change(tree: Json) -> None:
    if render(document(tree), PLACE, {"pair": "a"}).haproxy is not None:
        assert isinstance(decision(tree, tree), Nothing)


@given(documents(), st.data())
def test_any_change_of_members_is_a_plan_or_has_a_reason(tree: Json, data: st.DataObject) -> None:
    if not tree["pools"] or render(document(tree), PLACE, {"pair": "a"}).haproxy is None:
        return
    new = json.loads(json.dumps(tree))
    pool = data.draw(st.sampled_from(new["pools"]))
    pool["members"] = data.draw(
        st.lists(st.sampled_from(pool["members"]), unique_by=id) if pool["members"] else st.just([])
    )
    found = decision(tree, new)
    assert isinstance(found, (Nothing, Runtime, Reload))
    plan = plan_of(found, PLACE, (document(tree), document(new)))
    assert plan.reason
    assert all(step.subject.startswith("member ") for step in plan.steps)


lines = st.lists(st.sampled_from(["a", "b", "c", "  d"]), max_size=40).map(
    lambda found: "".join(f"{x}\n" for x in found)
)


@given(lines, lines)
def test_the_difference_of_texts_leads_from_one_to_the_other(before: str, after: str) -> None:
    told = text_difference(before, after)
    assert (told == "") == (before == after)
    if told:
        hunks = told.split("\n")[2:-1]
        old, new = before.split("\n")[:-1], after.split("\n")[:-1]
        made: list[str] = []
        place = 0
        for hunk in hunks:
            if hunk.startswith("@@"):
                start = int(hunk.split()[1][1:].split(",")[0])
                length = hunk.split()[1].partition(",")[2] or "1"
                begin = start if length == "0" else start - 1
                made += old[place:begin]
                place = begin
            elif hunk.startswith("+"):
                made.append(hunk[1:])
            else:
                assert old[place] == hunk[1:]
                made += [] if hunk.startswith("-") else [hunk[1:]]
                place += 1
        assert made + old[place:] == new


def test_a_difference_of_thousands_of_lines_is_not_compared_line_by_line() -> None:
    before = "".join(f"old {number}\n" for number in range(5000))
    after = "".join(f"new {number}\n" for number in range(5000))
    told = text_difference(before, after)
    assert told.count("\n-old") == told.count("\n+new") == 5000


def test_kinds_are_marks() -> None:
    assert [str(kind) for kind in Kind] == ["+", "-", "~"]
