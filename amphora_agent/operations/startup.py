"""What the agent does before it changes anything: clean up after a crash, and re-assert what the files want."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

from amphora_agent.errors import AgentError
from amphora_agent.host import files
from amphora_agent.operations import metrics_proxy
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.haproxy import checks, old_workers, removals, runtime, store
from amphora_agent.operations.inventory import lvs_listener_ids
from amphora_agent.operations.keepalived import lvs_listeners, mastership, vrrp
from amphora_agent.operations.network import advertisements, interfaces, nic_watch, settling
from amphora_agent.operations.watchers import Look

LOG = logging.getLogger(__name__)

Step = Callable[[Change], None]


def prepare(amphora: Amphora) -> None:
    """Make the directories every change needs, and remove what interrupted writes left. Quick; before any request.

    Raises:
        HostFailure: the disk is not usable.
    """
    paths = amphora.paths
    for directory in (paths.base, paths.interfaces):
        files.make_directory(directory)
    files.make_public_directory(paths.metrics)
    for directory in (paths.agent, paths.certs):
        files.make_directory(directory, 0o700)
    for directory in (paths.base, paths.certs, paths.interfaces, paths.agent_cert.parent):
        files.remove_temporaries(directory)
    files.remove_temporaries_of(amphora.settings_file.path)


def begin(amphora: Amphora, look_after_units: Look | None) -> None:
    """Bring the machine to what the files say, and look after it from then on, all in the background.

    Args:
        amphora: the amphora to restore.
        look_after_units: keeps what runs running where no systemd does; the interfaces are then ours to bring up, too.
    """
    amphora.watchers.start("restore", functools.partial(restore, amphora, look_after_units))


def restore(amphora: Amphora, look_after_units: Look | None) -> None:
    """Bring the machine to what the files say, as one change, and start the watchers. Reads are served meanwhile."""
    steps: list[Step] = [
        runtime.clear_reload_only,
        store.finish_deletions,
        checks.complete_all,
        interfaces.write_loopback,
        interfaces.prune,
    ]
    if look_after_units is not None:
        steps.append(interfaces.bring_up_all)
    else:
        steps.append(interfaces.settle_namespace)
    steps += [_restore_scripts, metrics_proxy.follow]
    with amphora.changing() as change:
        for step in steps:
            try:
                step(change)
            except (AgentError, OSError) as error:
                LOG.error("cannot restore everything: %s %s", error, getattr(error, "detail", ""))
        if look_after_units is not None:
            amphora.watchers.start("units", look_after_units)
    _look_after_documents(amphora)
    amphora.watchers.start(nic_watch.WATCHER, nic_watch.NicWatcher(amphora).look)
    amphora.watchers.start(settling.WATCHER, settling.SettlingWatcher(amphora).look)
    amphora.watchers.start(vrrp.MASTERSHIP_WATCHER, mastership.MastershipWatcher(amphora).look)
    amphora.watchers.start(old_workers.WATCHER, old_workers.OldWorkers(amphora).look)
    amphora.watchers.start(checks.WATCHER, functools.partial(checks.look_after, amphora))
    amphora.watchers.start(removals.WATCHER, functools.partial(removals.look_after, amphora))
    amphora.watchers.start(
        advertisements.WATCHER, functools.partial(amphora.advertisements.send_due, amphora.paths.netns)
    )


def _look_after_documents(amphora: Amphora) -> None:
    if files.exists(amphora.paths.documents):
        from amphora_agent.operations.document import watch  # noqa: PLC0415 - most amphorae have no document

        watch.begin(amphora)


def _restore_scripts(change: Change) -> None:
    """Write the scripts keepalived runs as this release has them, and drop the flags of reloads that are over."""
    for flag in files.matching(change.paths.agent, "*/reloading"):
        files.remove(flag)
    if files.exists(change.paths.vrrp.config):
        vrrp.refresh_checks(change)
    if lvs_listener_ids(change.paths):
        lvs_listeners.install_check(change)
