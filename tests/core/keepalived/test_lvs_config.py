"""Every sample of the controller is understood; no mutation of one is ever an exception."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.keepalived.ipvs import Endpoint, Protocol, ServiceKey
from amphora_agent.core.keepalived.lvs_config import LvsConfig, Member, parse
from amphora_agent.core.keepalived.lvs_status import report

SAMPLES = Path(__file__).parents[3] / "testbed" / "samples" / "lvs"
FILES = sorted(SAMPLES.glob("*.conf"))
LISTENER = "7f699c35-164b-5869-a43d-47618ff89fe2"
POOL = "d50b8050-f704-5b6e-9723-8d8dbcb5e65a"
FIRST = "7ce576a5-2976-562e-a1ba-7cf91342cf4a"
SECOND = "c85fb2e8-f7e8-53ec-8588-07dd536ef449"
THIRD = "9b7d0449-8369-5911-8bec-3b90cdfd3e41"
SIXTH = "8f862a8d-6d0b-5c76-9ed2-5cdfbd5e629a"
SIXTH_OFF = "ea680714-af74-59c2-be67-9baedcfca7f5"


def at(text: str, port: int = 8080) -> Endpoint:
    return Endpoint(ip_address(text), port)


def udp(text: str, port: int = 53) -> ServiceKey:
    return ServiceKey(Protocol.UDP, at(text, port))


ONE = Member(FIRST, at("10.20.0.11"))
TWO = Member(SECOND, at("10.20.0.12"))
BOTH = (ONE, TWO)
VIP = (udp("10.10.0.100"),)
SCTP = (ServiceKey(Protocol.SCTP, at("10.10.0.100", 3868)),)


def sample(prefix: str) -> LvsConfig:
    (path,) = SAMPLES.glob(f"{prefix}-*.conf")
    return parse(path.read_text())


@pytest.mark.parametrize(
    ("prefix", "services", "members", "disabled", "interval"),
    [
        ("01", VIP, BOTH, (), 0),
        ("02", VIP, BOTH, (), 5),
        ("03", VIP, BOTH, (), 5),
        ("04", VIP, BOTH, (), 5),
        ("05", VIP, BOTH, (), 0),
        ("06", VIP, BOTH, (), 0),
        ("07", VIP, (ONE, Member(THIRD, at("10.20.0.13"))), (SECOND,), 5),
        ("08", VIP, (), (FIRST, SECOND), 0),
        ("09", VIP, (), (), 0),
        ("10", (), (), (), 0),
        ("11", (), (), (), 0),
        ("12", VIP, (), (), 0),
        (
            "13",
            (udp("10.10.0.100"), udp("10.11.0.100"), udp("2001:db8:10::100")),
            (*BOTH, Member(SIXTH, at("2001:db8:20::11"))),
            (SIXTH_OFF,),
            5,
        ),
        ("14", (udp("2001:db8:10::100"),), (Member(SIXTH, at("2001:db8:20::11")),), (), 0),
        ("15", SCTP, BOTH, (), 5),
        ("16", SCTP, BOTH, (), 0),
        ("17", VIP, BOTH, (), 0),
        ("18", (), (), (), 0),
    ],
)
def test_samples_say_who_serves_what(
    prefix: str,
    services: tuple[ServiceKey, ...],
    members: tuple[Member, ...],
    disabled: tuple[str, ...],
    interval: int,
) -> None:
    config = sample(prefix)
    assert config.services == services
    assert config.members == members
    assert config.disabled_members == disabled
    assert config.check_interval == interval
    assert config.has_monitor == (interval > 0)
    assert config.vips == tuple(key.endpoint.address for key in services)
    assert config.listener_id == LISTENER


@pytest.mark.parametrize(
    ("prefix", "listener", "pool", "pool_id", "group"),
    [
        ("01", True, True, POOL, True),
        ("09", True, True, POOL, True),
        ("10", True, True, None, False),
        ("11", False, True, None, False),
        ("12", True, False, POOL, True),
        ("18", True, True, None, False),
    ],
)
def test_samples_say_what_is_enabled(
    prefix: str, *, listener: bool, pool: bool, pool_id: str | None, group: bool
) -> None:
    config = sample(prefix)
    assert config.is_listener_enabled is listener
    assert config.is_pool_enabled is pool
    assert config.pool_id == pool_id
    assert config.has_group is config.has_virtual_server is group


def test_weights_and_limits_are_read() -> None:
    servers = sample("07").virtual_servers[0].servers
    assert [(server.weight, server.upper_threshold, server.is_checked) for server in servers] == [
        (1, 98, True),
        (0, 98, True),
    ]


def test_unchecked_member_beside_a_checked_one() -> None:
    text = """virtual_server_group g {
        192.0.2.1 53
    }
    virtual_server group g {
        protocol UDP
        real_server 192.0.2.2 53 {
            weight 1
        }
        real_server 192.0.2.3 53 {
            MISC_CHECK {
                misc_path "/x" ! not a weight 9
            }
        }
    }"""
    config = parse(text)
    assert [server.is_checked for server in config.virtual_servers[0].servers] == [False, True]
    assert config.check_interval == 60


def test_virtual_server_without_a_group_is_understood() -> None:
    config = parse("virtual_server 192.0.2.1 53 {\n protocol UDP\n real_server 192.0.2.2 53 {\n }\n}")
    assert config.services == (udp("192.0.2.1"),)
    assert config.has_group
    assert config.vips == (ip_address("192.0.2.1"),)


def test_odd_member_costs_only_itself() -> None:
    text = (
        (SAMPLES / "01-udp-no-monitor.conf").read_text().replace("real_server 10.20.0.11 8080", "real_server oops 8080")
    )
    assert parse(text).members == (Member(FIRST, None), TWO)


@given(st.text(max_size=400))
def test_any_text_is_a_configuration(text: str) -> None:
    report(LISTENER, parse(text), {}, is_settling=False)


@given(st.data())
def test_any_mutation_of_a_sample_is_a_configuration(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(FILES)).read_text()
    lines = text.splitlines(keepends=True)
    for _ in range(data.draw(st.integers(1, 5))):
        index = data.draw(st.integers(0, len(lines) - 1))
        change = data.draw(st.sampled_from(("drop", "double", "cut", "word", "swap")))
        line = lines[index]
        if change == "drop":
            lines[index] = ""
        elif change == "double":
            lines[index] = line * 2
        elif change == "cut":
            lines[index] = line[: data.draw(st.integers(0, len(line)))]
        elif change == "word":
            lines[index] = line.replace(
                data.draw(st.sampled_from(line.split() or ["x"])), data.draw(st.text(max_size=9))
            )
        else:
            other = data.draw(st.integers(0, len(lines) - 1))
            lines[index], lines[other] = lines[other], lines[index]
    config = parse("".join(lines))
    report(LISTENER, config, {}, is_settling=data.draw(st.booleans()))
    report(LISTENER, config, None, is_settling=False)
