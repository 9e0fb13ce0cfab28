"""Routes as netlink messages: read back by another implementation, and the kernel's answers to them."""

from __future__ import annotations

import struct
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from amphora_agent.core.network.model import VIP_TABLE, Route
from amphora_agent.core.network.route_messages import add_route, outcomes
from amphora_agent.errors import MalformedData


@pytest.mark.parametrize(
    "route",
    [
        Route(destination=ip_network("10.1.0.0/16"), gateway=ip_address("10.0.0.1"), onlink=True),
        Route(destination=ip_network("10.1.2.0/24"), prefsrc=ip_address("10.1.2.3"), table=VIP_TABLE, link_scope=True),
        Route(destination=ip_network("0.0.0.0/0"), gateway=ip_address("10.0.0.1"), table=100_000),
        Route(destination=ip_network("2001:db8::/64"), prefsrc=ip_address("2001:db8::5"), link_scope=True),
        Route(destination=ip_network("::/0"), gateway=ip_address("fe80::1"), onlink=True, table=VIP_TABLE),
    ],
)
def test_another_implementation_reads_the_route(route: Route) -> None:
    message = rtmsg(add_route(route, 7, 42))
    message.decode()
    assert message["header"]["sequence_number"] == 42
    assert (message["dst_len"], message["proto"], message["type"]) == (route.destination.prefixlen, 4, 1)
    assert message["scope"] == (253 if route.link_scope and route.destination.version == 4 else 0)
    wanted = route.destination.prefixlen and str(route.destination.network_address)
    assert (message.get_attr("RTA_DST") or 0) == wanted
    assert (message.get_attr("RTA_OIF"), message.get_attr("RTA_TABLE")) == (7, route.table)
    assert message.get_attr("RTA_GATEWAY") == (None if route.gateway is None else str(route.gateway))
    assert message.get_attr("RTA_PREFSRC") == (None if route.prefsrc is None else str(route.prefsrc))
    assert bool(message["flags"] & 4) is route.onlink


def answer(sequence: int, code: int, kind: int = 2) -> bytes:
    return struct.pack("=IHHIIi", 20, kind, 0, sequence, 0, -code)


def test_answers_are_read_in_order_and_other_messages_passed_over() -> None:
    data = answer(0, 0) + answer(1, 17) + answer(9, 0, kind=3) + answer(2, 22)
    assert list(outcomes(data)) == [(0, 0), (1, 17), (2, 22)]


@given(st.binary(max_size=200))
def test_any_bytes_are_answers_or_malformed(data: bytes) -> None:
    try:
        assert all(sequence >= 0 for sequence, _ in outcomes(data))
    except MalformedData as error:
        assert error.detail
