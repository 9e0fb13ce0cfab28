"""amphoractl explain: what a finding of the doctor means and what to do about it."""

from __future__ import annotations

from amphora_agent.core.doctor.checks import CHECKS
from amphora_agent.core.doctor.explanations import EXPLANATIONS, explain
from amphora_agent.ctl.context import Context
from amphora_agent.ctl.failure import CommandFailure, Exit
from amphora_agent.ctl.view import strong


def run(context: Context) -> Exit:
    """Print one explanation, or the list of codes."""
    code: str | None = context.arguments.code
    screen = context.screen
    chosen = [check for check in CHECKS if code is None or check.code == code.upper()]
    if not chosen:
        raise CommandFailure(Exit.USAGE, f"there is no {code}; `amphoractl explain` lists all of them")
    if screen.is_json:
        screen.document(
            [
                {
                    "code": check.code,
                    "health": check.health,
                    "meaning": EXPLANATIONS[check.code].meaning,
                    "remedy": list(EXPLANATIONS[check.code].remedy),
                }
                for check in chosen
            ]
        )
    elif code is not None:
        screen.text(explain(code) or "")
    else:
        for check in chosen:
            screen.line(strong(check.code), f"  {check.health}")
    return Exit.DONE
