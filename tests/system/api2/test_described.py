"""Whatever is asked, answers are as openapi.json describes them, and none is the agent's fault: over TLS and locally.

schemathesis makes requests from the description: half of them as described, half of them not. Random names never meet
what is there, so most requests are moved towards a few names, and most documents are a valid one with a part of the
random one laid over it. `AMPHORA_HOSTILE=long` tries much more.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeAlias

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from testbed import openapi
from testbed.amphora import Reply, RunningAmphora, ask
from testbed.scenario import Scenario
from tests.hostile.amount import SEED, amount, dice

# Of both transports together.
CASES = amount(20_000, 1_000_000)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
DELETE = "DELETE /2.0/loadbalancers/{lb}"
Case: TypeAlias = "schemathesis.Case[Any]"
Operation: TypeAlias = "schemathesis.APIOperation[Any, Any, Any, Any]"
Connect = Callable[[RunningAmphora], http.client.HTTPConnection]

pytestmark = pytest.mark.timeout(amount(1200, 24 * 3600))

SHOP: Mapping[str, Any] = {
    "name": "shop",
    "vips": [{"address": "10.10.0.100", "subnet": "10.10.0.0/24"}],
    "listeners": [{"name": "plain", "protocol": "HTTP", "protocol_port": 80, "default_pool": "web"}],
    "pools": [
        {
            "name": "web",
            "protocol": "HTTP",
            "lb_algorithm": "ROUND_ROBIN",
            "members": [
                {"name": "w1", "address": "10.20.0.11", "protocol_port": 8080},
                {"name": "w2", "address": "10.20.0.12", "protocol_port": 8080},
            ],
        },
        {"name": "db", "protocol": "TCP", "lb_algorithm": "SOURCE_IP"},
    ],
}
# What is there, or may come to be there.
NAMES: Mapping[str, tuple[Any, ...]] = {
    "lb": ("shop", "shop", "shop", "mail", "25744ac1-3e34-55a2-8441-e585e4cba268"),
    "pool": ("web", "web", "db"),
    "member": ("w1", "w2"),
    "number": (1, 2, 3),
    "name": ("token",),
    "loadbalancer": ("shop", "mail"),
    # Not eth1: without the VIP nothing else could be applied.
    "interface": ("eth2", "fa:16:3e:00:00:02"),
}
# What a document could have in these places; a random text is no address.
LIKELY: Mapping[str, tuple[Any, ...]] = {
    "address": ("10.20.0.11", "10.20.0.12", "10.10.0.100", "2001:db8::7"),
    "monitor_address": ("10.20.0.11", None),
    "subnet": ("10.10.0.0/24",),
    "destination": ("10.9.0.0/16",),
    "nexthop": ("10.10.0.1",),
    "gateway_ip": ("10.10.0.1", None),
    "default_pool": ("web", "db", None),
    "redirect_pool": ("web", None),
    "allowed_cidrs": (["10.0.0.0/8"], []),
    "addresses": (["10.20.0.5/24"], ["10.20.0.5/24", "10.20.0.6/24"]),
    "gateways": ([],),
    "mtu": (1400, None),
    "insert_headers": ({"X-Forwarded-For": "true"}, {}),
    "session_persistence": (None, {"type": "SOURCE_IP"}, {"type": "HTTP_COOKIE"}),
    "vrrp": (None,),
    "default_tls_container_ref": (None, "token"),
}
# Of what schemathesis would have its own client send.
PARTS = frozenset({"method", "url", "headers", "params", "data", "json", "cookies"})


@dataclass(slots=True)
class Caller:
    """One client: sends what schemathesis made, on one connection as long as that lasts."""

    amphora: RunningAmphora
    connect: Connect
    random: random.Random
    statuses: Counter[int] = field(default_factory=Counter)
    _connection: http.client.HTTPConnection | None = None

    def begin(self) -> None:
        """Have a load balancer there, with a pool and members of the names that are asked for."""
        reply = self.amphora.ask_locally("PUT", "/2.0/loadbalancers/shop", document=SHOP)
        assert reply.status == HTTPStatus.OK, reply

    def call(self, case: Case) -> schemathesis.Response:
        """Send one request and return its answer; once more where a kept connection had ended."""
        kwargs = case.as_transport_kwargs(base_url="http://localhost")
        prepared = requests.Request(**{key: value for key, value in kwargs.items() if key in PARTS}).prepare()
        begun = time.monotonic()
        try:
            reply = self._ask(prepared)
        except (OSError, http.client.HTTPException):
            self.close()
            reply = self._ask(prepared)
        self.statuses[reply.status] += 1
        headers = {name: [value] for name, value in reply.headers.items()}
        return schemathesis.Response(reply.status, headers, reply.body, prepared, time.monotonic() - begun, verify=True)

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def steer(self, case: Case) -> None:
        """Move most requests towards what is there, and none towards a wait."""
        for part in (case.path_parameters, case.query):
            for name in part if isinstance(part, dict) else ():
                if name in NAMES and self.random.random() < 0.9:
                    part[name] = self.random.choice(NAMES[name])
        if isinstance(case.query, dict) and isinstance(case.query.get("wait"), int):
            case.query["wait"] = min(case.query["wait"], 0)
        if self.random.random() < 0.8:
            case.body = self._likely(case.body)
            if "interface" in case.path_parameters and isinstance(case.body, dict):
                case.body["vips"] = []
            elif isinstance(case.body, dict) and "vips" in case.body:
                case.body = self._blended(SHOP, case.body)
            if isinstance(case.body, dict) and "name" in case.body:
                case.body["name"] = case.path_parameters.get("member") or case.path_parameters.get("lb")

        if "interface" in case.path_parameters and isinstance(case.body, dict) and not case.body.get("addresses"):
            # Each request without any would wait for a DHCP server.
            case.body["addresses"] = self.random.choice(LIKELY["addresses"])

    def _ask(self, prepared: requests.PreparedRequest) -> Reply:
        if self._connection is None:
            self._connection = self.connect(self.amphora)
        headers = {
            name: value.decode("latin-1") if isinstance(value, bytes) else value
            for name, value in prepared.headers.items()
        }
        body = prepared.body if isinstance(prepared.body, bytes | str) else None
        reply = ask(self._connection, str(prepared.method), prepared.path_url, body, headers=headers)
        if reply.headers.get("connection") == "close":
            self.close()
        return reply

    def _likely(self, value: Any) -> Any:
        """Return a body with values that could be, in the places that have them."""
        if isinstance(value, list):
            return [self._likely(each) for each in value]
        if not isinstance(value, dict):
            return value
        return {name: self._likely_at(name, each) for name, each in value.items()}

    def _likely_at(self, name: str, value: Any) -> Any:
        if name in LIKELY and self.random.random() < 0.9:
            return self.random.choice(LIKELY[name])
        if name in {"pools", "members"} and isinstance(value, list):
            return [self._named(each, name, at) for at, each in enumerate(value)]
        return self._likely(value)

    def _named(self, value: Any, among: str, at: int) -> Any:
        found, names = self._likely(value), ("web", "db") if among == "pools" else ("w1", "w2")
        return {**found, "name": names[at]} if isinstance(found, dict) and at < len(names) else found

    def _blended(self, base: Any, made: Any) -> Any:
        """Return what is valid with a part of what was made laid over it."""
        if isinstance(base, Mapping) and isinstance(made, dict):
            laid = {key: self._blended(base.get(key), each) for key, each in made.items() if self.random.random() < 0.2}
            return {**base, **laid}
        if isinstance(base, list) and isinstance(made, list) and self.random.random() < 0.8:
            both = [self._blended(old, new) for old, new in zip(base, made, strict=False)]
            return [*both, *base[len(both) :], *made[len(both) : len(both) + 1]]
        return made


@pytest.fixture(params=[RunningAmphora.connect, RunningAmphora.connect_locally], ids=["TLS", "socket"])
def caller(request: pytest.FixtureRequest, plugged: Scenario) -> Iterator[Caller]:
    made = Caller(plugged.amphora, request.param, dice("described", request.node.name))
    with contextlib.closing(made):
        yield made


def operations() -> list[Operation]:
    """Return what API 2.0 can be asked."""
    schema = schemathesis.openapi.from_dict(json.loads(openapi.FILE.read_text()))
    found = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    return [operation for operation in found if operation.path.startswith("/2.0/")]


def check(caller: Caller, operation: Operation, mode: schemathesis.GenerationMode, number: int) -> None:
    """Try a number of requests of one operation, as described or not."""

    @seed(SEED)
    @settings(max_examples=number, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Case) -> None:
        caller.steer(case)
        response = caller.call(case)
        case.validate_response(response, checks=CHECKS)
        if operation.label == DELETE and response.status_code == HTTPStatus.NO_CONTENT:
            caller.begin()

    # What has no parameters cannot be asked otherwise than as described.
    with contextlib.suppress(Unsatisfiable):
        run()


def test_answers_are_as_described(caller: Caller) -> None:
    found = operations()
    varied = [operation for operation in found if operation.path_parameters or operation.query or operation.body]
    share = CASES // (2 * len(MODES) * len(varied))
    for operation in found:
        caller.begin()
        for mode in MODES:
            check(caller, operation, mode, share)
    print(sum(caller.statuses.values()), sorted(caller.statuses.items()))  # noqa: T201 - how deep the requests went
    assert {200, 204, 400, 404, 409, 412, 422} <= caller.statuses.keys(), "the requests went deep enough"
    assert sum(caller.statuses.values()) >= CASES // 2 - 2 * len(MODES) * len(varied)
    assert "Traceback" not in caller.amphora.log
    described = caller.amphora.ask_locally("GET", "/2.0/openapi.json")
    assert described.body == openapi.FILE.read_bytes()
