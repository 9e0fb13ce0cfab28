"""amphoractl wait: until a load balancer is accepted, programmed or healthy, or the time is over."""

from __future__ import annotations

import time

from amphora_agent.ctl.client import path_of
from amphora_agent.ctl.context import Context
from amphora_agent.ctl.failure import Exit
from amphora_agent.ctl.node import Node

_PAUSE = 0.5


def run(context: Context) -> Exit:
    """Wait."""
    given = context.arguments
    return await_condition(context, context.loadbalancer(), given.condition, given.at_most)


def await_condition(context: Context, lb: str, condition: str, seconds: float) -> Exit:
    """Wait until a condition of the status is true, telling what is missing whenever that changes.

    Decision: asked every half a second. The status waits for generations alone, and health changes without one.
    """
    deadline = time.monotonic() + seconds
    said = ""
    while True:
        status = context.client.request("GET", f"/loadbalancers{path_of(lb)}/status").json()
        is_there, missing = judge(status, condition)
        if is_there:
            break
        if missing != said and not context.screen.is_json:
            context.screen.note(f"waiting: {missing}")
            said = missing
        if time.monotonic() + _PAUSE > deadline:
            context.screen.note(
                f"amphoractl: {status.text('name') or lb} is not {condition} after {seconds:g} s: {missing}"
            )
            return Exit.DIFFERENCE
        time.sleep(_PAUSE)
    if context.screen.is_json:
        context.screen.document(status.value)
    else:
        context.screen.line(f"{status.text('name') or lb} is {condition}")
    return Exit.DONE


def judge(status: Node, condition: str) -> tuple[bool, str]:
    """Tell whether a condition is true, and what is missing when it is not."""
    found = next((each for each in status.nodes("conditions") if each.text("type") == condition), Node(None))
    is_current = status.integer("generation") == status.integer("observed_generation")
    if found.is_true("status") and is_current:
        return True, ""
    if not is_current:
        return False, f"generation {status.integer('generation')} does not run yet"
    return False, found.text("reason") or f"it is not {condition}"
