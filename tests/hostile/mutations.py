"""Every change that a controller asks for: how to get there, the request, and what is stored before and after it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.amphora import AMPHORA_ID, LB_ID, Reply, RunningAmphora
from testbed.scenario import LISTENER_ID, Scenario, request_sample
from testbed.waiting import wait_for

PEM_PATH = f"/1.0/loadbalancer/{LB_ID}/certificates/a.pem"
HAPROXY_PATH = f"/1.0/loadbalancer/{AMPHORA_ID}/{LB_ID}/haproxy"
SPARE_ID = "0d3f4b42-5d2a-4f7e-9a56-5f6b5b0a3d11"
SPARE_PATH = f"/1.0/loadbalancer/{AMPHORA_ID}/{SPARE_ID}/haproxy"
UDP_PATH = f"/1.0/listeners/{AMPHORA_ID}/{LISTENER_ID}/udp_listener"
DONE = frozenset({200, 202})
_EXTRA_MAC = "fa:16:3e:00:00:77"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One change.

    `prepare` brings the amphora to the state before it, `request` asks for it. `stored` returns what is stored of it,
    which must be as it was before or as it is afterwards;
    `done` are the statuses of success.
    """

    name: str
    prepare: Callable[[Scenario], object]
    request: Callable[[Scenario], Reply]
    stored: Callable[[Scenario], object]
    done: frozenset[int] = DONE


def good_config(amphora: RunningAmphora) -> str:
    """Return a configuration that serves with both members."""
    return amphora.sample("haproxy/01-http-basic.cfg")


def _with_weight(scenario: Scenario) -> str:
    return good_config(scenario.amphora).replace("weight 1 ", "weight 2 ")


def _with_timeout(scenario: Scenario) -> str:
    return good_config(scenario.amphora).replace("timeout client 50000", "timeout client 40000")


def _ask(method: str, path: str, body: Callable[[Scenario], bytes | str | None]) -> Callable[[Scenario], Reply]:
    return lambda scenario: scenario.amphora.request(method, path, body(scenario))


def _answer(path: str) -> Callable[[Scenario], object]:
    """Return what the API says is stored."""

    def answer(scenario: Scenario) -> object:
        reply = scenario.amphora.request("GET", path)
        return reply.status, reply.body if reply.status == 200 else b""

    return answer


def _file(place: Callable[[RunningAmphora], Path]) -> Callable[[Scenario], object]:
    def content(scenario: Scenario) -> object:
        path = place(scenario.amphora)
        return path.read_bytes() if path.exists() else None

    return content


def _interfaces_are_whole(scenario: Scenario) -> object:
    """Read every interface file, none of which may be cut; NICs come and go, so which there are is not compared."""
    for path in scenario.amphora.interfaces.glob("*.json"):
        assert "name" in json.loads(path.read_text()), path
    return True


def _spare(scenario: Scenario) -> object:
    """Return what is left of the load balancer that is deleted."""
    listed = [listener["uuid"] for listener in scenario.amphora.request("GET", "/1.0/listeners").json()]
    return sorted(listed), (scenario.amphora.base / SPARE_ID).exists()


def _spare_config(scenario: Scenario) -> str:
    """Return a configuration of another load balancer, which binds other ports."""
    text = good_config(scenario.amphora).replace("10.10.0.100:80", "10.10.0.100:8081").replace(LB_ID, SPARE_ID)
    return text.replace(LISTENER_ID, "11111111-2222-4333-8444-555555555555")


def _make_spare(scenario: Scenario) -> None:
    text = _spare_config(scenario)
    assert scenario.amphora.request("PUT", SPARE_PATH, text).status in DONE
    assert scenario.amphora.request("PUT", f"/1.0/loadbalancer/{SPARE_ID}/start").status in DONE


def _pem(scenario: Scenario, text: str) -> Reply:
    return scenario.amphora.request("PUT", PEM_PATH, text)


def _plug_vip(scenario: Scenario) -> Reply:
    call = request_sample("plug-vip")
    return scenario.amphora.request("POST", f"/1.0/{call['path']}", document=call["body"])


def _change_cables(scenario: Scenario) -> None:
    """Hot-unplug the NIC that was plugged before, and hot-plug it anew; the agent knows it, and fetches it at once."""
    amphora = scenario.amphora
    was_there = _is_inside(amphora)
    for namespace in (amphora.netns, amphora.management):
        for link in json.loads(namespace.run(["ip", "-j", "link"])):
            if link.get("address") == _EXTRA_MAC:
                namespace.ip(f"link del {link['ifname']}")
    amphora.add_nic(_EXTRA_MAC, scenario.members)
    if was_there:
        wait_for(lambda: _is_inside(amphora), "the agent fetched the NIC that it knows")


def _is_inside(amphora: RunningAmphora) -> bool:
    return _EXTRA_MAC in amphora.netns.run(["ip", "link"])


def _plug_network(scenario: Scenario) -> Reply:
    fixed = {"ip_address": "10.20.0.77", "subnet_cidr": "10.20.0.0/24", "host_routes": (), "gateway": None}
    document = {"mac_address": _EXTRA_MAC, "fixed_ips": [fixed], "mtu": 1450}
    return scenario.amphora.request("POST", "/1.0/plug/network", document=document)


def _renewed(scenario: Scenario) -> bytes:
    """Return the other one of two certificates of the agent's own."""
    first, second = scenario.amphora.pki_dir / "first.pem", scenario.amphora.pki_dir / "second.pem"
    if not second.exists():
        first.write_bytes((scenario.amphora.pki_dir / "server.pem").read_bytes())
        second.write_bytes(first.read_bytes().rstrip(b"\n") + b"\n\n")
    return second.read_bytes()


def _restore_own(scenario: Scenario) -> None:
    _renewed(scenario)
    first = (scenario.amphora.pki_dir / "first.pem").read_bytes()
    assert scenario.amphora.request("PUT", "/1.0/certificate", first).status in DONE


def _apply_good(scenario: Scenario) -> None:
    scenario.apply(good_config(scenario.amphora))


def _reload(scenario: Scenario) -> Reply:
    return scenario.amphora.request("PUT", f"/1.0/loadbalancer/{LB_ID}/reload")


def _stored_after_good(text: Callable[[Scenario], str]) -> Callable[[Scenario], None]:
    def prepare(scenario: Scenario) -> None:
        _apply_good(scenario)
        assert scenario.upload(text(scenario)).status in DONE

    return prepare


def _settings(interval: int) -> Callable[[Scenario], str]:
    return lambda scenario: scenario.amphora.config().replace(
        "heartbeat_interval = 1", f"heartbeat_interval = {interval}"
    )


_CONFIG_STORED = _answer(f"/1.0/loadbalancer/{LB_ID}/haproxy")
_UDP_STORED = _answer(f"/1.0/listeners/{LISTENER_ID}/udp_listener")

MUTATIONS: Sequence[Mutation] = (
    Mutation(
        name="upload",
        prepare=_apply_good,
        request=_ask("PUT", HAPROXY_PATH, _with_timeout),
        stored=_CONFIG_STORED,
    ),
    Mutation(
        name="change at run time",
        prepare=_stored_after_good(_with_weight),
        request=_reload,
        stored=_CONFIG_STORED,
    ),
    Mutation(
        name="reload",
        prepare=_stored_after_good(_with_timeout),
        request=_reload,
        stored=_CONFIG_STORED,
    ),
    Mutation(
        name="stop",
        prepare=_apply_good,
        request=_ask("PUT", f"/1.0/loadbalancer/{LB_ID}/stop", lambda _: None),
        stored=_CONFIG_STORED,
    ),
    Mutation(
        name="delete",
        prepare=_make_spare,
        request=_ask("DELETE", f"/1.0/listeners/{SPARE_ID}", lambda _: None),
        stored=_spare,
    ),
    Mutation(
        name="store a certificate",
        prepare=lambda scenario: _pem(scenario, "old" * 5000),
        request=lambda scenario: _pem(scenario, "new" * 5000),
        stored=_answer(PEM_PATH),
    ),
    Mutation(
        name="delete a certificate",
        prepare=lambda scenario: _pem(scenario, "old" * 5000),
        request=_ask("DELETE", PEM_PATH, lambda _: None),
        stored=_answer(PEM_PATH),
    ),
    Mutation(
        name="own certificate",
        prepare=_restore_own,
        request=_ask("PUT", "/1.0/certificate", _renewed),
        stored=_file(lambda amphora: amphora.pki_dir / "server.pem"),
    ),
    Mutation(
        name="own configuration",
        prepare=_ask("PUT", "/1.0/config", _settings(1)),
        request=_ask("PUT", "/1.0/config", _settings(7)),
        stored=_file(lambda amphora: amphora.config_file),
    ),
    Mutation(
        name="plug the VIP again",
        prepare=lambda _: None,
        request=_plug_vip,
        stored=_interfaces_are_whole,
        done=frozenset({202, 409}),
    ),
    Mutation(name="plug a network", prepare=_change_cables, request=_plug_network, stored=_interfaces_are_whole),
    Mutation(
        name="upload a UDP listener",
        prepare=_ask("PUT", UDP_PATH, lambda scenario: scenario.amphora.sample("lvs/01-udp-no-monitor.conf")),
        request=_ask("PUT", UDP_PATH, lambda scenario: scenario.amphora.sample("lvs/02-udp-connect-monitor.conf")),
        stored=_UDP_STORED,
    ),
    Mutation(
        name="upload VRRP",
        prepare=_ask("PUT", "/1.0/vrrp/upload", lambda scenario: scenario.amphora.sample("vrrp/01-ipv4-master.conf")),
        request=_ask("PUT", "/1.0/vrrp/upload", lambda scenario: scenario.amphora.sample("vrrp/02-ipv4-backup.conf")),
        stored=_file(lambda amphora: amphora.base / "vrrp" / "octavia-keepalived.conf"),
    ),
)
