"""amphoractl doctor: looks for everything that is known to go wrong, on the machine itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from amphora_agent.core.doctor.checks import CHECKS, Check, Finding, Severity
from amphora_agent.core.doctor.facts import Facts
from amphora_agent.ctl.client import Address, Client
from amphora_agent.ctl.context import Context
from amphora_agent.ctl.failure import CommandFailure, Exit
from amphora_agent.ctl.screen import Screen
from amphora_agent.ctl.view import Style, Words, quiet
from amphora_agent.host.doctor.observe import observe, read_settings

_ASK_SECONDS = 1.0
_STYLES = {Severity.WARNING: Style.WARNING, Severity.FAILURE: Style.BAD}


def run(context: Context) -> Exit:
    """Print what is wrong; exit 1 when something is."""
    facts = look(context)
    results = [(check, tuple(check.find(facts))) for check in CHECKS]
    if context.screen.is_json:
        context.screen.document(_document(results, facts))
    else:
        _show(context.screen, results, facts, show_all=context.arguments.all)
    return Exit.DIFFERENCE if any(findings for _, findings in results) else Exit.DONE


def look(context: Context) -> Facts:
    """Return all that is seen of the amphora, the agent's answer included."""
    given = context.arguments
    settings, _ = read_settings(given.config_file)
    socket: Path | str | None = given.socket or settings.api_socket
    return observe(given.config_file, "" if socket is None else _agent_trouble(Path(socket)))


def _agent_trouble(socket: Path) -> str:
    """Return why the agent does not answer on its socket, empty when it does."""
    try:
        Client(Address(socket_path=socket, timeout=_ASK_SECONDS)).request("GET", "/health")
    except CommandFailure as failure:
        return str(failure)
    return ""


def _document(results: Iterable[tuple[Check, tuple[Finding, ...]]], facts: Facts) -> dict[str, object]:
    found = [
        {"code": check.code, "severity": finding.severity, "text": finding.text}
        for check, findings in results
        for finding in findings
    ]
    return {"findings": found, "checks": [check.code for check in CHECKS], "unseen": list(facts.unseen)}


def _show(
    screen: Screen, results: Iterable[tuple[Check, tuple[Finding, ...]]], facts: Facts, *, show_all: bool
) -> None:
    count = 0
    for check, findings in results:
        count += len(findings)
        for finding in findings:
            severity = Words(f" {finding.severity}  ", _STYLES[finding.severity])
            screen.line(severity, finding.text, quiet(f"  -> {check.code}"))
        if show_all and not findings:
            screen.line(Words(" ok    ", Style.GOOD), check.health)
    for each in facts.unseen:
        screen.line(quiet(f" ?     could not look at {each}"))
    if count:
        screen.line(f"{count} found by {len(CHECKS)} checks; `amphoractl explain CODE` says what to do")
    else:
        screen.line(f"{len(CHECKS)} checks found nothing")
