"""amphoractl top: one load balancer, live, with a cursor on its members.

Keys: up and down (or k and j) move, d drains, r makes ready, q ends.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from amphora_agent.ctl.client import path_of
from amphora_agent.ctl.commands.member import act
from amphora_agent.ctl.commands.status import head, why
from amphora_agent.ctl.context import Context
from amphora_agent.ctl.failure import CommandFailure, Exit
from amphora_agent.ctl.node import Node
from amphora_agent.ctl.view import Style, Table, Words, count, duration, quiet, word

if TYPE_CHECKING:
    from rich.console import RenderableType

HEADINGS = ("", "LISTENER / MEMBER", "STATUS", "CONNS", "CONNS/S", "FOR", "REASON")
# An arrow's bytes come at once; alone, the first of them is the key Escape.
_REST_OF_KEY = 0.05
_KEYS = {"k": -1, "j": 1, "\x1b[A": -1, "\x1b[B": 1}
_ACTIONS = {"d": "drain", "r": "ready"}
_HELP = "[d]rain  [r]eady  up/down  [q]uit"


@dataclass(frozen=True, slots=True)
class Moment:
    """A status and when it was seen, in monotonic seconds."""

    status: Node
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is shown: this moment and the one before, which member the cursor is at, and what was done last."""

    now: Moment
    before: Moment | None = None
    cursor: int = 0
    message: str = field(default="")

    @property
    def places(self) -> tuple[str, ...]:
        """POOL/MEMBER of every member, each once, in order."""
        return tuple(dict.fromkeys(place for place, _ in members(self.now.status)))

    @property
    def chosen(self) -> str | None:
        """The member under the cursor."""
        places = self.places
        return places[min(self.cursor, len(places) - 1)] if places else None


def run(context: Context) -> Exit:
    """Show it until somebody ends it; once where nobody can."""
    lb = context.loadbalancer()
    view = View(now=_look(context, lb))
    if context.screen.is_json:
        context.screen.document(view.now.status.value)
    elif context.arguments.once or not (context.screen.is_terminal and sys.stdin.isatty()):
        for line in head(view.now.status):
            context.screen.line(*line)
        context.screen.table(table(view))
    else:
        _watch(context, lb, view)
    return Exit.DONE


def _look(context: Context, lb: str) -> Moment:
    status = context.client.request("GET", f"/loadbalancers{path_of(lb)}/status").json()
    return Moment(status, time.monotonic())


def _watch(context: Context, lb: str, view: View) -> None:
    from rich.live import Live  # noqa: PLC0415 - on a terminal only

    interval: float = context.arguments.interval
    with _keys(), Live(_drawn(view), console=context.screen.console(), screen=True, auto_refresh=False) as live:
        while True:
            live.update(_drawn(view), refresh=True)
            key = _key_within(max(0.0, view.now.at + interval - time.monotonic()))
            if key == "q":
                return
            if key in _ACTIONS and view.chosen is not None:
                view = replace(view, message=_perform(context, lb, view.chosen, _ACTIONS[key]))
            view = replace(view, cursor=moved(view, _KEYS.get(key, 0)))
            if key in _ACTIONS or not key:
                view = _refreshed(context, lb, view)


def _refreshed(context: Context, lb: str, view: View) -> View:
    try:
        return replace(view, before=view.now, now=_look(context, lb))
    except CommandFailure as failure:
        return replace(view, now=replace(view.now, at=time.monotonic()), message=str(failure))


def _perform(context: Context, lb: str, place: str, action: str) -> str:
    try:
        act(context.client, lb, place, action)
    except CommandFailure as failure:
        return str(failure)
    return f"{place}: {action}"


def moved(view: View, step: int) -> int:
    """Return where the cursor is after a step; it stays on the members."""
    return max(0, min(view.cursor + step, len(view.places) - 1))


def members(status: Node) -> Iterator[tuple[str, Node]]:
    """Yield POOL/MEMBER and the member, of every listener."""
    for listener in status.nodes("listeners"):
        for pool in listener.nodes("pools"):
            for member in pool.nodes("members"):
                yield f"{pool.text('name')}/{member.text('name')}", member


def table(view: View) -> Table:
    """Return the rows: listeners with their rates, then members, each once."""
    rows = [_listener_row(view, each) for each in view.now.status.nodes("listeners")]
    found = dict(members(view.now.status))
    rows += [_member_row(place, found[place], is_chosen=place == view.chosen) for place in view.places]
    return Table(HEADINGS, tuple(rows), right=frozenset({3, 4}))


def _listener_row(view: View, listener: Node) -> tuple[Words, ...]:
    return (
        Words(""),
        Words(listener.text("name"), Style.STRONG),
        word(listener.text("operating")),
        count(listener.number("connections")),
        count(rate(view, listener)),
        Words(""),
        Words(listener.text("reason")),
    )


def rate(view: View, listener: Node) -> float | None:
    """Return a listener's connections per second since the moment before; None while that is not known."""
    before = view.before
    if before is None or view.now.at <= before.at:
        return None
    name = listener.text("name")
    old = next((each for each in before.status.nodes("listeners") if each.text("name") == name), Node(None))
    was, now = old.number("total_connections"), listener.number("total_connections")
    return None if was is None or now is None or now < was else (now - was) / (view.now.at - before.at)


def _member_row(place: str, member: Node, *, is_chosen: bool) -> tuple[Words, ...]:
    return (
        Words(">" if is_chosen else ""),
        Words(f"  {place}", Style.STRONG if is_chosen else Style.PLAIN),
        word(member.text("operating")),
        Words(""),
        Words(""),
        Words(duration(member.number("seconds"))),
        Words(why(member)),
    )


def _drawn(view: View) -> RenderableType:
    from rich.console import Group  # noqa: PLC0415 - on a terminal only
    from rich.text import Text  # noqa: PLC0415

    from amphora_agent.ctl.screen import drawn, styled  # noqa: PLC0415

    lines = [styled(line) for line in head(view.now.status)]
    return Group(*lines, Text(""), drawn(table(view)), Text(""), styled((quiet(_HELP),)), Text(view.message))


@contextlib.contextmanager
def _keys() -> Iterator[None]:
    """Have keys come one by one, unseen; the terminal is as before afterwards, however this ends."""
    saved = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)


def _key_within(seconds: float) -> str:
    """Return the key that was pressed in time, empty for none."""
    if not select.select([sys.stdin], [], [], seconds)[0]:
        return ""
    key = os.read(sys.stdin.fileno(), 1) or b"q"
    if key == b"\x1b" and select.select([sys.stdin], [], [], _REST_OF_KEY)[0]:
        key += os.read(sys.stdin.fileno(), 2)
    return key.decode("ascii", "replace")
