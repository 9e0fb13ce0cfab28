"""Every call of Octavia's REST client class, unmodified, against the running agent; and every error it maps."""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
from pathlib import Path

import pytest

from testbed.amphora import AMPHORA_ID, LB_ID, SAMPLES, RunningAmphora, ask
from testbed.pki import Pki, client_context
from testbed.scenario import LISTENER_ID, VIP, Scenario, request_sample
from tests.compat.controller import OctaviaController, OctaviaError, raw, row, world

UNKNOWN = "00000000-0000-4000-8000-00000000dead"
CERTIFICATE = "0123456789abcdef0123456789abcdef01234567.pem"


def raises(octavia: OctaviaController, name: str, method: str, *arguments: object) -> None:
    """Assert that the client maps the agent's answer to this exception, at once."""
    with pytest.raises(OctaviaError) as error:
        octavia.client(method, *arguments)
    assert error.value.name == name, error.value
    assert "Retrying" not in str(octavia.warnings), "the client took the answer for an agent that is not ready"


def test_version_discovery_and_facts(balancer: Scenario, octavia: OctaviaController) -> None:
    assert octavia.client("get_api_version", version="base") == {"api_version": "1.0"}
    octavia.call("insert", rows=world())
    octavia.drive("check", row("Amphora", AMPHORA_ID))
    info = octavia.client("get_info")
    assert info["api_version"] == "1.0"
    major, minor = octavia.drive("_get_haproxy_versions", row("Amphora", AMPHORA_ID))
    assert (int(major), int(minor)) >= (2, 0)
    details = octavia.client("get_details")
    assert all(isinstance(details["memory"][key], int) for key in ("free", "buffers", "cached"))
    assert isinstance(details["active_tuned_profiles"], str)
    assert details["cpu_count"] >= 1
    assert octavia.client("get_all_listeners") == []
    assert balancer.amphora.request("HEAD", "/1.0/info").status == 200


def test_a_load_balancer_from_plug_to_delete(balancer: Scenario, octavia: OctaviaController) -> None:
    plug_vip, plug_network = request_sample("plug-vip"), request_sample("plug-network")
    assert octavia.client("plug_vip", VIP, plug_vip["body"])["status"] == 202
    assert octavia.client("plug_network", plug_network["body"])["status"] == 202
    assert octavia.client("get_interface", "10.10.0.11") == {"message": "OK", "interface": "eth1"}

    config = balancer.amphora.sample("haproxy/01-http-basic.cfg")
    assert octavia.client("upload_config", LB_ID, config)["status"] == 202
    assert octavia.client("reload_listener", LB_ID)["status"] == 202
    assert {balancer.get() for _ in range(4)} == {"web1", "web2"}
    assert octavia.client("start_listener", LB_ID)["status"] == 202
    assert octavia.client("get_all_listeners") == [{"status": "ACTIVE", "type": "HTTP", "uuid": LISTENER_ID}]
    assert octavia.client("get_details")["listeners"] == [LISTENER_ID]
    assert octavia.client("get_details")["haproxy_count"] == 1

    assert octavia.client("delete_listener", LB_ID)["status"] == 200
    assert octavia.client("delete_listener", LB_ID)["status"] == 200
    assert octavia.client("get_all_listeners") == []
    with pytest.raises(OSError, match="refused"):
        balancer.get()


def test_plugging_twice_is_done_both_times(balancer: Scenario, octavia: OctaviaController) -> None:
    """Trap T10: the client takes 409 for "done already", also after a restart of the agent."""
    vip, network = request_sample("plug-vip")["body"], request_sample("plug-network")["body"]
    octavia.client("plug_vip", VIP, vip)
    octavia.client("plug_network", network)
    for _ in range(2):
        raises(octavia, "Conflict", "plug_vip", VIP, vip)
        assert octavia.client("plug_network", network)["status"] == 202
        balancer.amphora.restart()


def test_a_late_nic_is_waited_for(balancer: Scenario, octavia: OctaviaController) -> None:
    """Trap T09: the sentence in a JSON 404 makes the client ask again until the NIC is there."""
    balancer.amphora.add_nic("fa:16:3e:00:00:77", balancer.members, "10.30.0.1/24")
    late = {**vip_body(), "mac_address": "fa:16:3e:00:00:99"}

    def plug_in() -> None:
        balancer.amphora.add_nic("fa:16:3e:00:00:99", balancer.clients)

    with pytest.raises(OctaviaError) as error:
        octavia.client("plug_vip", VIP, late)
    assert error.value.name == "TimeOutException"
    timer = threading.Timer(0.5, plug_in)
    timer.start()
    assert octavia.client("plug_vip", VIP, late)["status"] == 202
    timer.join()


def test_errors_are_mapped_at_once(balancer: Scenario, octavia: OctaviaController) -> None:
    """Trap T18, and T09 again: no 404 of ours sends the client into its retry loop."""
    raises(octavia, "NotFound", "reload_listener", UNKNOWN)
    raises(octavia, "NotFound", "start_listener", UNKNOWN)
    raises(octavia, "NotFound", "get_cert_md5sum", LB_ID, CERTIFICATE)
    raises(octavia, "InvalidRequest", "get_listener_status", UNKNOWN)
    raises(octavia, "NotFound", "get_interface", "10.99.99.99")
    raises(octavia, "NotFound", "set_interface_rules", "10.99.99.99", [])
    raises(octavia, "InvalidRequest", "get_interface", "nonsense")
    raises(octavia, "InvalidRequest", "upload_cert_pem", LB_ID, "wrong.crt", "text")
    raises(octavia, "InvalidRequest", "get_cert_md5sum", LB_ID, "wrong.crt")
    raises(octavia, "InvalidRequest", "delete_cert_pem", LB_ID, "wrong.crt")
    raises(octavia, "InvalidRequest", "plug_vip", VIP, {"subnet_cidr": "10.10.0.0/24"})
    raises(octavia, "InvalidRequest", "plug_vip", VIP, {**vip_body(), "subnet_cidr": "10.10.0.1/24"})
    raises(octavia, "InvalidRequest", "plug_vip", VIP, {**vip_body(), "vrrp_ip": "here"})
    raises(octavia, "InvalidRequest", "plug_network", {"fixed_ips": []})
    raises(octavia, "InvalidRequest", "upload_config", LB_ID, "global\n  this is no haproxy.cfg\n")
    raises(octavia, "InvalidRequest", "upload_config", LB_ID, raw(b"\xff\xfe\x00 not UTF-8"))
    raises(octavia, "InvalidRequest", "update_cert_for_rotation", "no certificate")
    raises(octavia, "InternalServerError", "update_agent_config", "this is no configuration")
    assert octavia.client("delete_cert_pem", LB_ID, CERTIFICATE)["status"] == 200
    assert octavia.client("delete_listener", UNKNOWN)["status"] == 200
    assert balancer.amphora.request("PUT", f"/1.0/loadbalancer/{LB_ID}/dance").status == 400
    assert balancer.amphora.request("GET", "/").status == 200


def test_a_failing_haproxy_is_an_internal_error(balancer: Scenario, octavia: OctaviaController) -> None:
    """The address of another process cannot be bound: reload answers 500 with HAProxy's words, the old one serves."""
    balancer.plug()
    config = balancer.amphora.sample("haproxy/01-http-basic.cfg")
    balancer.apply(config)
    taken = balancer.amphora.netns.open_socket()
    with taken:
        taken.bind((VIP, 81))
        taken.listen()
        octavia.client("upload_config", LB_ID, config.replace(f"bind {VIP}:80", f"bind {VIP}:80\n    bind {VIP}:81"))
        with pytest.raises(OctaviaError) as error:
            octavia.client("reload_listener", LB_ID)
    assert error.value.name == "InternalServerError"
    assert balancer.get() in ("web1", "web2")
    assert any("81" in line for line in octavia.warnings), octavia.warnings


@pytest.mark.parametrize(
    "body",
    [b"-----BEGIN X-----\r\nAAAA\r\n-----END X-----\r\n", b"no newline at the end", bytes(range(256)), b"\n", b""],
    ids=["crlf", "no-newline", "binary", "newline", "empty"],
)
def test_md5_is_of_the_bytes_as_sent(amphora: RunningAmphora, octavia: OctaviaController, body: bytes) -> None:
    """Trap T11: the controller compares its own MD5 with ours to tell whether to upload again."""
    octavia.attach(amphora)
    assert octavia.client("upload_cert_pem", LB_ID, CERTIFICATE, raw(b"longer than what follows" * 20))["status"] == 200
    assert octavia.client("upload_cert_pem", LB_ID, CERTIFICATE, raw(body))["status"] == 200
    digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
    assert octavia.client("get_cert_md5sum", LB_ID, CERTIFICATE) == digest
    assert octavia.client("delete_cert_pem", LB_ID, CERTIFICATE)["status"] == 200
    raises(octavia, "NotFound", "get_cert_md5sum", LB_ID, CERTIFICATE)


def test_the_agents_own_certificate_is_rotated(amphora: RunningAmphora, octavia: OctaviaController) -> None:
    octavia.attach(amphora)
    octavia.call("insert", rows=world())
    new = Pki.mint(AMPHORA_ID).issue(AMPHORA_ID)
    octavia.drive("upload_cert_amp", row("Amphora", AMPHORA_ID), raw(new))
    assert octavia.client("get_info")["api_version"] == "1.0"
    connection = amphora.connect()
    assert isinstance(connection.sock, ssl.SSLSocket)
    served = connection.sock.getpeercert(binary_form=True)
    connection.close()
    assert served == ssl.PEM_cert_to_DER_cert(new.decode().partition("-----BEGIN RSA")[0])
    stranger = Pki.mint("somebody else").server
    for broken in (b"", b"garbage", new[: len(new) // 2], new.partition(b"-----BEGIN RSA")[0], new[:-1700] + stranger):
        raises(octavia, "InvalidRequest", "update_cert_for_rotation", raw(broken))
        assert octavia.client("get_info")["api_version"] == "1.0"


def test_agent_configuration_is_replaced(amphora: RunningAmphora, octavia: OctaviaController) -> None:
    octavia.attach(amphora)
    octavia.call("insert", rows=world())
    text = amphora.config().replace("heartbeat_key = insecure", "heartbeat_key = another")
    octavia.drive("update_amphora_agent_config", row("Amphora", AMPHORA_ID), text)
    assert amphora.config_file.read_text() == text
    assert amphora.config_file.stat().st_mode & 0o777 == 0o600
    raises(octavia, "InternalServerError", "update_agent_config", "[haproxy_amphora\nbind_port = x")
    assert amphora.config_file.read_text() == text


def test_a_client_of_tls_1_3(amphora: RunningAmphora, octavia: OctaviaController, release: str) -> None:
    """Trap T13: controllers speak exactly TLS 1.2, or 1.2 and newer, or what they are configured to."""
    try:
        octavia.attach(amphora, amphora_agent={"agent_tls_protocol": "TLSv1.3"})
        assert octavia.client("get_info")["api_version"] == "1.0"
    except OctaviaError as error:
        if "has no attribute 'PROTOCOL_TLSv1_3'" not in error.text:
            raise
        pytest.skip(f"octavia {release} takes the option and cannot speak TLS 1.3: {error.text}")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_versions(amphora: RunningAmphora) -> None:
    """Trap T13: 1.2 and 1.3 are spoken, nothing older."""
    ca, certificate = amphora.pki_dir / "ca.pem", amphora.pki_dir / "client.pem"
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        connection = amphora.connect(context=client_context(ca, certificate, version=version))
        assert ask(connection, "GET", "/").status == 200
        connection.close()
    old = client_context(ca, certificate, version=ssl.TLSVersion.TLSv1_1)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(OSError, match=r"(?i)protocol|alert|reset|eof"):
        ask(amphora.connect(context=old), "GET", "/")


def test_the_client_checks_who_we_are(amphora: RunningAmphora, octavia: OctaviaController) -> None:
    """The name in our certificate is the amphora id; a controller that expects another one refuses us."""
    octavia.attach(amphora)
    with pytest.raises(OctaviaError) as error:
        octavia.client("get_info", amphora_id=UNKNOWN)
    assert error.value.name == "TimeOutException"


@pytest.mark.parametrize("name", sorted(path.stem for path in (SAMPLES / "requests").glob("plug-vip*.json")))
def test_every_vip_request_is_accepted(
    balancer: Scenario, octavia: OctaviaController, rendered: Path, name: str
) -> None:
    call = request_sample(name, rendered)
    vip = str(call["path"]).rsplit("/", 1)[1]
    assert octavia.client("plug_vip", vip, call["body"])["status"] == 202
    raises(octavia, "Conflict", "plug_vip", vip, call["body"])
    body = call["body"]
    assert isinstance(body, dict)
    for address in (body["vrrp_ip"], vip, *(extra["ip_address"] for extra in body["additional_vips"])):
        assert octavia.client("get_interface", address)["interface"] == "eth1"
    assert balancer.amphora.request("GET", "/").status == 200


@pytest.mark.usefixtures("balancer")
def test_a_member_subnet_on_the_vip_port(octavia: OctaviaController, rendered: Path) -> None:
    """The VIP's own NIC gets a second fixed IP; the VIP and the way to it stay."""
    octavia.client("plug_vip", VIP, request_sample("plug-vip", rendered)["body"])
    octavia.client("plug_network", request_sample("plug-network", rendered)["body"])
    octavia.client("plug_network", request_sample("plug-network-replug-vrrp-port", rendered)["body"])
    for address in (VIP, "10.10.0.11", "10.20.0.6"):
        assert octavia.client("get_interface", address)["interface"] == "eth1"
    assert octavia.client("get_interface", "10.20.0.5")["interface"] == "eth2"


@pytest.mark.parametrize("topology", ["single", "active-standby"])
def test_firewall_rules(balancer: Scenario, octavia: OctaviaController, rendered: Path, topology: str) -> None:
    """The rules of an SR-IOV VIP are loaded as a whole, also twice, also none at all."""
    octavia.client("plug_vip", VIP, request_sample("plug-vip-sriov")["body"])
    rules = json.loads((rendered / "requests" / f"17-allowed-cidrs-rules-{topology}.json").read_text())
    address = str(vip_body()["vrrp_ip"])
    empty: list[object] = []
    for body in (rules, rules, empty):
        assert octavia.client("set_interface_rules", address, body)["status"] == 200
    loaded = balancer.amphora.netns.run(["nft", "list", "chain", "inet", "amphora_table", "amphora_vip_chain"])
    assert "dport" not in loaded
    raises(octavia, "InvalidRequest", "set_interface_rules", address, [{"protocol": "ICMP", "cidr": None, "port": 1}])


def vip_body() -> dict[str, object]:
    """Return the body of the plain VIP plug."""
    body = request_sample("plug-vip")["body"]
    assert isinstance(body, dict)
    return body
