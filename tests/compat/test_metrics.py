"""A PROMETHEUS listener all the way: rendered by Octavia, run by the agent, scraped at the VIP."""

from __future__ import annotations

import contextlib
import http.client
import re

from testbed.scenario import LISTENER_ID, MEMBER_IDS, VIP, Scenario
from testbed.waiting import wait_for
from tests.compat.controller import POOL_ID, OctaviaController, listener, world

METRICS_LISTENER = "77a0fc79-db97-5917-afe4-9d7cbdecf397"
METRICS_PORT = 8088


def scrape(balancer: Scenario) -> tuple[int, str]:
    connection = http.client.HTTPConnection(VIP, METRICS_PORT, timeout=20)
    with contextlib.closing(connection):
        connection.sock = balancer.clients.connect(VIP, METRICS_PORT)
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        return response.status, response.read().decode()


def test_a_prometheus_listener_comes_and_goes(balancer: Scenario, octavia: OctaviaController) -> None:
    balancer.plug()
    octavia.call("insert", rows=world(monitor=False))
    octavia.call("insert", rows=[listener(METRICS_LISTENER, protocol="PROMETHEUS", port=METRICS_PORT)])
    octavia.update_listeners()
    wait_for(lambda: scrape(balancer)[0] == 200, "metrics at the VIP")
    assert balancer.get() in ("web1", "web2")

    _, body = scrape(balancer)
    pool = f'pool="{POOL_ID}:{LISTENER_ID}"'
    for member in MEMBER_IDS:
        assert f'octavia_member_status{{{pool},member="{member}",state="UP"}} ' in body
    assert re.search(rf"^octavia_pool_active_members{{{pool}}} 2$", body, re.MULTILINE)
    assert re.search(rf'^octavia_listener_http_requests_total{{listener="{LISTENER_ID}"}} 1$', body, re.MULTILINE)
    assert re.search(r"^octavia_loadbalancer_memory \d+\.\d$", body, re.MULTILINE)

    octavia.call("remove", model="Listener", key=METRICS_LISTENER)
    octavia.update_listeners()
    assert balancer.get() in ("web1", "web2")
    with contextlib.suppress(ConnectionRefusedError):
        scrape(balancer)
        raise AssertionError("the removed listener still answers")
