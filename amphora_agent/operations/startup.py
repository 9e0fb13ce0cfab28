"""What the agent does before it changes anything: clean up after a crash, and re-assert what the files want."""

from __future__ import annotations

import logging
from collections.abc import Callable

from amphora_agent.errors import AgentError
from amphora_agent.host import files
from amphora_agent.operations import interfaces
from amphora_agent.operations.amphora import Amphora

LOG = logging.getLogger(__name__)

Adopt = Callable[[], None]
Step = Callable[[Amphora], None]


def prepare(amphora: Amphora) -> None:
    """Make the directories every change needs, and remove what interrupted writes left. Quick; before any request.

    Raises:
        HostFailure: the disk is not usable.
    """
    paths = amphora.paths
    for directory in (paths.base, paths.interfaces):
        files.make_directory(directory)
    for directory in (paths.agent, paths.certs):
        files.make_directory(directory, 0o700)
    for directory in (paths.base, paths.interfaces, paths.agent_cert.parent):
        files.remove_temporaries(directory)


def restore(amphora: Amphora, adopt: Adopt | None) -> None:
    """Bring the machine to what the files say; reads are served meanwhile, changes wait.

    Args:
        amphora: whose files.
        adopt: starts what ran before, where no systemd does; the interfaces are then ours to bring up, too.
    """
    steps: list[Step] = [interfaces.write_loopback, interfaces.prune]
    if adopt is not None:
        steps += [interfaces.bring_up_all, lambda _: adopt()]
    with amphora.mutation:
        for step in steps:
            try:
                step(amphora)
            except AgentError as error:
                LOG.error("cannot restore everything: %s: %s", error, error.detail)
