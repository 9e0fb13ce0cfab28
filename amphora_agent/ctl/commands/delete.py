"""amphoractl delete: stop a load balancer and remove it."""

from __future__ import annotations

from amphora_agent.ctl.client import path_of
from amphora_agent.ctl.context import Context
from amphora_agent.ctl.failure import Exit


def run(context: Context) -> Exit:
    """Delete."""
    lb: str = context.arguments.lb
    context.client.request("DELETE", f"/loadbalancers{path_of(lb)}")
    if context.screen.is_json:
        context.screen.document({"deleted": lb})
    else:
        context.screen.line(f"{lb}: deleted")
    return Exit.DONE
