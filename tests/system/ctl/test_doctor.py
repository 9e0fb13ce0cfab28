"""The doctor on a real amphora: nothing while it is healthy, and each real fault by its name."""

from __future__ import annotations

import functools
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.amphora import HEARTBEAT_KEY
from testbed.pki import Pki
from testbed.waiting import wait_for
from tests.system.ctl.conftest import SHOP, Operator

TLS = SHOP.replace(
    "listeners: [{name: plain, protocol: HTTP, protocol_port: 80, default_pool: web}]",
    """listeners:
- name: tls
  protocol: TERMINATED_HTTPS
  protocol_port: 443
  default_pool: web
  default_tls_container_ref: shop
  l7policies:
  - name: p
    action: REJECT
    rules: [{type: HEADER, compare_type: EQUAL_TO, key: X-Token, value: hunter2}]
""",
)


def codes(operator: Operator) -> set[str]:
    """Return what the doctor finds; there is nothing it could not look at."""
    ran = operator.examine("doctor", "--json")
    found = json.loads(ran.stdout)
    assert found["unseen"] == []
    assert ran.returncode == (1 if found["findings"] else 0)
    return {each["code"] for each in found["findings"]}


def finds(operator: Operator, code: str) -> bool:
    return code in codes(operator)


def settled(operator: Operator) -> None:
    operator.apply(SHOP, "--wait")
    wait_for(lambda: not codes(operator), lambda: operator.examine("doctor").stdout)


def test_a_healthy_amphora_has_nothing(operator: Operator) -> None:
    assert operator.apply(SHOP, "--wait").returncode == 0
    wait_for(lambda: not codes(operator), lambda: operator.examine("doctor").stdout)
    ran = operator.examine("doctor", "--all")
    assert ran.stdout.count(" ok ") == int(ran.stdout.splitlines()[-1].split()[0])


def in_namespace(*words: str) -> Callable[[Operator], None]:
    def act(operator: Operator) -> None:
        operator.amphora.netns.run(["ip", *words])

    return act


def kill_agent(operator: Operator) -> None:
    operator.amphora.kill()


def expire_certificate(operator: Operator) -> None:
    expired = Pki.mint(operator.amphora.amphora_id).issue(operator.amphora.amphora_id, days=-3)
    (operator.amphora.pki_dir / "server.pem").write_bytes(expired)


def break_certificate(operator: Operator) -> None:
    (operator.amphora.pki_dir / "server.pem").write_bytes(b"no PEM")


def fill_memory(operator: Operator) -> None:
    directory = operator.amphora.cert_dir
    operator.amphora.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(directory)])
    operator.amphora.run(["dd", "if=/dev/zero", f"of={directory}/x", "bs=1k", "count=64"])


def plug_out(operator: Operator) -> None:
    operator.amphora.netns.ip("link del eth2")


def kill_haproxy(operator: Operator) -> None:
    operator.amphora.kill()
    for pid in operator.amphora.netns.pids():
        os.kill(pid, 9)


def forget_the_key(operator: Operator) -> None:
    text = operator.amphora.config_file.read_text()
    operator.amphora.config_file.write_text(text.replace(f"heartbeat_key = {HEARTBEAT_KEY}\n", ""))


def break_settings(operator: Operator) -> None:
    operator.amphora.config_file.write_text("nonsense\n")


# In an order in which none hides another.
FAULTS: dict[str, tuple[str, Callable[[Operator], None]]] = {
    "a rule is gone": ("E10", in_namespace("rule", "del", "from", "10.10.0.100")),
    "a route is gone": ("E09", in_namespace("route", "flush", "table", "1")),
    "a link is down": ("E08", in_namespace("link", "set", "eth2", "down")),
    "a NIC is gone": ("E07", plug_out),
    "the memory for certificates is full": ("E06", fill_memory),
    "the key is gone": ("E15", forget_the_key),
    "the certificate is broken": ("E31", break_certificate),
    "the certificate has ended": ("E31", expire_certificate),
    "the agent is dead": ("E01", kill_agent),
    "the heartbeat is dead": ("E13", kill_agent),
    "HAProxy is dead": ("E20", kill_haproxy),
}


def _described(operator: Operator, fault: str) -> str:
    return f"{fault}: {operator.examine('doctor').stdout}"


@pytest.fixture
def healthy(operator: Operator) -> Operator:
    settled(operator)
    return operator


def test_each_real_fault_is_named(healthy: Operator) -> None:
    """The faults come one after the other; each adds its finding to those before."""
    for fault, (code, inject) in FAULTS.items():
        inject(healthy)
        wait_for(functools.partial(finds, healthy, code), functools.partial(_described, healthy, fault))
    break_settings(healthy)
    assert "E03" in codes(healthy)


def test_heartbeats_that_nobody_receives(operator: Operator) -> None:
    text = operator.amphora.config_file.read_text()
    operator.amphora.config_file.write_text(text.replace("192.0.2.1:5555", "192.0.2.1:5556"))
    wait_for(lambda: "E12" in codes(operator), lambda: operator.examine("doctor").stdout)


def test_a_bundle_has_what_helps_and_no_secret(operator: Operator, tmp_path: Path) -> None:
    key = Pki.mint("amphora").issue("shop.example.org").decode()
    pem = operator.amphora.directory / "shop.pem"
    pem.write_text(key)
    assert operator.ctl("secret", "put", "shop", str(pem)).returncode == 0
    applied = operator.apply(TLS)
    assert applied.returncode == 0, applied.stdout
    file = tmp_path / "bundle.tar.gz"
    ran = operator.examine("bundle", "-o", str(file))
    assert ran.returncode == 0, ran.stdout
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as archive:
        files = ((each.name.split("/", 1)[1], archive.extractfile(each)) for each in archive)
        parts = {name: content.read() for name, content in files if content is not None}
    everything = b"\n".join(parts.values())
    keys = {text for text in _secrets(operator, key) if len(text) > 4}
    assert [each for each in keys if each.encode() in everything] == []
    assert {"doctor.json", "facts.json", "settings.txt", "versions.txt", "files.txt"} <= parts.keys()
    config = next(text for name, text in parts.items() if name.endswith("haproxy.cfg")).decode()
    assert "bind 10.10.0.100:443" in config
    assert any(name.endswith("status.json") for name in parts)
    assert operator.examine("bundle", "-o", str(file)).returncode == 2


def _secrets(operator: Operator, key: str) -> set[str]:
    """Return every line of every key, the heartbeat key, and what a tenant wrote into a rule."""
    found = {HEARTBEAT_KEY, "hunter2", "X-Token"}
    for path in (*operator.amphora.pki_dir.iterdir(), *operator.amphora.cert_dir.rglob("*.pem")):
        found |= set(path.read_text().splitlines()) if path.is_file() else set()
    return {line for line in found | set(key.splitlines()) if "-----" not in line and not line.startswith("/")}
