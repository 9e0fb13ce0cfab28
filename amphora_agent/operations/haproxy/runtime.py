"""Change a running HAProxy through its runtime API, prove that it came out right, and delete removed servers later.

Decision: a removed server is put into maintenance and hidden from heartbeats at once, but deleted only when its last
connection is gone; `remove_idle` retries from a background thread for as long as that takes. No connection is cut.
It costs one small file per load balancer, read by the heartbeat, that lists who is waiting.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from amphora_agent.core.haproxy import runtime as haproxy_runtime
from amphora_agent.core.haproxy.change import Permissions, Stored
from amphora_agent.core.haproxy.config import parse
from amphora_agent.core.haproxy.plan import Plan, is_removal_safe
from amphora_agent.core.haproxy.runtime import Command
from amphora_agent.core.haproxy.steps import AddServer, RemoveServer, ReplaceServer
from amphora_agent.core.haproxy.verification import questions
from amphora_agent.core.haproxy.version import Version, parse_version
from amphora_agent.core.ids import LoadBalancerId, is_id
from amphora_agent.core.process_id import ProcessId
from amphora_agent.core.records import applied_config
from amphora_agent.core.records import removing as removing_record
from amphora_agent.core.records.applied_config import AppliedConfig
from amphora_agent.core.records.removing import Removing
from amphora_agent.errors import AgentError, HostFailure
from amphora_agent.host import files
from amphora_agent.host.haproxy.socket import query
from amphora_agent.host.uptime import boot_seconds
from amphora_agent.operations.amphora import Amphora, Change

LOG = logging.getLogger(__name__)

COMMAND_TIMEOUT = 3.0
PLAN_TIMEOUT = 10.0
# A worker that ends so soon after a runtime change is taken to have crashed of it.
CRASH_SECONDS = 600.0
# Versions that may delete a server a stream still points to delete only after every retry must be over.
UNSAFE_REMOVAL_SECONDS = 120.0
REMOVALS_WATCHER = "removed servers"
REMOVAL_INTERVAL = 2.0
# Whoever removes a server calls the watcher; this is for what a crash left.
IDLE_INTERVAL = 300.0
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningProxy:
    """One HAProxy as the runtime API reaches it.

    `removing` is the file of servers waiting for their deletion; `timeout` the seconds each command may take.
    """

    socket: Path
    removing: Path
    version: Version
    timeout: float = COMMAND_TIMEOUT


def permissions(
    change: Change, lb_id: LoadBalancerId, applied: AppliedConfig | None, running: ProcessId | None
) -> Permissions:
    """Return what may be done at run time, and record it when the worker crashed after a runtime change.

    The record is gone at the next start of the agent: `clear_reload_only`.
    """
    paths, settings = change.paths, change.settings_file.current()
    reason = (files.read_optional(paths.loadbalancer(lb_id).reload_only) or b"").decode("utf-8", "replace")
    if not reason and applied is not None and has_crashed(applied, running, boot_seconds()):
        reason = "HAProxy ended soon after a change at run time"
        files.write_volatile(paths.loadbalancer(lb_id).reload_only, reason.encode())
        LOG.error("changes to this load balancer are reloads from now on lb=%s reason=%s", lb_id, reason)
    version = None if running is None else running_version(paths.loadbalancer(lb_id).admin_socket)
    return Permissions(
        version=version,
        runtime_changes=settings.runtime_changes,
        reload_only=reason,
        new_members_start_down=settings.new_members_start_down,
    )


def has_crashed(applied: AppliedConfig, running: ProcessId | None, now: float) -> bool:
    """Tell whether the worker that was changed at run time ended within ten minutes of it.

    Args:
        applied: the record of the last change.
        running: the current worker; it started when the other had ended.
        now: seconds since boot.
    """
    if applied.changed_at is None or applied.worker == running:
        return False
    ended = now if running is None else running.started / TICKS_PER_SECOND
    return 0 <= ended - applied.changed_at < CRASH_SECONDS


def running_version(socket: Path) -> Version | None:
    """Return the version of the process that answers, None when none does; the binary on disk may be another."""
    try:
        return parse_version(query(socket, "show info", COMMAND_TIMEOUT).decode("utf-8", "replace"))
    except HostFailure:
        return None


def clear_reload_only(change: Change) -> None:
    """Forget that instances had to be reloaded; called when the agent starts."""
    for path in change.paths.agent.glob("*/reload-only"):
        files.remove_volatile(path)


def change_running(
    change: Change, lb_id: LoadBalancerId, applied: AppliedConfig, stored: Stored, plan: Plan, version: Version
) -> AppliedConfig:
    """Perform a plan, verify it, and record what HAProxy now runs.

    The record says "unfinished" meanwhile, so that a crash of ours in between is followed by a reload.

    Raises:
        HostFailure: HAProxy has to be reloaded; nothing may be concluded about what it runs.
    """
    path = change.paths.loadbalancer(lb_id).applied
    files.write_volatile(path, applied_config.encode(replace(applied, is_unfinished=True, changed_at=boot_seconds())))
    proxy = RunningProxy(
        socket=change.paths.loadbalancer(lb_id).admin_socket,
        removing=change.paths.loadbalancer(lb_id).removing,
        version=version,
    )
    perform(proxy, plan, stored)
    change.watchers.call(REMOVALS_WATCHER)
    done = AppliedConfig(
        config=stored.config,
        digests=stored.digests,
        crt_lists=stored.crt_lists,
        worker=applied.worker,
        aliases=plan.aliases,
        commits=plan.commits,
        changed_at=boot_seconds(),
    )
    files.write_volatile(path, applied_config.encode(done))
    return done


def perform(proxy: RunningProxy, plan: Plan, stored: Stored) -> None:
    """Carry out a plan's steps and verify the outcome.

    Raises:
        HostFailure: a file could not be read or sent, an answer was not as expected or late, or the outcome is
            not what the files say.
    """
    try:
        payloads = _payloads(plan)
        commands = [
            command
            for step in plan.steps
            for command in haproxy_runtime.commands_of(step, payloads.get(haproxy_runtime.file_of(step) or "", ""))
        ]
    except AgentError as error:
        raise HostFailure("cannot change HAProxy at run time", f"{error}: {error.detail}") from error
    removing = _note_removals(proxy, plan)
    deadline = time.monotonic() + PLAN_TIMEOUT
    for command in commands:
        _send(proxy, command, min(proxy.timeout, _left(deadline)))
    for question in questions(plan, parse(stored.config), stored.crt_lists, payloads, removing):
        answer = query(proxy.socket, question.command, min(proxy.timeout, _left(deadline))).decode("utf-8", "replace")
        mismatch = question.mismatch(answer)
        if mismatch is not None:
            raise HostFailure("cannot change HAProxy at run time", mismatch)
    if removing and is_removal_safe(proxy.version):
        _delete(proxy, removing)


def _payloads(plan: Plan) -> dict[str, str]:
    """Return file -> what to send of it, all read before anything is sent."""
    names = {name for step in plan.steps if (name := haproxy_runtime.file_of(step)) is not None}
    payloads = {}
    for name in sorted(names):
        data = files.read_optional(Path(name))
        if data is None:
            raise HostFailure(f"cannot read {name}", "it is gone")
        payloads[name] = haproxy_runtime.payload_of(data)
    return payloads


def _note_removals(proxy: RunningProxy, plan: Plan) -> Removing:
    """Write down who will wait for deletion before it happens, and delete who is wanted again."""
    before = read_removing(proxy.removing)
    after = {backend: dict(names) for backend, names in before.items()}
    for step in plan.steps:
        match step:
            case RemoveServer(backend, name):
                after.setdefault(backend, {})[name] = boot_seconds()
            case AddServer(backend, server) | ReplaceServer(backend, server) if server.name in after.get(backend, ()):
                if not is_removal_safe(proxy.version):
                    raise HostFailure("cannot change HAProxy at run time", f"{server.name} is still being removed")
                _send(proxy, haproxy_runtime.delete_server_if_there(backend, server.name), proxy.timeout)
                del after[backend][server.name]
            case _:
                continue
    if after != before:
        _write_removing(proxy.removing, after)
    return {backend: names for backend, names in after.items() if names}


def _send(proxy: RunningProxy, command: Command, timeout: float) -> None:
    """Send one command.

    Raises:
        HostFailure: it was not carried out, or nobody knows.
    """
    answer = query(proxy.socket, command.text, timeout, command.payload).decode("utf-8", "replace")
    if not command.accepts(answer):
        raise HostFailure("cannot change HAProxy at run time", f"{command.text}: {answer.strip()[:300]}")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise HostFailure("cannot change HAProxy at run time", f"it takes longer than {PLAN_TIMEOUT:g} s")
    return left


def read_removing(path: Path) -> Removing:
    """Return the servers that wait for deletion; empty when none is known to."""
    return removing_record.decode(files.read_optional(path)) or {}


def _write_removing(path: Path, removing: Removing) -> None:
    left = {backend: names for backend, names in removing.items() if names}
    if left:
        files.write_volatile(path, removing_record.encode(left))
    else:
        files.remove_volatile(path)


def forget_removals(change: Change, lb_id: LoadBalancerId) -> None:
    """Forget who waited for deletion: a started or reloaded HAProxy has only the servers of the file."""
    files.remove_volatile(change.paths.loadbalancer(lb_id).removing)


def look_after_removed(amphora: Amphora) -> float:
    """Delete removed servers that are idle; return the seconds until the next look."""
    return REMOVAL_INTERVAL if remove_idle(amphora) else IDLE_INTERVAL


def remove_idle(amphora: Amphora) -> int:
    """Delete waiting servers that have no connection left; return how many still wait.

    While something is being changed they are left for the next round: changes do not wait for this.
    """
    waiting = 0
    for lb_id in _waiting_ids(amphora):
        with amphora.changing_politely() as change:
            if change is None:
                return waiting + 1
            try:
                waiting += _remove_idle(change, lb_id)
            except (AgentError, OSError) as error:
                LOG.warning("cannot delete removed servers lb=%s: %s %s", lb_id, error, getattr(error, "detail", ""))
    return waiting


def _waiting_ids(amphora: Amphora) -> Iterator[LoadBalancerId]:
    for path in sorted(amphora.paths.agent.glob("*/removing.json")):
        if is_id(path.parent.name):
            yield LoadBalancerId(path.parent.name)


def _remove_idle(change: Change, lb_id: LoadBalancerId) -> int:
    paths = change.paths
    applied = applied_config.decode(files.read_optional(paths.loadbalancer(lb_id).applied))
    version = running_version(paths.loadbalancer(lb_id).admin_socket)
    removing = read_removing(paths.loadbalancer(lb_id).removing)
    waiting = sum(len(names) for names in removing.values())
    if applied is None or applied.is_unfinished or version is None:
        return waiting
    deletable = removing if is_removal_safe(version) else deletable_with_care(removing, applied, boot_seconds())
    _extend_crash_window(paths.loadbalancer(lb_id).applied, applied)
    left = _delete(
        RunningProxy(
            socket=paths.loadbalancer(lb_id).admin_socket, removing=paths.loadbalancer(lb_id).removing, version=version
        ),
        deletable,
    )
    if left < waiting:
        LOG.info("deleted removed servers lb=%s deleted=%d waiting=%d", lb_id, waiting - left, left)
    return left


def _extend_crash_window(path: Path, applied: AppliedConfig) -> None:
    """Restart the crash window: deleting a server is a runtime change too."""
    now = boot_seconds()
    if applied.changed_at is None or not 0 <= now - applied.changed_at < CRASH_SECONDS / 2:
        files.write_volatile(path, applied_config.encode(replace(applied, changed_at=now)))


def deletable_with_care(removing: Removing, applied: AppliedConfig, now: float) -> Removing:
    """Return who may be deleted where HAProxy does not see every user of a server.

    A stream lets go of a server in maintenance when its retries are over; a client's HTTP/2 connection to it may
    stay for ever, so where members may speak HTTP/2 nobody is deleted: the next reload does it.
    """
    sections = {section.name: section for section in parse(applied.config).sections if section.kind == "backend"}
    speaks_h2 = {name for name, section in sections.items() if any(" alpn " in line for line in section.lines)}
    return {
        backend: {name: since for name, since in names.items() if not 0 <= now - since < UNSAFE_REMOVAL_SECONDS}
        for backend, names in removing.items()
        if backend in sections and backend not in speaks_h2
    }


def _delete(proxy: RunningProxy, deletable: Removing) -> int:
    """Try to delete each of these servers once; return how many servers still wait, others included."""
    before = read_removing(proxy.removing)
    left = {backend: dict(names) for backend, names in before.items()}
    for backend, names in deletable.items():
        for name in names:
            command = haproxy_runtime.delete_server_if_there(backend, name)
            answer = query(proxy.socket, command.text, proxy.timeout).decode("utf-8", "replace")
            if command.accepts(answer):
                del left[backend][name]
    if left != before:
        _write_removing(proxy.removing, left)
    return sum(len(names) for names in left.values())
