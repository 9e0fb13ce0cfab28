"""Every row of the contract's table for UDP and SCTP listeners, and what must not be counted twice."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.heartbeat.counters import Counters
from amphora_agent.core.heartbeat.document import Pool, build
from amphora_agent.core.keepalived.ipvs import Destination, Endpoint, Protocol, Service, ServiceKey, Table
from amphora_agent.core.keepalived.lvs_config import LvsConfig, parse
from amphora_agent.core.keepalived.lvs_status import is_settling, report
from amphora_agent.core.records import listener_change
from amphora_agent.core.records.listener_change import ListenerChange
from tests.core.keepalived.test_lvs_config import (
    FIRST,
    LISTENER,
    POOL,
    SAMPLES,
    SECOND,
    SIXTH,
    SIXTH_OFF,
    THIRD,
    at,
    sample,
    udp,
)

V4 = udp("10.10.0.100")
OTHER_V4 = udp("10.11.0.100")
V6 = udp("2001:db8:10::100")
AMPHORA = "badf474f-b45d-5d8b-80bb-35dbe5e8281e"


def service(*addresses: str, weight: int = 1, active: int = 0, counted: int = 0) -> Service:
    destinations = {at(address): Destination(weight, active) for address in addresses}
    return Service(counted, counted * 10, counted * 100, destinations)


def pools(config: LvsConfig, table: Table | None, *, settling: bool = False) -> dict[str, Pool]:
    return dict(report(LISTENER, config, table, is_settling=settling).pools)


@pytest.mark.parametrize("prefix", ["11"])
def test_disabled_listener_is_not_reported(prefix: str) -> None:
    part = report(LISTENER, sample(prefix), {}, is_settling=False)
    assert (part.listeners, part.pools) == ({}, {})


@pytest.mark.parametrize("prefix", ["10", "12", "18"])
def test_listener_without_a_usable_pool_is_open_and_alone(prefix: str) -> None:
    part = report(LISTENER, sample(prefix), {}, is_settling=False)
    assert part.listeners[LISTENER].status == "OPEN"
    assert part.listeners[LISTENER].samples == ()
    assert part.pools == {}


def test_pool_without_members_is_up() -> None:
    assert pools(sample("09"), {}) == {POOL: Pool("UP", {})}
    assert pools(sample("09"), {V4: service()}) == {POOL: Pool("UP", {})}


@pytest.mark.parametrize("table", [{}, {V4: service()}])
def test_disabled_members_are_all_reported(table: Table) -> None:
    assert pools(sample("08"), table) == {POOL: Pool("UP", {FIRST: "MAINT", SECOND: "MAINT"})}


@pytest.mark.parametrize("monitored", ["02", "03", "04"])
def test_monitored_members(monitored: str) -> None:
    config = sample(monitored)
    up, one, none = service("10.20.0.11", "10.20.0.12"), service("10.20.0.11"), service()
    assert pools(config, {V4: up}) == {POOL: Pool("UP", {FIRST: "UP", SECOND: "UP"})}
    assert pools(config, {V4: one}) == {POOL: Pool("UP", {FIRST: "UP", SECOND: "DOWN"})}
    assert pools(config, {V4: one}, settling=True) == {POOL: Pool("UP", {FIRST: "UP", SECOND: "RESTARTING"})}
    assert pools(config, {V4: none}) == {POOL: Pool("DOWN", {FIRST: "DOWN", SECOND: "DOWN"})}
    assert pools(config, {}) == {POOL: Pool("DOWN", {FIRST: "DOWN", SECOND: "DOWN"})}
    assert pools(config, {}, settling=True) == {POOL: Pool("DOWN", {FIRST: "RESTARTING", SECOND: "RESTARTING"})}


def test_members_without_a_monitor() -> None:
    config = sample("01")
    assert pools(config, {V4: service("10.20.0.11", "10.20.0.12")}) == {
        POOL: Pool("UP", {FIRST: "no check", SECOND: "no check"})
    }
    assert pools(config, {V4: service("10.20.0.11")}) == {POOL: Pool("UP", {FIRST: "no check", SECOND: "DOWN"})}
    assert pools(config, {}) == {POOL: Pool("UP", {FIRST: "no check", SECOND: "no check"})}


def test_weight_zero_drains_with_and_without_a_monitor() -> None:
    for prefix in ("01", "02"):
        members = pools(sample(prefix), {V4: service("10.20.0.11", "10.20.0.12", weight=0)})[POOL].members
        assert members == {FIRST: "DRAIN", SECOND: "DRAIN"}


def test_all_states_in_one_pool() -> None:
    destinations = {at("10.20.0.11"): Destination(1, 0), at("10.20.0.13"): Destination(0, 0)}
    table = {V4: Service(0, 0, 0, destinations)}
    assert pools(sample("07"), table) == {POOL: Pool("UP", {FIRST: "UP", THIRD: "DRAIN", SECOND: "MAINT"})}


@pytest.mark.parametrize("v4", [None, service(), service("10.20.0.11", "10.20.0.12")])
@pytest.mark.parametrize("v6", [None, service(), service("2001:db8:20::11")])
def test_dual_stack_has_one_pool_whatever_is_there(v4: Service | None, v6: Service | None) -> None:
    table = {key: found for key, found in ((V4, v4), (OTHER_V4, v4), (V6, v6)) if found is not None}
    (pool,) = pools(sample("13"), table).values()
    up4, up6 = bool(v4 and v4.destinations), bool(v6 and v6.destinations)
    assert pool.status == ("UP" if up4 or up6 else "DOWN")
    assert pool.members == {
        FIRST: "UP" if up4 else "DOWN",
        SECOND: "UP" if up4 else "DOWN",
        SIXTH: "UP" if up6 else "DOWN",
        SIXTH_OFF: "MAINT",
    }


def test_two_members_at_one_place_share_their_status() -> None:
    config = sample("02")
    twins = replace(config, members=tuple(replace(member, endpoint=at("10.20.0.11")) for member in config.members))
    assert pools(twins, {V4: service("10.20.0.11")})[POOL].members == {FIRST: "UP", SECOND: "UP"}


def test_other_protocol_on_the_same_port_is_another_service() -> None:
    table = {ServiceKey(Protocol.TCP, V4.endpoint): service("10.20.0.11", "10.20.0.12", counted=5)}
    part = report(LISTENER, sample("02"), table, is_settling=False)
    assert part.pools[POOL].status == "DOWN"
    assert part.listeners[LISTENER].samples == ()


def test_unreadable_kernel_keeps_the_members_statuses() -> None:
    assert pools(sample("07"), None) == {POOL: Pool("UP", {FIRST: "RESTARTING", THIRD: "RESTARTING", SECOND: "MAINT"})}


def statistics(config: LvsConfig, table: Table, counters: Counters) -> tuple[tuple[int, int, int, int], Counters]:
    part = report(LISTENER, config, table, is_settling=False)
    document, counters = build([part], counters, amphora_id=AMPHORA, seq=0, known=frozenset({LISTENER}))
    found = document.listeners[LISTENER][1]
    return (found.delta.bytes_out, found.delta.bytes_in, found.delta.connections, found.current), counters


def test_all_addresses_are_counted() -> None:
    table = {
        V4: service("10.20.0.11", active=3, counted=1),
        OTHER_V4: service("10.20.0.11", active=4, counted=2),
        V6: service("2001:db8:20::11", active=5, counted=4),
    }
    assert statistics(sample("13"), table, Counters())[0] == (700, 70, 7, 12)


def test_inactive_connections_are_not_counted() -> None:
    assert statistics(sample("01"), {V4: service("10.20.0.11", counted=9)}, Counters())[0] == (900, 90, 9, 0)


def test_address_that_is_missing_for_a_moment_is_counted_once() -> None:
    config = sample("13")
    whole = {V4: service(counted=100), OTHER_V4: service(counted=50), V6: service(counted=7)}
    first, counters = statistics(config, whole, Counters())
    assert first[2] == 157
    for partial in ({V4: whole[V4]}, {V6: whole[V6]}, {}, {OTHER_V4: whole[OTHER_V4]}):
        delta, counters = statistics(config, partial, counters)
        assert delta[2] == 0
    grown = whole | {OTHER_V4: service(counted=51)}
    delta, counters = statistics(config, grown, counters)
    assert delta[2] == 1


def test_reset_counter_is_counted_from_zero() -> None:
    config = sample("01")
    _, counters = statistics(config, {V4: service(counted=100)}, Counters())
    assert statistics(config, {V4: service(counted=3)}, counters)[0][2] == 3


counts = st.lists(st.integers(0, 5), min_size=3, max_size=3)
rounds = st.lists(st.tuples(counts, st.lists(st.booleans(), min_size=3, max_size=3)), min_size=1, max_size=8)


@given(rounds)
def test_whatever_is_missing_when_no_connection_is_lost_or_doubled(steps: list[tuple[list[int], list[bool]]]) -> None:
    """What was counted up to a moment at which all services are there is exactly what the kernel says."""
    config, counters, reported = sample("13"), Counters(), 0
    totals = [1, 1, 1]
    for growth, present in [*steps, ([0, 0, 0], [True, True, True])]:
        totals = [total + more for total, more in zip(totals, growth, strict=True)]
        keys = zip((V4, OTHER_V4, V6), totals, present, strict=True)
        delta, counters = statistics(config, {k: service(counted=n) for k, n, there in keys if there}, counters)
        reported += delta[2]
    assert reported == sum(totals)


def stored(at: float) -> bytes:
    return listener_change.encode(ListenerChange(at, is_applied=False))


def applied(at: float) -> bytes:
    return listener_change.encode(ListenerChange(at, is_applied=True))


@pytest.mark.parametrize(
    ("changed", "started", "now", "settling"),
    [
        (None, 0.0, 1000.0, False),
        (None, 995.0, 1000.0, True),
        (stored(900.0), 0.0, 1000.0, True),
        (stored(1000.0), 0.0, 1000.0, True),
        (stored(880.0), 0.0, 1000.0, False),
        (stored(900.0), 899.0, 1000.0, True),
        (stored(900.0), 901.0, 1000.0, False),
        (stored(900.0), 995.0, 1000.0, True),
        (stored(5000.0), 0.0, 1000.0, False),
        (b"pending", 0.0, 1000.0, False),
        (b"pending", 995.0, 1000.0, True),
        (b"pending nan", 0.0, 1000.0, False),
        (b"pending inf", 0.0, 1000.0, False),
        (b"pending\xff", 0.0, 1000.0, False),
        (applied(993.5), 0.0, 1000.0, True),
        (applied(991.0), 0.0, 1000.0, False),
        (b"993.5", 0.0, 1000.0, True),
        (b"991.0", 0.0, 1000.0, False),
        (b"5000.0", 0.0, 1000.0, False),
        (b"", 0.0, 1000.0, False),
        (b"garbage", 0.0, 1000.0, False),
        (b"nan", 0.0, 1000.0, False),
    ],
)
def test_settling_follows_our_own_event_and_the_process(
    changed: bytes | None, started: float, now: float, *, settling: bool
) -> None:
    """A record from before a reboot lies in the future; no clock of the day is asked.

    A stored change counts until it is applied, two minutes at most, and not for a keepalived that has read it.
    """
    assert is_settling(changed, started, now, 5) is settling


def test_file_of_an_unknown_origin_is_reported_by_its_name() -> None:
    config = parse((SAMPLES / "01-udp-no-monitor.conf").read_text().replace(f"Listener {LISTENER}", "Listener ?"))
    assert report("by-name", config, {}, is_settling=False).listeners.keys() == {"by-name"}


def test_endpoints_are_compared_as_addresses_not_as_text() -> None:
    spelled = (SAMPLES / "14-udp-ipv6.conf").read_text().replace("2001:db8:20::11", "2001:DB8:20:0:0::0011")
    table = {V6: Service(0, 0, 0, {Endpoint(ip_address("2001:db8:20::11"), 8080): Destination(1, 0)})}
    assert pools(parse(spelled), table) == {POOL: Pool("UP", {SIXTH: "no check"})}
