"""Replaced workers that hang: ended after a while, counted and logged. Touches none that answers or serves.

Decision: HAProxy ends an old worker itself when its connections are gone or `hard-stop-after` is over; one that hangs
does neither, and keeps its memory and the master's sessions. After LOOKS silent looks in a row it is killed, provided
that another worker serves. It costs each look one session of the master, which the end of the worker frees.
"""

from __future__ import annotations

import logging

from amphora_agent.core.ids import LoadBalancerId
from amphora_agent.core.process_id import ProcessId
from amphora_agent.host.foreign import children, kill
from amphora_agent.host.haproxy.master import ask_worker, is_silent
from amphora_agent.host.haproxy.observe import master_pid
from amphora_agent.host.procfs import process_start_time
from amphora_agent.operations.amphora import Amphora
from amphora_agent.operations.inventory import loadbalancer_ids

LOG = logging.getLogger(__name__)

WATCHER = "old workers"
INTERVAL = 60.0
LOOKS = 3
COUNTED_AS = "hung_worker"


class OldWorkers:
    """Remembers how often in a row each old worker was silent."""

    def __init__(self, amphora: Amphora) -> None:
        self._amphora = amphora
        self._silent: dict[ProcessId, int] = {}

    def look(self) -> float:
        """Look once at every load balancer; return the seconds until the next look."""
        silent: dict[ProcessId, int] = {}
        for lb_id in loadbalancer_ids(self._amphora.paths):
            for worker in self._silent_workers(lb_id):
                silent[worker] = self._silent.get(worker, 0) + 1
                if silent[worker] >= LOOKS and self._end(lb_id, worker):
                    del silent[worker]
        self._silent = silent
        return INTERVAL

    def _silent_workers(self, lb_id: LoadBalancerId) -> list[ProcessId]:
        """Return the workers that a newer one has replaced and that do not answer; none while no newer one serves."""
        own = self._amphora.paths.loadbalancer(lb_id)
        master = master_pid(own)
        pids = () if master is None else children(master)
        if len(pids) < 2:
            return []
        serving = ask_worker(own.admin_socket)
        if serving is None:
            return []
        workers = [ProcessId(pid, started) for pid in pids if (started := process_start_time(pid)) is not None]
        older = [worker for worker in workers if worker.started <= serving.process.started]
        return [worker for worker in older if worker != serving.process and is_silent(own.master_socket, worker.pid)]

    def _end(self, lb_id: LoadBalancerId, worker: ProcessId) -> bool:
        with self._amphora.changing_politely() as change:
            if change is None or process_start_time(worker.pid) != worker.started:
                return False
            kill(worker)
            change.changes.counts[COUNTED_AS] += 1
        LOG.error("ended an old worker of haproxy that did not answer lb=%s pid=%d", lb_id, worker.pid)
        return True
