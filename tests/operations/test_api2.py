"""API 2.0 through its WSGI application, with real HAProxy behind it: statuses, bodies, preconditions, problems."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.datastructures import Headers

from amphora_agent.api.v2.app import create_app
from amphora_agent.api.v2.routes import ROUTES, Route
from amphora_agent.core.document.identity import loadbalancer_id
from testbed.amphora import AMPHORA_ID, LB_ID
from testbed.operations import Workbench
from testbed.pki import Pki
from testbed.scenario import MEMBER_IDS
from tests.operations.test_documents import Json, shop

LB = "/2.0/loadbalancers/shop"
MEMBERS = f"{LB}/pools/web/members"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status_code: int
    content_type: str
    headers: Headers
    data: bytes

    @property
    def text(self) -> str:
        """The body."""
        return self.data.decode()

    @property
    def json(self) -> Any:
        """What the body says."""
        return json.loads(self.data)


@dataclass(frozen=True)
class Client:
    """The application, asked without a socket."""

    flask: FlaskClient

    def ask(self, method: str, path: str, **options: Any) -> Answer:
        """Make a request."""
        response = self.flask.open(path, method=method, **options)
        return Answer(response.status_code, response.content_type, response.headers, response.data)

    get = functools.partialmethod(ask, "GET")
    put = functools.partialmethod(ask, "PUT")
    post = functools.partialmethod(ask, "POST")
    delete = functools.partialmethod(ask, "DELETE")


@pytest.fixture
def client(bench: Workbench) -> Client:
    bench.lb_id = loadbalancer_id("shop")
    return Client(create_app(bench.amphora).test_client())


def put(client: Client, tree: object, path: str = LB, **options: Any) -> Answer:
    return client.ask("PUT", path, json=tree, **options)


def problem_of(response: Answer) -> Json:
    assert response.content_type == "application/problem+json"
    problem: Json = response.json
    assert problem["status"] == response.status_code
    return problem


def test_a_document_is_applied_read_back_and_listed(client: Client, bench: Workbench) -> None:
    created = put(client, shop("w1", "w2"))
    assert created.status_code == 200, created.text
    assert (created.json["decision"], created.json["generation"], created.json["dry_run"]) == ("start", 1, False)
    assert bench.accepts()
    read = client.get(LB)
    assert read.json["pools"][0]["members"][1]["name"] == "w2"
    assert read.headers["ETag"] == created.headers["ETag"] == created.json["etag"]
    assert client.get(f"/2.0/loadbalancers/{bench.lb_id}").data == read.data
    (listed,) = client.get("/2.0/loadbalancers").json
    assert (listed["name"], listed["owner"]) == ("shop", "api2")


def test_a_dry_run_says_what_the_change_then_does(client: Client, bench: Workbench) -> None:
    put(client, shop("w1"))
    planned = put(client, shop("w1", "w2"), f"{LB}?dry_run=true").json
    assert planned["dry_run"]
    assert "+" in planned["diff"]
    assert len(bench.members()) == 1
    done = put(client, shop("w1", "w2")).json
    same = ("decision", "reason", "reload", "steps", "differences", "generation", "etag")
    assert {key: done[key] for key in same} == {key: planned[key] for key in same}


@pytest.mark.parametrize("query", ["dryrun=true", "dry-run=true", "dry_run=true&dry_run=false", "Dry_Run=1"])
def test_a_misspelt_dry_run_changes_nothing(client: Client, bench: Workbench, query: str) -> None:
    put(client, shop("w1"))
    for method in ("PUT", "DELETE"):
        answer = client.ask(method, f"{LB}?{query}", json=shop("w1", "w2"))
        assert answer.status_code == 400
        assert query.partition("=")[0] in problem_of(answer)["detail"]
    assert len(bench.members()) == 1


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.rule}")
def test_every_route_refuses_a_parameter_it_does_not_know(client: Client, route: Route) -> None:
    path = re.sub(r"<.*?>", "1", route.rule)
    answer = client.ask(route.method, f"{path}?unheard_of=1")
    assert answer.status_code == 400
    assert "unheard_of" in problem_of(answer)["detail"]


def test_preconditions(client: Client) -> None:
    first = put(client, shop("w1"), headers={"If-None-Match": "*"})
    assert first.status_code == 200
    again = put(client, shop("w1", "w2"), headers={"If-None-Match": "*"})
    assert problem_of(again)["etag"] == first.json["etag"]
    assert again.status_code == 412
    stale = put(client, shop("w1", "w2"), headers={"If-Match": '"0"'})
    assert stale.status_code == 412
    assert put(client, shop("w1", "w2"), headers={"If-Match": first.json["etag"]}).status_code == 200


def test_every_problem_of_a_document_is_told_at_once(client: Client) -> None:
    broken = shop("w1", "w1")
    broken["listeners"][0]["default_pool"] = "nowhere"
    problem = problem_of(put(client, broken))
    assert problem["status"] == 422
    assert [each["pointer"] for each in problem["errors"]] == ["/listeners/0/default_pool", "/pools/0/members/1/name"]


def test_a_member_of_another_shape_is_placed_in_the_document(client: Client) -> None:
    put(client, shop("w1", "w2"))
    problem = problem_of(put(client, {"address": "192.0.2.12", "protocol_port": 70000}, f"{MEMBERS}/w2"))
    (error,) = problem["errors"]
    assert error["pointer"] == "/pools/0/members/1/protocol_port"
    assert error["where"] == "pool web, member w2"


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        (LB, {"data": "name: shop", "content_type": "application/yaml"}, 415),
        (LB, {"data": b"\xff", "content_type": "application/json"}, 422),
        (f"{LB}?dry_run=maybe", {"json": shop("w1")}, 400),
        (f"{LB}?confirm=0", {"json": shop("w1")}, 400),
        ("/2.0/loadbalancers/other", {"json": shop("w1")}, 422),
        (f"{LB}/nothing", {"json": {}}, 404),
        ("/2.0/loadbalancers", {"json": {}}, 405),
    ],
)
def test_what_is_no_request_is_refused(client: Client, path: str, options: Json, status: int) -> None:
    assert problem_of(client.put(path, **options))["status"] == status
    assert client.get("/2.0/loadbalancers").json == []


def test_members_are_replaced_added_drained_and_removed(client: Client, bench: Workbench) -> None:
    put(client, shop("w1", "w2"))
    worker = bench.worker()
    listed = client.get(MEMBERS)
    third = {"name": "w3", "address": "192.0.2.13", "protocol_port": 8080}
    replaced = put(client, [*listed.json, third], MEMBERS, headers={"If-Match": listed.headers["ETag"]})
    assert [step["do"] for step in replaced.json["steps"]] == ["add"]
    stale = put(client, [], MEMBERS, headers={"If-Match": listed.headers["ETag"]})
    assert stale.status_code == 412
    assert put(client, {"address": "192.0.2.14", "protocol_port": 80}, f"{MEMBERS}/w4").status_code == 200
    assert client.post(f"{MEMBERS}/w4/drain").json["steps"] == [{"do": "set weight 0", "subject": "member web/w4"}]
    status = client.get(f"{LB}/status").json
    members = {each["name"]: each for each in status["listeners"][0]["pools"][0]["members"]}
    assert members["w4"]["operating"] == "DRAINING"
    assert members["w4"]["drained"]["by"] == "unknown"
    assert members["w1"]["drained"] is None
    assert client.post(f"{MEMBERS}/w4/ready").status_code == 200
    assert client.delete(f"{MEMBERS}/w4").status_code == 200
    assert client.delete(f"{MEMBERS}/w4").status_code == 404
    assert bench.worker() == worker


def test_the_status_says_what_serves(client: Client) -> None:
    put(client, shop("w1"))
    status = client.get(f"{LB}/status").json
    assert (status["generation"], status["observed_generation"], status["role"]) == (1, 1, None)
    assert {each["type"]: each["status"] for each in status["conditions"]} == {
        "Accepted": True,
        "Programmed": True,
        "Healthy": True,
    }
    (listener,) = status["listeners"]
    assert (listener["operating"], listener["connections"]) == ("ONLINE", 0)
    assert listener["pools"][0]["members"][0]["operating"] == "NO_MONITOR"
    assert status["last_apply"]["decision"] == "start"


def test_an_older_revision_is_read_and_restored(client: Client) -> None:
    put(client, shop("w1"))
    put(client, shop("w1", "w2"))
    assert [each["number"] for each in client.get(f"{LB}/revisions").json] == [2, 1]
    old = client.get(f"{LB}/revisions/1")
    restored = client.post(f"{LB}/revisions/1/restore").json
    assert restored["generation"] == 3
    assert client.get(LB).headers["ETag"] == old.headers["ETag"]
    assert client.get(f"{LB}/revisions/9").status_code == 404


def test_a_change_waits_to_be_confirmed_and_is_kept(client: Client) -> None:
    put(client, shop("w1"))
    assert problem_of(client.post(f"{LB}/confirm"))["status"] == 409
    assert put(client, shop("w1", "w2"), f"{LB}?confirm=600").json["revert_at"]
    assert client.post(f"{LB}/confirm").json["revert_at"] is None
    assert client.get(f"{LB}/plan").json["decision"] == "nothing"


def test_what_a_controller_wrote_is_not_touched(client: Client, bench: Workbench) -> None:
    bench.apply(bench.sample("haproxy/01-http-basic.cfg").replace(LB_ID, bench.lb_id))
    assert problem_of(put(client, shop("w1")))["type"].endswith("/owned-by-controller")
    assert problem_of(client.delete(LB))["status"] == 409
    (listed,) = client.get("/2.0/loadbalancers").json
    assert listed["owner"] == "controller"
    assert client.get(f"{LB}/plan").json["decision"] == "nothing"
    assert client.get(f"{LB}/rendered").json["haproxy"] == bench.own.config.read_text()
    assert put(client, shop("w1"), f"{LB}?adopt=true").status_code == 200
    assert client.get(LB).status_code == 200


def test_a_controllers_member_is_drained_and_stays_so_over_a_reload(client: Client, bench: Workbench) -> None:
    text = bench.sample("haproxy/01-http-basic.cfg").replace(LB_ID, bench.lb_id)
    bench.apply(text)
    (listener,) = client.get(f"{LB}/status").json["listeners"]
    (pool,) = listener["pools"]
    member = f"{LB}/pools/{pool['name']}/members/{MEMBER_IDS[0]}"
    assert client.post(f"{member}/drain").json["decision"] == "runtime"
    assert client.post(f"{LB}/pools/{pool['name']}/members/nobody/drain").status_code == 404
    bench.apply(text.replace("timeout client 50000", "timeout client 60000"))
    drained = {each["name"]: each for each in _members(client)}[MEMBER_IDS[0]]
    assert (drained["operating"], drained["drained"]["by"]) == ("DRAINING", "unknown")
    assert client.post(f"{member}/ready").status_code == 200
    assert [each["drained"] for each in _members(client)] == [None, None]
    assert not bench.own.drained.exists()


def _members(client: Client) -> list[Json]:
    found: list[Json] = client.get(f"{LB}/status").json["listeners"][0]["pools"][0]["members"]
    return found


def test_secrets_are_kept_told_of_and_never_returned(client: Client, bench: Workbench) -> None:
    pki = Pki.mint(AMPHORA_ID)
    pem = pki.issue("shop.example.org")
    stored = client.put("/2.0/secrets/shop-rsa", data=pem)
    assert stored.status_code == 200, stored.text
    assert stored.json["secret"]["kind"] == "certificate"
    assert "PRIVATE" not in stored.text
    tls = shop("w1")
    tls["listeners"][0] |= {"protocol": "TERMINATED_HTTPS", "default_tls_container_ref": "shop-rsa"}
    put(client, tls)
    worker = bench.worker()
    renewed = client.put("/2.0/secrets/shop-rsa", data=pki.issue("shop.example.org")).json
    assert [step["do"] for step in renewed["applied"][0]["steps"]] == ["exchange"]
    assert bench.worker() == worker
    assert problem_of(client.delete("/2.0/secrets/shop-rsa"))["type"].endswith("/in-use")
    for broken in (pem[:200], b"-----BEGIN", b"-----BEGIN_KEY-----MHcCAQ"):
        assert problem_of(client.put("/2.0/secrets/shop-rsa", data=broken))["status"] == 422
    assert client.get("/2.0/secrets/shop-rsa").json["sha256"] == renewed["secret"]["sha256"]
    assert client.get("/2.0/secrets/other").status_code == 404


def test_a_deleted_load_balancer_is_gone(client: Client, bench: Workbench) -> None:
    put(client, shop("w1"))
    gone = client.delete(LB)
    assert (gone.status_code, gone.data, "Content-Type" in gone.headers) == (204, b"", False)
    assert client.delete(LB).status_code == 404
    assert client.get(f"{LB}/status").status_code == 404
    assert bench.netns.pids() == ()
    assert [each["kind"] for each in client.get("/2.0/events").json["events"]] == ["applied", "deleted"]


def test_the_configurations_can_be_read(client: Client) -> None:
    put(client, shop("w1"))
    rendered, running = client.get(f"{LB}/rendered").json, client.get(f"{LB}/running").json
    assert "192.0.2.11" in rendered["haproxy"]
    assert rendered == running
