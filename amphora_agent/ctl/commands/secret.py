"""amphoractl secret: upload, list and delete certificates, authorities, revocation lists and passwords."""

from __future__ import annotations

from amphora_agent.ctl import outcomes
from amphora_agent.ctl.client import path_of
from amphora_agent.ctl.context import Context
from amphora_agent.ctl.failure import Exit
from amphora_agent.ctl.files import read_bytes
from amphora_agent.ctl.node import Node
from amphora_agent.ctl.screen import Screen
from amphora_agent.ctl.view import Table, Words, strong


def run(context: Context) -> Exit:
    """Carry out one action."""
    actions = {"put": _put, "list": _list, "delete": _delete}
    actions[context.arguments.action](context)
    return Exit.DONE


def _put(context: Context) -> None:
    given, screen = context.arguments, context.screen
    answer = context.client.request("PUT", f"/secrets{path_of(given.name)}", body=read_bytes(given.file)).json()
    if screen.is_json:
        screen.document(answer.value)
        return
    screen.line(strong(given.name), f": {_described(answer.node('secret'))}")
    _show_applied(screen, answer)


def _show_applied(screen: Screen, answer: Node) -> None:
    for outcome in answer.nodes("applied"):
        screen.line("  ", strong(outcome.text("name")), f": {outcomes.sentence(outcome)}")


def _described(secret: Node) -> str:
    names = ", ".join(secret.texts("names"))
    until = f", until {secret.text('not_after')}" if secret.text("not_after") else ""
    return f"{secret.text('kind')}{f' of {names}' if names else ''}{until}"


def _list(context: Context) -> None:
    found = context.client.request("GET", "/secrets").json()
    if context.screen.is_json:
        context.screen.document(found.value)
        return
    rows = tuple(
        (
            Words(each.text("name")),
            Words(each.text("kind")),
            Words(", ".join(each.texts("names")) or each.text("subject")),
            Words(each.text("not_after")),
            Words(", ".join(each.texts("used_by"))),
        )
        for each in found.entries()
    )
    context.screen.table(Table(("NAME", "KIND", "FOR", "UNTIL", "USED BY"), rows))


def _delete(context: Context) -> None:
    name: str = context.arguments.name
    context.client.request("DELETE", f"/secrets{path_of(name)}")
    if context.screen.is_json:
        context.screen.document({"deleted": name})
    else:
        context.screen.line(f"{name}: deleted")
