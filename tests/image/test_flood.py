"""A DNS-like flood through a UDP VIP while the load balancer changes all the time: no reply of a member is lost."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator

import pytest

from testbed.amphora import LB_ID, SAMPLES
from tests.image.flood import PER_SECOND, flooding, is_steady
from tests.image.listener import Controller, Listener, Member
from tests.image.machine import TEST_SECONDS, VirtualMachine

LOG = logging.getLogger(__name__)

pytestmark = pytest.mark.timeout(TEST_SECONDS)

MEMBER_CHANGES = 100
HTTP_CHANGES = 50
LISTENER = Listener(id="11111111-1111-4111-8111-111111111153", port=53)
STAYING = (Member(11), Member(12))
ROLLING = tuple(Member(host) for host in range(13, 19))
# A query under way to a member at the moment that this member is removed: its flow ends with the member.
UNDER_WAY = 2


def pools() -> Iterator[tuple[Member, ...]]:
    """Return pool after pool, one member change apart, without end: rolled out, rolled back, weighed anew."""
    one, two, three, four, five, six = ROLLING
    weighed = (*STAYING, Member(13, weight=3))
    steps = [(), (one,), (one, two), (two,), (two, three), (three,), (three, four), (four, five), (five, six), (six,)]
    rollout = [(*STAYING, *extra) for extra in steps]
    return itertools.chain.from_iterable(itertools.repeat([*rollout, STAYING, weighed]))


def test_no_reply_is_lost_while_members_come_and_go(machine: VirtualMachine, controller: Controller) -> None:
    http = (SAMPLES / "haproxy/01-http-basic.cfg").read_text()
    controller.apply_http(http)
    everyone = (*STAYING, *ROLLING)
    with controller.listening(LISTENER, STAYING), flooding(machine, everyone, LISTENER.port) as flood:
        began = time.monotonic()
        udp = LISTENER.config(STAYING)
        for number, pool in enumerate(itertools.islice(pools(), 1, MEMBER_CHANGES + 1)):
            changed = LISTENER.config(pool)
            assert changed != udp
            udp = changed
            controller.apply_udp(LISTENER.id, udp)
            if number % (MEMBER_CHANGES // HTTP_CHANGES):
                # The controller sends every listener again at every change of any.
                controller.apply_udp(LISTENER.id, udp)
                controller.apply_http(http.replace("weight 1\n", f"weight {number}\n"))
        seconds = time.monotonic() - began
        outcome = flood.stop()
    controller.delete(LB_ID)
    LOG.warning("%d + %d changes in %.1f s: %s", MEMBER_CHANGES, HTTP_CHANGES, seconds, outcome)
    assert outcome.sent > seconds * PER_SECOND / 10
    assert outcome.twice == 0
    assert not [query for query in outcome.lost_replies if not is_steady(query)]
    staying = {member.host for member in STAYING}
    assert not [host for host in outcome.lost_replies.values() if host in staying]
    assert not [query for query in outcome.lost_queries if not is_steady(query)]
    assert len(outcome.lost_replies) <= MEMBER_CHANGES * UNDER_WAY
