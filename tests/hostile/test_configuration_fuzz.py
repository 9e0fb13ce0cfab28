"""Damaged configurations for a real HAProxy, uploaded and reloaded: whatever becomes of them, a good one serves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbed.amphora import LB_ID, SAMPLES, RunningAmphora
from testbed.scenario import Scenario, scenario
from testbed.web_server import get
from tests.hostile.amount import amount, dice
from tests.hostile.mutation import mutated
from tests.hostile.mutations import HAPROXY_PATH, good_config

ROUNDS = amount(100, 2_500)  # with each setting of the firewall
RELOAD = f"/1.0/loadbalancer/{LB_ID}/reload"
LARGEST = 16 * 1024


# What the firewall would refuse reaches HAProxy without it.
@pytest.fixture(scope="module", params=["enforce", "off"])
def plugged(request: pytest.FixtureRequest) -> Iterator[Scenario]:
    options = {"amphora_agent": {"configuration_firewall": request.param}}
    with RunningAmphora(heartbeats=False, options=options) as running, scenario(running) as surroundings:
        surroundings.plug()
        yield surroundings


@pytest.mark.hardening("E")
@pytest.mark.timeout(7200)
def test_a_good_configuration_serves_after_any_bad_one(plugged: Scenario) -> None:
    amphora, numbers = plugged.amphora, dice("configurations")
    samples = [amphora.localised(path.read_text()).encode() for path in sorted(SAMPLES.glob("haproxy/*.cfg"))]
    plugged.apply(good_config(amphora))
    taken = 0
    for number in range(ROUNDS):
        config = mutated(numbers.choice(samples), numbers, most=LARGEST)
        upload = amphora.request("PUT", HAPROXY_PATH, config)
        assert upload.status in {202, 400}, (config, upload)
        taken += upload.status == 202
        if upload.status == 202:
            reply = amphora.request("PUT", RELOAD)
            assert reply.status in {202, 500}, (config, reply)
            assert b"see the agent's log" not in reply.body, (config, reply)
        # Two that differ, so that each round has something to do.
        plugged.apply(good_config(amphora).replace("timeout client 50000", f"timeout client {40000 + number % 2}"))
        assert get(plugged.clients, "10.10.0.100", 80) in {"web1", "web2"}, config
        assert amphora.request("GET", "/1.0/details").status == 200
    assert taken, "some of the damaged configurations were taken, or there was nothing to recover from"
    assert "Traceback" not in amphora.log
