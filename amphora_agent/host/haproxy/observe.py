"""Ask a running HAProxy what it serves: its master for workers, each worker for its table. Changes nothing there."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence

from amphora_agent.core.backoff import Backoff
from amphora_agent.core.haproxy.observation import Absent, Answer, Answered, Observation, Silent
from amphora_agent.core.haproxy.process import parse_info, parse_processes
from amphora_agent.core.haproxy.stats import Table, parse_stat
from amphora_agent.core.paths import LoadBalancerPaths
from amphora_agent.core.process_id import ProcessId
from amphora_agent.core.records import replaced_worker
from amphora_agent.errors import HostFailure
from amphora_agent.host.deadline import Deadline
from amphora_agent.host.files import read_optional
from amphora_agent.host.haproxy.master import worker_prefix
from amphora_agent.host.haproxy.socket import query
from amphora_agent.host.procfs import process_start_time, read_pid, reads_config

EVERYTHING = "show stat -1 -1 -1"
FRONTENDS = "show stat -1 1 -1"
MASTER_TIMEOUT = 0.5
PAUSE = 0.05
QUICK_FAILURES = 1.0
FIRST_PAUSE = 20.0
LONGEST_PAUSE = 1800.0


class Patience:
    """Which workers did not answer lately, and until when each is left alone; a value of the one who observes.

    Decision: a question to a worker that hangs occupies one of the master's ten sessions until that worker ends,
    whoever hung up meanwhile. So it is asked again after a pause, and after twice that, and so on.
    """

    def __init__(self) -> None:
        self._backoffs: dict[ProcessId, Backoff] = {}

    def is_due(self, worker: ProcessId) -> bool:
        """Tell whether a worker may be asked."""
        backoff = self._backoffs.get(worker)
        return backoff is None or backoff.is_over(time.monotonic())

    def note(self, worker: ProcessId, *, has_answered: bool) -> None:
        """Remember how a worker took a question."""
        if has_answered:
            self._backoffs.pop(worker, None)
            return
        before = self._backoffs.get(worker, Backoff(first=FIRST_PAUSE, longest=LONGEST_PAUSE, settled_after=math.inf))
        self._backoffs[worker] = before.after_start(time.monotonic())

    def keep(self, workers: Iterable[ProcessId]) -> None:
        """Forget all but these workers."""
        kept = set(workers)
        self._backoffs = {worker: backoff for worker, backoff in self._backoffs.items() if worker in kept}


def master_pid(paths: LoadBalancerPaths, last: int | None = None) -> int | None:
    """Return the living master's pid, None when HAProxy does not run.

    It is known by its pid file and by the configuration it was started with: the configured command may be a wrapper,
    and another agent may have started it.

    Args:
        paths: of the load balancer.
        last: the pid of the look before; at a reload the pid file is empty for a moment.
    """
    pid = read_pid(paths.pid) or last
    return pid if pid is not None and reads_config(pid, paths.config) else None


def observe(paths: LoadBalancerPaths, pid: int | None, seconds: float, patience: Patience) -> Observation:
    """Return what HAProxy serves at this moment.

    Args:
        paths: of the load balancer.
        pid: the living master, as `master_pid` returns it.
        seconds: to be spent at most; failures that come at once are tried again for a part of them.
        patience: of this load balancer's workers.
    """
    if pid is None:
        return Absent()
    deadline = Deadline.after(seconds)
    failure = "no time is left"
    for _ in deadline.within(min(QUICK_FAILURES, seconds - PAUSE)).attempts(PAUSE):
        try:
            return _ask_all(paths, deadline, patience)
        except HostFailure as error:
            failure = f"{error}: {error.detail}"
    return Silent(failure)


def _ask_all(paths: LoadBalancerPaths, deadline: Deadline, patience: Patience) -> Answered:
    workers = [ProcessId(pid, process_start_time(pid) or 0) for pid in _worker_pids(paths, deadline)]
    if workers:
        patience.keep(workers)
        return _ask_workers(paths, workers, deadline, patience)
    return Answered(None, _ask(paths, None, EVERYTHING, deadline))


def _worker_pids(paths: LoadBalancerPaths, deadline: Deadline) -> tuple[int, ...]:
    """Return the workers the master names, the likelier to serve first; empty when there is no master CLI.

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
        if processes is not None and processes.by_youth:
            return processes.by_youth
    return ()


def _ask_workers(
    paths: LoadBalancerPaths, workers: Sequence[ProcessId], deadline: Deadline, patience: Patience
) -> Answered:
    """Ask the worker that serves for everything and the others for what they still serve.

    One of the others that does not answer is named without a table, so that what it had counted is remembered.
    """
    current, table = _ask_serving(paths, workers, deadline, patience)
    others = [worker for worker in workers if worker != current]
    old = [Answer(worker, _ask_old(paths, worker, deadline, patience)) for worker in others]
    final = _final_answer(paths)
    if final is not None and final.worker not in workers:
        old.append(final)
    return Answered(current, table, tuple(old))


def _ask_serving(
    paths: LoadBalancerPaths, workers: Sequence[ProcessId], deadline: Deadline, patience: Patience
) -> tuple[ProcessId, Table]:
    """Return the worker that serves and its table: the first that can be asked and is not about to end.

    The master's order alone does not say: one it calls new may be about to fail, and the one it calls old serves on.
    """
    failure: HostFailure | None = None
    for position, worker in enumerate(workers):
        try:
            if not patience.is_due(worker):
                _await_life(paths, worker, deadline)
            if position > 0:
                _require_serving(paths, worker, deadline)
            table = _ask(paths, worker, EVERYTHING, deadline)
        except HostFailure as error:
            if deadline.left() <= 0:
                patience.note(worker, has_answered=False)
            failure = failure or error
        else:
            patience.note(worker, has_answered=True)
            return worker, table
    raise failure or HostFailure("cannot ask HAProxy", "it has no worker")


def _await_life(paths: LoadBalancerPaths, worker: ProcessId, deadline: Deadline) -> None:
    """Ask a worker that did not answer lately on its own socket, where it costs the master nothing.

    Raises:
        HostFailure: it is silent still.
    """
    answer = query(paths.stats_socket, "show info", deadline.require("cannot ask HAProxy"))
    info = parse_info(answer.decode("utf-8", "replace"))
    if info is None or info.pid != worker.pid:
        raise HostFailure("cannot ask HAProxy", "the worker did not answer lately")


def _require_serving(paths: LoadBalancerPaths, worker: ProcessId, deadline: Deadline) -> None:
    command = f"{worker_prefix(worker.pid)}show info"
    answer = query(paths.master_socket, command, deadline.require("cannot ask HAProxy"))
    info = parse_info(answer.decode("utf-8", "replace"))
    if info is None or info.is_stopping:
        raise HostFailure("cannot ask HAProxy", "none of its workers serves")


def _ask_old(paths: LoadBalancerPaths, worker: ProcessId, deadline: Deadline, patience: Patience) -> Table | None:
    """Return what a worker still serves; None when it does not answer, or did not lately."""
    if not patience.is_due(worker):
        return None
    try:
        table = _ask(paths, worker, FRONTENDS, deadline.within(deadline.left() / 2))
    except HostFailure:
        patience.note(worker, has_answered=False)
        return None
    patience.note(worker, has_answered=True)
    return table


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
    prefix = "" if worker is None else worker_prefix(worker.pid)
    table = parse_stat(query(path, f"{prefix}{command}", deadline.require("cannot ask HAProxy")))
    if table is None:
        raise HostFailure(f"cannot use the answer of {path}", "it is cut off or no table")
    return table
