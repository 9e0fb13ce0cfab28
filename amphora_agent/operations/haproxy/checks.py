"""Has HAProxy judge configurations before they are stored: as a whole, or by what changed since it did so last.

Decision: HAProxy's check of a large configuration takes a second, nearly all of it for members that it accepted before.
Where only members changed, `core/haproxy/reduction` gives a small configuration with the same verdict, so that the
controller has its answer at once; the whole is checked in the background, a moment after the last change. Until then
the stored file is marked by a copy of the last one that was accepted as a whole. An agent that finds the mark at its
start makes up for the check, and nothing is started or reloaded from a marked file before it is made. Should HAProxy
refuse the whole after all, the copy is put back, an error is logged, and every check is whole from then on.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from amphora_agent.core.haproxy import config as haproxy_config
from amphora_agent.core.haproxy import process as haproxy_process
from amphora_agent.core.haproxy.change import Stored
from amphora_agent.core.haproxy.reduction import is_reducible, reduce
from amphora_agent.core.ids import LoadBalancerId, is_id
from amphora_agent.errors import AgentError, HostFailure, InvalidRequest
from amphora_agent.host import files, machine
from amphora_agent.host.commands import Completed
from amphora_agent.host.confinement import Limits, run_confined
from amphora_agent.host.haproxy import binary as haproxy_binary
from amphora_agent.operations import metrics_record
from amphora_agent.operations.acceptance import Accepted
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.haproxy import stored_files
from amphora_agent.operations.haproxy.instance import Instance, instance_of

LOG = logging.getLogger(__name__)

WATCHER = "configuration checks"
CHECK_TIMEOUT = 55.0
# After the last change: a batch of them is checked once.
PAUSE = 2.0
RETRY = 0.5
IDLE_INTERVAL = 3600.0
COUNTED_AS = "wrong_acceptance"


def check_and_store(change: Change, instance: Instance, text: str) -> None:
    """Store a configuration that HAProxy accepts; a rejected one is kept as `haproxy.cfg.new-failed`.

    Raises:
        InvalidRequest: HAProxy rejects it (its words in the detail).
        HostFailure: the disk or HAProxy's binary failed; nothing changed.
    """
    own = instance.paths
    candidate = own.config.with_name("haproxy.cfg.new")
    files.write_volatile(candidate, text.encode())
    stored = stored_files.gather(change, text)
    if _is_change_accepted(change, instance, stored):
        files.link_durable(own.config, own.accepted)
        files.rename_durable(candidate, own.config)
        change.watchers.call(WATCHER)
        return
    done = _run(change, instance, candidate)
    if done.code != 0:
        change.changes.refused += 1
        metrics_record.write(change)
        files.rename_durable(candidate, candidate.with_name("haproxy.cfg.new-failed"))
        raise InvalidRequest("Invalid request", done.output)
    files.rename_durable(candidate, own.config)
    _accept(change, instance, stored)


def complete(change: Change, lb_id: LoadBalancerId) -> None:
    """Check the stored configuration as a whole now, unless HAProxy has accepted it as such.

    Raises:
        HostFailure: it refuses it; the last one that it accepted is stored again.
    """
    instance = instance_of(change, lb_id)
    if files.exists(instance.paths.accepted):
        data = files.read_optional(instance.paths.config) or b""
        stored = stored_files.gather(change, data.decode("utf-8", "replace"))
        _conclude(change, instance, stored, _run(change, instance, instance.paths.config))


def complete_all(change: Change) -> None:
    """Make up for the checks that a crash of the agent came before; called when the agent starts.

    Raises:
        HostFailure: HAProxy refuses one; the last one that it accepted is stored again.
    """
    for lb_id in _unfinished(change):
        complete(change, lb_id)


def look_after(amphora: Amphora) -> float:
    """Make the checks that are due, without keeping changes waiting; return the seconds until the next look.

    Raises:
        HostFailure: HAProxy refuses one; the last one that it accepted is stored again.
    """
    pause = IDLE_INTERVAL
    for lb_id in _unfinished(amphora):
        pause = min(pause, _look_after_one(amphora, lb_id))
    return pause


def _look_after_one(amphora: Amphora, lb_id: LoadBalancerId) -> float:
    instance = instance_of(amphora, lb_id)
    age = files.age(instance.paths.config)
    if age is not None and 0 <= age < PAUSE:
        return PAUSE
    before = files.identity(instance.paths.config)
    data = files.read_optional(instance.paths.config)
    if data is None:
        return IDLE_INTERVAL  # deleted
    stored = stored_files.gather(amphora, data.decode("utf-8", "replace"))
    done = _run(amphora, instance, instance.paths.config)
    with amphora.changing_politely() as change:
        if change is None or files.identity(instance.paths.config) != before:
            return RETRY
        _conclude(change, instance, stored, done)
    return IDLE_INTERVAL


def _unfinished(amphora: Amphora) -> list[LoadBalancerId]:
    marked = files.matching(amphora.paths.agent, "*/accepted.cfg")
    return [LoadBalancerId(path.parent.name) for path in marked if is_id(path.parent.name)]


def _conclude(change: Change, instance: Instance, stored: Stored, done: Completed) -> None:
    own = instance.paths
    if done.code == 0:
        _accept(change, instance, stored)
        return
    change.acceptances.is_distrusted = True
    change.changes.counts[COUNTED_AS] += 1
    LOG.critical("HAProxy refuses a configuration whose changes it accepted lb=%s: %s", instance.lb_id, done.output)
    files.write_volatile(own.config.with_name("haproxy.cfg.new-failed"), stored.config.encode())
    files.move_away(own.accepted, own.config)
    raise HostFailure("cannot use the stored configuration", done.output)


def _accept(change: Change, instance: Instance, stored: Stored) -> None:
    """Remember what HAProxy has just accepted as a whole, and take the mark away."""
    files.remove(instance.paths.accepted)
    change.acceptances.last[instance.lb_id] = Accepted(
        digest=_digest(stored.config.encode()),
        surroundings=_surroundings(change, instance),
        files=stored.digests,
        is_reducible=is_reducible(stored.parsed),
    )


def _is_change_accepted(change: Change, instance: Instance, stored: Stored) -> bool:
    """Tell whether HAProxy accepts what changed since it accepted a whole; False says nothing."""
    reduced = _reduced(change, instance, stored)
    if reduced is None:
        return False
    path = instance.paths.agent / "changes.cfg"
    try:
        files.write_volatile(path, reduced.encode())
        return _run(change, instance, path).code == 0
    except AgentError as error:
        LOG.warning("cannot check a change alone lb=%s: %s: %s", instance.lb_id, error, error.detail)
        return False
    finally:
        files.remove_volatile(path)


def _reduced(change: Change, instance: Instance, stored: Stored) -> str | None:
    """Return the changes since the last whole that HAProxy accepted, None when the next one has to be checked whole."""
    last, own = change.acceptances.last.get(instance.lb_id), instance.paths
    if last is None or not last.is_reducible or change.acceptances.is_distrusted or not _is_wanted(change):
        return None
    data = files.read_optional(own.accepted) or files.read_optional(own.config) or b""
    if _digest(data) != last.digest or _surroundings(change, instance) != last.surroundings:
        return None
    if any(stored.digests.get(path) != digest for path, digest in last.files.items()):
        return None  # what is unchanged in the configuration may read another file now
    reduced = reduce(change.texts.parse(data.decode("utf-8", "replace")), stored.parsed)
    return None if reduced is None else haproxy_config.render(reduced)


def _is_wanted(amphora: Amphora) -> bool:
    return amphora.settings_file.current().reduced_checks


def _surroundings(amphora: Amphora, instance: Instance) -> str:
    """Return a digest of all that a check reads beside the configuration and the files it names."""
    program = haproxy_binary.identity(amphora.started.haproxy_cmd)
    others = [files.read_optional(path) for path in _files_read(amphora, instance, instance.paths.config)[1:]]
    return _digest(repr((program, instance.peer, others)).encode())


def _run(amphora: Amphora, instance: Instance, config: Path) -> Completed:
    """Have HAProxy judge one file, as it would read it at its start."""
    read = _files_read(amphora, instance, config)
    argv = haproxy_process.check_argv(amphora.started.haproxy_cmd, read, instance.peer)
    memory = machine.memory().get("MemTotal", 0) * 1024
    limits = Limits(time=CHECK_TIMEOUT, cpu=int(CHECK_TIMEOUT), memory=memory)
    return run_confined(argv, (*read, instance.paths.servers_state, instance.paths.certs), limits)


def _files_read(amphora: Amphora, instance: Instance, config: Path) -> tuple[Path, ...]:
    return haproxy_process.config_files(instance.paths, config, group_file(amphora))


def group_file(amphora: Amphora) -> Path | None:
    """Return the image's file that names HAProxy's group, None outside an image."""
    return amphora.paths.user_group if files.exists(amphora.paths.user_group) else None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
