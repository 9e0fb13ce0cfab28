"""amphoractl reference: prints the documentation of the commands, as docs/amphoractl.md and the manual page hold it."""

from __future__ import annotations

from amphora_agent.ctl import reference
from amphora_agent.ctl.context import Context
from amphora_agent.ctl.failure import Exit
from amphora_agent.ctl.parser import build


def run(context: Context) -> Exit:
    """Print it."""
    formats = {"markdown": reference.markdown, "man": reference.manual}
    context.screen.out.write(formats[context.arguments.format](reference.outline(build())))
    return Exit.DONE
