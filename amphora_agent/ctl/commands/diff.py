"""amphoractl diff: what applying a file would change, and whether that takes a reload."""

from __future__ import annotations

from amphora_agent.ctl import outcomes
from amphora_agent.ctl.commands.apply import put
from amphora_agent.ctl.context import Context
from amphora_agent.ctl.failure import Exit


def run(context: Context) -> Exit:
    """Print the differences; exit 1 when there are any."""
    answer = put(context, {"dry_run": "true"}, {})
    return outcomes.exit_of_plan(outcomes.show(context.screen, answer, with_text=context.arguments.text))
