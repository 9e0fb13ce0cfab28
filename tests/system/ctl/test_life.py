"""A load balancer's life by amphoractl alone, beside a running agent with real HAProxy."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from testbed.pki import Pki
from testbed.terminal import Terminal
from testbed.waiting import wait_for
from tests.system.ctl.conftest import COMMAND, SHOP, Operator


def test_a_load_balancer_lives(operator: Operator) -> None:
    document = operator.amphora.directory / "shop.yaml"
    document.write_text(SHOP)
    ctl = operator.ctl
    assert ctl("validate", str(document)).returncode == 0
    assert ctl("diff", str(document)).returncode == 1
    applied = operator.apply(SHOP, "--create", "--wait")
    assert applied.returncode == 0, applied.stdout
    assert "shop: started" in applied.stdout
    assert "shop is Healthy" in applied.stdout
    assert {operator.surroundings.get() for _ in range(6)} == {"web1", "web2"}
    assert ctl("diff", str(document)).returncode == 0
    assert operator.apply(SHOP, "--create").returncode == 5
    assert "w2" in ctl("status").stdout

    got = operator.amphora.directory / "got.yaml"
    got.write_text(ctl("get").stdout)
    assert ctl("diff", str(got)).returncode == 0

    drained = ctl("member", "drain", "web/w2")
    assert "no reload" in drained.stdout, drained.stdout
    assert {operator.surroundings.get() for _ in range(6)} == {"web1"}
    assert "drained by uid 0" in ctl("status").stdout
    assert ctl("member", "ready", "web/w2").returncode == 0
    assert ctl("member", "weight", "web/w1", "0").returncode == 0
    assert {operator.surroundings.get() for _ in range(6)} == {"web2"}

    revisions = json.loads(ctl("revisions", "--json").stdout)
    assert len(revisions) >= 2
    assert ctl("rollback", str(revisions[-1]["number"])).returncode == 0
    assert {operator.surroundings.get() for _ in range(6)} == {"web1", "web2"}

    assert operator.apply(SHOP.replace("ROUND_ROBIN", "LEAST_CONNECTIONS"), "--confirm", "60").returncode == 0
    assert ctl("confirm").returncode == 0
    assert ctl("confirm").returncode == 5
    for which in ("--rendered", "--running"):
        assert "balance leastconn" in ctl("get", which).stdout
    events = ctl("events").stdout
    assert all(kind in events for kind in ("applied", "drained", "ready", "confirmed")), events
    assert ctl("delete", "shop").returncode == 0
    assert ctl("status").stdout == "this amphora has no load balancer\n"
    assert ctl("get", "shop").returncode == 3


def test_refusals_say_where_and_what(operator: Operator) -> None:
    refused = operator.apply(SHOP.replace("default_pool: web", "default_pool: wep").replace("weight: 1", ""))
    assert refused.returncode == 3
    assert "listener plain: " in refused.stdout
    assert "/listeners/0/default_pool" in refused.stdout
    assert "Traceback" not in refused.stdout


def test_secrets_are_stored_listed_and_renewed(operator: Operator) -> None:
    pki = Pki.mint("amphora")
    pem = operator.amphora.directory / "shop.pem"
    pem.write_bytes(pki.issue("shop.example.org"))
    assert operator.ctl("secret", "put", "shop-rsa", str(pem)).returncode == 0
    tls = SHOP.replace("protocol: HTTP, protocol_port: 80", "protocol: TERMINATED_HTTPS, protocol_port: 443").replace(
        "default_pool: web", "default_pool: web, default_tls_container_ref: shop-rsa"
    )
    assert operator.apply(tls).returncode == 0
    listed = operator.ctl("secret", "list").stdout
    assert "shop-rsa  certificate  shop.example.org" in listed
    assert listed.rstrip().endswith("shop")
    pem.write_bytes(pki.issue("shop.example.org"))
    renewed = operator.ctl("secret", "put", "shop-rsa", str(pem))
    assert "shop: changed in the running HAProxy, no reload" in renewed.stdout
    assert operator.ctl("secret", "delete", "shop-rsa").returncode == 5


def test_interfaces_are_listed_planned_and_made(operator: Operator) -> None:
    listed = operator.ctl("plug").stdout
    assert [line.split()[0] for line in listed.splitlines()[1:]] == ["eth1", "eth2"]
    wanted = ("eth2", "--address", "10.20.0.5/24", "--address", "10.20.0.6/24", "--route", "198.51.100.0/24=10.20.0.1")
    planned = operator.ctl("plug", *wanted, "--dry-run")
    assert (planned.returncode, "10.20.0.6" in planned.stdout) == (1, True), planned.stdout
    assert "10.20.0.6" not in operator.amphora.netns.run(["ip", "address"])
    made = operator.ctl("plug", *wanted)
    assert made.returncode == 0, made.stdout
    assert "10.20.0.6/24" in operator.amphora.netns.run(["ip", "address"])
    assert "198.51.100.0/24 via 10.20.0.1" in operator.amphora.netns.run(["ip", "route"])
    again = operator.ctl("plug", *wanted, "--dry-run")
    assert (again.returncode, again.stdout) == (0, "eth2: 10.20.0.5/24, 10.20.0.6/24\n")
    refused = operator.ctl("plug", "eth2", "--address", "10.20.0.300/24")
    assert (refused.returncode, "Traceback" in refused.stdout) == (3, False), refused.stdout


def test_top_in_a_terminal_drains_a_member(operator: Operator) -> None:
    operator.apply(SHOP, "--wait")
    with Terminal([COMMAND, "--socket", str(operator.amphora.api_socket), "top", "--interval", "0.3"]) as terminal:
        terminal.until("web/w2")
        terminal.press("jd")
        terminal.until("drained by uid 0")
        terminal.press("q")
        assert terminal.ended() == 0
    wait_for(lambda: {operator.surroundings.get() for _ in range(4)} == {"web1"}, "w2 gets no more requests")


def test_events_are_followed_while_they_happen(operator: Operator) -> None:
    operator.apply(SHOP)
    with Terminal([COMMAND, "--socket", str(operator.amphora.api_socket), "events", "--follow"]) as terminal:
        terminal.until("applied")
        operator.ctl("member", "drain", "web/w1")
        terminal.until("drained")
        terminal.press("\x03")
        assert terminal.ended() == 130


def test_from_elsewhere_over_mutual_tls(operator: Operator) -> None:
    operator.apply(SHOP)
    certs = operator.amphora.pki_dir
    command = [sys.executable, "-m", "amphora_agent.cmd.amphoractl", "--url", "https://192.0.2.2", "status"]
    options = ["--cert", str(certs / "client.pem"), "--ca", str(certs / "ca.pem")]
    name = ["--server-name", operator.amphora.amphora_id]
    client = operator.amphora.client
    assert "shop" in client.run([*command, *options, *name])
    for wrong in ([*options], [*options[2:], *name], ["--cert", str(certs / "ca.pem"), *options[2:], *name]):
        ended = client.run(["sh", "-c", '"$@" 2>&1; echo "exit $?"', "sh", *command, *wrong])
        assert ended.rstrip().endswith(("exit 4", "exit 2")), ended
        assert "Traceback" not in ended


def test_certificates_of_our_own_serve_agent_and_client(operator: Operator, tmp_path: Path) -> None:
    assert operator.ctl("pki", "init", str(tmp_path)).returncode == 0
    assert operator.ctl("pki", "issue", str(tmp_path), "amphora-1", "--address", "192.0.2.2").returncode == 0
    assert operator.ctl("pki", "issue", str(tmp_path), "me", "--client").returncode == 0
    certs = operator.amphora.pki_dir
    operator.amphora.stop()
    (certs / "server.pem").write_bytes((tmp_path / "amphora-1.pem").read_bytes())
    (certs / "ca.pem").write_bytes((tmp_path / "ca.pem").read_bytes())
    process = operator.amphora.spawn([*operator.amphora.command, str(operator.amphora.config_file)])
    try:
        command = [COMMAND, "--url", "https://192.0.2.2", "--cert", str(tmp_path / "me.pem"), "--ca"]
        wait_for(operator.amphora.api_socket.exists, "the agent listens")
        assert "agent " in operator.amphora.client.run([*command, str(tmp_path / "ca.pem"), "version"])
    finally:
        process.terminate()
        process.wait(30)
