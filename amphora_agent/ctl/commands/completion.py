"""amphoractl completion: prints the file that a shell reads."""

from __future__ import annotations

from amphora_agent.ctl import reference
from amphora_agent.ctl.context import Context
from amphora_agent.ctl.failure import Exit
from amphora_agent.ctl.parser import build


def run(context: Context) -> Exit:
    """Print it."""
    shells = {"bash": reference.bash, "zsh": reference.zsh, "fish": reference.fish}
    context.screen.out.write(shells[context.arguments.shell](reference.outline(build())))
    return Exit.DONE
