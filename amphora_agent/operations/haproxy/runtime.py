"""Change a running HAProxy through its runtime API, and prove that it came out right."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from amphora_agent.core.haproxy import runtime as haproxy_runtime
from amphora_agent.core.haproxy.change import Permissions, Stored
from amphora_agent.core.haproxy.crash import has_crashed
from amphora_agent.core.haproxy.plan import Plan
from amphora_agent.core.haproxy.verification import questions
from amphora_agent.core.haproxy.version import Version
from amphora_agent.core.paths import LoadBalancerPaths
from amphora_agent.core.records import applied_config, reload_only
from amphora_agent.core.records.applied_config import AppliedConfig
from amphora_agent.errors import AgentError, HostFailure
from amphora_agent.host import files
from amphora_agent.host.deadline import Deadline
from amphora_agent.host.haproxy.master import Worker
from amphora_agent.host.procfs import TICKS_PER_SECOND
from amphora_agent.host.uptime import boot_seconds
from amphora_agent.operations.amphora import Amphora, Change
from amphora_agent.operations.haproxy import removals
from amphora_agent.operations.haproxy.proxy import FAILURE, RunningProxy

LOG = logging.getLogger(__name__)

PLAN_TIMEOUT = 10.0


def permissions(
    amphora: Amphora, own: LoadBalancerPaths, applied: AppliedConfig | None, worker: Worker | None
) -> Permissions:
    """Return what may be done at run time.

    Args:
        amphora: for the settings.
        own: files of the load balancer.
        applied: what was last given to HAProxy, None when it is not known.
        worker: the current one, None when none answers.
    """
    settings, running = amphora.settings_file.current(), None if worker is None else worker.process
    reason = reload_only.decode(files.read_optional(own.reload_only)) or ""
    if not reason and applied is not None and has_crashed(applied, running, boot_seconds(), TICKS_PER_SECOND):
        reason = "HAProxy ended soon after a change at run time"
    return Permissions(
        version=None if worker is None else worker.version,
        runtime_changes=settings.runtime_changes,
        reload_only=reason,
        new_members_start_down=settings.new_members_start_down,
    )


def remember_reload_only(own: LoadBalancerPaths, reason: str) -> None:
    """Record why changes to a load balancer are reloads from now on, until the agent's next start."""
    if reason and not files.exists(own.reload_only):
        files.write_volatile(own.reload_only, reload_only.encode(reason))
        LOG.error("changes to this load balancer are reloads from now on lb=%s reason=%s", own.lb_id, reason)


def clear_reload_only(change: Change) -> None:
    """Forget that instances had to be reloaded; called when the agent starts."""
    for path in files.matching(change.paths.agent, "*/reload-only"):
        files.remove_volatile(path)


def change_running(
    change: Change, own: LoadBalancerPaths, applied: AppliedConfig, stored: Stored, plan: Plan, version: Version
) -> None:
    """Perform a plan, verify it, and record what HAProxy now runs.

    The record says "unfinished" meanwhile, so that a crash of ours in between is followed by a reload.

    Raises:
        HostFailure: HAProxy has to be reloaded; nothing may be concluded about what it runs.
    """
    unfinished = replace(applied, is_unfinished=True, changed_at=boot_seconds())
    files.write_volatile(own.applied, applied_config.encode(unfinished))
    perform(RunningProxy(socket=own.admin_socket, removing=own.removing, version=version), plan, stored)
    change.watchers.call(removals.WATCHER)
    done = replace(
        stored.applied_to(applied.worker), aliases=plan.aliases, commits=plan.commits, changed_at=boot_seconds()
    )
    files.write_volatile(own.applied, applied_config.encode(done))


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
        raise HostFailure(FAILURE, f"{error}: {error.detail}") from error
    removing = removals.begin(proxy, plan)
    deadline = Deadline.after(PLAN_TIMEOUT)
    for command in commands:
        proxy.send(command, deadline)
    for question in questions(plan, stored.parsed, stored.crt_lists, payloads, removing):
        mismatch = question.mismatch(proxy.ask(question.command, deadline))
        if mismatch is not None:
            raise HostFailure(FAILURE, mismatch)
    removals.delete_at_once(proxy, removing)


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
