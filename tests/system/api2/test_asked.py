"""What is asked is judged the same whatever there is: parameters, paths, bodies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbed.amphora import RunningAmphora


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningAmphora]:
    with RunningAmphora(heartbeats=False) as running:
        yield running


@pytest.mark.parametrize("query", ["wait=61", "wait=-1", "wait=1.5", "wait=", "after=x", "after=%D9%A3"])
def test_a_wrong_parameter_is_refused_even_where_it_does_not_matter(shared: RunningAmphora, query: str) -> None:
    assert shared.ask_locally("PUT", "/2.0/secrets/word", b"secret").status == 200
    reply = shared.ask_locally("GET", f"/2.0/events?{query}")
    assert (reply.status, reply.json()["type"]) == (400, "/2.0/problems/malformed")


@pytest.mark.parametrize("path", ["loadbalancers/%ff", "loadbalancers/%ed%a0%80", "secrets/%c0%80", "%ff"])
def test_a_path_that_is_not_utf_8_is_refused(shared: RunningAmphora, path: str) -> None:
    reply = shared.ask_locally("GET", f"/2.0/{path}")
    assert (reply.status, reply.json()["type"]) == (400, "/2.0/problems/malformed")
