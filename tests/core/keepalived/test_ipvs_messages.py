"""The IPVS codec against an independent one (pyroute2), and against garbage."""

from __future__ import annotations

import socket
import struct
import time
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.generic import ipvs as other

from amphora_agent.core.keepalived import ipvs_messages as codec
from amphora_agent.core.keepalived.ipvs import Destination, Endpoint, Protocol, ServiceKey
from amphora_agent.errors import MalformedData

FAMILY = 33
V4 = ServiceKey(Protocol.UDP, Endpoint(ip_address("10.10.0.100"), 53))
V6 = ServiceKey(Protocol.SCTP, Endpoint(ip_address("2001:db8:10::100"), 3868))
KEYS = (V4, V6)
MEMBER4 = Endpoint(ip_address("10.20.0.11"), 8080)
MEMBER6 = Endpoint(ip_address("2001:db8:20::11"), 8080)
# More than 32 bits hold: the kernel's older counters would have wrapped.
LARGE = 5 * 2**32 + 17


def encoded(command: int, attributes: list[tuple[str, Any]]) -> bytes:
    """Return a message as pyroute2 writes it."""
    message = other.ipvsmsg()
    message["cmd"], message["version"] = command, 1
    message["header"]["type"] = FAMILY
    message["attrs"] = attributes
    message.encode()
    return bytes(message.data)


def family_of(endpoint: Endpoint) -> int:
    return int(socket.AF_INET6 if endpoint.address.version == 6 else socket.AF_INET)


COUNTERS = {"CONNS": 7, "INPKTS": 8, "OUTPKTS": 9, "INBYTES": LARGE, "OUTBYTES": LARGE + 1, "CPS": 0}
STATISTICS = {"attrs": [(f"IPVS_STATS_ATTR_{name}", value) for name, value in COUNTERS.items()]}


def service_attributes(key: ServiceKey, *, wide: bool) -> list[tuple[str, Any]]:
    attributes = [
        ("IPVS_SVC_ATTR_AF", family_of(key.endpoint)),
        ("IPVS_SVC_ATTR_PROTOCOL", int(key.protocol)),
        ("IPVS_SVC_ATTR_ADDR", str(key.endpoint.address)),
        ("IPVS_SVC_ATTR_PORT", key.endpoint.port),
        ("IPVS_SVC_ATTR_SCHED_NAME", "wrr"),
        ("IPVS_SVC_ATTR_TIMEOUT", 0),
        ("IPVS_SVC_ATTR_STATS", STATISTICS),
    ]
    return [*attributes, ("IPVS_SVC_ATTR_STATS64", STATISTICS)] if wide else attributes


def destination_attributes(endpoint: Endpoint, weight: int, active: int) -> list[tuple[str, Any]]:
    return [
        ("IPVS_DEST_ATTR_ADDR_FAMILY", family_of(endpoint)),
        ("IPVS_DEST_ATTR_ADDR", str(endpoint.address)),
        ("IPVS_DEST_ATTR_PORT", endpoint.port),
        ("IPVS_DEST_ATTR_FWD_METHOD", 0),
        ("IPVS_DEST_ATTR_WEIGHT", weight),
        ("IPVS_DEST_ATTR_ACTIVE_CONNS", active),
        ("IPVS_DEST_ATTR_INACT_CONNS", 99),
        ("IPVS_DEST_ATTR_PERSIST_CONNS", 0),
        ("IPVS_DEST_ATTR_U_THRESH", 0),
        ("IPVS_DEST_ATTR_L_THRESH", 0),
        ("IPVS_DEST_ATTR_STATS", STATISTICS),
        ("IPVS_DEST_ATTR_STATS64", STATISTICS),
    ]


def payload_of(data: bytes) -> bytes:
    (message,) = codec.split(data)
    assert message.error is None
    assert not message.is_done
    return message.payload


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("key", KEYS)
def test_services_are_read_as_another_codec_writes_them(key: ServiceKey, *, wide: bool) -> None:
    data = encoded(1, [("IPVS_CMD_ATTR_SERVICE", {"attrs": service_attributes(key, wide=wide)})])
    entry = codec.parse_service(payload_of(data))
    assert entry == codec.ServiceEntry(key=key, connections=7, bytes_in=LARGE, bytes_out=LARGE + 1)


@pytest.mark.parametrize(("key", "member"), [(V4, MEMBER4), (V6, MEMBER6)])
def test_destinations_are_read_as_another_codec_writes_them(key: ServiceKey, member: Endpoint) -> None:
    data = encoded(5, [("IPVS_CMD_ATTR_DEST", {"attrs": destination_attributes(member, 3, 4)})])
    assert codec.parse_destination(payload_of(data), key) == (member, Destination(3, 4))


def test_a_service_by_firewall_mark_is_none_of_ours() -> None:
    attributes = [("IPVS_SVC_ATTR_AF", int(socket.AF_INET)), ("IPVS_SVC_ATTR_FWMARK", 5)]
    data = encoded(1, [("IPVS_CMD_ATTR_SERVICE", {"attrs": attributes})])
    assert codec.parse_service(payload_of(data)) is None


@pytest.mark.parametrize(("key", "member"), [(V4, MEMBER4), (V6, MEMBER6)])
def test_another_codec_reads_what_we_write(key: ServiceKey, member: Endpoint) -> None:
    request = codec.put_destination(FAMILY, key, member, (5, 98), 1, is_new=True)
    message = other.ipvsmsg(request)
    message.decode()
    assert (message["header"]["type"], message["cmd"], message["header"]["flags"]) == (FAMILY, 5, 0x5)
    service, destination = message.get_attr("IPVS_CMD_ATTR_SERVICE"), message.get_attr("IPVS_CMD_ATTR_DEST")
    assert service.get_attr("IPVS_SVC_ATTR_PROTOCOL") == key.protocol
    assert service.get_attr("IPVS_SVC_ATTR_ADDR") == str(key.endpoint.address)
    assert service.get_attr("IPVS_SVC_ATTR_PORT") == key.endpoint.port
    assert destination.get_attr("IPVS_DEST_ATTR_ADDR") == str(member.address)
    assert destination.get_attr("IPVS_DEST_ATTR_PORT") == member.port
    assert destination.get_attr("IPVS_DEST_ATTR_WEIGHT") == 5
    assert destination.get_attr("IPVS_DEST_ATTR_U_THRESH") == 98
    assert destination.get_attr("IPVS_DEST_ATTR_FWD_METHOD") == 0


def test_acknowledgements_errors_and_the_end_are_told_apart() -> None:
    def answer(kind: int, code: int) -> bytes:
        return struct.pack("=IHHIIi", 20, kind, 0, 1, 0, code)

    messages = list(codec.split(answer(2, 0) + answer(2, -2) + answer(3, 0) + answer(3, -4)))
    assert [(message.is_done, message.error) for message in messages] == [
        (False, 0),
        (False, 2),
        (True, None),
        (True, 4),
    ]


def test_cut_off_answer_is_refused() -> None:
    data = codec.dump_services(FAMILY, 1)
    with pytest.raises(MalformedData):
        list(codec.split(data[:-1]))


@given(st.binary(max_size=200))
def test_no_garbage_surprises_the_reader(data: bytes) -> None:
    codec.parse_family(data)
    codec.parse_service(data)
    codec.parse_destination(data, V4)
    try:
        list(codec.split(data))
    except MalformedData:
        return


@given(st.data())
def test_a_damaged_message_is_read_as_something_or_nothing(data: st.DataObject) -> None:
    whole = encoded(1, [("IPVS_CMD_ATTR_SERVICE", {"attrs": service_attributes(V6, wide=True)})])
    index = data.draw(st.integers(20, len(whole) - 1))
    damaged = whole[:index] + bytes([data.draw(st.integers(0, 255))]) + whole[index + 1 :]
    codec.parse_service(damaged[20:])


def test_two_thousand_destinations_are_read_in_little_time(capsys: pytest.CaptureFixture[str]) -> None:
    """100 listeners of 20 members each have 50 ms of processor time per heartbeat; this is half of the work."""
    data = encoded(5, [("IPVS_CMD_ATTR_DEST", {"attrs": destination_attributes(MEMBER4, 3, 4)})]) * 20
    began = time.process_time()
    for _ in range(100):
        found = [codec.parse_destination(message.payload, V4) for message in codec.split(data)]
        assert len(found) == 20
    spent = time.process_time() - began
    with capsys.disabled():
        print(f"\n    2,000 IPVS destinations: {spent * 1000:.1f} ms CPU")  # noqa: T201
    assert spent < 0.025
