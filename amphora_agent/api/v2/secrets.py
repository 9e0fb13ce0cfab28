"""Endpoints of secrets: stored, told of, removed, never returned."""

from __future__ import annotations

import re

from flask import Response, request

from amphora_agent.api.v2 import answers, asked, shape
from amphora_agent.errors import InvalidRequest
from amphora_agent.operations.amphora import Amphora
from amphora_agent.operations.document import rotation, secrets, watch

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")


def get_all(amphora: Amphora) -> Response:
    """Return what may be told of every secret."""
    return shape.json([shape.secret(secrets.describe(amphora, name)) for name in secrets.names(amphora)])


def get(amphora: Amphora, name: str) -> Response:
    """Return what may be told of a secret."""
    return shape.json(shape.secret(secrets.describe(amphora, _checked(name))))


def put(amphora: Amphora, name: str) -> Response:
    """Store a secret; the load balancers that use it serve it when this is answered."""
    body, wanted = request.get_data(), _checked(name)
    with watch.changing(amphora) as change:
        applied = rotation.put(change, wanted, body, asked.by())
        described = secrets.describe(change, wanted)
    return shape.json(
        answers.StoredSecret(secret=shape.secret(described), applied=tuple(shape.outcome(each) for each in applied))
    )


def delete(amphora: Amphora, name: str) -> Response:
    """Remove a secret that nothing uses."""
    with amphora.changing() as change:
        secrets.delete(change, _checked(name))
    return shape.nothing()


def _checked(name: str) -> str:
    if not _NAME.match(name):
        raise InvalidRequest("The path is malformed", "a secret's name: up to 64 letters, digits, '_', '.' and '-'")
    return name
