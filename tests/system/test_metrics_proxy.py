"""A PROMETHEUS listener of a running amphora: scraped at the VIP, by a proxy that is there as long as the listener."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from amphora_agent.core.metrics.names import haproxy_metrics
from testbed.amphora import LB_ID, RunningAmphora
from testbed.scenario import LISTENER_ID, MEMBER_IDS, VIP, Scenario, scenario
from testbed.waiting import wait_for

METRICS_PORT = 8088
METRICS_LISTENER = "77a0fc79-db97-5917-afe4-9d7cbdecf397"
POOL_ID = "d50b8050-f704-5b6e-9723-8d8dbcb5e65a"
# Of the 12 MB it may have.
MEMORY_KIBIBYTES = 12 * 1024


@pytest.fixture
def plugged() -> Iterator[Scenario]:
    with RunningAmphora(heartbeats=False) as amphora, scenario(amphora) as surroundings:
        surroundings.plug()
        yield surroundings


def scrape(place: Scenario, *, accept: str = "") -> tuple[int, str]:
    """Return status and body of a scrape at the VIP."""
    connection = http.client.HTTPConnection(VIP, METRICS_PORT, timeout=20)
    with contextlib.closing(connection):
        connection.sock = place.clients.connect(VIP, METRICS_PORT)
        connection.request("GET", "/metrics", headers={"Accept": accept} if accept else {})
        response = connection.getresponse()
        return response.status, response.read().decode()


def apply_sample(place: Scenario) -> None:
    place.apply(place.amphora.sample("haproxy/15-prometheus.cfg"))
    wait_for(lambda: scrape(place)[0] == 200, "metrics at the VIP")


def proxy_pids(place: Scenario) -> list[int]:
    found = []
    for pid in place.amphora.netns.pids():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123
            if b"prometheus_proxy" in file.read():
                found.append(pid)
    return found


def test_every_metric_of_the_contract_at_the_vip(plugged: Scenario) -> None:
    apply_sample(plugged)
    assert plugged.get() in ("web1", "web2")
    status, body = scrape(plugged)
    assert status == 200
    shown = set(re.findall(r"^# TYPE (octavia_\S+)", body, re.MULTILINE))
    assert shown == {metric.name for metric in haproxy_metrics()} | {
        "octavia_loadbalancer_cpu",
        "octavia_loadbalancer_memory",
    }
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)", body, re.MULTILINE))
    assert {m.name: m.kind for m in haproxy_metrics()} == {m.name: kinds[m.name] for m in haproxy_metrics()}
    assert f'octavia_listener_status{{listener="{LISTENER_ID}",state="UP"}} 1\n' in body
    assert f'octavia_listener_status{{listener="{METRICS_LISTENER}",state="UP"}} 1\n' in body
    for member in MEMBER_IDS:
        assert f'octavia_member_weight{{pool="{POOL_ID}:{LISTENER_ID}",member="{member}"}} 1\n' in body
    total = re.findall(rf'^octavia_listener_http_requests_total{{listener="{LISTENER_ID}"}} (\d+)', body, re.MULTILINE)
    assert total == ["1"]
    assert "prometheus-" not in body


def test_openmetrics_passes_haproxy_both_ways(plugged: Scenario) -> None:
    apply_sample(plugged)
    status, body = scrape(plugged, accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert status == 200
    assert body.endswith("\n# EOF\n")
    assert "# TYPE octavia_listener_http_requests counter\n" in body


def test_the_proxy_is_there_as_long_as_a_listener_wants_it(plugged: Scenario) -> None:
    plugged.apply(plugged.amphora.sample("haproxy/01-http-basic.cfg"))
    assert proxy_pids(plugged) == []
    apply_sample(plugged)
    [first] = proxy_pids(plugged)
    apply_sample(plugged)
    assert proxy_pids(plugged) == [first]
    plugged.apply(plugged.amphora.sample("haproxy/01-http-basic.cfg"))
    assert proxy_pids(plugged) == []
    apply_sample(plugged)
    assert plugged.amphora.request("DELETE", f"/1.0/listeners/{LB_ID}").status == 200
    assert proxy_pids(plugged) == []


def test_the_proxy_outlives_the_agent_and_comes_back_after_a_crash(plugged: Scenario) -> None:
    apply_sample(plugged)
    [first] = proxy_pids(plugged)
    plugged.amphora.kill()
    assert scrape(plugged)[0] == 200
    plugged.amphora.start()
    assert proxy_pids(plugged) == [first]
    os.kill(first, 9)
    wait_for(lambda: proxy_pids(plugged) not in ([], [first]), "another proxy")
    wait_for(lambda: scrape(plugged)[0] == 200, "metrics at the VIP")


def test_what_the_agent_and_the_heartbeats_know_is_shown() -> None:
    with RunningAmphora() as amphora, scenario(amphora) as place:
        place.plug()
        apply_sample(place)
        refused = amphora.sample("haproxy/15-prometheus.cfg") + "\nnonsense\n"
        assert place.upload(refused).status == 400
        wait_for(lambda: "amphora_haproxy_workers" in scrape(place)[1], "the heartbeat's record")
        _, body = scrape(place)
    values = dict(re.findall(r"^(amphora_\S+) (\S+)$", body, re.MULTILINE))
    assert values['amphora_applies_total{decision="start",reason="not_running"}'] == "1"
    assert values["amphora_apply_seconds_count"] == "1"
    assert 0 < float(values["amphora_apply_seconds_sum"]) < 60
    assert values["amphora_config_refused_total"] == "1"
    assert float(values['amphora_certificate_expiry_timestamp_seconds{use="agent"}']) > time.time()
    assert values['amphora_haproxy_workers{state="current"}'] == "1"
    assert values['amphora_haproxy_workers{state="leaving"}'] == "0"
    assert 0 < int(values["amphora_beat_bytes"]) < 1400
    assert values['amphora_interface_up{interface="eth1"}'] == "1"
    assert int(values["amphora_conntrack_limit"]) > 0
    assert "amphora_vrrp_role" not in body


def test_it_keeps_within_its_memory(plugged: Scenario) -> None:
    apply_sample(plugged)
    with ThreadPoolExecutor(8) as scrapers:
        assert {status for status, _ in scrapers.map(lambda _: scrape(plugged), range(40))} == {200}
    [pid] = proxy_pids(plugged)
    with open(f"/proc/{pid}/status", encoding="ascii") as file:  # noqa: PTH123
        rss = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
    assert rss <= MEMORY_KIBIBYTES
