"""amphoractl member: drain a member, make it ready again, or give it another weight."""

from __future__ import annotations

from amphora_agent.ctl import outcomes
from amphora_agent.ctl.client import Answer, Client, path_of
from amphora_agent.ctl.context import Context
from amphora_agent.ctl.failure import CommandFailure, Exit


def run(context: Context) -> Exit:
    """Change one member."""
    given, client = context.arguments, context.client
    pool, member = given.place
    lb = context.loadbalancer()
    answer = set_weight(client, lb, pool, member, given.weight) if given.action == "weight" else None
    outcomes.show(context.screen, answer or act(client, lb, f"{pool}/{member}", given.action))
    return Exit.DONE


def act(client: Client, lb: str, place: str, action: str) -> Answer:
    """Have a member drained or ready; `place` is POOL/MEMBER."""
    pool, _, member = place.partition("/")
    return client.request("POST", f"/loadbalancers{path_of(lb, 'pools', pool, 'members', member, action)}")


def set_weight(client: Client, lb: str, pool: str, member: str, weight: int) -> Answer:
    """Give a member a weight.

    Decision: the whole list goes back under its version, for a single member has none: a change that somebody else
    makes meanwhile would be undone in silence.

    Raises:
        CommandFailure: the pool has no such member; a conflict when the list changed meanwhile.
    """
    path = f"/loadbalancers{path_of(lb, 'pools', pool, 'members')}"
    found = client.request("GET", path)
    members = [each.value for each in found.json().entries()]
    wanted = [each for each in members if isinstance(each, dict) and each.get("name") == member]
    if not wanted:
        raise CommandFailure(Exit.REFUSED, f"pool {pool} has no member {member}")
    wanted[0]["weight"] = weight
    return client.request("PUT", path, document=members, headers={"If-Match": found.etag} if found.etag else {})
