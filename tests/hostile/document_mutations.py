"""The changes of API 2.0, as `mutations` has those of 1.0. What is stored is told by what runs, once all is settled."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from amphora_agent.core.document.identity import loadbalancer_id
from amphora_agent.core.haproxy.servers_state import parse_servers_state
from amphora_agent.core.records import removing
from amphora_agent.errors import HostFailure
from amphora_agent.host.haproxy.socket import query
from testbed.amphora import AMPHORA_ID, LB_ID, Reply
from testbed.pki import Pki
from testbed.scenario import LISTENER_ID, MEMBER_ADDRESSES, MEMBER_PORT, VIP, Scenario
from testbed.waiting import wait_for
from tests.hostile.mutations import Mutation, good_config

Json = dict[str, Any]
SHOP = "/2.0/loadbalancers/cut"
SECRET = "/2.0/secrets/cut-rsa"  # noqa: S105 - a path
ADOPTED_ID = "5a2e9b0c-5d2a-4f7e-9a56-5f6b5b0a3d11"
ADOPTED = f"/2.0/loadbalancers/{ADOPTED_ID}"
_DONE = frozenset({200})
# The watcher of documents tries again every ten seconds.
_SETTLED_SECONDS = 45.0


def document(name: str = "cut", *, port: int = 8090, weights: Sequence[int] = (1,), with_more: bool = False) -> Json:
    """Return a load balancer with a TLS listener and as many members as there are weights."""
    listeners: list[Json] = [{"name": "plain", "protocol": "HTTP", "protocol_port": port, "default_pool": "web"}]
    if with_more:
        listeners += [
            {
                "name": "tls",
                "protocol": "TERMINATED_HTTPS",
                "protocol_port": port + 1,
                "default_pool": "web",
                "default_tls_container_ref": "cut-rsa",
            },
            {"name": "dns", "protocol": "UDP", "protocol_port": port},
        ]
    members = [
        {"name": f"w{n}", "address": address, "protocol_port": MEMBER_PORT, "weight": weight}
        for n, (address, weight) in enumerate(zip(MEMBER_ADDRESSES, weights, strict=False))
    ]
    pool = {"name": "web", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": members}
    vips = [{"address": VIP, "subnet": "10.10.0.0/24"}]
    return {"name": name, "vips": vips, "listeners": listeners, "pools": [pool]}


def _ask(scenario: Scenario, method: str, path: str, tree: Json | None = None, body: bytes | None = None) -> Reply:
    return scenario.amphora.request(method, path, body, document=tree)


def _put(scenario: Scenario, path: str = SHOP, **options: Any) -> Reply:
    return _ask(scenario, "PUT", path, document(**options))


def _prepared(**options: Any) -> Callable[[Scenario], None]:
    """Return what brings the load balancer to a document, with nothing drained and its first certificate."""

    def prepare(scenario: Scenario) -> None:
        assert _renew(scenario, "first").status in _DONE
        reply = _put(scenario, **options)
        assert reply.status in _DONE, reply
        reply = _ask(scenario, "POST", f"{SHOP}/pools/web/members/w0/ready")
        assert reply.status in _DONE, reply

    return prepare


def _renew(scenario: Scenario, name: str) -> Reply:
    """Put one of two certificates, which are the same ones each time."""
    path = scenario.amphora.pki_dir / f"cut-{name}.pem"
    if not path.exists():
        path.write_bytes(Pki.mint(AMPHORA_ID).issue(f"{name}.example.org"))
    return _ask(scenario, "PUT", SECRET, body=path.read_bytes())


def _gone(scenario: Scenario) -> None:
    assert _renew(scenario, "first").status in _DONE
    assert _ask(scenario, "DELETE", SHOP).status in {204, 404}


def _controllers(scenario: Scenario) -> None:
    """Bring a load balancer back into the hands of a controller, which has no pair here."""
    (scenario.amphora.base / "vrrp" / "octavia-keepalived.conf").unlink(missing_ok=True)
    assert _ask(scenario, "DELETE", ADOPTED).status in {204, 404, 409}
    text = good_config(scenario.amphora).replace("10.10.0.100:80", "10.10.0.100:8095").replace(LB_ID, ADOPTED_ID)
    text = text.replace(LISTENER_ID, "22222222-2222-4333-8444-555555555555")
    path = f"/1.0/loadbalancer/{AMPHORA_ID}/{ADOPTED_ID}/haproxy"
    assert scenario.amphora.request("PUT", path, text).status == 202
    assert scenario.amphora.request("PUT", f"/1.0/loadbalancer/{ADOPTED_ID}/reload").status == 202


def _running(lb_id: str, path: str) -> Callable[[Scenario], object]:
    """Return what says, once all is settled, what there is of a load balancer and what its HAProxy runs."""

    def running(scenario: Scenario) -> object:
        found: list[object] = []

        def is_settled() -> bool:
            found[:] = _look(scenario, lb_id, path)
            return bool(found)

        wait_for(is_settled, "the load balancer is whole", seconds=_SETTLED_SECONDS)
        return found

    return running


def _look(scenario: Scenario, lb_id: str, path: str) -> list[object]:
    """Return what there is, nothing while that is not settled."""
    status = _ask(scenario, "GET", f"{path}/status")
    if status.status == 404:
        return [] if any(place.exists() for place in _places(scenario, lb_id)) else ["gone"]
    if status.json()["owner"] == "controller":
        reply = scenario.amphora.request("GET", f"/1.0/loadbalancer/{lb_id}/haproxy")
        return ["controller", reply.body, *_haproxy(scenario, lb_id)] if reply.status == 200 else []
    conditions: Mapping[str, bool] = {each["type"]: each["status"] for each in status.json()["conditions"]}
    if not conditions["Programmed"] or (_directory(scenario, lb_id) / "unfinished.json").exists():
        return []
    read = _ask(scenario, "GET", path)
    secret = _ask(scenario, "GET", SECRET).json().get("sha256")
    drained = [member["drained"] is not None for member in _members(status.json())]
    numbers = [each["number"] for each in _ask(scenario, "GET", f"{path}/revisions").json()]
    assert status.json()["generation"] == numbers[0], "the last revision is kept"
    return [read.json(), secret, drained, *_haproxy(scenario, lb_id)]


def _members(status: Json) -> list[Json]:
    return [member for listener in status["listeners"] for pool in listener["pools"] for member in pool["members"]]


def _haproxy(scenario: Scenario, lb_id: str) -> list[object]:
    """Return members with addresses and weights, and the serials of the certificates; nothing while it is silent."""
    agent = scenario.amphora.base / "agent" / lb_id
    with contextlib.suppress(HostFailure):
        rows = parse_servers_state(query(agent / "admin.sock", "show servers state", 5.0).decode())
        record = agent / "removing.json"
        waiting = (removing.decode(record.read_bytes()) if record.exists() else None) or {}
        servers = {
            (row.backend, row.name, row.address, row.weight, row.is_maint)
            for row in rows
            if row.name not in waiting.get(row.backend, ())
        }
        serials = []
        for file in sorted((scenario.amphora.cert_dir / lb_id).glob("*.pem")):
            text = query(agent / "admin.sock", f"show ssl cert {file}", 5.0).decode()
            serials += [line for line in text.splitlines() if line.startswith("Serial:")]
        return [servers, serials]
    return []


def _directory(scenario: Scenario, lb_id: str) -> Path:
    return scenario.amphora.base / "agent" / "documents" / lb_id


def _places(scenario: Scenario, lb_id: str) -> tuple[Path, ...]:
    amphora = scenario.amphora
    return (
        _directory(scenario, lb_id),
        amphora.base / lb_id,
        amphora.base / "agent" / lb_id,
        amphora.cert_dir / lb_id,
    )


_CUT = _running(loadbalancer_id("cut"), SHOP)

DOCUMENT_MUTATIONS: Sequence[Mutation] = (
    Mutation(
        name="create a load balancer by document",
        prepare=_gone,
        request=lambda scenario: _put(scenario, with_more=True),
        stored=_CUT,
        done=_DONE,
    ),
    Mutation(
        name="change members by document",
        prepare=_prepared(weights=(1,)),
        request=lambda scenario: _put(scenario, weights=(3, 2)),
        stored=_CUT,
        done=_DONE,
    ),
    Mutation(
        name="change listeners by document",
        prepare=_prepared(with_more=False),
        request=lambda scenario: _put(scenario, with_more=True),
        stored=_CUT,
        done=_DONE,
    ),
    Mutation(
        name="remove listeners by document",
        prepare=_prepared(with_more=True),
        request=lambda scenario: _put(scenario, port=8092),
        stored=_CUT,
        done=_DONE,
    ),
    Mutation(
        name="delete by document",
        prepare=_prepared(with_more=True),
        request=lambda scenario: _ask(scenario, "DELETE", SHOP),
        stored=_CUT,
        done=frozenset({204, 404}),
    ),
    Mutation(
        name="rotate a secret",
        prepare=_prepared(with_more=True),
        request=lambda scenario: _renew(scenario, "second"),
        stored=_CUT,
        done=_DONE,
    ),
    Mutation(
        name="drain",
        prepare=_prepared(weights=(1, 1)),
        request=lambda scenario: _ask(scenario, "POST", f"{SHOP}/pools/web/members/w0/drain"),
        stored=_CUT,
        done=_DONE,
    ),
    Mutation(
        name="adopt",
        prepare=_controllers,
        request=lambda scenario: _put(scenario, f"{ADOPTED}?adopt=true", port=8095),
        stored=_running(ADOPTED_ID, ADOPTED),
        done=_DONE,
    ),
)
