"""amphoractl revisions: what was applied, newest first."""

from __future__ import annotations

from amphora_agent.ctl.client import path_of
from amphora_agent.ctl.context import Context
from amphora_agent.ctl.failure import Exit
from amphora_agent.ctl.view import Table, Words


def run(context: Context) -> Exit:
    """Print them."""
    lb = context.loadbalancer()
    found = context.client.request("GET", f"/loadbalancers{path_of(lb)}/revisions").json()
    if context.screen.is_json:
        context.screen.document(found.value)
        return Exit.DONE
    rows = tuple(
        (Words(str(each.integer("number"))), *(Words(each.text(key)) for key in ("at", "by", "decision", "reason")))
        for each in found.entries()
    )
    context.screen.table(Table(("REVISION", "AT", "BY", "DECISION", "REASON"), rows, right=frozenset({0})))
    return Exit.DONE
