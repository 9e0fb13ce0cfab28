"""Repairing the kernel's table: the steps bring it to the file, and then there are none left."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import assert_never

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.core.keepalived.ipvs import Destination, Endpoint, Protocol, Service, ServiceKey, Table
from amphora_agent.core.keepalived.lvs_change import (
    AddDestination,
    ChangeDestination,
    Difference,
    IpvsStep,
    RemoveDestination,
    RemoveService,
    compare,
    withdrawals,
)
from amphora_agent.core.keepalived.lvs_config import LvsConfig, parse

VIP = ServiceKey(Protocol.UDP, Endpoint(ip_address("192.0.2.1"), 53))
OLD_VIP = ServiceKey(Protocol.UDP, Endpoint(ip_address("192.0.2.9"), 53))


def member(number: int) -> Endpoint:
    return Endpoint(ip_address(f"198.51.100.{number}"), 53)


def config(members: Mapping[int, tuple[int, bool]], vip: ServiceKey = VIP) -> LvsConfig:
    """Return a configuration; `members`: number -> weight, whether it has a check."""
    lines = [f"virtual_server_group g {{\n {vip.endpoint.address} 53\n}}", "virtual_server group g {\n protocol UDP"]
    for number, (weight, is_checked) in members.items():
        check = "MISC_CHECK {\n misc_path x\n }" if is_checked else ""
        lines.append(f"real_server {member(number).address} 53 {{\n weight {weight}\n {check}\n }}")
    return parse("\n".join([*lines, "}"]))


def table(members: Mapping[int, int], vip: ServiceKey = VIP) -> dict[ServiceKey, Service]:
    return {vip: Service(0, 0, 0, {member(number): Destination(weight, 0) for number, weight in members.items()})}


def perform(steps: tuple[IpvsStep, ...], before: Table) -> Table:
    """Do to a table what the kernel would do."""
    services = {key: dict(service.destinations) for key, service in before.items()}
    for step in steps:
        match step:
            case AddDestination(service, endpoint, weight, _):
                assert endpoint not in services[service]
                services[service][endpoint] = Destination(weight, 0)
            case ChangeDestination(service, endpoint, weight, _):
                assert endpoint in services[service]
                services[service][endpoint] = Destination(weight, 0)
            case RemoveDestination(service, endpoint):
                del services[service][endpoint]
            case RemoveService(service):
                del services[service]
            case _:
                assert_never(step)
    return {key: Service(0, 0, 0, destinations) for key, destinations in services.items()}


@pytest.mark.parametrize(
    ("wanted", "present", "steps"),
    [
        ({1: (1, False)}, {1: 1}, ()),
        ({1: (1, False)}, {}, (AddDestination(VIP, member(1), 1, 0),)),
        ({1: (1, True)}, {}, ()),
        ({1: (5, True)}, {1: 1}, (ChangeDestination(VIP, member(1), 5, 0),)),
        ({1: (0, False)}, {1: 1}, (ChangeDestination(VIP, member(1), 0, 0),)),
        ({1: (1, True)}, {1: 1, 2: 1}, (RemoveDestination(VIP, member(2)),)),
        ({}, {2: 0}, (RemoveDestination(VIP, member(2)),)),
        (
            {1: (1, False)},
            {2: 1},
            (AddDestination(VIP, member(1), 1, 0), RemoveDestination(VIP, member(2))),
        ),
    ],
)
def test_destinations(
    wanted: dict[int, tuple[int, bool]], present: dict[int, int], steps: tuple[IpvsStep, ...]
) -> None:
    assert compare(config(wanted), None, frozenset(), table(present)) == Difference(steps, ())


def test_missing_service_is_keepaliveds_to_make() -> None:
    difference = compare(config({1: (1, False)}), None, frozenset(), {})
    assert difference == Difference((), (VIP,))
    assert not difference.is_none


def test_service_without_servers_may_be_missing() -> None:
    assert compare(config({}), None, frozenset(), {}).is_none


def test_former_address_goes_unless_another_listener_has_it() -> None:
    before, now = config({1: (1, False)}, OLD_VIP), config({1: (1, False)})
    both = table({1: 1}) | table({1: 1}, OLD_VIP)
    assert compare(now, before, frozenset(), both) == Difference((RemoveService(OLD_VIP),), ())
    assert compare(now, before, frozenset({OLD_VIP}), both).is_none
    assert compare(now, None, frozenset(), both).is_none


numbers = st.integers(1, 5)
configurations = st.dictionaries(numbers, st.tuples(st.integers(0, 3), st.booleans())).map(config)
tables = st.dictionaries(numbers, st.integers(0, 3)).map(table)


@given(configurations, tables)
def test_steps_bring_the_kernel_to_the_file(wanted: LvsConfig, present: Table) -> None:
    difference = compare(wanted, None, frozenset(), present)
    repaired = perform(difference.steps, present)
    assert compare(wanted, None, frozenset(), repaired).is_none
    unchecked = {s.endpoint for server in wanted.virtual_servers for s in server.servers if not s.is_checked}
    assert unchecked <= repaired[VIP].destinations.keys()


def test_only_servers_that_go_and_still_get_clients_are_withdrawn() -> None:
    kernel = table({1: 1, 2: 5, 3: 0})
    assert withdrawals(config({1: (9, False)}), kernel) == (ChangeDestination(VIP, member(2), 0, 0),)
    assert withdrawals(config({1: (1, True), 2: (1, True)}), kernel) == ()
    assert withdrawals(config({1: (1, False)}, OLD_VIP), kernel) == ()
