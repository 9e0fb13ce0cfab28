"""gunicorn, set up as the agent needs it: one threaded worker behind mutual TLS, in this very process.

Decision: gunicorn's own parent process is not used. A service manager keeps the agent running, and where there is none
`host/keeper.py` does, in a tenth of the memory. Both hear from the worker itself that requests are served.
"""

from __future__ import annotations

import contextlib
import logging
import os
import ssl
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from gunicorn.app.base import BaseApplication
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.http.message import Request
from gunicorn.http.wsgi import Response
from gunicorn.sock import create_sockets

from amphora_agent.api.http.lanes import ALL_THREADS
from amphora_agent.api.http.tls import ServerContext
from amphora_agent.api.http.worker import RequestWorker
from amphora_agent.core.settings import Settings
from amphora_agent.errors import HostFailure
from amphora_agent.host import local_socket
from amphora_agent.host.notify import notify

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

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


class HttpsServer(BaseApplication):  # type: ignore[misc]
    """The HTTPS server of one agent, with its UNIX socket.

    Args:
        settings: address, port and TLS files.
        create_app: called in the worker.
        on_worker_start: called before the first request, with what tells requests that wait of news.

    Raises:
        HostFailure: the TLS files cannot be used, or clients could not be verified.
    """

    def __init__(
        self,
        settings: Settings,
        create_app: Callable[[], WSGIApplication],
        on_worker_start: Callable[[Callable[[], None]], None],
    ) -> None:
        self._settings = settings
        self._create_app = create_app
        self._on_worker_start = on_worker_start
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
            "worker_connections": CONNECTIONS,
            "graceful_timeout": GRACEFUL_TIMEOUT,
            "keepalive": 75,
            "certfile": settings.agent_server_cert,
            "ca_certs": settings.agent_server_ca,
            "cert_reqs": ssl.CERT_REQUIRED,
            "ssl_context": self._ssl_context,
            "logger_class": RootLogger,
            "accesslog": "-",
            "post_worker_init": self._post_worker_init,
            "worker_tmp_dir": "/dev/shm",  # noqa: S108 - gunicorn's own liveness file, unlinked at once
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

        Raises:
            HostFailure: the address cannot be listened at.
        """
        log = RootLogger(self.cfg)
        try:
            sockets = create_sockets(self.cfg, log)
        except SystemExit as error:
            raise HostFailure("cannot listen", f"{self.cfg.address}") from error
        with contextlib.ExitStack() as stack:
            if self._settings.api_socket is not None:
                listening = local_socket.listening(Path(self._settings.api_socket), self.local_group)
                try:
                    sockets.append(stack.enter_context(listening))
                except HostFailure as error:
                    LOG.error("%s: %s", error, error.detail)
            RequestWorker(1, os.getppid(), sockets, self, 0, self.cfg, log).init_process()

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
        notify("READY=1")
