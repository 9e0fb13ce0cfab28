"""Large bodies leave no memory behind: a small VM has none to lose."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from amphora_agent.api.http.framing import MAX_BODY
from amphora_agent.api.v1.loadbalancers import MAX_CONFIG
from testbed.amphora import AMPHORA_ID, LB_ID, RunningAmphora
from testbed.waiting import wait_for

# What is imported at a first request and kept; one body is nearly as large.
ALLOWANCE = 15_000_000
# At once; the disk takes them one after the other.
BODIES = 6
CERTIFICATES = f"/1.0/loadbalancer/{LB_ID}/certificates"


def rss(amphora: RunningAmphora) -> int:
    return sum(psutil.Process(pid).memory_info().rss for pid in amphora.agent_pids())


@pytest.mark.hardening("D17")
def test_the_largest_bodies_leave_nothing_behind(amphora: RunningAmphora) -> None:
    assert amphora.request("PUT", f"{CERTIFICATES}/small.pem", b"x").status == 200
    before = rss(amphora)
    with ThreadPoolExecutor(BODIES) as controllers:
        sent = [
            controllers.submit(amphora.request, "PUT", f"{CERTIFICATES}/large{number}.pem", b"x" * MAX_BODY)
            for number in range(BODIES)
        ]
        # More than the agent holds in all is refused, never half taken.
        assert {reply.result().status for reply in sent} <= {200, 503}
    wait_for(lambda: rss(amphora) < before + ALLOWANCE, "the memory is given back")


@pytest.mark.hardening("D17")
def test_a_configuration_that_no_haproxy_would_take_is_refused_and_gone(amphora: RunningAmphora) -> None:
    path = f"/1.0/loadbalancer/{AMPHORA_ID}/{LB_ID}/haproxy"
    assert amphora.request("PUT", path, b"no HAProxy takes this").status == 400
    before = rss(amphora)
    reply = amphora.request("PUT", path, b"#" + b"x" * MAX_CONFIG)
    assert reply.status == 400
    assert "larger" in reply.json()["details"]
    wait_for(lambda: rss(amphora) < before + ALLOWANCE, "the memory is given back")
