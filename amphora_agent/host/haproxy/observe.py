"""Ask a running HAProxy what it serves: its master for workers, each worker for its table. Changes nothing there."""

from __future__ import annotations

from amphora_agent.core.haproxy.observation import Absent, Answer, Answered, Observation, Silent
from amphora_agent.core.haproxy.process import parse_processes
from amphora_agent.core.haproxy.stats import Table, parse_stat
from amphora_agent.core.paths import LoadBalancerPaths
from amphora_agent.core.process_id import ProcessId
from amphora_agent.core.records import replaced_worker
from amphora_agent.errors import HostFailure
from amphora_agent.host.deadline import Deadline
from amphora_agent.host.files import read_optional
from amphora_agent.host.haproxy.socket import query
from amphora_agent.host.procfs import is_program, process_start_time, read_pid

EVERYTHING = "show stat -1 -1 -1"
FRONTENDS = "show stat -1 1 -1"
MASTER_TIMEOUT = 0.5
PAUSE = 0.05
QUICK_FAILURES = 1.0


def master_pid(paths: LoadBalancerPaths, program: str, last: int | None = None) -> int | None:
    """Return the living master's pid, None when HAProxy does not run.

    Args:
        paths: of the load balancer.
        program: file name of the HAProxy binary, to tell it from another process with its pid.
        last: the pid of the look before; at a reload the pid file is empty for a moment.
    """
    pid = read_pid(paths.pid) or last
    return pid if pid is not None and is_program(pid, program) else None


def observe(paths: LoadBalancerPaths, pid: int | None, seconds: float) -> Observation:
    """Return what HAProxy serves at this moment.

    Args:
        paths: of the load balancer.
        pid: the living master, as `master_pid` returns it.
        seconds: to be spent at most; failures that come at once are tried again for a part of them.
    """
    if pid is None:
        return Absent()
    deadline = Deadline.after(seconds)
    failure = "no time is left"
    for _ in deadline.within(min(QUICK_FAILURES, seconds - PAUSE)).attempts(PAUSE):
        try:
            return _ask_all(paths, deadline)
        except HostFailure as error:
            failure = f"{error}: {error.detail}"
    return Silent(failure)


def _ask_all(paths: LoadBalancerPaths, deadline: Deadline) -> Answered:
    pids = _worker_pids(paths, deadline)
    if pids:
        return _ask_workers(paths, pids, deadline)
    return Answered(None, _ask(paths, None, EVERYTHING, deadline))


def _worker_pids(paths: LoadBalancerPaths, deadline: Deadline) -> tuple[int, ...]:
    """Return the workers the master names, the current one first; empty when there is no master CLI.

    The master executes itself anew at a reload and does not answer for a while then; the stats socket does.
    """
    masters = deadline.within(min(deadline.left() / 2, MASTER_TIMEOUT))
    for _ in masters.attempts(PAUSE):
        if not paths.master_socket.exists():
            break
        try:
            answer = query(paths.master_socket, "show proc", masters.require("cannot ask HAProxy's master"))
        except HostFailure:
            continue
        processes = parse_processes(answer.decode("utf-8", "replace"))
        if processes is not None and processes.workers:
            return tuple(process.pid for process in (*processes.workers, *processes.old_workers))
    return ()


def _ask_workers(paths: LoadBalancerPaths, pids: tuple[int, ...], deadline: Deadline) -> Answered:
    """Ask the current worker for everything and the old ones for what they still serve.

    An old worker that does not answer is named without a table, so that what it had counted is remembered.
    """
    current, *others = [ProcessId(pid, process_start_time(pid) or 0) for pid in pids]
    table = _ask(paths, current, EVERYTHING, deadline)
    old: list[Answer] = []
    for worker in others:
        try:
            old.append(Answer(worker, _ask(paths, worker, FRONTENDS, deadline)))
        except HostFailure:
            old.append(Answer(worker, None))
    final = _final_answer(paths)
    if final is not None and final.worker not in {current, *others}:
        old.append(final)
    return Answered(current, table, tuple(old))


def _final_answer(paths: LoadBalancerPaths) -> Answer | None:
    """Return the answer saved from the replaced worker, None when there is none that can be used."""
    try:
        replaced = replaced_worker.decode(read_optional(paths.replaced_worker))
    except HostFailure:
        return None
    table = None if replaced is None else parse_stat(replaced.stat.encode("utf-8", "replace"))
    return Answer(replaced.worker, table, is_final=True) if replaced is not None and table is not None else None


def _ask(paths: LoadBalancerPaths, worker: ProcessId | None, command: str, deadline: Deadline) -> Table:
    """Return a worker's table; without a worker, of the one that listens on the stats socket."""
    path = paths.stats_socket if worker is None else paths.master_socket
    prefix = "" if worker is None else f"@!{worker.pid} "
    table = parse_stat(query(path, f"{prefix}{command}", deadline.require("cannot ask HAProxy")))
    if table is None:
        raise HostFailure(f"cannot use the answer of {path}", "it is cut off or no table")
    return table
