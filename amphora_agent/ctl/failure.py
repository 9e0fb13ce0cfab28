"""How a command of amphoractl ends when it cannot do what it was asked: one exception, and the exit codes."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """The exit codes; scripts rely on them.

    `DIFFERENCE` is also that of something waited for that did not come, and of a doctor who found something.
    """

    DONE = 0
    DIFFERENCE = 1
    USAGE = 2
    REFUSED = 3
    UNREACHABLE = 4
    CONFLICT = 5
    INTERRUPTED = 130


class CommandFailure(Exception):
    """The command ends here.

    Args:
        code: what to exit with.
        message: one sentence for people.
        lines: what else they need to act on it, a line each.
        problem: the agent's own words as JSON had them, for `--json`; None when they are not the agent's.
    """

    def __init__(self, code: Exit, message: str, *lines: str, problem: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.lines = lines
        self.problem = problem
