"""What a command has to work with: its arguments, the screen and the agent. Reaches the agent only when asked."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from amphora_agent.ctl.client import Address, Client
from amphora_agent.ctl.failure import CommandFailure, Exit
from amphora_agent.ctl.parser import DEFAULT_SOCKET
from amphora_agent.ctl.screen import Screen


@dataclass(frozen=True, slots=True)
class Context:
    """One run of amphoractl."""

    arguments: argparse.Namespace
    screen: Screen

    @property
    def client(self) -> Client:
        """The agent that the options name."""
        given = self.arguments
        return Client(
            Address(
                socket_path=given.socket or DEFAULT_SOCKET,
                url=given.url,
                certificate=given.cert,
                key=given.key,
                authority=given.ca,
                server_name=given.server_name,
                timeout=given.timeout,
            )
        )

    def loadbalancer(self) -> str:
        """Return the load balancer that was named, or the only one there is.

        Raises:
            CommandFailure: there is none, or more than one.
        """
        named: str | None = self.arguments.lb
        if named is not None:
            return named
        found = self.client.request("GET", "/loadbalancers").json().entries()
        if len(found) == 1:
            return found[0].text("name") or found[0].text("id")
        if not found:
            raise CommandFailure(Exit.REFUSED, "this amphora has no load balancer")
        names = sorted(each.text("name") or each.text("id") for each in found)
        raise CommandFailure(Exit.USAGE, f"which load balancer: {', '.join(names)}?")
