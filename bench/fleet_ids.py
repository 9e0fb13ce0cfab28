"""The ids of a fleet, the same for who sends heartbeats and for who makes the rows they are about."""

from __future__ import annotations

import uuid

MEMBERS = 10


def fleet_id(kind: str, number: int, member: int = 0) -> str:
    """Return the id of an amphora, or of one of the things on it."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{kind} {number} {member}"))
