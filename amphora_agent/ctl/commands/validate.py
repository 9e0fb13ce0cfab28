"""amphoractl validate: whether an agent would take a document, found out without one."""

from __future__ import annotations

from dataclasses import asdict

from amphora_agent.core.document.checks import check
from amphora_agent.core.document.problem import Problem
from amphora_agent.core.document.reading import Reading, read
from amphora_agent.ctl.context import Context
from amphora_agent.ctl.failure import CommandFailure, Exit
from amphora_agent.ctl.files import read_bytes, to_json
from amphora_agent.ctl.view import quiet


def run(context: Context) -> Exit:
    """Print every problem of a file; the secrets it names are the agent's to know."""
    name: str = context.arguments.file
    screen = context.screen
    found = judge(read_bytes(name), name)
    if isinstance(found, Reading):
        if screen.is_json:
            screen.document({"valid": True, "errors": [], "ignored": list(found.ignored)})
            return Exit.DONE
        for pointer in found.ignored:
            screen.line(quiet(f"  ignored: {pointer}"))
        screen.line(f"{name}: in order")
        return Exit.DONE
    if screen.is_json:
        screen.document({"valid": False, "errors": [asdict(each) for each in found], "ignored": []})
        return Exit.REFUSED
    raise CommandFailure(Exit.REFUSED, f"{name} is not valid", *(line(each) for each in found))


def judge(data: bytes, name: str) -> Reading | tuple[Problem, ...]:
    """Return the document of a file, or all its problems, those of its references included.

    Raises:
        CommandFailure: it is neither JSON nor YAML.
    """
    found = read(to_json(data, name))
    if not isinstance(found, Reading):
        return found
    return check(found.document) or found


def line(problem: Problem) -> str:
    """Return a problem in one line."""
    wanted = f", expected {problem.expected}" if problem.expected else ""
    place = f" ({problem.pointer})" if problem.pointer else ""
    return f"{problem.where}: {problem.detail}{wanted}{place}"
