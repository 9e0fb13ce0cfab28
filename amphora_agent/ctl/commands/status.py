"""amphoractl status: load balancers as trees, with the reason for every state that is not ONLINE."""

from __future__ import annotations

from collections.abc import Iterator

from amphora_agent.ctl.client import path_of
from amphora_agent.ctl.context import Context
from amphora_agent.ctl.failure import Exit
from amphora_agent.ctl.node import Node
from amphora_agent.ctl.view import Style, Table, Words, count, duration, quiet, strong, word

HEADINGS = ("LISTENER / POOL / MEMBER", "STATUS", "CONNS", "TOTAL", "FOR", "REASON")


def run(context: Context) -> Exit:
    """Print the status of one load balancer, or of all."""
    client = context.client
    named: str | None = context.arguments.lb
    found = [named] if named else [_name(each) for each in client.request("GET", "/loadbalancers").json().entries()]
    statuses = [client.request("GET", f"/loadbalancers{path_of(lb)}/status").json() for lb in found]
    screen = context.screen
    if screen.is_json:
        screen.document(statuses[0].value if named else [each.value for each in statuses])
        return Exit.DONE
    if not statuses:
        screen.line("this amphora has no load balancer")
    for status in statuses:
        for line in head(status):
            screen.line(*line)
        screen.table(tree(status))
    return Exit.DONE


def _name(loadbalancer: Node) -> str:
    return loadbalancer.text("id") or loadbalancer.text("name")


def head(status: Node) -> Iterator[tuple[Words | str, ...]]:
    """Yield the lines above the tree."""
    name = status.text("name") or status.text("id")
    role = status.text("role")
    yield (
        strong(name),
        "  ",
        word(status.text("operating")),
        *(("  ", word(role)) if role else ()),
        quiet(f"  generation {_generation(status)}, owner {status.text('owner')}"),
    )
    for condition in status.nodes("conditions"):
        if not condition.is_true("status"):
            reason = condition.text("reason")
            yield "  ", Words(f"not {condition.text('type')}", Style.BAD), f": {reason}" if reason else ""
    last = status.node("last_apply")
    if last:
        seconds = last.number("seconds")
        took = "" if seconds is None else f", {seconds:.3f} s"
        why = f" ({last.text('reason')})" if last.text("reason") else ""
        yield (quiet(f"  last change {last.text('at')} by {last.text('by')}: {last.text('decision')}{why}{took}"),)


def _generation(status: Node) -> str:
    wanted, seen = status.integer("generation"), status.integer("observed_generation")
    return f"{wanted}" if wanted == seen else f"{wanted} (runs: {seen})"


def tree(status: Node) -> Table:
    """Return listeners, pools and members as the rows of a table."""
    rows = [row for listener in status.nodes("listeners") for row in _listener(listener)]
    rows += [_row(2, pool, reason="no listener uses it") for pool in _unused(status)]
    return Table(HEADINGS, tuple(rows), right=frozenset({2, 3}))


def _unused(status: Node) -> Iterator[Node]:
    for name in status.texts("unused_pools"):
        yield Node({"name": name})


def _listener(listener: Node) -> Iterator[tuple[Words, ...]]:
    yield _row(0, listener)
    for pool in listener.nodes("pools"):
        yield _row(2, pool)
        for member in pool.nodes("members"):
            yield _row(4, member, reason=why(member))


def why(member: Node) -> str:
    """Return the reason for a member's state: who drains it, or what its last check said."""
    drained = member.node("drained")
    if drained:
        return f"drained by {drained.text('by')} since {drained.text('since')}"
    reason, detail = member.text("reason"), member.text("detail")
    return f"{reason}: {detail}" if reason and detail and detail != reason else reason or detail


def _row(depth: int, item: Node, *, reason: str | None = None) -> tuple[Words, ...]:
    return (
        Words(" " * depth + item.text("name")),
        word(item.text("operating")),
        count(item.number("connections")),
        count(item.number("total_connections")),
        Words(duration(item.number("seconds"))),
        Words(item.text("reason") if reason is None else reason),
    )
