"""Errors as RFC 9457 has them. The one place that knows the HTTP statuses of API 2.0."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import msgspec
from flask import Flask, Response
from msgspec import UNSET, UnsetType
from werkzeug.exceptions import HTTPException

from amphora_agent.api.v2.answers import Fault, ProblemAnswer
from amphora_agent.core.document.problem import Problem
from amphora_agent.errors import AgentError, Conflict, HostFailure, InvalidRequest, MalformedData, NotFound
from amphora_agent.operations.document.refusals import (
    InUse,
    InvalidDocument,
    InvalidSecret,
    NotApplied,
    OwnedByController,
    PreconditionFailed,
    RefusedByProgram,
)

LOG = logging.getLogger(__name__)

BASE = "/2.0/problems/"
MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: the end of its `type`, and its status."""

    slug: str
    status: HTTPStatus


KINDS: Mapping[type[AgentError], Kind] = {
    InvalidRequest: Kind("malformed", HTTPStatus.BAD_REQUEST),
    NotFound: Kind("not-found", HTTPStatus.NOT_FOUND),
    Conflict: Kind("conflict", HTTPStatus.CONFLICT),
    HostFailure: Kind("machine", HTTPStatus.INTERNAL_SERVER_ERROR),
    MalformedData: Kind("machine", HTTPStatus.INTERNAL_SERVER_ERROR),
    InvalidDocument: Kind("invalid-document", HTTPStatus.UNPROCESSABLE_ENTITY),
    InvalidSecret: Kind("invalid-secret", HTTPStatus.UNPROCESSABLE_ENTITY),
    PreconditionFailed: Kind("precondition-failed", HTTPStatus.PRECONDITION_FAILED),
    OwnedByController: Kind("owned-by-controller", HTTPStatus.CONFLICT),
    InUse: Kind("in-use", HTTPStatus.CONFLICT),
    RefusedByProgram: Kind("refused-by-haproxy", HTTPStatus.UNPROCESSABLE_ENTITY),
    NotApplied: Kind("not-applied", HTTPStatus.INTERNAL_SERVER_ERROR),
}
HTTP_SLUGS = {
    400: "malformed",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
    503: "busy",
}


def register(app: Flask) -> None:
    """Have every error of an application answered as a problem."""
    app.register_error_handler(AgentError, _answer_agent_error)
    app.register_error_handler(HTTPException, _answer_http_error)
    app.register_error_handler(OSError, _answer_os_error)
    app.register_error_handler(MemoryError, _answer_os_error)
    app.register_error_handler(Exception, _answer_surprise)


def answer(
    slug: str,
    status: HTTPStatus,
    title: str,
    detail: str,
    *,
    errors: tuple[Problem, ...] = (),
    etag: str | UnsetType | None = UNSET,
) -> Response:
    """Return a problem as a response."""
    faults = tuple(
        Fault(pointer=each.pointer, where=each.where, detail=each.detail, expected=each.expected) for each in errors
    )
    problem = ProblemAnswer(
        type=f"{BASE}{slug}", title=title, status=status, detail=detail, errors=faults or UNSET, etag=etag
    )
    return Response(msgspec.json.encode(problem), status, content_type=MEDIA_TYPE)


def _answer_agent_error(error: AgentError) -> Response:
    kind = KINDS[type(error)]
    if kind.status is HTTPStatus.INTERNAL_SERVER_ERROR:
        LOG.error("%s: %s", error, error.detail)
    errors = error.problems if isinstance(error, InvalidDocument) else ()
    etag = error.etag if isinstance(error, PreconditionFailed) else UNSET
    return answer(kind.slug, kind.status, str(error), error.detail, errors=errors, etag=etag)


def _answer_http_error(error: HTTPException) -> Response:
    code = error.code if error.code in HTTP_SLUGS else 400
    status = HTTPStatus(int(code or 400))
    response = answer(HTTP_SLUGS[status], status, status.phrase, error.description or "")
    allowed = getattr(error, "valid_methods", None)
    if allowed:
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _answer_os_error(error: OSError | MemoryError) -> Response:
    LOG.error("cannot carry out a request", exc_info=error)
    reason = "no memory" if isinstance(error, MemoryError) else error.strerror or type(error).__name__
    return _answer_agent_error(HostFailure("cannot carry out the request", reason))


def _answer_surprise(error: Exception) -> Response:
    LOG.error("cannot answer a request", exc_info=error)
    detail = f"unexpected {type(error).__name__}, see the agent's log"
    return answer("machine", HTTPStatus.INTERNAL_SERVER_ERROR, "cannot answer the request", detail)
