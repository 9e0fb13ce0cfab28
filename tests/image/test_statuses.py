"""Every LVS sample on a real kernel, at once: what the heartbeat says of each is what the contract's table says."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from testbed.amphora import SAMPLES
from testbed.scenario import LISTENER_ID, MEMBER_IDS
from tests.image.flood import begin, udp_servers
from tests.image.listener import MEMBER_PORT, Controller
from tests.image.machine import TEST_SECONDS, VirtualMachine

LOG = logging.getLogger(__name__)

pytestmark = pytest.mark.timeout(TEST_SECONDS)

POOL_ID = "d50b8050-f704-5b6e-9723-8d8dbcb5e65a"
ONE, TWO = MEMBER_IDS
THREE = "9b7d0449-8369-5911-8bec-3b90cdfd3e41"
SIX, SIX_DISABLED = "8f862a8d-6d0b-5c76-9ed2-5cdfbd5e629a", "ea680714-af74-59c2-be67-9baedcfca7f5"
# UDP is answered everywhere, SCTP and TCP by the first member only, and the path /healthz by nobody.
UDP_ADDRESSES = ("10.20.0.11", "10.20.0.12", "10.20.0.13", "2001:db8:20::11")
UNCHECKED = ("UP", {ONE: "no check", TWO: "no check"})
ABSENT = "no such listener"
NO_POOL = "no pool"
Pool = tuple[str, Mapping[str, str]]
TABLE: Mapping[str, Pool | str] = {
    "01-udp-no-monitor": UNCHECKED,
    "02-udp-connect-monitor": ("UP", {ONE: "UP", TWO: "UP"}),
    "03-udp-http-monitor": ("DOWN", {ONE: "DOWN", TWO: "DOWN"}),
    "04-udp-tcp-monitor": ("UP", {ONE: "UP", TWO: "DOWN"}),
    "05-udp-persistence": UNCHECKED,
    "06-udp-persistence-defaults": UNCHECKED,
    "07-udp-member-states": ("UP", {ONE: "UP", TWO: "MAINT", THREE: "DRAIN"}),
    "08-udp-all-members-disabled": ("UP", {ONE: "MAINT", TWO: "MAINT"}),
    "09-udp-pool-without-members": ("UP", {}),
    "10-udp-no-pool": NO_POOL,
    "11-udp-listener-disabled": ABSENT,
    "12-udp-pool-disabled": NO_POOL,
    "13-udp-dual-stack": ("UP", {ONE: "UP", TWO: "UP", SIX: "UP", SIX_DISABLED: "MAINT"}),
    "14-udp-ipv6": ("UP", {SIX: "no check"}),
    "15-sctp-monitor": ("UP", {ONE: "UP", TWO: "DOWN"}),
    "16-sctp-no-monitor": UNCHECKED,
    "17-udp-source-ip-algorithm": UNCHECKED,
    "18-udp-loadbalancer-disabled": NO_POOL,
}
# A check of a member that does not answer: 3 retries, 5 s apart.
SETTLE_SECONDS = 180.0
KNOWN = {"UP", "DOWN", "DRAIN", "MAINT", "no check", "RESTARTING"}


def listener_id(sample: str) -> str:
    """Return an id of the sample's own: in the samples all are the same listener."""
    return f"7f699c35-0000-4000-8000-0000000000{sample[:2]}"


def pool_id(sample: str) -> str:
    """Return an id of the sample's own."""
    return f"d50b8050-0000-4000-8000-0000000000{sample[:2]}"


def config(sample: str) -> str:
    """Return the sample with ids and a VIP port of its own."""
    text = (SAMPLES / f"lvs/{sample}.conf").read_text()
    text = text.replace(LISTENER_ID, listener_id(sample)).replace(POOL_ID, pool_id(sample))
    return re.sub(r"(?m)^(    [0-9a-f.:]+) (?:53|3868)$", rf"\1 20{sample[:2]}", text)


def reported(message: Any, sample: str) -> Pool | str:
    """Return what a heartbeat says of a sample's listener, as in TABLE."""
    listener = message["listeners"].get(listener_id(sample))
    if listener is None:
        return ABSENT
    assert listener["status"] == "OPEN"
    assert set(listener["stats"]) == {"tx", "rx", "totconns", "ereq", "conns"}
    pool = message["pools"].get(pool_id(sample))
    return NO_POOL if pool is None else (pool["status"], pool["members"])


@contextlib.contextmanager
def members(machine: VirtualMachine) -> Iterator[None]:
    """Have the members that TABLE supposes."""
    sctp = begin(machine, "members", "sctp_server.py", "10.20.0.11", str(MEMBER_PORT))
    web = machine.begin(
        ["ip", "netns", "exec", "members", "python3", "-m", "http.server", "--bind", "10.20.0.11", str(MEMBER_PORT)]
    )
    with contextlib.closing(sctp), contextlib.closing(web), udp_servers(machine, UDP_ADDRESSES):
        yield


def test_every_sample_is_reported_as_the_table_says(machine: VirtualMachine, controller: Controller) -> None:
    began = time.monotonic()
    with members(machine):
        for sample in TABLE:
            controller.apply_udp(listener_id(sample), config(sample))
        LOG.warning("%d listeners applied in %.1f s", len(TABLE), time.monotonic() - began)
        machine.heartbeats.drain()
        message: Any = {}
        while time.monotonic() < began + SETTLE_SECONDS:
            message = machine.heartbeats.receive(timeout=20).message
            for pool in message["pools"].values():
                assert set(pool["members"].values()) <= KNOWN
            if all(reported(message, sample) == wanted for sample, wanted in TABLE.items()):
                break
        LOG.warning("as the table says after %.1f s", time.monotonic() - began)
        assert {sample: reported(message, sample) for sample in TABLE} == TABLE
    for sample in TABLE:
        controller.delete(listener_id(sample))
    assert "->" not in machine.inside("amphora-haproxy", ["ipvsadm", "-Ln"]).partition("Weight")[2]
    ours = {listener_id(sample) for sample in TABLE}
    machine.heartbeats.receive_until(lambda message: ours.isdisjoint(message["listeners"]), timeout=20)
