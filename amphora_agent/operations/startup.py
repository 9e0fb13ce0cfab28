"""What the agent does before it changes anything: clean up after a crash, and re-assert what the files want."""

from __future__ import annotations

import logging
from collections.abc import Callable

from amphora_agent.errors import AgentError
from amphora_agent.host import files
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.haproxy import runtime as apply
from amphora_agent.operations.inventory import lvs_listener_ids
from amphora_agent.operations.keepalived import lvs_listeners, mastership, vrrp
from amphora_agent.operations.network import interfaces

LOG = logging.getLogger(__name__)

Adopt = Callable[[], None]
Step = Callable[[Change], None]


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
    steps: list[Step] = [apply.clear_reload_only, interfaces.write_loopback, interfaces.prune]
    if adopt is not None:
        steps += [interfaces.bring_up_all, lambda _: adopt()]
    steps.append(_restore_scripts)
    for step in steps:
        try:
            with amphora.changing() as change:
                step(change)
        except (AgentError, OSError) as error:
            LOG.error("cannot restore everything: %s %s", error, getattr(error, "detail", ""))
    interfaces.watch(amphora)
    mastership.watch(amphora)
    apply.watch(amphora)


def _restore_scripts(change: Change) -> None:
    """Write the scripts keepalived runs as this release has them, and drop the flags of reloads that are over."""
    for flag in change.paths.agent.glob("*/reloading"):
        files.remove(flag)
    if change.paths.vrrp.config.exists():
        vrrp.refresh_checks(change)
    if lvs_listener_ids(change.paths):
        lvs_listeners.install_check(change)
