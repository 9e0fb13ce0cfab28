"""amphoractl confirm: keep what was applied with --confirm."""

from __future__ import annotations

from amphora_agent.ctl.client import path_of
from amphora_agent.ctl.context import Context
from amphora_agent.ctl.failure import Exit


def run(context: Context) -> Exit:
    """Confirm; a conflict when nothing waits."""
    lb = context.loadbalancer()
    answer = context.client.request("POST", f"/loadbalancers{path_of(lb)}/confirm")
    if context.screen.is_json:
        context.screen.document(answer.json().value)
    else:
        context.screen.line(f"{answer.json().text('name') or lb}: confirmed")
    return Exit.DONE
