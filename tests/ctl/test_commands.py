"""Every command that asks the agent: what it sends, what it prints, how it exits."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amphora_agent.ctl.parser import build
from amphora_agent.ctl.reference import outline
from tests.ctl.conftest import Ctl
from tests.ctl.scripted import Reply, ScriptedAgent, problem
from tests.ctl.shapes import DOCUMENT, HEALTHY, LB, LIST, NOTHING, OUTCOME, STATUS

SHOP = "/2.0/loadbalancers/shop"
YAML = """
name: shop
vips: [{address: 10.10.0.100, subnet: 10.10.0.0/24}]
listeners:
- {name: plain, protocol: HTTP, protocol_port: 80, default_pool: web, insert_headers: {X-Forwarded-For: "true"}}
pools:
- {name: web, protocol: HTTP, lb_algorithm: ROUND_ROBIN, description: no}
"""


@pytest.fixture
def shop(tmp_path: Path) -> str:
    file = tmp_path / "shop.yaml"
    file.write_text(YAML)
    return str(file)


def test_status_shows_the_tree_with_reasons(agent: ScriptedAgent, ctl: Ctl) -> None:
    agent.on("GET", "/2.0/loadbalancers", Reply(document=LIST))
    agent.on("GET", f"/2.0/loadbalancers/{LB}/status", Reply(document=STATUS))
    ran = ctl("status")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0] == "shop  DEGRADED  MASTER  generation 7, owner api2"
    assert "  not Healthy: 1 of 3 members down" in lines
    assert [line.split() for line in lines if "plain" in line and "ONLINE" in line] == [
        ["plain", "ONLINE", "1.2k", "5"]
    ]
    assert any("w2" in line and "ERROR" in line and "2 h" in line and "L4TOUT" in line for line in lines)
    assert any("drained by uid 0 since 2026-11-27T00:00:00Z" in line for line in lines)
    assert any("spare" in line and "no listener uses it" in line for line in lines)
    assert "\x1b" not in ran.out


def test_status_as_json_is_the_agents_answer(agent: ScriptedAgent, ctl: Ctl) -> None:
    agent.on("GET", f"{SHOP}/status", Reply(document=STATUS))
    assert json.loads(ctl("status", "shop", "--json").out) == STATUS
    assert json.loads(ctl("--json", "status", "shop").out) == STATUS


def test_an_amphora_without_load_balancers(agent: ScriptedAgent, ctl: Ctl) -> None:
    agent.on("GET", "/2.0/loadbalancers", Reply(document=[]))
    assert ctl("status").out == "this amphora has no load balancer\n"
    assert ctl("get").code == 3


def test_one_of_several_has_to_be_named(agent: ScriptedAgent, ctl: Ctl) -> None:
    agent.on("GET", "/2.0/loadbalancers", Reply(document=[*LIST, {**LIST[0], "name": "other"}]))
    ran = ctl("get")
    assert (ran.code, "other, shop" in ran.errors) == (2, True)


def test_diff_exits_1_for_a_difference_and_0_for_none(agent: ScriptedAgent, ctl: Ctl, shop: str) -> None:
    agent.on("PUT", SHOP, Reply(document={**OUTCOME, "dry_run": True}), Reply(document=NOTHING))
    ran = ctl("diff", shop, "--text")
    assert ran.code == 1
    assert ran.out.splitlines() == [
        "  + pool web, member w3  192.0.2.13:8080",
        "  ~ pool web, member w2  weight 5 -> 1",
        "  ignored: /id",
        "--- running",
        "+++ rendered",
        "@@ -1,1 +1,2 @@",
        "+server w3",
        "shop: would be changed in the running HAProxy, no reload (members of web), 0.031 s, generation 8",
    ]
    assert agent.asked[0].query == {"dry_run": "true"}
    ran = ctl("diff", shop)
    assert (ran.code, ran.out) == (0, "shop: nothing to do\n")


def test_apply_sends_yaml_as_json(agent: ScriptedAgent, ctl: Ctl, shop: str) -> None:
    agent.on("PUT", SHOP, Reply(document=OUTCOME))
    assert ctl("apply", shop).code == 0
    asked = agent.asked[0]
    assert asked.headers["content-type"] == "application/json"
    assert asked.json()["pools"][0]["description"] == "no"
    assert asked.json()["listeners"][0]["insert_headers"] == {"X-Forwarded-For": "true"}
    assert asked.json()["listeners"][0]["protocol_port"] == 80


def test_apply_with_every_option(agent: ScriptedAgent, ctl: Ctl, shop: str) -> None:
    agent.on("PUT", SHOP, Reply(document={**OUTCOME, "revert_at": "2026-11-27T00:01:00Z"}))
    ran = ctl("apply", shop, "--confirm", "60", "--adopt", "--if-match", "abc")
    assert ran.code == 0
    assert agent.asked[0].query == {"confirm": "60", "adopt": "true"}
    assert agent.asked[0].headers["if-match"] == '"abc"'
    assert "goes back at 2026-11-27T00:01:00Z unless you say: amphoractl confirm shop" in ran.out
    ctl("apply", shop, "--create", "--dry-run")
    assert agent.asked[1].headers["if-none-match"] == "*"


def test_apply_waits_until_it_is_healthy(agent: ScriptedAgent, ctl: Ctl, shop: str) -> None:
    agent.on("PUT", SHOP, Reply(document=OUTCOME))
    agent.on("GET", f"/2.0/loadbalancers/{LB}/status", Reply(document=STATUS), Reply(document=HEALTHY))
    ran = ctl("apply", shop, "--wait")
    assert (ran.code, ran.errors) == (0, "waiting: 1 of 3 members down\n")
    assert ran.out.endswith("shop is Healthy\n")


def test_wait_gives_up_in_time(agent: ScriptedAgent, ctl: Ctl) -> None:
    agent.on("GET", f"{SHOP}/status", Reply(document={**HEALTHY, "observed_generation": 6}))
    ran = ctl("wait", "shop", "--at-most", "0.1")
    assert ran.code == 1
    assert "generation 7 does not run yet" in ran.errors


@pytest.mark.parametrize(
    ("status", "slug", "code"),
    [(409, "owned-by-controller", 5), (412, "precondition-failed", 5), (422, "invalid-document", 3), (503, "busy", 3)],
)
def test_exit_codes_of_refusals(agent: ScriptedAgent, ctl: Ctl, shop: str, status: int, slug: str, code: int) -> None:
    errors = [{"pointer": "/pools/0", "where": "pool web", "detail": "got 300", "expected": "256"}]
    answer = problem(status, slug, "Not now", detail="because", errors=errors, etag='"new"')
    agent.on("PUT", SHOP, Reply(status, answer))
    ran = ctl("apply", shop)
    assert ran.code == code
    assert "amphoractl: Not now: because\n  pool web: got 300, expected 256 (/pools/0)\n" in ran.errors
    ran = ctl("apply", shop, "--json")
    assert (ran.code, json.loads(ran.out)) == (code, answer)


@pytest.mark.parametrize("reply", [Reply(0), Reply(200, raw=b"<html>"), Reply(200, raw=b"\xff")])
def test_what_is_no_agent_is_unreachable(agent: ScriptedAgent, ctl: Ctl, reply: Reply) -> None:
    agent.on("GET", "/2.0/loadbalancers", reply)
    ran = ctl("status")
    assert (ran.code, ran.errors.startswith("amphoractl: ")) == (4, True)


def test_no_socket_is_unreachable(ctl: Ctl, tmp_path: Path) -> None:
    ran = ctl("--socket", str(tmp_path / "none"), "status")
    assert ran.code == 4
    assert "No such file" in ran.errors


@pytest.mark.parametrize(
    "document", [None, [], 7, {"conditions": 3, "listeners": [None, {"pools": "x"}], "role": 7, "last_apply": []}]
)
def test_odd_answers_end_no_command(agent: ScriptedAgent, ctl: Ctl, document: object) -> None:
    for path in ("/status", "/revisions", ""):
        agent.on("GET", f"{SHOP}{path}", Reply(document=document))
    agent.on("GET", "/2.0/events", Reply(document=document))
    agent.on("GET", "/2.0/secrets", Reply(document=document))
    for words in (
        ["status", "shop"],
        ["top", "shop"],
        ["revisions", "shop"],
        ["get", "shop"],
        ["events"],
        ["secret", "list"],
    ):
        ran = ctl(*words)
        assert (ran.code, ran.errors) == (0, ""), words


def test_get_prints_yaml_or_json(agent: ScriptedAgent, ctl: Ctl) -> None:
    agent.on("GET", "/2.0/loadbalancers", Reply(document=LIST))
    agent.on("GET", SHOP, Reply(document=DOCUMENT, etag='"abc"'))
    assert ctl("get").out.startswith("name: shop\nvips:\n")
    assert json.loads(ctl("get", "-o", "json").out) == DOCUMENT
    assert json.loads(ctl("get", "--json").out) == DOCUMENT
    agent.on("GET", f"{SHOP}/revisions/3", Reply(document=DOCUMENT))
    assert "name: shop" in ctl("get", "--revision", "3").out


def test_get_prints_configurations(agent: ScriptedAgent, ctl: Ctl) -> None:
    found = {"haproxy": "global\n    daemon\n", "lvs": {"dns": "virtual_server {\n}\n"}, "vrrp": None}
    agent.on("GET", f"{SHOP}/rendered", Reply(document=found))
    assert ctl("get", "shop", "--rendered").out.splitlines() == [
        "# haproxy.cfg",
        "global",
        "    daemon",
        "# LVS of listener dns",
        "virtual_server {",
        "}",
    ]


@pytest.mark.parametrize(
    ("editor", "end"),
    [("true", (0, "nothing changed")), ("false", (2, "ended with 1")), ("/nonexistent", (2, "cannot run"))],
)
def test_an_edit_that_is_none(
    ctl: Ctl, agent: ScriptedAgent, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, editor: str, end: tuple[int, str]
) -> None:
    monkeypatch.setenv("VISUAL", editor)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    agent.on("GET", SHOP, Reply(document=DOCUMENT, etag='"abc"'))
    ran = ctl("edit", "shop")
    assert ran.code == end[0]
    assert end[1] in ran.out + ran.errors
    assert list(tmp_path.iterdir()) == []
    assert [asked.method for asked in agent.asked] == ["GET"]


def test_an_edit_is_applied_under_the_version_it_began_with(
    agent: ScriptedAgent, ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISUAL", "sed -i s/8080/8081/")
    agent.on("GET", SHOP, Reply(document=DOCUMENT, etag='"abc"'))
    agent.on("PUT", SHOP, Reply(document=OUTCOME), Reply(412, problem(412, "precondition-failed", "It changed")))
    assert ctl("edit", "shop").code == 0
    assert agent.asked[1].headers["if-match"] == '"abc"'
    assert agent.asked[1].json()["pools"][0]["members"][0]["protocol_port"] == 8081
    ran = ctl("edit", "shop")
    assert ran.code == 5
    kept = ran.errors.rsplit("amphoractl apply ", 1)[1].strip()
    assert "8081" in Path(kept).read_text()
    Path(kept).unlink()


def test_an_edit_that_is_not_valid_is_kept_and_not_sent(
    agent: ScriptedAgent, ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISUAL", "sed -i s/8080/80800/")
    agent.on("GET", SHOP, Reply(document=DOCUMENT, etag='"abc"'))
    ran = ctl("edit", "shop")
    assert ran.code == 3
    assert "pool web, member w1: got 80800" in ran.errors
    Path(ran.errors.rsplit("amphoractl apply ", 1)[1].strip()).unlink()
    assert len(agent.asked) == 1


def test_members(agent: ScriptedAgent, ctl: Ctl) -> None:
    members = f"{SHOP}/pools/my%20pool/members"
    agent.on("POST", f"{members}/w1/drain", Reply(document=OUTCOME))
    agent.on("POST", f"{members}/w1/ready", Reply(document=OUTCOME))
    agent.on("GET", members, Reply(document=[{"name": "w1", "weight": 1}, {"name": "w2"}], etag='"m"'))
    agent.on("PUT", members, Reply(document=OUTCOME))
    assert ctl("member", "drain", "my pool/w1", "--lb", "shop").code == 0
    assert ctl("member", "ready", "my pool/w1", "--lb", "shop").code == 0
    assert ctl("member", "weight", "my pool/w1", "7", "--lb", "shop").code == 0
    assert agent.asked[-1].json() == [{"name": "w1", "weight": 7}, {"name": "w2"}]
    assert agent.asked[-1].headers["if-match"] == '"m"'
    assert ctl("member", "weight", "my pool/w9", "7", "--lb", "shop").code == 3


def test_secrets(agent: ScriptedAgent, ctl: Ctl, tmp_path: Path) -> None:
    secret = {
        "name": "shop-rsa",
        "kind": "certificate",
        "subject": "CN=shop",
        "names": ["shop.example.org"],
        "not_after": "2027-01-01T00:00:00Z",
        "sha256": "0" * 64,
        "used_by": ["shop"],
    }
    file = tmp_path / "shop.pem"
    file.write_bytes(b"PEM \xff")
    agent.on("PUT", "/2.0/secrets/shop-rsa", Reply(document={"secret": secret, "applied": [OUTCOME]}))
    agent.on("GET", "/2.0/secrets", Reply(document=[secret]))
    agent.on("DELETE", "/2.0/secrets/shop-rsa", Reply(409, problem(409, "in-use", "It is in use")), Reply(204, raw=b""))
    ran = ctl("secret", "put", "shop-rsa", str(file))
    assert ran.out.startswith("shop-rsa: certificate of shop.example.org, until 2027-01-01T00:00:00Z\n  shop: changed")
    assert agent.asked[0].body == b"PEM \xff"
    assert "shop-rsa  certificate  shop.example.org  2027-01-01T00:00:00Z  shop" in ctl("secret", "list").out
    assert ctl("secret", "delete", "shop-rsa").code == 5
    assert ctl("secret", "delete", "shop-rsa").out == "shop-rsa: deleted\n"


def test_revisions_and_rollback(agent: ScriptedAgent, ctl: Ctl) -> None:
    revision = {
        "number": 3,
        "at": "2026-11-27T00:00:00Z",
        "by": "uid 0",
        "decision": "reload",
        "reason": "x",
        "etag": '"a"',
    }
    agent.on("GET", f"{SHOP}/revisions", Reply(document=[revision]))
    agent.on("POST", f"{SHOP}/revisions/3/restore", Reply(document=OUTCOME))
    assert ctl("revisions", "shop").out.splitlines()[1].split() == [
        "3",
        "2026-11-27T00:00:00Z",
        "uid",
        "0",
        "reload",
        "x",
    ]
    assert ctl("rollback", "3", "--lb", "shop").code == 0
    assert ctl("rollback", "3", "--lb", "shop", "--dry-run").code == 1
    assert agent.asked[-1].query == {"dry_run": "true"}


def test_confirm_and_delete(agent: ScriptedAgent, ctl: Ctl) -> None:
    agent.on("POST", f"{SHOP}/confirm", Reply(document=NOTHING), Reply(409, problem(409, "conflict", "Nothing waits")))
    agent.on("DELETE", SHOP, Reply(204, raw=b""))
    assert ctl("confirm", "shop").out == "shop: confirmed\n"
    assert ctl("confirm", "shop").code == 5
    assert ctl("delete", "shop").out == "shop: deleted\n"


def test_events_once_and_as_lines_of_json(agent: ScriptedAgent, ctl: Ctl) -> None:
    event = {"sequence": 4, "at": "2026-11-27T00:00:00Z", "kind": "applied", "subject": "shop", "detail": "runtime"}
    agent.on("GET", "/2.0/events", Reply(document={"latest": 4, "lost": True, "events": [event, event]}))
    ran = ctl("events", "--after", "2", "--lb", "shop")
    assert ran.out.splitlines() == ["4  2026-11-27T00:00:00Z  applied  shop  runtime"] * 2
    assert "too old" in ran.errors
    assert agent.asked[0].query == {"after": "2", "loadbalancer": "shop"}
    assert [json.loads(line) for line in ctl("events", "--json").out.splitlines()] == [event, event]


def test_plug(agent: ScriptedAgent, ctl: Ctl) -> None:
    wanted = {
        "addresses": ["10.0.0.5/24"],
        "vips": ["10.0.0.100"],
        "gateways": ["10.0.0.1"],
        "mtu": 1450,
        "routes": [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}],
    }
    interface = {"name": "eth1", "mac": "fa:16:3e:00:00:01", **wanted}
    agent.on("GET", "/2.0/interfaces", Reply(document=[interface]))
    outcome = {**interface, "dry_run": True, "steps": ["add address"]}
    agent.on("PUT", "/2.0/interfaces/eth1", Reply(document=outcome))
    row = ctl("plug").out.splitlines()[1]
    assert row == "eth1  fa:16:3e:00:00:01  10.0.0.5/24  10.0.0.100  10.0.0.1  1450  10.9.0.0/16 via 10.0.0.9"
    assert ctl("plug", "eth9").code == 3
    words = ["--address", "10.0.0.5/24", "--vip", "10.0.0.100", "--gateway", "10.0.0.1", "--mtu", "1450"]
    ran = ctl("plug", "eth1", *words, "--route", "10.9.0.0/16=10.0.0.9", "--dry-run")
    assert (ran.code, ran.out) == (1, "  add address\neth1: 10.0.0.5/24, 10.0.0.100\n")
    assert agent.asked[-1].json() == wanted
    assert ctl("plug", "eth1", "--automatic").code == 0
    assert agent.asked[-1].json() == {}
    assert ctl("plug", "--mtu", "1450").code == 2


def test_version_with_and_without_an_agent(agent: ScriptedAgent, ctl: Ctl) -> None:
    agent.on(
        "GET",
        "/2.0/version",
        Reply(document={"agent": "1", "api": ["1.0", "2.0"], "haproxy": "2.6", "keepalived": "x"}),
    )
    assert "API 1.0, 2.0" in ctl("version").out
    ran = ctl("--socket", "/nonexistent", "version")
    assert (ran.code, ran.out.startswith("amphoractl ")) == (0, True)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["frob"],
        ["apply"],
        ["member", "drain", "w1"],
        ["rollback", "0"],
        ["status", "--frob"],
        ["apply", "/nonexistent"],
    ],
)
def test_wrong_usage_exits_2(ctl: Ctl, words: list[str]) -> None:
    ran = ctl(*words)
    assert (ran.code, "Traceback" in ran.errors) == (2, False)


def test_top_without_a_terminal_prints_once(agent: ScriptedAgent, ctl: Ctl) -> None:
    agent.on("GET", f"{SHOP}/status", Reply(document=STATUS))
    ran = ctl("top", "shop")
    assert ran.code == 0
    assert "web/w3" in ran.out


def test_a_fault_of_ours_is_told_in_a_line(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "amphora_agent.ctl.commands.status", None)
    ran = ctl("status")
    assert ran.code == 3
    assert ran.errors.startswith("amphoractl: a fault of amphoractl status: ")
    assert "Traceback" not in ran.errors


# Those that wait, write files or start an editor have tests of their own.
_OTHERS = {"apply", "bundle", "edit", "events", "heartbeat", "pki", "secret", "wait"}


def _words() -> list[str]:
    commands = [each for each in outline(build()).walk() if not {*each.path} & _OTHERS]
    flags = {flag for each in commands for argument in each.arguments for flag in argument.flags}
    return sorted({part for each in commands for part in each.path} | flags - {"--socket", "--url", "-h"})


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(_words()) | st.text(max_size=6), max_size=6))
def test_any_command_line_ends_with_one_of_the_exit_codes(agent: ScriptedAgent, ctl: Ctl, words: list[str]) -> None:
    agent.on("GET", "/2.0/loadbalancers", Reply(document=LIST))
    if {*words} & _OTHERS:
        return
    ran = ctl(*words)
    assert ran.code in range(6)
    assert "Traceback" not in ran.errors
    assert "a fault of amphoractl" not in ran.errors
