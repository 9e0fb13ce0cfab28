"""Latency histograms end to end: HAProxy logs, a real rsyslogd with the image's files counts, a scrape shows."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

from testbed.amphora import RunningAmphora
from testbed.rsyslog import IS_INSTALLED, logging_to, rsyslogd
from testbed.scenario import LISTENER_ID, Scenario, scenario
from testbed.waiting import wait_for
from tests.system.test_metrics_proxy import scrape

pytestmark = pytest.mark.skipif(not IS_INSTALLED, reason="rsyslogd is not installed")

REQUESTS, SESSIONS = "amphora_listener_duration_seconds", "amphora_listener_session_duration_seconds"
# As the controller delivers it where logs are sent away and not kept.
OFFLOADING = """
ruleset(name="tenant_forwarding" queue.type="linkedList" queue.size="10000") {{
  action(type="omfwd" target="127.0.0.1" port="{port}" protocol="UDP")
}}
local0.=info call tenant_forwarding
*.* stop
"""
# What makes the sample's HTTP listener one of TCP, as the controller writes it.
TCP = (
    ("mode http\n    default_backend d50", "mode tcp\n    default_backend d50"),
    ("mode http\n    http-reuse safe", "mode tcp"),
    ("%{+Q}r\\ %ST", "-\\ -"),
)


@pytest.fixture
def place() -> Iterator[Scenario]:
    options = {"amphora_agent": {"configuration_firewall": "off"}}
    with RunningAmphora(heartbeats=False, options=options) as amphora, scenario(amphora) as surroundings:
        surroundings.plug()
        yield surroundings


@pytest.fixture
def target() -> Iterator[socket.socket]:
    """Where logs are offloaded to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(20)
        yield receiver


def apply(place: Scenario, *changes: tuple[str, str]) -> None:
    """Apply the sample with a PROMETHEUS listener, logging to this rsyslogd, with words changed."""
    text = logging_to(place.amphora, place.amphora.sample("haproxy/15-prometheus.cfg"))
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    place.apply(text)
    wait_for(lambda: scrape(place)[0] == 200, "metrics at the VIP")


def buckets(place: Scenario, name: str) -> dict[str, int]:
    lines = re.findall(rf'^{name}_bucket{{listener="{LISTENER_ID}",le="(\S+)"}} (\d+)$', scrape(place)[1], re.MULTILINE)
    return {bound: int(count) for bound, count in lines}


def source(place: Scenario) -> str:
    [found] = re.findall(rf'amphora_latency_source{{listener="{LISTENER_ID}",source="(\w+)"}} 1', scrape(place)[1])
    return str(found)


def wait_for_count(place: Scenario, name: str, count: int) -> None:
    wait_for(lambda: buckets(place, name).get("+Inf") == count, lambda: scrape(place)[1])


def test_requests_are_counted_by_how_long_they_took(place: Scenario) -> None:
    with rsyslogd(place.amphora):
        apply(place)
        for _ in range(7):
            place.get()
        wait_for_count(place, REQUESTS, 7)
        counts = list(buckets(place, REQUESTS).values())
        assert counts == sorted(counts)
        assert buckets(place, REQUESTS)["60"] == 7
        assert source(place) == "requests"
        assert buckets(place, SESSIONS) == {}


def test_sessions_of_tcp_have_a_name_of_their_own(place: Scenario) -> None:
    with rsyslogd(place.amphora):
        apply(place, *TCP)
        for _ in range(3):
            place.get()
        wait_for_count(place, SESSIONS, 3)
        assert source(place) == "sessions"
        assert buckets(place, REQUESTS) == {}


def test_a_listener_with_a_format_of_its_own_has_none_and_says_so(place: Scenario) -> None:
    with rsyslogd(place.amphora):
        apply(place)
        place.get()
        wait_for_count(place, REQUESTS, 1)
        apply(place, ("%Tt\\ %tsc", "%Tt"))
        assert source(place) == "custom_format"
        assert buckets(place, REQUESTS) == {}


def test_logs_that_are_sent_away_and_not_kept_are_counted_first(place: Scenario, target: socket.socket) -> None:
    with rsyslogd(place.amphora, offloading=OFFLOADING.format(port=target.getsockname()[1])):
        apply(place)
        place.get()
        wait_for(lambda: f" {LISTENER_ID} ".encode() in target.recv(65536), "the request among the lines sent away")
        wait_for_count(place, REQUESTS, 1)
    assert not (place.amphora.directory / "rsyslog" / "haproxy.log").exists()


def test_the_file_of_counts_does_not_grow(place: Scenario) -> None:
    with rsyslogd(place.amphora, limit=4000):
        apply(place)
        place.get()
        aside = place.amphora.base / "metrics" / "latency.1"
        wait_for(aside.exists, "the file set aside")
        wait_for_count(place, REQUESTS, 1)
        assert aside.stat().st_size < 8000
