"""What the transport answers by itself, because a request never reaches what is served. Decides nothing."""

from __future__ import annotations

import json
from enum import Enum
from http import HTTPStatus

# Below it answers have the form of RFC 9457, elsewhere the one of the controller's contract.
PROBLEMS_BELOW = b"/2.0/"
PROBLEM_TYPE = "application/problem+json"
# The contract of API 1.0 knows no other status for what is wrong with a request.
_GENERIC = {HTTPStatus.REQUEST_ENTITY_TOO_LARGE: HTTPStatus.BAD_REQUEST}


class Refusal(Enum):
    """Why a request is refused: the name of the problem, the status, and the title for people."""

    MALFORMED = ("malformed", HTTPStatus.BAD_REQUEST, "The request cannot be read")
    FORBIDDEN = ("forbidden", HTTPStatus.FORBIDDEN, "The caller may not ask")
    NOT_FOUND = ("not-found", HTTPStatus.NOT_FOUND, "There is no such thing")
    TOO_LARGE = ("too-large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The request is too large")
    MACHINE = ("machine", HTTPStatus.INTERNAL_SERVER_ERROR, "The agent cannot answer")
    BUSY = ("busy", HTTPStatus.SERVICE_UNAVAILABLE, "Too much at once")

    def __init__(self, slug: str, status: HTTPStatus, title: str) -> None:
        self.slug = slug
        self.status = status
        self.title = title

    def problem(self, detail: str) -> bytes:
        """Return the body of RFC 9457."""
        document = {
            "type": f"/2.0/problems/{self.slug}",
            "title": self.title,
            "status": self.status.value,
            "detail": detail,
        }
        return json.dumps(document).encode()


def is_for_problems(head: bytes) -> bool:
    """Tell from the beginning of a request in which form its refusal is expected."""
    return head.partition(b" ")[2].startswith(PROBLEMS_BELOW)


def response(refusal: Refusal, detail: str, *, is_problem: bool) -> bytes:
    """Return a whole response that ends the connection."""
    if is_problem:
        return _response(refusal.status, PROBLEM_TYPE, refusal.problem(detail))
    status = _GENERIC.get(refusal.status, refusal.status)
    body = json.dumps({"error": f"{status.value} {status.phrase}: {detail}", "http_code": status.value}).encode()
    return _response(status, "application/json", body)


def _response(status: HTTPStatus, content_type: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
