"""Both ways to reach API 2.0: the same answers, who asks, and requests that wait for news."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from amphora_agent.api.http.waiting import PLACES
from testbed.amphora import RunningAmphora, ask
from testbed.scenario import Scenario
from tests.api.http.crowd import fill

DOCS = Path(__file__).parents[3] / "docs" / "api-2.0.md"
SHOP = "/2.0/loadbalancers/shop"
Connect = Callable[[RunningAmphora], http.client.HTTPConnection]
BOTH = [
    pytest.param(RunningAmphora.connect, "CN=", id="TLS"),
    pytest.param(RunningAmphora.connect_locally, "uid 0", id="socket"),
]


def shop(weight: int) -> dict[str, Any]:
    """Return a document whose one member has this weight."""
    member = {"name": "w1", "address": "10.20.0.11", "protocol_port": 8080, "weight": weight}
    pool = {"name": "web", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": [member]}
    listener = {"name": "plain", "protocol": "HTTP", "protocol_port": 80, "default_pool": "web"}
    vip = {"address": "10.10.0.100", "subnet": "10.10.0.0/24"}
    return {"name": "shop", "vips": [vip], "listeners": [listener], "pools": [pool]}


def test_the_command_of_the_page_reaches_it_over_tls(amphora: RunningAmphora) -> None:
    (command,) = re.findall(r"```sh\n(.*?)```", DOCS.read_text(), re.DOTALL)
    text = f"AMPHORA_ID={amphora.amphora_id}; cd {amphora.pki_dir}; {command}"
    assert amphora.client.run(["sh", "-c", text]) == '{"status":"ok"}'


@pytest.mark.parametrize(("connect", "name"), BOTH)
def test_who_asked_is_remembered(plugged: Scenario, connect: Connect, name: str) -> None:
    with contextlib.closing(connect(plugged.amphora)) as connection:
        assert ask(connection, "PUT", SHOP, document=shop(1)).status == 200
        (revision,) = ask(connection, "GET", f"{SHOP}/revisions").json()
        assert revision["by"].startswith(name)
        assert (name == "uid 0") == (ask(connection, "GET", "/1.0/info").status == 404)


@pytest.mark.parametrize("connect", [RunningAmphora.connect, RunningAmphora.connect_locally], ids=["TLS", "socket"])
def test_those_who_wait_cost_no_thread_and_hear_of_a_change(plugged: Scenario, connect: Connect) -> None:
    amphora = plugged.amphora
    assert amphora.ask_locally("PUT", SHOP, document=shop(1)).status == 200
    latest = amphora.ask_locally("GET", "/2.0/events").json()["latest"]
    generation = amphora.ask_locally("GET", f"{SHOP}/status").json()["generation"]
    paths = f"/2.0/events?after={latest}&wait=60", f"{SHOP}/status?after={generation}&wait=60"
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(contextlib.closing(connect(amphora))) for _ in range(PLACES)]
        probe = f"/2.0/events?after={latest}&wait=1"
        asked = {connection: paths[number % 2] for number, connection in enumerate(waiting)}
        fill(asked, lambda: amphora.ask_locally("GET", probe).status)
        with ThreadPoolExecutor(8) as readers:
            reads = list(readers.map(lambda _: amphora.ask_locally("GET", f"{SHOP}/status").status, range(40)))
        assert reads == [200] * 40
        assert amphora.ask_locally("PUT", SHOP, document=shop(7)).status == 200
        for number, connection in enumerate(waiting):
            response = connection.getresponse()
            answer = json.loads(response.read())
            assert response.status == 200
            assert answer["generation"] == generation + 1 if number % 2 else answer["events"][0]["kind"] == "applied"
