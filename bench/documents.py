"""API 2.0 under measurement, beside API 1.0 of the same agent in the same minutes; others have no figures."""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

from amphora_agent.core.document.identity import Identity, loadbalancer_id
from bench import processes
from bench.arena import CHANGE_SECONDS, MEMBER_PORT, Arena, arena, configuration, member_ids
from bench.contestants import Contestant
from testbed.amphora import ask
from testbed.scenario import VIP

Figures = dict[str, float]
MEGABYTE = 1_000_000
ROUNDS = 8
CALLS = 200
NAME = "bench"
PATH = f"/2.0/loadbalancers/{NAME}"
MEMBERS = f"{PATH}/pools/all/members"


def members(contestant: Contestant, sizes: tuple[int, ...] = (100, 1_000)) -> Figures:
    """A change of one member among n by `PUT members` and by the whole document, in turn with API 1.0's way; p50.

    Each is over when HAProxy serves just the new members; the shares are of API 1.0's figure.
    """
    figures: Figures = {}
    for count in sizes if contestant.has_api_2 else ():
        with arena(contestant) as place:
            ids = member_ids(count + ROUNDS)
            place.apply(configuration(place.amphora, ids[:count]))
            _put(place, PATH, _document(range(count)))
            samples: dict[str, list[float]] = {"upload": [], "members": [], "document": []}
            ways = {"members": (MEMBERS, _members), "document": (PATH, _document)}
            for number in range(ROUNDS):
                # A member comes, and goes, and the next one is another: no id comes back.
                more = ids[count + number : count + number + 1 - number % 2]
                samples["upload"].append(place.change((*ids[:count], *more)))
                # One way adds a member and the other one removes it, in turn.
                first, second = ("members", "document")[:: 1 - number % 2 * 2]
                samples[first].append(_timed(place, *ways[first], [*range(count), count + number]))
                samples[second].append(_timed(place, *ways[second], range(count)))
        own = {name: statistics.median(values) for name, values in samples.items()}
        figures |= {f"api2 {name} {count}": seconds for name, seconds in own.items()}
        figures |= {f"api2 {name} share {count}": own[name] / own["upload"] for name in ("members", "document")}
    return figures


def memory(contestant: Contestant) -> Figures:
    """What 200 calls of API 2.0 add to the memory of all the agent's processes after 200 calls of API 1.0.

    Of either kind every fourth call changes the members.
    """
    if not contestant.has_api_2:
        return {}
    with arena(contestant) as place:
        place.apply(configuration(place.amphora, member_ids(2)))
        for number in range(CALLS):
            if number % 4 == 0:
                place.apply(configuration(place.amphora, member_ids(2 + number % 8 // 4)))
            else:
                path = ("/1.0/info", "/1.0/details", "/1.0/listeners")[number % 4 - 1]
                assert place.amphora.request("GET", path).status == HTTPStatus.OK
        before = processes.memory(place.amphora.agent_pids())
        _put(place, PATH, _document(range(2)))
        for number in range(CALLS):
            if number % 4 == 0:
                _put(place, MEMBERS, _members(range(2 + number % 8 // 4)))
            else:
                path = (f"{PATH}/status", PATH, f"{PATH}/plan")[number % 4 - 1]
                assert place.amphora.request("GET", path).status == HTTPStatus.OK
        after = processes.memory(place.amphora.agent_pids())
    return {"api2 memory": (after.pss - before.pss) / MEGABYTE}


def _members(numbers: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {"name": f"m{n}", "address": f"10.30.{n // 250}.{n % 250 + 1}", "protocol_port": MEMBER_PORT} for n in numbers
    ]


def _document(numbers: Sequence[int]) -> dict[str, Any]:
    """Return the load balancer of `arena.configuration`, at another port."""
    listener = {"name": "all", "protocol": "TCP", "protocol_port": 81, "connection_limit": 4000, "default_pool": "all"}
    pool = {
        "name": "all",
        "protocol": "TCP",
        "lb_algorithm": "LEAST_CONNECTIONS",
        "healthmonitor": {"type": "TCP", "delay": 10, "timeout": 5, "max_retries": 3},
        "members": _members(numbers),
    }
    vips = [{"address": VIP, "subnet": "10.10.0.0/24"}]
    return {"name": NAME, "vips": vips, "listeners": [listener], "pools": [pool]}


def _timed(place: Arena, path: str, make: Callable[[Sequence[int]], object], numbers: Sequence[int]) -> float:
    """Put it, and return the seconds until HAProxy serves just these members."""
    body = make(numbers)
    lb_id = loadbalancer_id(NAME)
    wanted = frozenset(Identity(lb_id).member("all", f"m{number}") for number in numbers)
    began = time.monotonic()
    _put(place, path, body)
    while place.serving(lb_id) != wanted:
        if time.monotonic() - began > CHANGE_SECONDS:
            raise TimeoutError("the change never took effect")
        time.sleep(0.002)
    return time.monotonic() - began


def _put(place: Arena, path: str, tree: object) -> None:
    with contextlib.closing(place.amphora.connect()) as connection:
        reply = ask(connection, "PUT", path, json.dumps(tree), headers={"Content-Type": "application/json"})
    if reply.status != HTTPStatus.OK:
        raise RuntimeError(f"PUT {path}: {reply.status} {reply.body[:500]!r}")
