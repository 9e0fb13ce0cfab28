"""What a request of API 2.0 asks, checked at the edge: ids, query parameters, preconditions, bodies."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from flask import abort, request

from amphora_agent.api.http.peers import PEER
from amphora_agent.api.http.waiting import LONGEST_WAIT, WAIT
from amphora_agent.core.document.identity import loadbalancer_id
from amphora_agent.core.document.interface import InterfaceDocument, check
from amphora_agent.core.document.problem import Problem, shown
from amphora_agent.core.document.reading import Reading, read, read_object
from amphora_agent.core.ids import LoadBalancerId, is_id
from amphora_agent.errors import InvalidRequest
from amphora_agent.operations.amphora import Amphora
from amphora_agent.operations.document import news
from amphora_agent.operations.document.refusals import InvalidDocument, PreconditionFailed

JSON = "application/json"
LONGEST_CONFIRM = 3600
_FLAGS = {"true": True, "1": True, "": True, "false": False, "0": False}


def lb_id(text: str) -> LoadBalancerId:
    """Return a load balancer by its name or id."""
    return loadbalancer_id(text)


def by() -> str:
    """Return who asks: the transport knows."""
    return str(request.environ.get(PEER, "unknown"))


def flag(name: str) -> bool:
    """Return a query parameter that is true or false.

    Raises:
        InvalidRequest: it is something else.
    """
    text = request.args.get(name, "false").lower()
    if text not in _FLAGS:
        raise InvalidRequest("The query is malformed", f"{name}: expected true or false")
    return _FLAGS[text]


def number(name: str, least: int, most: int, *, default: int) -> int:
    """Return a query parameter that is a whole number within bounds; `default` when it is not there.

    Raises:
        InvalidRequest: it is something else, or out of its bounds.
    """
    text = request.args.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most):
        raise InvalidRequest("The query is malformed", f"{name}: expected a number from {least} to {most}")
    return int(text)


def wait_for_news(amphora: Amphora, *, unless: bool) -> None:
    """Have the transport keep this answer until there are news, for as long as the request says it would wait.

    Meanwhile news are looked for more often.

    Args:
        amphora: where.
        unless: what is asked for is there already.

    Raises:
        InvalidRequest: that is no number of seconds, or too many.
    """
    seconds = number("wait", 0, LONGEST_WAIT, default=0)
    if seconds and not unless:
        request.environ[WAIT] = seconds
        news.expect(amphora, seconds)


def require_utf_8() -> None:
    """Refuse a path in another encoding, or names that differ there would be one and the same; 400.

    Source: PEP 3333: the environment has its bytes as Latin-1.
    """
    try:
        str(request.environ["PATH_INFO"]).encode("latin-1").decode()
    except UnicodeDecodeError:
        abort(HTTPStatus.BAD_REQUEST, "the path is not UTF-8")


def require_known_query(known: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse what an endpoint does not know, and what comes twice: a dry run that is misspelt is none.

    Args:
        known: endpoint -> the parameters it knows.

    Raises:
        InvalidRequest: the query has others.
    """
    for name, values in request.args.lists():
        names = known.get(request.endpoint or "", ())
        if request.endpoint is not None and name not in names:
            expected = ", ".join(names) or "none here"
            raise InvalidRequest("The query is malformed", f"there is no parameter {shown(name)}; expected {expected}")
        if len(values) > 1:
            raise InvalidRequest("The query is malformed", f"{name} is there {len(values)} times")


def confirm() -> float | None:
    """Return the seconds within which the change is to be confirmed; None when it stays anyway.

    Raises:
        InvalidRequest: out of bounds.
    """
    return float(number("confirm", 1, LONGEST_CONFIRM, default=0)) or None


def json_body() -> bytes:
    """Return the body of a request that must be JSON; 415 for another type."""
    if request.mimetype != JSON:
        abort(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"expected Content-Type: {JSON}")
    return request.get_data()


def document(named: str) -> Reading:
    """Return the document in the body.

    Args:
        named: the load balancer in the path; a document put under a name bears that name.

    Raises:
        InvalidDocument: with all that is wrong with its shape.
    """
    reading = shaped(read(json_body()))
    if not is_id(named) and reading.document.name != named:
        detail = f"the document is of {reading.document.name!r}"
        raise InvalidDocument((Problem(pointer="/name", where="the document", detail=detail, expected=repr(named)),))
    return reading


def interface() -> InterfaceDocument:
    """Return the interface in the body.

    Raises:
        InvalidDocument: with all that is wrong with it.
    """
    found = read_object(InterfaceDocument, json_body())
    problems = check(found) if isinstance(found, InterfaceDocument) else found
    if problems or not isinstance(found, InterfaceDocument):
        raise InvalidDocument(problems)
    return found


def shaped(found: Reading | tuple[Problem, ...]) -> Reading:
    """Return what was read.

    Raises:
        InvalidDocument: it has not the right shape.
    """
    if isinstance(found, Reading):
        return found
    raise InvalidDocument(found)


def require_match(etag: str | None) -> None:
    """Check the request's preconditions against what is there now.

    Args:
        etag: None when there is nothing.

    Raises:
        PreconditionFailed: somebody else was quicker.
    """
    wanted, unwanted = request.headers.get("If-Match"), request.headers.get("If-None-Match")
    if wanted is not None and (etag is None or not _is_among(etag, wanted)):
        raise PreconditionFailed("it is not what If-Match says", etag)
    if unwanted is not None and etag is not None and _is_among(etag, unwanted):
        raise PreconditionFailed("it is there already", etag)


def _is_among(etag: str, header: str) -> bool:
    entries = [entry.strip().removeprefix("W/") for entry in header.split(",")]
    return "*" in entries or etag in entries
