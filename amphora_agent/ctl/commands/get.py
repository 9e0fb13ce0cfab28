"""amphoractl get: a load balancer's document, an older one, or the configurations made from it."""

from __future__ import annotations

from amphora_agent.ctl.client import path_of
from amphora_agent.ctl.context import Context
from amphora_agent.ctl.failure import Exit
from amphora_agent.ctl.files import dump
from amphora_agent.ctl.node import Node
from amphora_agent.ctl.screen import Screen
from amphora_agent.ctl.view import quiet


def run(context: Context) -> Exit:
    """Print it."""
    given, screen = context.arguments, context.screen
    base = f"/loadbalancers{path_of(context.loadbalancer())}"
    if given.rendered or given.running:
        found = context.client.request("GET", f"{base}/{'rendered' if given.rendered else 'running'}").json()
        if screen.is_json or given.output == "json":
            screen.document(found.value)
        else:
            _show_configurations(screen, found)
        return Exit.DONE
    path = base if given.revision is None else f"{base}/revisions/{given.revision}"
    answer = context.client.request("GET", path)
    text = dump(answer.json().value, "json" if screen.is_json else given.output)
    screen.out.write(text)
    return Exit.DONE


def _show_configurations(screen: Screen, found: Node) -> None:
    texts = {"haproxy.cfg": found.text("haproxy"), "VRRP": found.text("vrrp")}
    lvs = found.node("lvs")
    texts |= {f"LVS of listener {name}": lvs.text(name) for name in lvs.names()}
    there = {title: text for title, text in texts.items() if text}
    for title, text in there.items():
        if len(there) > 1:
            screen.line(quiet(f"# {title}"))
        screen.text(text)
