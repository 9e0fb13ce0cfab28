"""gunicorn, set up as the agent needs it: one threaded worker behind mutual TLS, a companion process beside it.

Decision: the parent loads neither Flask nor the application; the worker does. Memory shared at a fork does not stay
shared in CPython, since reference counts are written all over it, and the parent has nothing to do with it.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import socket
import ssl
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.http.message import Request
from gunicorn.http.wsgi import Response

from amphora_agent.api.http.lanes import ALL_THREADS
from amphora_agent.api.http.tls import ServerContext
from amphora_agent.core.settings import Settings
from amphora_agent.errors import HostFailure
from amphora_agent.host import local_socket
from amphora_agent.host.companion import Companion
from amphora_agent.host.notify import notify

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from amphora_agent.api.http.worker import RequestWorker

LOG = logging.getLogger(__name__)

CONNECTIONS = 1000
GRACEFUL_TIMEOUT = 50


class RootLogger(Logger):  # type: ignore[misc]  # gunicorn is untyped
    """Send gunicorn's lines through the agent's own logging."""

    def setup(self, cfg: Config) -> None:
        """Take gunicorn's handlers away; everything propagates to the root logger."""
        del cfg
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True
            logger.setLevel(logging.NOTSET)

    def reopen_files(self) -> None:
        """Nothing to reopen: log rotation is journald's and rsyslog's."""

    def access(self, resp: Response, req: Request, environ: dict[str, object], request_time: timedelta) -> None:
        """Log one line per request: who asked for what, the status and the milliseconds."""
        self.access_log.info(
            "%s %s %s status=%s ms=%.1f",
            environ.get("REMOTE_ADDR"),
            req.method,
            req.path,
            str(resp.status).split(" ", 1)[0],
            request_time.total_seconds() * 1000,
        )


class AgentArbiter(Arbiter):  # type: ignore[misc]
    """The parent of the worker; it also keeps a companion process running, if it was given one.

    Args:
        app: what gunicorn serves.
        companion: the process.
        door: listens beside what gunicorn listens at.
    """

    def __init__(self, app: BaseApplication, companion: Companion | None, door: socket.socket | None) -> None:
        self._companion = companion
        self._door = door
        super().__init__(app)

    def start(self) -> None:
        """Listen; the worker gets every listener."""
        super().start()
        if self._door is not None:
            self.LISTENERS.append(self._door)

    def manage_workers(self) -> None:
        """Look after the worker, about once a second, and after the companion."""
        super().manage_workers()
        notify("WATCHDOG=1")
        if self._companion is not None:
            self._companion.keep_running()

    def stop(self, graceful: bool = True) -> None:  # noqa: FBT001, FBT002 - gunicorn's signature
        """Stop the companion with the rest."""
        if self._companion is not None:
            self._companion.stop()
        # Whoever opened it closes it, and removes its file.
        if self._door in self.LISTENERS:
            self.LISTENERS.remove(self._door)
        super().stop(graceful)

    def handle_usr2(self) -> None:
        """Ignore what would make gunicorn start a second agent."""
        LOG.info("ignored SIGUSR2")


class HttpsServer(BaseApplication):  # type: ignore[misc]
    """The HTTPS server of one agent, with its UNIX socket.

    Args:
        settings: address, port and TLS files.
        create_app: called in the worker.
        on_worker_start: called in the worker, before its first request, with what tells requests that wait of news.
        companion: process to keep running beside the worker.

    Raises:
        HostFailure: the TLS files cannot be used, or clients could not be verified.
    """

    def __init__(
        self,
        settings: Settings,
        create_app: Callable[[], WSGIApplication],
        on_worker_start: Callable[[Callable[[], None]], None],
        companion: Companion | None,
    ) -> None:
        self._settings = settings
        self._create_app = create_app
        self._on_worker_start = on_worker_start
        self._companion = companion
        self._context = ServerContext(settings)
        self.local_group = self._local_group()
        super().__init__()

    def load_config(self) -> None:
        """Set gunicorn's options; none is read from files, arguments or the environment."""
        settings = self._settings
        host = f"[{settings.bind_host}]" if ":" in settings.bind_host else settings.bind_host
        options: dict[str, object] = {
            "bind": f"{host}:{settings.bind_port}",
            "workers": 1,
            "threads": ALL_THREADS,
            "worker_class": "amphora_agent.api.http.worker.RequestWorker",
            "worker_connections": CONNECTIONS,
            "timeout": settings.agent_request_read_timeout,
            "graceful_timeout": GRACEFUL_TIMEOUT,
            "keepalive": 75,
            "certfile": settings.agent_server_cert,
            "ca_certs": settings.agent_server_ca,
            "cert_reqs": ssl.CERT_REQUIRED,
            "ssl_context": self._ssl_context,
            "logger_class": RootLogger,
            "accesslog": "-",
            "pre_fork": lambda _arbiter, _worker: gc.freeze(),
            "post_worker_init": self._post_worker_init,
            "worker_tmp_dir": "/dev/shm",  # noqa: S108 - gunicorn's own liveness file, unlinked at once
            "proc_name": "amphora-agent",
            "control_socket_disable": True,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> WSGIApplication:
        """Return the WSGI application."""
        return self._create_app()

    def run(self) -> None:
        """Serve until a signal ends it.

        Decision: without its UNIX socket an agent still serves its controller, so what keeps it from listening there is
        logged and no more.
        """
        with contextlib.ExitStack() as stack:
            door = None
            if self._settings.api_socket is not None:
                listening = local_socket.listening(Path(self._settings.api_socket), self.local_group)
                try:
                    door = stack.enter_context(listening)
                except HostFailure as error:
                    LOG.error("%s: %s", error, error.detail)
            AgentArbiter(self, self._companion, door).run()

    def _local_group(self) -> int | None:
        """Return whose members may use the UNIX socket beside root; nobody's when there is no such group."""
        name = self._settings.api_socket_group
        if name is None:
            return None
        try:
            return local_socket.group_id(name)
        except HostFailure as error:
            LOG.error("%s: %s; only root may use the UNIX socket", error, error.detail)
            return None

    def _ssl_context(self, _: Config, __: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        return self._context.current()

    def _post_worker_init(self, worker: RequestWorker) -> None:
        self._on_worker_start(worker.tell)
