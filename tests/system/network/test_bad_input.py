"""Every field of every plug body, wrong in type, family, range and length: 400, the field named, nothing changed."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from tests.system.network.conftest import MEMBER_MAC, VIP_MAC, Machine, client
from tests.system.network.test_plug import PLUG_NETWORK, PLUG_VIP
from tests.system.network.test_replug import BEHIND, OWN_IP, SIX_VIP, replug_vip

VIP_BODY = PLUG_VIP | {
    "additional_vips": [SIX_VIP | {"host_routes": [{"destination": "::/0", "nexthop": "2001:db8::1"}]}]
}
NETWORK_BODY = PLUG_NETWORK | {"fixed_ips": [BEHIND], "vip_net_info": replug_vip(OWN_IP)["vip_net_info"]}
TEXT: list[Any] = [1, True, [], {}, 1.5]
ADDRESS: list[Any] = [*TEXT, "", "banana", "10.0.0.256", "10.0.0.1/24", "::1%lo", "1" * 5000, "10.0.0.1\n", None]
USABLE: list[Any] = [*ADDRESS, "0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "fe80::1", "::", "ff02::1"]
CIDR: list[Any] = [*TEXT, "", "banana", "10.0.0.1/24", "10.0.0.0/33", "2001:db8::1/64", "::/129", None]
MAC: list[Any] = [*TEXT, "", "fa:16:3e:00:00", "fa:16:3e:00:00:0g", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", None]
MAC += ["01:00:5e:00:00:01", "fa-16-3e-00-00-01", "fa:16:3e:00:00:01:02", " fa:16:3e:00:00:01"]
MTU: list[Any] = ["1450", True, 1450.5, -1, 67, 65536, 10**30, []]
SWITCH: list[Any] = ["true", 1, [], {}]
LIST: list[Any] = ["x", 1, {}, [1], ["x"], [None], [{}]]

VIP_FIELDS: dict[str, list[Any]] = {
    "subnet_cidr": [*CIDR, "2001:db8::/64"],
    "gateway": [*[value for value in ADDRESS if value is not None], "2001:db8::1", "0.0.0.0", "224.0.0.1"],
    "mac_address": MAC,
    "mtu": [*MTU, 1279],
    "vrrp_ip": [*[value for value in USABLE if value is not None], "2001:db8:10::9"],
    "is_sriov": SWITCH,
    "host_routes": [*LIST, [{"destination": "10.0.0.0/8", "nexthop": "10.9.0.7"}] * 1025],
    "host_routes.0.destination": [*TEXT, "", "banana", "10.0.0.0/33", None],
    "host_routes.0.nexthop": ADDRESS,
    "additional_vips": [*LIST, [SIX_VIP] * 257, [SIX_VIP, SIX_VIP]],
    "additional_vips.0.ip_address": [*USABLE, "10.9.0.5"],
    "additional_vips.0.subnet_cidr": [*CIDR, "10.9.0.0/24"],
    "additional_vips.0.gateway": [*TEXT, "", "banana", "10.9.0.1"],
    "additional_vips.0.host_routes": LIST,
    "additional_vips.0.host_routes.0.destination": [*TEXT, "banana"],
    "additional_vips.0.host_routes.0.nexthop": [*TEXT, "banana"],
}
NETWORK_FIELDS: dict[str, list[Any]] = {
    "mac_address": MAC,
    "mtu": MTU,
    "is_sriov": SWITCH,
    "fixed_ips": [*LIST, [BEHIND] * 257],
    "fixed_ips.0.ip_address": [*USABLE, "2001:db8::5"],
    "fixed_ips.0.subnet_cidr": [*CIDR, "2001:db8::/64"],
    "fixed_ips.0.gateway": [*TEXT, "", "banana", "2001:db8::1"],
    "fixed_ips.0.host_routes": LIST,
    "fixed_ips.0.host_routes.0.destination": [*TEXT, "", "banana", None],
    "fixed_ips.0.host_routes.0.nexthop": ADDRESS,
    "vip_net_info": ["x", 1, []],
    "vip_net_info.vip": USABLE,
    "vip_net_info.subnet_cidr": CIDR,
    "vip_net_info.gateway": [*TEXT, "banana"],
    "vip_net_info.vrrp_ip": [*TEXT, "banana"],
    "vip_net_info.mac_address": TEXT,
    "vip_net_info.mtu": ["1450", -1, 65536],
    "vip_net_info.host_routes": LIST,
    "vip_net_info.additional_vips": LIST,
    "vip_net_info.is_sriov": SWITCH,
}


def wrong(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    changed: Any = copy.deepcopy(body)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place = changed
    for part in parents:
        place = place[part]
    place[last] = value
    return dict(changed)


def without(body: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != key}


def state(machine: Machine) -> object:
    """Return all files and all of the kernel's, but for what settles by itself: link-local addresses, carriers."""
    files = {file: file.read_bytes() for file in machine.paths.base.parent.rglob("*") if file.is_file()}
    addresses = [
        (link["ifname"], link["addr_info"])
        for scope in ("global", "host")
        for link in machine.inside_json("addr", "show", "scope", scope)
    ]
    links = [(link["ifname"], link["mtu"], link["address"]) for link in machine.inside_json("link")]
    return files, addresses, links, machine.inside_run("ip", "rule"), machine.inside_run("nft", "list", "ruleset")


@pytest.fixture
def plugged(machine: Machine) -> Machine:
    """A machine with a VIP and a member, so that every request could change something."""
    machine.add_nic("ens5", VIP_MAC)
    machine.add_nic("ens6", MEMBER_MAC)
    agent = client(machine)
    assert agent.post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP).status_code == 202
    assert agent.post("/1.0/plug/network", json=PLUG_NETWORK).status_code == 202
    return machine


@pytest.mark.parametrize(
    ("url", "body", "fields"),
    [("/1.0/plug/vip/10.9.0.5", VIP_BODY, VIP_FIELDS), ("/1.0/plug/network", NETWORK_BODY, NETWORK_FIELDS)],
)
def test_each_field(plugged: Machine, url: str, body: dict[str, Any], fields: dict[str, list[Any]]) -> None:
    agent, before = client(plugged), state(plugged)
    for path, values in fields.items():
        field = path.rpartition(".")[2]
        for value in values:
            answer = agent.post(url, json=wrong(body, path, value))
            assert answer.status_code == 400, (path, value, answer.json)
            assert field in json.dumps(answer.json), (path, value, answer.json)
    assert state(plugged) == before


@pytest.mark.parametrize("vip", ["banana", "10.9.0.5%25eth1", "10.9.0.300", "0.0.0.0", "::1", "ff02::1", "1" * 4096])
def test_the_vip_in_the_path(plugged: Machine, vip: str) -> None:
    before = state(plugged)
    answer = client(plugged).post(f"/1.0/plug/vip/{vip}", json=VIP_BODY)
    assert (answer.status_code, (answer.json or {})["message"][:17]) == (400, "Invalid VIP: vip:")
    assert state(plugged) == before


@pytest.mark.parametrize(
    ("url", "text", "keys"),
    [
        ("/1.0/plug/vip/10.9.0.5", "Invalid subnet information", ("subnet_cidr", "gateway", "mac_address")),
        ("/1.0/plug/network", "Invalid port information", ("mac_address",)),
    ],
)
def test_what_is_no_such_body(plugged: Machine, url: str, text: str, keys: tuple[str, ...]) -> None:
    agent, before = client(plugged), state(plugged)
    body = VIP_BODY if "vip" in url else NETWORK_BODY
    generic = {"error": f"400 Bad Request: {text}", "http_code": 400}
    for data in (b"", b"{", b"[]", b"null", b"3", b'"x"', b"\xff\xfe", b'{"a":' * 5000, b"[" * 100_000):
        answer = agent.post(url, data=data, content_type="application/json")
        assert answer.status_code == 400, data[:20]
        assert {key: (answer.json or {})[key] for key in generic} == generic
    for content_type in (None, "text/plain", "application/x-www-form-urlencoded"):
        answer = agent.post(url, data=json.dumps(body), content_type=content_type)
        assert (answer.status_code, (answer.json or {})["error"]) == (400, generic["error"])
    for key in keys:
        answer = agent.post(url, json=without(body, key))
        assert (answer.status_code, (answer.json or {})["error"]) == (400, generic["error"])
        assert key in (answer.json or {})["details"]
    assert state(plugged) == before


def test_every_optional_field_may_be_null_or_missing(machine: Machine) -> None:
    machine.add_nic("ens5", VIP_MAC)
    machine.add_nic("ens6", MEMBER_MAC)
    agent = client(machine)
    nulls = dict.fromkeys(("mtu", "host_routes", "additional_vips", "is_sriov", "gateway"))
    assert agent.post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP | nulls).status_code == 202
    assert agent.post("/1.0/plug/vip/10.9.0.5", json=PLUG_VIP | {"unknown": [{}]}).status_code == 409
    fixed_ip = {"ip_address": "10.20.0.5", "subnet_cidr": "10.20.0.0/24", "host_routes": None, "gateway": None}
    nulls = dict.fromkeys(("mtu", "is_sriov", "vip_net_info"))
    body = {"mac_address": MEMBER_MAC, "fixed_ips": [fixed_ip]} | nulls
    assert agent.post("/1.0/plug/network", json=body).status_code == 202
