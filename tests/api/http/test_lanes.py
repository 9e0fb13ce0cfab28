"""Each kind of request has threads of its own; one that never ends is seen."""

from __future__ import annotations

import threading
import time

import pytest

from amphora_agent.api.http.lanes import LONGEST_SERVICE, Lane, Lanes, lane_of
from testbed.waiting import wait_for


@pytest.mark.parametrize(
    ("head", "lane"),
    [
        (b"GET /1.0/plug/network HTTP/1.1", Lane.READS),
        (b"HEAD / HTTP/1.1", Lane.READS),
        (b"POST /1.0/plug/vip/10.0.0.1 HTTP/1.1", Lane.PLUGS),
        (b"PUT /2.0/interfaces/eth1?dry_run=true HTTP/1.1", Lane.PLUGS),
        (b"GET /2.0/interfaces HTTP/1.1", Lane.READS),
        (b"PUT /1.0/loadbalancer/a/b/haproxy HTTP/1.1", Lane.CHANGES),
        (b"DELETE /1.0/listeners/a HTTP/1.1", Lane.CHANGES),
        (b"NONSENSE", Lane.CHANGES),
        (b"", Lane.CHANGES),
    ],
)
def test_the_first_line_tells_the_lane(head: bytes, lane: Lane) -> None:
    assert lane_of(head) is lane


def test_a_full_lane_leaves_the_others_their_threads() -> None:
    lanes, gate = Lanes(), threading.Event()
    try:
        waiting = []
        while not lanes.is_full(Lane.CHANGES):
            waiting.append(lanes.submit(Lane.CHANGES, gate.wait))
        assert len(waiting) == Lane.CHANGES.limit
        assert not lanes.is_full(Lane.READS)
        assert lanes.submit(Lane.READS, lambda: "read").result(10) == "read"
        lanes.finish(Lane.CHANGES)
        assert not lanes.is_full(Lane.CHANGES)
    finally:
        gate.set()
        lanes.shutdown(wait=True)


@pytest.mark.hardening("B5")
def test_a_request_that_never_ends_is_seen_and_one_that_ended_is_not() -> None:
    lanes, gate = Lanes(), threading.Event()
    began = threading.Event()

    def serve() -> None:
        began.set()
        gate.wait()

    served = lanes.submit(Lane.CHANGES, serve)
    try:
        assert began.wait(10)
        now = time.monotonic()
        assert not lanes.is_stuck(now)
        assert lanes.is_stuck(now + LONGEST_SERVICE + 1)
    finally:
        gate.set()
        served.result(10)
        lanes.shutdown(wait=True)
    wait_for(lambda: not lanes.is_stuck(now + LONGEST_SERVICE + 1), "it ended")
