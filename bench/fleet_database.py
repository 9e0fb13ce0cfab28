"""The controller's database of a fleet: runs in Octavia's environment, reads one JSON object a line, answers with one.

{"make": 1000}      tables, and rows of so many amphorae, each with a load balancer of ten members
{"begin": true}     every amphora was seen this moment, and no heartbeat was counted
{"look": 60}        how many heartbeats were counted, how many amphorae were not seen for so many seconds
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import sqlalchemy
from octavia.common import constants
from octavia.db import base_models, models

from bench.fleet_ids import MEMBERS, fleet_id

CHUNK = 2000
_COMMON = {
    "project_id": "7ab2c3d4e5f64a1b8c9d0e1f2a3b4c5d",
    "provisioning_status": "ACTIVE",
    "operating_status": "ONLINE",
    "enabled": True,
}
Row = dict[str, Any]


def rows(model: type, count: int) -> Iterator[Row]:
    """Yield what one table has of a fleet."""
    for number in range(count):
        amphora, balancer = fleet_id("amphora", number), fleet_id("loadbalancer", number)
        listener, pool = fleet_id("listener", number), fleet_id("pool", number)
        match model.__name__:
            case "LoadBalancer":
                yield {"id": balancer, "name": "lb", "topology": "SINGLE", **_COMMON}
            case "Amphora":
                yield {"id": amphora, "load_balancer_id": balancer, "status": "ALLOCATED", "role": "STANDALONE"}
            case "AmphoraHealth":
                yield {"amphora_id": amphora, "busy": False}
            case "Pool":
                shape = {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "tls_enabled": False}
                yield {"id": pool, "name": "pool", "load_balancer_id": balancer, **shape, **_COMMON}
            case "Listener":
                shape = {"protocol": "HTTP", "protocol_port": 80, "connection_limit": -1, "default_pool_id": pool}
                yield {"id": listener, "name": "listener", "load_balancer_id": balancer, **shape, **_COMMON}
            case "Member":
                for member in range(MEMBERS):
                    address = {"ip_address": f"192.0.2.{member}", "protocol_port": 8080, "weight": 1, "backup": False}
                    yield {"id": fleet_id("member", number, member), "pool_id": pool, **address, **_COMMON}


class Database:
    """One connection, and the verbs."""

    def __init__(self, socket: str) -> None:
        server = sqlalchemy.create_engine(f"mysql+pymysql://root@localhost/?unix_socket={socket}")
        with server.begin() as connection:
            connection.execute(sqlalchemy.text("CREATE DATABASE IF NOT EXISTS octavia CHARACTER SET utf8mb4"))
        self._engine = sqlalchemy.create_engine(f"mysql+pymysql://root@localhost/octavia?unix_socket={socket}")

    def make(self, count: int) -> Row:
        """Make everything anew."""
        base_models.BASE.metadata.drop_all(self._engine)
        base_models.BASE.metadata.create_all(self._engine)
        with self._engine.begin() as connection:
            for model in base_models.BASE.__subclasses__():
                if _is_vocabulary(model):
                    longest = model.__table__.columns["name"].type.length
                    words = ({"name": name} for name in _names() if len(name) <= longest)
                    self._insert(connection, model, words)
            for model in (
                models.LoadBalancer,
                models.Amphora,
                models.AmphoraHealth,
                models.Pool,
                models.Listener,
                models.Member,
            ):
                self._insert(connection, model, rows(model, count))
        return {}

    def begin(self, _: bool) -> Row:  # noqa: FBT001 - the wire's value
        """Forget what came of earlier heartbeats."""
        with self._engine.begin() as connection:
            connection.execute(sqlalchemy.text("UPDATE amphora_health SET last_update = UTC_TIMESTAMP()"))
            connection.execute(sqlalchemy.text("DELETE FROM listener_statistics"))
        return {}

    def look(self, seconds: float) -> Row:
        """Return `counted` heartbeats, `stale` amphorae, and the age of the oldest sight in seconds."""
        with self._engine.begin() as connection:
            counted = connection.execute(
                sqlalchemy.text("SELECT COALESCE(SUM(total_connections), 0) FROM listener_statistics")
            ).scalar()
            ages = "TIMESTAMPDIFF(SECOND, last_update, UTC_TIMESTAMP())"
            stale, oldest = connection.execute(
                sqlalchemy.text(f"SELECT COALESCE(SUM({ages} > :s), 0), MAX({ages}) FROM amphora_health"),  # noqa: S608
                {"s": seconds},
            ).one()
        return {"counted": int(counted or 0), "stale": int(stale), "oldest": int(oldest)}

    @staticmethod
    def _insert(connection: sqlalchemy.Connection, model: type[base_models.BASE], wanted: Iterator[Row]) -> None:
        chunk: list[Row] = []
        for row in wanted:
            chunk.append(row)
            if len(chunk) == CHUNK:
                connection.execute(sqlalchemy.insert(model.__table__), chunk)
                chunk = []
        if chunk:
            connection.execute(sqlalchemy.insert(model.__table__), chunk)


def _is_vocabulary(model: type[base_models.BASE]) -> bool:
    """Tell whether a table only says which words others may use."""
    has_name = list(model.__table__.primary_key.columns.keys()) == ["name"]
    return has_name and model.__name__ not in ("Flavor", "AvailabilityZone")


def _names() -> set[str]:
    """Return every word that Octavia has a table of: statuses, protocols, roles and so on."""
    found: set[str] = set()
    for value in vars(constants).values():
        words = value if isinstance(value, tuple | list | frozenset | set) else (value,)
        found.update(word for word in words if isinstance(word, str) and len(word) < 36)
    return {min(same) for same in _by_collation(found).values()}


def _by_collation(words: set[str]) -> dict[str, list[str]]:
    """Return the words by what MariaDB takes for equal."""
    found: dict[str, list[str]] = {}
    for word in words:
        found.setdefault(word.lower().rstrip(), []).append(word)
    return found


def main() -> None:
    """Answer until the input ends; the argument is MariaDB's socket."""
    database = Database(sys.argv[1])
    for line in sys.stdin:
        [(verb, value)] = json.loads(line).items()
        print(json.dumps(getattr(database, verb)(value)), flush=True)


if __name__ == "__main__":
    main()
