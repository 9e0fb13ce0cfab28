"""amphoractl plug: configure an interface without a controller, or list what there is."""

from __future__ import annotations

from amphora_agent.ctl.client import path_of
from amphora_agent.ctl.context import Context
from amphora_agent.ctl.failure import CommandFailure, Exit
from amphora_agent.ctl.node import Node
from amphora_agent.ctl.screen import Screen
from amphora_agent.ctl.view import Table, Words

HEADINGS = ("NAME", "MAC", "ADDRESSES", "VIPS", "GATEWAYS", "MTU", "ROUTES")


def run(context: Context) -> Exit:
    """List interfaces, or make one what the options say."""
    given = context.arguments
    wanted = _wanted(context)
    if not wanted and not given.automatic:
        return _list(context)
    if given.interface is None:
        raise CommandFailure(Exit.USAGE, "which interface? Give its name or its MAC address")
    path = f"/interfaces{path_of(given.interface)}"
    query = {"dry_run": "true"} if given.dry_run else None
    answer = context.client.request("PUT", path, query=query, document=wanted).json()
    if context.screen.is_json:
        context.screen.document(answer.value)
    else:
        _show(context.screen, answer)
    return Exit.DIFFERENCE if given.dry_run and answer.texts("steps") else Exit.DONE


def _wanted(context: Context) -> dict[str, object]:
    """Return the interface that the options describe, empty when they describe none."""
    given = context.arguments
    wanted = {
        "addresses": given.address,
        "vips": given.vip,
        "gateways": given.gateway,
        "mtu": given.mtu,
        "routes": [{"destination": destination, "nexthop": hop} for destination, hop in given.route],
    }
    return {key: value for key, value in wanted.items() if value}


def _list(context: Context) -> Exit:
    found = context.client.request("GET", "/interfaces").json()
    named: str | None = context.arguments.interface
    chosen = [each for each in found.entries() if named in (None, each.text("name"), each.text("mac"))]
    if named is not None and not chosen:
        raise CommandFailure(Exit.REFUSED, f"there is no interface {named}")
    if context.screen.is_json:
        context.screen.document([each.value for each in chosen])
        return Exit.DONE
    rows = tuple(_row(each) for each in chosen)
    context.screen.table(Table(HEADINGS, rows, right=frozenset({5})))
    return Exit.DONE


def _row(interface: Node) -> tuple[Words, ...]:
    routes = (f"{each.text('destination')} via {each.text('nexthop')}" for each in interface.nodes("routes"))
    mtu = interface.integer("mtu")
    return (
        Words(interface.text("name")),
        Words(interface.text("mac")),
        Words(", ".join(interface.texts("addresses"))),
        Words(", ".join(interface.texts("vips"))),
        Words(", ".join(interface.texts("gateways"))),
        Words("" if mtu is None else str(mtu)),
        Words(", ".join(routes)),
    )


def _show(screen: Screen, answer: Node) -> None:
    for step in answer.texts("steps"):
        screen.line(f"  {step}")
    addresses = (*answer.texts("addresses"), *answer.texts("vips"))
    screen.line(f"{answer.text('name')}: {', '.join(addresses) or 'automatic addresses'}")
