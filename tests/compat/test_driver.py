"""Octavia's load balancer driver does to the agent what a user's changes make it do; the VIP's traffic is the judge."""

from __future__ import annotations

import ssl

import pytest

from testbed.amphora import AMPHORA_ID, LB_ID
from testbed.namespaces import Namespace
from testbed.pki import Pki
from testbed.scenario import LISTENER_ID, MEMBER_ADDRESSES, MEMBER_IDS, VIP, Scenario
from testbed.waiting import holds
from testbed.web_server import WebServer
from tests.compat.controller import MONITOR_ID, POOL_ID, OctaviaController, listener, member, pool, row, world

SECURE_ID = "a1b2c3d4-0000-4000-8000-000000000443"
THIRD_ID = "a1b2c3d4-0000-4000-8000-000000000003"
NETWORK = {"id": "net", "mtu": 1450}


def host_routes() -> list[object]:
    return [{"network": ["HostRoute", {"nexthop": "10.10.0.7", "destination": "203.0.113.0/24"}]}]


def subnet(cidr: str, gateway: str, routes: list[object]) -> dict[str, object]:
    fields = {"id": cidr, "cidr": cidr, "gateway_ip": gateway, "host_routes": routes, "ip_version": 4}
    return {"network": ["Subnet", fields]}


def port(mac: str, address: str, cidr: str, gateway: str) -> dict[str, object]:
    fixed_ip = {"network": ["FixedIP", {"ip_address": address, "subnet": subnet(cidr, gateway, [])}]}
    network = {"network": ["Network", NETWORK]}
    fields = {"id": mac, "mac_address": mac, "fixed_ips": [fixed_ip], "network": network, "vnic_type": "normal"}
    return {"network": ["Port", fields]}


def plug(octavia: OctaviaController) -> None:
    """Do what the driver does once Nova has attached both ports."""
    octavia.drive(
        "post_vip_plug",
        row("Amphora", AMPHORA_ID),
        row("LoadBalancer", LB_ID),
        None,
        port("fa:16:3e:00:00:01", "10.10.0.11", "10.10.0.0/24", "10.10.0.1"),
        subnet("10.10.0.0/24", "10.10.0.1", host_routes()),
        [],
    )
    member_port = port("fa:16:3e:00:00:02", "10.20.0.5", "10.20.0.0/24", "10.20.0.1")
    octavia.drive("post_network_plug", row("Amphora", AMPHORA_ID), member_port, {})


def answers(balancer: Scenario, count: int = 6) -> set[str]:
    return {balancer.get() for _ in range(count)}


def test_the_life_of_a_load_balancer(balancer: Scenario, octavia: OctaviaController) -> None:
    """Create, add a member, disable one, delete one, change the weight, delete: each as the driver does it."""
    octavia.call("insert", rows=world(monitor=False))
    plug(octavia)
    plug(octavia)
    assert octavia.warnings == [], "only the VIP's second plug is a conflict, and the driver expects it"
    octavia.update_listeners()
    assert answers(balancer) == {"web1", "web2"}

    balancer.members.ip("address add 10.20.0.13/32 dev lo")
    with WebServer(balancer.members, "10.20.0.13", 8080, "web3"):
        octavia.call("insert", rows=[member(THIRD_ID, POOL_ID, "10.20.0.13")])
        octavia.update_listeners()
        assert answers(balancer) == {"web1", "web2", "web3"}
        octavia.call("update", model="Member", key=MEMBER_IDS[0], columns={"enabled": False})
        octavia.update_listeners()
        assert answers(balancer) == {"web2", "web3"}
        octavia.call("update", model="Member", key=MEMBER_IDS[1], columns={"weight": 0})
        octavia.update_listeners()
        assert answers(balancer) == {"web3"}
        octavia.call("update", model="Member", key=MEMBER_IDS[0], columns={"enabled": True})
        octavia.call("remove", model="Member", key=THIRD_ID)
        octavia.update_listeners()
        assert answers(balancer) == {"web1"}

    octavia.drive("reload", row("LoadBalancer", LB_ID), None, None)
    octavia.drive("start", row("LoadBalancer", LB_ID), None, None)
    assert answers(balancer) == {"web1"}
    octavia.drive("delete", row("Listener", LISTENER_ID))
    with pytest.raises(OSError, match="refused"):
        balancer.get()


def test_two_listeners_one_deleted(balancer: Scenario, octavia: OctaviaController) -> None:
    octavia.call("insert", rows=world(monitor=False))
    octavia.call("insert", rows=[pool(THIRD_ID, protocol="TCP"), member(SECURE_ID, THIRD_ID, MEMBER_ADDRESSES[1])])
    second = "a1b2c3d4-0000-4000-8000-000000000081"
    octavia.call("insert", rows=[listener(second, protocol="TCP", port=81, default_pool_id=THIRD_ID)])
    plug(octavia)
    octavia.update_listeners()
    assert answers(balancer) == {"web1", "web2"}
    assert balancer.get(port=81) == "web2"
    octavia.drive("delete", row("Listener", LISTENER_ID))
    with pytest.raises(OSError, match="refused"):
        balancer.get()
    assert balancer.get(port=81) == "web2"


def test_a_renewed_certificate_is_served(balancer: Scenario, octavia: OctaviaController) -> None:
    """Trap T30: a renewal changes files that haproxy.cfg names only through a crt-list."""
    authority = Pki.mint("tenant")
    octavia.call("insert", rows=world(monitor=False))
    plug(octavia)
    first = store(octavia, authority.issue("www.example.org"))
    columns: dict[str, object] = {"default_pool_id": POOL_ID, "tls_certificate_id": first}
    octavia.call("insert", rows=[listener(SECURE_ID, protocol="TERMINATED_HTTPS", port=443, **columns)])
    octavia.update_listeners()
    before = served_certificate(balancer.clients, "www.example.org")
    octavia.update_listeners()
    assert served_certificate(balancer.clients, "www.example.org") == before

    second = store(octavia, authority.issue("www.example.org"))
    octavia.call("update", model="Listener", key=SECURE_ID, columns={"tls_certificate_id": second})
    octavia.update_listeners()
    assert served_certificate(balancer.clients, "www.example.org") != before

    extra = store(octavia, authority.issue("shop.example.org"))
    octavia.call("insert", rows=[("SNI", {"listener_id": SECURE_ID, "tls_container_id": extra, "position": 1})])
    octavia.update_listeners()
    shop = served_certificate(balancer.clients, "shop.example.org")
    assert shop != served_certificate(balancer.clients, "www.example.org")
    assert answers(balancer) == {"web1", "web2"}


def test_an_unchanged_load_balancer_is_left_alone(balancer: Scenario, octavia: OctaviaController) -> None:
    """The controller sends everything again at every change; HAProxy keeps its process when nothing changed."""
    octavia.call("insert", rows=world())
    plug(octavia)
    octavia.update_listeners()
    before = balancer.amphora.netns.pids()
    octavia.update_listeners()
    assert stays(balancer.amphora.netns, before)
    octavia.call("update", model="HealthMonitor", key=MONITOR_ID, columns={"url_path": "/health"})
    octavia.update_listeners()
    assert not stays(balancer.amphora.netns, before)


def test_free_memory_is_no_change(balancer: Scenario, octavia: OctaviaController) -> None:
    """Trap T31: with TLS the controller sizes the session cache by the memory we report, at every update anew."""
    octavia.call("insert", rows=world(monitor=False))
    plug(octavia)
    reference = store(octavia, Pki.mint("tenant").issue("www.example.org"))
    columns: dict[str, object] = {"connection_limit": 100, "tls_certificate_id": reference}
    octavia.call("insert", rows=[listener(SECURE_ID, protocol="TERMINATED_HTTPS", port=443, **columns)])
    octavia.call("update", model="Listener", key=LISTENER_ID, columns={"connection_limit": 100})
    octavia.update_listeners()
    before = balancer.amphora.netns.pids()
    meminfo = balancer.amphora.directory / "machine" / "meminfo"
    meminfo.write_text(meminfo.read_text().replace("MemFree:          611264", "MemFree:          309264"))
    octavia.update_listeners()
    assert stays(balancer.amphora.netns, before)


def stays(namespace: Namespace, pids: tuple[int, ...], seconds: float = 0.5) -> bool:
    """Tell whether exactly these processes are inside during the whole time: a reload may be under way still."""
    return holds(lambda: namespace.pids() == pids, seconds)


def store(octavia: OctaviaController, pem: bytes) -> str:
    certificate, _, key = pem.decode().partition("-----BEGIN RSA")
    reference = octavia.call(
        "store_certificate", certificate=certificate, private_key=f"-----BEGIN RSA{key}", intermediates=None
    )
    assert isinstance(reference, str)
    return reference


def served_certificate(clients: Namespace, name: str) -> bytes:
    """Return the certificate, as DER, that the VIP shows a client asking for this name."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(clients.connect(VIP, 443), server_hostname=name) as connection:
        shown = connection.getpeercert(binary_form=True)
    assert shown, name
    return shown
