"""What a change did, or would do, in lines: differences, decision, steps. Used by every command that changes."""

from __future__ import annotations

from amphora_agent.ctl.client import Answer
from amphora_agent.ctl.failure import Exit
from amphora_agent.ctl.node import Node
from amphora_agent.ctl.screen import Screen
from amphora_agent.ctl.view import quiet, strong, word

_NOTHING = "nothing"


def show(screen: Screen, answer: Answer, *, with_text: bool = False) -> Node:
    """Print an outcome and return it."""
    outcome = answer.json()
    if screen.is_json:
        screen.document(outcome.value)
        return outcome
    for difference in outcome.nodes("differences"):
        kind, where, detail = (difference.text(key) for key in ("kind", "where", "detail"))
        screen.line("  ", word(kind), f" {where}" + (f"  {detail}" if detail else ""))
    for ignored in outcome.texts("ignored"):
        screen.line(quiet(f"  ignored: {ignored}"))
    if with_text and outcome.text("diff"):
        screen.text(outcome.text("diff"))
    screen.line(strong(outcome.text("name")), f": {sentence(outcome)}")
    if outcome.text("revert_at"):
        name = outcome.text("name")
        screen.line(f"goes back at {outcome.text('revert_at')} unless you say: amphoractl confirm {name}")
    return outcome


def sentence(outcome: Node) -> str:
    """Return what was decided and why, in one line."""
    decision, reason, seconds = outcome.text("decision"), outcome.text("reason"), outcome.number("seconds")
    if decision == _NOTHING:
        return "nothing to do"
    mood = "would be " if outcome.is_true("dry_run") else ""
    words = {
        "runtime": f"{mood}changed in the running HAProxy, no reload",
        "reload": f"HAProxy {mood}reloaded",
        "start": f"{mood}started",
        "stop": f"{mood}stopped",
    }
    parts = [words.get(decision, decision)]
    if reason:
        parts.append(f" ({reason})")
    if seconds is not None:
        parts.append(f", {seconds:.3f} s")
    if outcome.integer("generation") is not None:
        parts.append(f", generation {outcome.integer('generation')}")
    return "".join(parts)


def differs(outcome: Node) -> bool:
    """Tell whether there is anything to do."""
    return bool(outcome.nodes("differences")) or outcome.text("decision") not in ("", _NOTHING)


def exit_of_plan(outcome: Node) -> Exit:
    """Return the exit code of a command that only shows what would change."""
    return Exit.DIFFERENCE if differs(outcome) else Exit.DONE
