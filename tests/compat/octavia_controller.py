"""A controller made of Octavia's own, unmodified classes, driven line by line over standard input.

Runs under the Python of the octavia virtual environment, never under the project's own. One JSON object per line in,
one out: `{"value": ...}`, or `{"error": <class name>, "text": ...}`; both carry `warnings`, what Octavia logged
meanwhile at level WARNING or above. Bytes travel as `{"base64": ...}`, model objects as `{"row": [<model>, <id>]}`.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import importlib
import json
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from octavia.amphorae.backends.health_daemon import status_message
from octavia.amphorae.drivers.haproxy import rest_api_driver
from octavia.amphorae.drivers.health import heartbeat_udp
from octavia.common import config, constants
from octavia.db import api as db_api
from octavia.db import base_models, models
from octavia.network import data_models as network_models
from oslo_config import cfg
from oslo_log import log as oslo_log

CONF = cfg.CONF
_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


class Warnings(logging.Handler):
    """Keeps what is logged until it is taken."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.texts.append(record.getMessage())

    def take(self) -> list[str]:
        """Return the lines since the last call."""
        texts, self.texts = self.texts, []
        return texts


class Controller:
    """The verbs; each takes keyword arguments from the wire and returns something JSON can say."""

    def __init__(self, directory: Path) -> None:
        """Open an empty database in `directory`."""
        oslo_log.register_options(CONF)
        CONF([], project="octavia", default_config_files=[])
        CONF.set_override("connection", f"sqlite:///{directory / 'octavia.sqlite'}", "database")
        CONF.set_override("pool_timeout", None, "database")
        CONF.set_override("cert_manager", "local_cert_manager", "certificates")
        CONF.set_override("storage_path", str(directory), "certificates")
        base_models.BASE.metadata.create_all(db_api.get_engine())
        self.driver: Any = None
        self.netns: str | None = None
        self._seed_names()

    def attach(self, *, netns: str | None, options: dict[str, dict[str, Any]]) -> None:
        """Work from inside a namespace (its path, None to stay) from now on, with these options and a new driver."""
        self.netns = netns
        for section, values in options.items():
            for option, value in values.items():
                CONF.set_override(option, value, section)
        self.driver = rest_api_driver.HaproxyAmphoraLoadBalancerDriver()

    def client(self, *, version: str, method: str, args: list[Any], amphora: dict[str, Any]) -> Any:
        """Call a method of the REST client class for an API version: `base` or `1.0`."""
        target = models.Amphora(**amphora)
        target.api_version = None if version == "base" else version
        answer = getattr(self.driver.clients[version], method)(target, *args)
        return describe(answer)

    def drive(self, *, method: str, args: list[Any]) -> Any:
        """Call a method of the load balancer driver."""
        return describe(getattr(self.driver, method)(*args))

    def driver_has(self, *, method: str) -> bool:
        """Tell whether this release's driver has a method."""
        return hasattr(self.driver, method)

    def insert(self, *, rows: list[tuple[str, dict[str, Any]]]) -> None:
        """Add rows: model name and columns."""
        with db_api.session().begin() as session:
            for name, columns in rows:
                session.add(getattr(models, name)(**columns))
                session.flush()

    def update(self, *, model: str, key: str, columns: dict[str, Any]) -> None:
        """Change one row's columns."""
        with db_api.session().begin() as session:
            row = session.get(getattr(models, model), key)
            for column, value in columns.items():
                setattr(row, column, value)

    def remove(self, *, model: str, key: str) -> None:
        """Delete one row."""
        with db_api.session().begin() as session:
            session.delete(session.get(getattr(models, model), key))

    def clear(self) -> None:
        """Delete every row that `insert` or a heartbeat may have made."""
        with db_api.session().begin() as session:
            for table in reversed(base_models.BASE.metadata.sorted_tables):
                if "name" not in table.primary_key.columns:
                    session.execute(table.delete())

    def status(self, *, model: str) -> dict[str, str]:
        """Return the operating status of every row of a model."""
        with db_api.session().begin() as session:
            return {row.id: row.operating_status for row in session.query(getattr(models, model))}

    def statistics(self) -> dict[str, dict[str, int]]:
        """Return the accumulated statistics of every listener."""
        with db_api.session().begin() as session:
            rows = session.query(models.ListenerStatistics)
            fields = ("bytes_in", "bytes_out", "active_connections", "total_connections", "request_errors")
            return {row.listener_id: {field: getattr(row, field) for field in fields} for row in rows}

    def last_seen(self, *, amphora: str) -> float | None:
        """Return when the amphora's health was refreshed last, as epoch seconds in UTC."""
        with db_api.session().begin() as session:
            row = session.get(models.AmphoraHealth, amphora)
            return None if row is None else row.last_update.timestamp()

    def unwrap(self, *, envelope: bytes, key: str) -> Any:
        """Open a heartbeat with the decoder of the health manager."""
        return status_message.unwrap_envelope(envelope, key)

    def heartbeat(self, *, envelope: bytes, key: str) -> None:
        """Do with a datagram what the health manager does: open it, update health, update statistics."""
        message = status_message.unwrap_envelope(envelope, key)
        message["recv_time"] = time.time()
        # Not `update_health`, which swallows what goes wrong.
        heartbeat_udp.UpdateHealthDb()._update_health(message, "192.0.2.2")
        heartbeat_udp.update_stats(message)

    def store_certificate(self, *, certificate: str, private_key: str, intermediates: str | None) -> str:
        """Put a certificate into the certificate manager and return its reference."""
        return str(self.driver.cert_manager.store_cert(None, certificate, private_key, intermediates))

    def render(
        self,
        *,
        loadbalancer: str,
        amphora: str,
        haproxy_version: list[str],
        details: dict[str, Any],
        tls_certs: dict[str, Any] | None = None,
    ) -> str:
        """Return the HAProxy configuration the controller would upload.

        `tls_certs` is reference -> file and pool id -> files, as the driver has them after it uploaded them.
        """
        with db_api.session().begin() as session:
            balancer = session.get(models.LoadBalancer, loadbalancer).to_data_model()
            host = session.get(models.Amphora, amphora).to_data_model()
        text = self.driver.jinja_combo.build_config(
            host_amphora=host,
            listeners=balancer.listeners,
            tls_certs=tls_certs or {},
            haproxy_versions=haproxy_version,
            amp_details=details,
        )
        return str(text)

    def render_lvs(self, *, listener: str) -> str:
        """Return the keepalived configuration the controller would upload for a UDP or SCTP listener."""
        with db_api.session().begin() as session:
            found = session.get(models.Listener, listener).to_data_model()
        return str(self.driver.lvs_jinja.build_config(listener=found))

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Be in the namespace for one verb only: in between it may go, and take along who is in it."""
        if self.netns is None:
            yield
            return
        with Path("/proc/self/ns/net").open("rb") as home, Path(self.netns).open("rb") as there:
            _setns(there.fileno())
            try:
                yield
            finally:
                _setns(home.fileno())

    def _seed_names(self) -> None:
        names = {value for value in vars(constants).values() if isinstance(value, str) and len(value) < 64}
        for values in vars(constants).values():
            if isinstance(values, tuple | list | frozenset | set):
                names.update(value for value in values if isinstance(value, str) and len(value) < 64)
        with db_api.session().begin() as session:
            for model in base_models.BASE.__subclasses__():
                if list(model.__table__.primary_key.columns.keys()) == ["name"] and model.__name__ not in (
                    "Flavor",
                    "AvailabilityZone",
                ):
                    session.add_all(model(name=name) for name in names)


def _setns(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot enter the namespace")


def revive(value: Any) -> Any:
    """Return an argument as Octavia wants it: bytes and model objects out of their JSON forms."""
    match value:
        case {"base64": str() as text}:
            return base64.b64decode(text)
        case {"row": [str() as model, str() as key]}:
            with db_api.session().begin() as session:
                return session.get(getattr(models, model), key).to_data_model()
        case {"network": [str() as model, dict() as fields]}:
            return getattr(network_models, model)(**{name: revive(field) for name, field in fields.items()})
        case dict():
            return {name: revive(field) for name, field in value.items()}
        case list():
            return [revive(field) for field in value]
    return value


def describe(answer: Any) -> Any:
    """Return an answer as JSON can say it; a response of the HTTP library becomes status and text."""
    if hasattr(answer, "status_code"):
        return {"status": answer.status_code, "text": answer.text}
    return answer


def main() -> None:
    """Serve standard input until it ends."""
    importlib.import_module(config.__name__)
    warnings = Warnings()
    logging.getLogger().addHandler(warnings)
    controller = Controller(Path(sys.argv[1]))
    for line in sys.stdin:
        call = json.loads(line)
        verb = call.pop("verb")
        try:
            with controller.inside() if verb in ("client", "drive") else contextlib.nullcontext():
                reply = {"value": getattr(controller, verb)(**revive(call))}
        except Exception as error:  # noqa: BLE001  whatever Octavia raises is the answer
            reply = {"error": type(error).__name__, "text": str(error)}
        sys.stdout.write(json.dumps({**reply, "warnings": warnings.take()}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
