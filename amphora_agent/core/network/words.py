"""The steps of a plan in words, for who asks what would be done. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from amphora_agent.core.network.model import (
    MAIN_TABLE,
    AddAddress,
    AddRoute,
    AddRule,
    AwaitAddresses,
    DisableSlaac,
    EnableSlaac,
    LinkStep,
    ObservedRoute,
    ObservedRule,
    RemoveAddress,
    RemoveRoute,
    RemoveRule,
    ReplaceRoute,
    Route,
    Rule,
    SetMtu,
    SetUp,
    StartDhcp,
    StopDhcp,
)

_VERBS: Mapping[type[LinkStep], str] = {
    SetMtu: "set the MTU to",
    SetUp: "bring the link up",
    StartDhcp: "start the DHCP client",
    StopDhcp: "stop the DHCP client",
    EnableSlaac: "take router advertisements",
    DisableSlaac: "take no router advertisements",
    AddAddress: "add address",
    AwaitAddresses: "wait for",
    RemoveAddress: "remove address",
    AddRoute: "add route",
    ReplaceRoute: "replace route",
    RemoveRoute: "remove route",
    AddRule: "add rule",
    RemoveRule: "remove rule",
}


def described(step: LinkStep) -> str:
    """Return a step in words: "add address 10.0.0.5/24"."""
    return f"{_VERBS[type(step)]} {_subject(step)}".rstrip()


def _subject(step: LinkStep) -> str:
    match step:
        case SetMtu():
            return str(step.mtu)
        case AddAddress() | RemoveAddress():
            return str(step.address)
        case AwaitAddresses():
            return ", ".join(sorted(map(str, step.addresses)))
        case AddRoute() | ReplaceRoute() | RemoveRoute():
            return _route(step.route)
        case AddRule() | RemoveRule():
            return _rule(step.rule)
        case _:
            return ""


def _route(route: Route | ObservedRoute) -> str:
    words = [str(route.destination)]
    words += [f"via {route.gateway}"] if route.gateway is not None else []
    words += [f"from {route.prefsrc}"] if route.prefsrc is not None else []
    words += [f"in table {route.table}"] if route.table != MAIN_TABLE else []
    return " ".join(words)


def _rule(rule: Rule | ObservedRule) -> str:
    return f"from {rule.source} look up table {rule.table}"


def changes(steps: Sequence[LinkStep]) -> tuple[LinkStep, ...]:
    """Return the steps that change something: no waits, and no routes that the kernel makes for a new address."""
    connected = {step.address.network for step in steps if isinstance(step, AddAddress)}
    return tuple(
        step
        for step in steps
        if not isinstance(step, AwaitAddresses)
        and not (isinstance(step, AddRoute) and _is_connected(step.route) and step.route.destination in connected)
    )


def _is_connected(route: Route) -> bool:
    return route.gateway is None and route.prefsrc is None and route.table == MAIN_TABLE
