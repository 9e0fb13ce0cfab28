"""A real Prometheus scrapes a running amphora under load: all that the dashboards and the alerts ask for is there."""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
from collections.abc import Iterator

import pytest

from testbed import rsyslog
from testbed.amphora import RunningAmphora
from testbed.dashboards import DASHBOARDS
from testbed.metrics_document import RULES, alerts
from testbed.prometheus import IS_INSTALLED, Prometheus
from testbed.public_dashboard import METRICS
from testbed.scenario import VIP, Scenario, scenario
from testbed.waiting import wait_for
from tests.system.test_metrics_proxy import METRICS_PORT, scrape

pytestmark = pytest.mark.skipif(
    not IS_INSTALLED or not rsyslog.IS_INSTALLED, reason="Prometheus or rsyslog is not installed"
)

# What may have no data, and why.
EMPTY = {
    "amphora_vrrp_role": "there is no other amphora",
    "amphora_vrrp_transitions_total": "there is no other amphora",
    "octavia_member_current_throttle": "HAProxy has it while a member starts slowly, which no controller asks for",
    "amphora_listener_session_duration_seconds_bucket": "the listeners are HTTP",
    "ALERTS": "all is well",
}
VARIABLES = {"$amphora": ".*", "$__rate_interval": "2m"}


@pytest.fixture(scope="module")
def place() -> Iterator[Scenario]:
    """A load balancer with traffic and changes behind it."""
    options = {"health_manager": {"heartbeat_interval": "1"}, "amphora_agent": {"configuration_firewall": "off"}}
    with RunningAmphora(options=options) as amphora, scenario(amphora) as surroundings, rsyslog.rsyslogd(amphora):
        surroundings.plug()
        surroundings.apply(configuration(surroundings))
        wait_for(lambda: scrape(surroundings)[0] == 200, "metrics at the VIP")
        with under_load(surroundings):
            yield surroundings


def configuration(place: Scenario) -> str:
    """Return an HTTP listener with two members, and a PROMETHEUS listener."""
    return rsyslog.logging_to(place.amphora, place.amphora.sample("haproxy/15-prometheus.cfg"))


@contextlib.contextmanager
def under_load(place: Scenario) -> Iterator[None]:
    """Send one request after the other meanwhile."""
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.wait(0.02):
            with contextlib.suppress(OSError):
                place.get()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.fixture(scope="module")
def prometheus(place: Scenario) -> Iterator[Prometheus]:
    """A Prometheus that has seen the amphora for a while, and a reload."""
    with Prometheus(place.clients, f"{VIP}:{METRICS_PORT}", RULES) as server:
        wait_for(lambda: server.query('up{job="octavia"} == 1'), server.log, seconds=60)
        place.apply(configuration(place).replace("timeout client 50000", "timeout client 49000"))
        wait_for(lambda: server.query("increase(amphora_reloads_total[2m]) > 0"), "a reload in the metrics", seconds=60)
        wait_for(lambda: server.query("count_over_time(up[2m]) >= 10"), "ten scrapes", seconds=60)
        wait_for(
            lambda: server.query("rate(amphora_listener_duration_seconds_bucket[2m]) > 0"), "latencies", seconds=60
        )
        yield server


def concrete(query: str) -> str:
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    return query


def may_be_empty(query: str) -> bool:
    return any(re.search(rf"\b{name}\b", query) for name in EMPTY)


def test_every_query_of_the_dashboards_returns_data(prometheus: Prometheus) -> None:
    queries = [
        query
        for dashboard in DASHBOARDS.values()
        for panels in dashboard.rows.values()
        for panel in panels
        for query in panel.queries.values()
    ]
    assert [query for query in queries if not prometheus.query(concrete(query)) and not may_be_empty(query)] == []


def test_every_metric_of_the_public_dashboard_has_data(prometheus: Prometheus) -> None:
    assert [name for name in METRICS if not prometheus.query(name) and name not in EMPTY] == []
    assert prometheus.query('octavia_member_status{state="UP"} == 1')
    assert prometheus.query('octavia_listener_status{state="UP"} == 1')
    assert prometheus.query('octavia_pool_http_responses_total{code="2xx"} > 0')


def test_the_alerts_are_evaluated_and_silent(prometheus: Prometheus) -> None:
    rules = {rule["name"]: rule for rule in prometheus.rules()}
    assert set(rules) == {alert.name for alert in alerts()}
    wait_for(lambda: all(rule["health"] == "ok" for rule in prometheus.rules()), lambda: str(prometheus.rules()))
    assert {name: rule["alerts"] for name, rule in rules.items() if rule["state"] == "firing"} == {}
    metrics = {name for alert in alerts() for name in re.findall(r"\b(?:amphora|octavia)_[a-z_]+\b", alert.expression)}
    assert [name for name in sorted(metrics) if not prometheus.query(name) and name not in EMPTY] == []


def test_promtool_has_no_complaint(place: Scenario) -> None:
    _, body = scrape(place)
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=body, capture_output=True, text=True, check=False, timeout=60
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
