"""amphoractl version: of amphoractl and, where it answers, of the agent."""

from __future__ import annotations

from amphora_agent.ctl.context import Context
from amphora_agent.ctl.failure import CommandFailure, Exit
from amphora_agent.ctl.node import Node
from amphora_agent.host.packages import own_version


def run(context: Context) -> Exit:
    """Print versions; an agent that does not answer is told and is no failure."""
    try:
        agent = context.client.request("GET", "/version").json()
    except CommandFailure as failure:
        agent = Node(None)
        context.screen.note(f"amphoractl: {failure}")
    if context.screen.is_json:
        context.screen.document({"amphoractl": own_version(), "server": agent.value})
        return Exit.DONE
    context.screen.line(f"amphoractl {own_version()}")
    if agent:
        context.screen.line(f"agent {agent.text('agent')}, API {', '.join(agent.texts('api'))}")
        context.screen.line(f"HAProxy {agent.text('haproxy')}, keepalived {agent.text('keepalived')}")
    return Exit.DONE
