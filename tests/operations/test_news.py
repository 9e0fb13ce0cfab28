"""News of load balancers with real HAProxy: members by their checks, certificates by their end."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from amphora_agent.operations.document import news, watch
from amphora_agent.operations.document.news import AWAITED_PAUSE, PAUSE, NewsWatcher
from testbed.amphora import AMPHORA_ID
from testbed.operations import ADDRESS, Workbench
from testbed.pki import Pki
from testbed.waiting import wait_for
from tests.operations.test_api2 import LB, Client, client, put
from tests.operations.test_documents import Json, shop

__all__ = ["client"]

PORT = 8080


def checked_shop() -> Json:
    """Return a load balancer with one member in the namespace, which is checked every second."""
    tree = shop("w1")
    tree["pools"][0]["healthmonitor"] = {"type": "TCP", "delay": 1, "timeout": 1, "max_retries": 1}
    tree["pools"][0]["members"][0] |= {"address": ADDRESS, "protocol_port": PORT}
    return tree


@contextlib.contextmanager
def served(bench: Workbench) -> Iterator[None]:
    """Have the member take connections for the length of the block."""
    with bench.netns.open_socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((ADDRESS, PORT))
        listener.listen()
        yield


@pytest.fixture
def watcher(bench: Workbench) -> NewsWatcher:
    """The one watcher of a workbench: the agent's own, which would tell the same, is not started."""
    bench.amphora.watchers.start(watch.WATCHER, lambda: None)
    return NewsWatcher(bench.amphora)


def told(client: Client) -> list[tuple[str, str, str]]:
    events = client.get("/2.0/events?loadbalancer=shop").json["events"]
    return [(each["kind"], each["subject"], each["detail"]) for each in events if each["kind"] != "applied"]


def test_a_member_that_goes_and_comes_back_is_told(client: Client, bench: Workbench, watcher: NewsWatcher) -> None:

    def look() -> list[tuple[str, str, str]]:
        watcher.look()
        return told(client)

    def is_up() -> bool:
        (member,) = client.get(f"{LB}/status").json["listeners"][0]["pools"][0]["members"]
        return bool(member["operating"] == "ONLINE" and member["reason"] == "L4OK")

    with served(bench):
        assert put(client, checked_shop()).status_code == 200
        wait_for(is_up, "the first check")
        assert look() == []
    (down,) = wait_for(look, "the member's end")
    assert down == ("member", "member web/w1", "ONLINE -> ERROR L4CON")
    assert look() == [down]
    with served(bench):
        wait_for(lambda: len(look()) == 2, "the member's return")
    assert told(client)[1] == ("member", "member web/w1", "ERROR -> ONLINE L4OK")


def test_the_agent_looks_by_itself_and_more_often_while_somebody_waits(client: Client, bench: Workbench) -> None:
    with served(bench):
        put(client, checked_shop())
        watchers = bench.amphora.watchers
        assert news.WATCHER in watchers.states()
        wait_for(lambda: watchers.states()[news.WATCHER].looks, "the first look")
    latest = client.get("/2.0/events").json["latest"]
    assert client.get(f"/2.0/events?after={latest}&wait=60").json["events"] == []
    wait_for(lambda: told(client), "news without asking", seconds=PAUSE)
    assert told(client)[0][:2] == ("member", "member web/w1")
    assert watchers.states()[news.WATCHER].failures == 0


def test_looks_are_rare_unless_somebody_waits(client: Client, bench: Workbench, watcher: NewsWatcher) -> None:
    assert watcher.look() == PAUSE
    put(client, shop("w1"))
    assert watcher.look() == PAUSE
    client.get("/2.0/events?after=99&wait=0")
    client.get("/2.0/events?after=0&wait=25")
    assert watcher.look() == PAUSE  # there was something to tell
    client.get(f"{LB}/status?after=1&wait=25")
    assert watcher.look() == AWAITED_PAUSE
    assert not bench.amphora.events.is_awaited(time.monotonic() + 25)


def test_a_change_that_is_under_way_is_no_news(client: Client, bench: Workbench, watcher: NewsWatcher) -> None:
    with served(bench):
        put(client, checked_shop())
        watcher.look()
        unfinished = bench.paths.document(bench.lb_id).unfinished
        unfinished.write_text("{}")
    wait_for(lambda: '"ERROR"' in client.get(f"{LB}/status").text, "the member's end")
    watcher.look()
    assert told(client) == []
    unfinished.unlink()
    watcher.look()
    assert told(client)[0][:2] == ("member", "member web/w1")


def test_what_is_deleted_is_no_news(client: Client, watcher: NewsWatcher) -> None:
    put(client, shop("w1", "w2"))
    watcher.look()
    put(client, shop("w1"))
    watcher.look()
    client.delete(LB)
    watcher.look()
    assert [kind for kind, *_ in told(client)] == ["deleted"]


def test_a_pair_s_role_is_told_when_it_is_another(client: Client, bench: Workbench, watcher: NewsWatcher) -> None:
    config = bench.amphora.settings_file.path
    config.write_text(config.read_text().replace("SINGLE", "ACTIVE_STANDBY"))
    bench.netns.ip(
        "link add eth1 type veth peer name other",
        "link set other up",
        "link set eth1 up",
        "address add 10.10.0.11/24 dev eth1",
    )
    assert client.put("/2.0/secrets/word", data=b"secret").status_code == 200
    tree = shop("w1") | {"vips": [{"address": "10.10.0.200", "subnet": "10.10.0.0/24"}]}
    tree["vrrp"] = {
        "peer": "10.10.0.12",
        "own": "10.10.0.11",
        "priority": 100,
        "id": 1,
        "interface": "eth1",
        "advert_int": 1,
        "auth": "word",
    }
    applied = put(client, tree)
    assert applied.status_code == 200, applied.text

    def look() -> list[tuple[str, str, str]]:
        watcher.look()
        return told(client)

    wait_for(lambda: ("role", "", "BACKUP -> MASTER") in look(), lambda: str(told(client)))


def test_a_certificate_that_ends_soon_and_is_used_is_told_once_a_day(client: Client, watcher: NewsWatcher) -> None:
    pki = Pki.mint(AMPHORA_ID)
    for name, days in (("soon", 3), ("later", 90), ("unused", 3)):
        assert client.put(f"/2.0/secrets/{name}", data=pki.issue("shop.example.org", days=days)).status_code == 200
    client.put("/2.0/secrets/word", data=b"secret")
    tree = shop("w1")
    tls = {"protocol": "TERMINATED_HTTPS", "default_tls_container_ref": "soon", "sni_container_refs": ["later"]}
    tree["listeners"][0] |= tls
    assert put(client, tree).status_code == 200
    for _ in range(2):
        watcher.look()
        watcher.look_at_certificates()
    ((kind, subject, detail),) = told(client)
    assert (kind, subject) == ("certificate", "secret soon")
    assert detail.endswith("in 2 days")
