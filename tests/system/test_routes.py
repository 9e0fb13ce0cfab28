"""Every route, every method, odd paths and bodies: JSON always, and only statuses the controller understands."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest

from amphora_agent.api.app import ERROR_STATUSES, ROUTES
from testbed.amphora import AMPHORA_ID, LB_ID, Reply, RunningAmphora, ask

METHODS = ("GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS")
ODD_NAMES = ("..", ".", "%00", "a b", "x" * 4096, "ä", "%2e%2e", "..%2f..%2fetc", "a;b", "a.pem%2f..")
BODIES = (None, b"", b"\xff\xfe garbage \x00", b"{", b"[]", b'{"a": 1}', b"null", b"x" * 100_000)

NONE = "00000000-0000-4000-8000-00000000dead"


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningAmphora]:
    with RunningAmphora(heartbeats=False) as running:
        yield running


def tree(directory: Path) -> set[str]:
    return {str(path) for path in directory.rglob("*")}


def check(reply: Reply, what: object) -> None:
    if reply.status < 300:
        return
    assert reply.status in ERROR_STATUSES, (what, reply)
    assert reply.headers["content-type"].startswith("application/json"), (what, reply)
    document = reply.json()
    assert isinstance(document, dict), what
    if "details" in document:
        assert isinstance(document["details"], str), what


def test_every_route_with_every_method_and_body(shared: RunningAmphora) -> None:
    rules = sorted({route.rule for route in ROUTES})
    with contextlib.closing(shared.connect()) as connection:
        for rule in rules:
            path = rule.replace("<ip>", "192.0.2.9").replace("<vip>", "192.0.2.9").replace("<filename>", "a.pem")
            path = "/".join("some-id" if part.startswith("<") else part for part in path.split("/"))
            known = {route.method for route in ROUTES if route.rule == rule}
            for method in METHODS:
                for body in BODIES:
                    reply = ask(connection, method, path, body)
                    check(reply, (method, path, body))
                    if method not in known:
                        assert reply.status in (400, 404, 405), (method, path, reply)


@pytest.mark.hardening("C7")
def test_odd_names_reach_no_file(shared: RunningAmphora) -> None:
    outside = tree(shared.directory / "etc")
    before = tree(shared.base)
    for rule in sorted({route.rule for route in ROUTES if "<" in route.rule}):
        for name in ODD_NAMES:
            path = "/".join(quote(name, safe="%") if part.startswith("<") else part for part in rule.split("/"))
            for method in ("GET", "PUT", "POST", "DELETE"):
                check(shared.request(method, path, b"x"), (method, path))
    assert tree(shared.directory / "etc") == outside
    assert tree(shared.base) == before


def test_unknown_paths_are_json_404s(shared: RunningAmphora) -> None:
    for path in ("/nope", "/1.0", "/1.0/", "/2.0/info", "/1.0/info/", "/1.0/plug/network/", "/1.0//info"):
        reply = shared.request("GET", path)
        assert reply.status == 404, (path, reply)
        assert reply.json()["status" if path.startswith("/2.0/") else "http_code"] == 404
        assert "location" not in reply.headers


def test_version_discovery(shared: RunningAmphora) -> None:
    for path in ("/", "//"):
        reply = shared.request("GET", path)
        assert (reply.status, reply.json()) == (200, {"api_version": "1.0"})


def test_info_and_details_have_exactly_the_contracts_keys_and_types(shared: RunningAmphora) -> None:
    info = shared.request("GET", "/1.0/info").json()
    assert set(info) == {"hostname", "haproxy_version", "api_version", "keepalived_version", "ipvsadm_version"}
    major, minor = info["haproxy_version"].split(".")[:2]
    assert int(major) >= 2
    assert int(minor) >= 0
    details = shared.request("GET", "/1.0/details").json()
    assert {key: details[key] for key in info} == info
    assert details["active"] is True
    assert (details["topology"], details["topology_status"], details["packages"]) == ("SINGLE", "OK", {})
    assert set(details["cpu"]) == {"total", "user", "system", "soft_irq"}
    assert isinstance(details["cpu"]["total"], int)
    assert all(isinstance(details["cpu"][key], str) for key in ("user", "system", "soft_irq"))
    assert set(details["memory"]) == {"total", "free", "buffers", "cached", "swap_used", "shared", "slab"}
    assert details["memory"]["total"] == 1006528
    assert all(isinstance(value, int) for value in details["memory"].values())
    assert set(details["disk"]) == {"used", "available"}
    assert len(details["load"]) == 3
    assert all(isinstance(value, str) for value in details["load"])
    assert isinstance(details["cpu_count"], int)
    assert isinstance(details["active_tuned_profiles"], str)
    assert details["networks"] == {}
    assert details["listeners"] == []


def test_head_works_wherever_get_does(shared: RunningAmphora) -> None:
    for path in ("/", "/1.0/info", "/1.0/details", "/1.0/listeners"):
        reply = shared.request("HEAD", path)
        assert (reply.status, reply.body) == (200, b"")
    assert shared.request("HEAD", "/1.0/nope").status == 404


def test_action_is_checked_before_existence(shared: RunningAmphora) -> None:
    reply = shared.request("PUT", f"/1.0/loadbalancer/{NONE}/Explode")
    assert reply.status == 400
    assert reply.json() == {"message": "Invalid Request", "details": "Unknown action: explode"}
    reply = shared.request("PUT", f"/1.0/loadbalancer/{NONE}/haproxy", b"config")
    assert reply.json()["details"] == "Unknown action: haproxy"
    reply = shared.request("PUT", f"/1.0/loadbalancer/{NONE}/RELOAD")
    assert reply.status == 404
    assert reply.json() == {"message": "Loadbalancer Not Found", "details": f"No loadbalancer with UUID: {NONE}"}


def test_certificates(shared: RunningAmphora) -> None:
    path = f"/1.0/loadbalancer/{LB_ID}/certificates"
    body = b"any \xff bytes\r\nno newline"
    reply = shared.request("GET", f"{path}/a.pem")
    assert reply.json() == {"message": "Certificate Not Found", "details": "No certificate with filename: a.pem"}
    reply = shared.request("PUT", f"{path}/a.pem", b"a much longer certificate that the next one replaces")
    reply = shared.request("PUT", f"{path}/a.pem", body)
    assert (reply.status, reply.json()) == (200, {"message": "OK"})
    md5 = reply.headers["etag"]
    file = shared.cert_dir / LB_ID / "a.pem"
    assert file.read_bytes() == body
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    reply = shared.request("GET", f"{path}/a.pem")
    assert (reply.status, reply.json(), reply.headers["etag"]) == (200, {"md5sum": md5}, md5)
    assert md5 == hashlib.md5(body, usedforsecurity=False).hexdigest()
    for _ in range(2):
        assert shared.request("DELETE", f"{path}/a.pem").json() == {"message": "OK"}
    assert not file.exists()
    for name in (".pem", "a.crt", "a.pem.evil"):
        for method in ("GET", "PUT", "DELETE"):
            reply = shared.request(method, f"{path}/{name}", b"x")
            assert (reply.status, reply.json()["message"]) == (400, "Filename has wrong format")


def test_a_certificate_is_never_read_through_a_link(shared: RunningAmphora) -> None:
    linked = "00000000-0000-4000-8000-00000000117c"
    directory = shared.cert_dir / linked
    directory.mkdir(parents=True)
    (directory / "link.pem").symlink_to(shared.pki_dir / "client.pem")
    before = (shared.pki_dir / "client.pem").read_bytes()
    assert shared.request("GET", f"/1.0/loadbalancer/{linked}/certificates/link.pem").status == 500
    assert shared.request("PUT", f"/1.0/loadbalancer/{linked}/certificates/link.pem", b"mine").status == 200
    assert (shared.pki_dir / "client.pem").read_bytes() == before


def test_config_is_replaced_whole_or_not_at_all(amphora: RunningAmphora) -> None:
    before = amphora.config_file.read_bytes()
    for bad in (b"", b"\xff\xfe", b"garbage", b"[health_manager]\nheartbeat_interval = soon\n"):
        reply = amphora.request("PUT", "/1.0/config", bad)
        assert reply.status == 500, (bad, reply)
        assert reply.json()["message"] == "Unable to update amphora-agent configuration."
        assert amphora.config_file.read_bytes() == before
    good = before + b"\n[controller_worker]\nloadbalancer_topology = ACTIVE_STANDBY\nunknown = fine\n"
    reply = amphora.request("PUT", "/1.0/config", good)
    assert (reply.status, reply.json()) == (202, {"message": "OK"})
    assert amphora.config_file.read_bytes() == good
    assert amphora.config_file.stat().st_mode & 0o777 == 0o600
    assert "insecure" not in amphora.log


def test_fifty_at_once(shared: RunningAmphora) -> None:
    """Mutations and reads in parallel: each is answered, and the last state is a whole one."""
    config = shared.sample("haproxy/31-listener-without-pool.cfg")

    def call(number: int) -> Reply:
        kind = number % 5
        if kind == 0:
            return shared.request("PUT", f"/1.0/loadbalancer/{AMPHORA_ID}/{LB_ID}/haproxy", config)
        if kind == 1:
            return shared.request("PUT", f"/1.0/loadbalancer/{LB_ID}/certificates/c{number}.pem", b"x" * number)
        if kind == 2:
            return shared.request("DELETE", f"/1.0/loadbalancer/{LB_ID}/certificates/c{number - 1}.pem")
        return shared.request("GET", ("/1.0/details", "/1.0/listeners")[kind - 3])

    with ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(call, range(50)))
    assert {reply.status for reply in replies} <= {200, 202}
    assert (shared.base / LB_ID / "haproxy.cfg").read_text() == config
    assert json.loads(shared.request("GET", "/1.0/listeners").body)[0]["status"] == "ACTIVE"
