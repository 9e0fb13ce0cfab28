"""amphoractl rollback: apply an older revision again."""

from __future__ import annotations

from amphora_agent.ctl import outcomes
from amphora_agent.ctl.client import path_of
from amphora_agent.ctl.context import Context
from amphora_agent.ctl.failure import Exit


def run(context: Context) -> Exit:
    """Restore the revision, or say what that would change."""
    given = context.arguments
    path = f"/loadbalancers{path_of(context.loadbalancer())}/revisions/{given.number}/restore"
    answer = context.client.request("POST", path, query={"dry_run": "true"} if given.dry_run else None)
    outcome = outcomes.show(context.screen, answer)
    return outcomes.exit_of_plan(outcome) if given.dry_run else Exit.DONE
