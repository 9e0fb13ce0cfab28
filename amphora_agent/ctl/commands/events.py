"""amphoractl events: what happened, and what happens from now on."""

from __future__ import annotations

import json

from amphora_agent.ctl.context import Context
from amphora_agent.ctl.failure import Exit
from amphora_agent.ctl.node import Node
from amphora_agent.ctl.screen import Screen
from amphora_agent.ctl.view import Style, Words, quiet, strong

_WAIT = 25
_STYLES = {"rolled-back": Style.BAD, "deleted": Style.WARNING, "drained": Style.WARNING}


def run(context: Context) -> Exit:
    """Print events; with --follow until somebody ends it."""
    given, screen = context.arguments, context.screen
    after: int = given.after
    query = {"loadbalancer": given.lb} if given.lb else {}
    answer = context.client.request("GET", "/events", query={**query, "after": str(after)}).json()
    while True:
        if answer.is_true("lost"):
            screen.note("some events are too old to be kept any more")
        for event in answer.nodes("events"):
            _show(screen, event)
        if not given.follow:
            return Exit.DONE
        screen.flush()
        after = max(after, answer.integer("latest") or 0)
        asked = {**query, "after": str(after), "wait": str(_WAIT)}
        answer = context.client.request("GET", "/events", query=asked, wait=_WAIT).json()


def _show(screen: Screen, event: Node) -> None:
    """Print one event; as JSON, one line each, so that a program can read on while it goes on."""
    if screen.is_json:
        screen.out.write(json.dumps(event.value) + "\n")
        return
    kind = event.text("kind")
    sequence = event.integer("sequence")
    screen.line(
        quiet(f"{sequence}  {event.text('at')}  "),
        Words(kind, _STYLES.get(kind, Style.PLAIN)),
        "  ",
        strong(event.text("subject")),
        f"  {event.text('detail')}" if event.text("detail") else "",
    )
