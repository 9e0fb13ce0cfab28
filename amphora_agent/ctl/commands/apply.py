"""amphoractl apply: make a load balancer what a file says."""

from __future__ import annotations

from collections.abc import Mapping

from amphora_agent.ctl import outcomes
from amphora_agent.ctl.client import Answer, path_of
from amphora_agent.ctl.commands.wait import await_condition
from amphora_agent.ctl.context import Context
from amphora_agent.ctl.failure import CommandFailure, Exit
from amphora_agent.ctl.files import read_bytes, to_json, to_tree


def run(context: Context) -> Exit:
    """Apply, print what happened, and wait for health where that was asked for."""
    given = context.arguments
    outcome = outcomes.show(context.screen, put(context, _query(context), _headers(context)))
    if given.dry_run:
        return outcomes.exit_of_plan(outcome)
    if given.wait is None:
        return Exit.DONE
    return await_condition(context, outcome.text("id") or outcome.text("name"), "Healthy", given.wait)


def put(context: Context, query: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
    """Send the file to the load balancer it names.

    Raises:
        CommandFailure: the file cannot be read or names none; or the agent's refusal.
    """
    source: str = context.arguments.file
    data = read_bytes(source)
    tree = to_tree(data, source)
    name = tree.get("name")
    if not isinstance(name, str) or not name:
        raise CommandFailure(Exit.REFUSED, f"{source} does not say `name`, the load balancer's")
    return context.client.request(
        "PUT",
        f"/loadbalancers{path_of(name)}",
        query=query,
        body=to_json(data, source),
        headers={"Content-Type": "application/json", **headers},
    )


def _query(context: Context) -> dict[str, str]:
    given = context.arguments
    query = {"dry_run": "true"} if given.dry_run else {}
    if given.adopt:
        query["adopt"] = "true"
    if given.confirm is not None:
        query["confirm"] = str(given.confirm)
    return query


def _headers(context: Context) -> dict[str, str]:
    given = context.arguments
    headers = {"If-None-Match": "*"} if given.create else {}
    if given.if_match is not None:
        headers["If-Match"] = given.if_match if given.if_match.startswith('"') else f'"{given.if_match}"'
    return headers
