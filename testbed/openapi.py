"""OpenAPI 3.1 of both APIs, made from the route tables and the types of what they take and answer.

python -m testbed.openapi            writes amphora_agent/api/v2/openapi.json
python -m testbed.openapi --check    fails when the committed file is another one
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from amphora_agent.api import app
from amphora_agent.api.v2 import routes as v2
from amphora_agent.api.v2.answers import Outcome, ProblemAnswer
from amphora_agent.core.document.model import Document, Member
from testbed.openapi_v1 import DESCRIBED, FAULT_BODIES, FAULTS, Described

FILE = Path(v2.__file__).with_name("openapi.json")
Json = dict[str, Any]

_PRECONDITION_FAILED = 412
_JSON, _PROBLEM, _BYTES = "application/json", "application/problem+json", "application/octet-stream"
_PARAMETER = re.compile(r"<(\w+)>")
# Whatever is asked may be malformed, too large, more than fits, or meet a broken machine.
_ALWAYS = (400, 413, 500, 503)
_SAME_AS_ROOT = "//"
_WITH_ETAG: tuple[Any, ...] = (Document, Outcome, tuple[Member, ...])
# In the words of one release of HTTP, which the standard library changes from one Python to the next.
_PHRASES = {
    200: "OK",
    202: "Accepted",
    204: "No Content",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    412: "Precondition Failed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_NAME: Json = {"type": "string", "minLength": 1, "maxLength": 255}
_FLAG: Json = {"type": "boolean", "default": False}
_SEQUENCE: Json = {"type": "integer", "minimum": 0, "maximum": 2**53, "default": 0}
_PATH: Mapping[str, tuple[str, Json]] = {
    "lb": ("A load balancer's name, or its id.", _NAME),
    "pool": ("A pool's name.", _NAME),
    "member": ("A member's name.", _NAME),
    "number": ("A revision's number.", {"type": "integer", "minimum": 1, "maximum": 999_999_999}),
    "name": ("A secret's name.", {"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"}),
    "interface": ("An interface's name in the namespace, or its MAC address.", _NAME),
}
_QUERY: Mapping[str, tuple[str, Json]] = {
    "dry_run": ("Plan and change nothing.", _FLAG),
    "confirm": (
        "Seconds after which the change is taken back unless it is confirmed.",
        {"type": "integer", "minimum": 1, "maximum": 3600},
    ),
    "adopt": ("Take over what a controller owns.", _FLAG),
    "after": ("What the caller knows already: a generation, or the sequence of an event.", _SEQUENCE),
    "wait": (
        "Seconds to wait at most for something later.",
        {"type": "integer", "minimum": 0, "maximum": 60, "default": 0},
    ),
    "loadbalancer": ("Only what happened to this load balancer: its name, or its id.", _NAME),
}
_PRECONDITIONS: Mapping[str, str] = {
    "If-Match": "Only if the present ETag is one of these.",
    "If-None-Match": "`*`: only if there is nothing yet.",
}
_ABOUT = """The declarative API 2.0 and the controller's API 1.0 of an amphora agent.

Both are served over mutual TLS; 2.0 also over a UNIX socket of the machine."""


class Components:
    """The schemas of all types and the responses to all that goes wrong, each once.

    Args:
        types: all that are going to be asked for.
    """

    def __init__(self, types: Iterable[Any]) -> None:
        wanted = tuple(dict.fromkeys(types))
        made = json.dumps(_cleaned(msgspec.json.schema_components(wanted, ref_template="#/components/schemas/{name}")))
        found, self.schemas = json.loads(_with_short_names(made))
        self._found: dict[Any, Json] = dict(zip(wanted, found, strict=True))
        self.responses: dict[str, Json] = {}

    def schema(self, wanted: Any) -> Json:
        """Return the schema of a type, mostly a reference."""
        return self._found[wanted]

    def fault(self, kind: str, status: int, media: str, schema: Json) -> Json:
        """Return a reference to a response with an error of a kind."""
        name = f"{kind}{status}"
        self.responses[name] = _answer(status, media, schema)
        return {"$ref": f"#/components/responses/{name}"}


def _cleaned(value: Any) -> Any:
    """Return a schema with docstrings as people read them; Python takes their indentation away itself since 3.13."""
    if isinstance(value, (list, tuple)):
        return [_cleaned(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: inspect.cleandoc(each) if key == "description" and isinstance(each, str) else _cleaned(each)
        for key, each in value.items()
    }


def description() -> Json:
    """Return the whole description.

    Raises:
        KeyError: a route of API 1.0 is not described.
    """
    routes = [route for route in app.ROUTES if route.rule != _SAME_AS_ROOT]
    described = {route: DESCRIBED[f"{route.method} {route.rule}"] for route in routes}
    components = Components(
        [
            *(each for route in v2.ROUTES for each in (route.body, route.answer) if each not in (None, bytes)),
            *(each for one in described.values() for each in (one.body, one.answer) if not _is_media(each)),
            ProblemAnswer,
            *FAULT_BODIES,
        ]
    )
    paths: dict[str, Json] = {}
    for route in v2.ROUTES:
        paths.setdefault(_template(route.rule), {})[route.method.lower()] = _operation_v2(route, components)
    for old, one in described.items():
        paths.setdefault(_template(old.rule), {})[old.method.lower()] = _operation_v1(old, one, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Amphora agent", "version": "2.0", "description": _ABOUT},
        "paths": paths,
        "components": {"schemas": components.schemas, "responses": dict(sorted(components.responses.items()))},
    }


def text() -> str:
    """Return the description as it is committed."""
    return json.dumps(description(), indent=1, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Write the file, or check it; return the exit code."""
    if "--check" not in arguments:
        FILE.write_text(text())
    elif not FILE.exists() or FILE.read_text() != text():
        sys.stderr.write("amphora_agent/api/v2/openapi.json is not what the types say: run scripts/openapi\n")
        return 1
    return 0


def _operation_v2(route: v2.Route, components: Components) -> Json:
    parameters = [*_path_parameters(route.rule), *(_query_parameter(name) for name in route.query)]
    if _PRECONDITION_FAILED in route.faults:
        parameters += [_header(name, words) for name, words in _PRECONDITIONS.items()]
    operation = {
        "operationId": _operation_id(route.method, route.rule),
        "tags": ["2.0"],
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            **_success_v2(route, components),
            **{
                str(status): components.fault("Problem", status, _PROBLEM, components.schema(ProblemAnswer))
                for status in sorted({*_ALWAYS, *route.faults})
            },
        },
    }
    if route.body is not None:
        content = {_BYTES: {}} if route.body is bytes else {_JSON: {"schema": components.schema(route.body)}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _success_v2(route: v2.Route, components: Components) -> Json:
    if route.answer is None:
        return {"204": {"description": _PHRASES[204]}}
    success = _answer(200, _JSON, components.schema(route.answer))
    if route.answer in _WITH_ETAG:
        success["headers"] = {"ETag": {"required": True, "schema": {"type": "string", "pattern": '^"[0-9a-f]{64}"$'}}}
    return {"200": success}


def _operation_v1(route: app.Route, described: Described, components: Components) -> Json:
    success = _answer(
        described.status,
        *(
            (described.answer, {"type": "string"})
            if _is_media(described.answer)
            else (_JSON, components.schema(described.answer))
        ),
    )
    if described.has_etag:
        success["headers"] = {"ETag": {"required": True, "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"}}}
    fault = {"anyOf": [components.schema(body) for body in FAULT_BODIES]}
    operation: Json = {
        "operationId": _operation_id(route.method, route.rule),
        "tags": ["1.0"],
        "summary": described.summary,
        "parameters": _path_parameters(route.rule),
        "responses": {
            str(described.status): success,
            **{str(status): components.fault("Fault", status, _JSON, fault) for status in FAULTS},
        },
    }
    if described.body is not None:
        content: Json = (
            {described.body: {"schema": {"type": "string"}}}
            if _is_media(described.body)
            else {_JSON: {"schema": components.schema(described.body)}}
        )
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _is_media(body: Any) -> bool:
    return body is None or isinstance(body, str)


def _answer(status: int, media: str, schema: Json) -> Json:
    return {"description": _PHRASES[status], "content": {media: {"schema": schema}}}


def _path_parameters(rule: str) -> list[Json]:
    return [
        {"name": name, "in": "path", "required": True, **_described(*_PATH.get(name, ("", _NAME)))}
        for name in _PARAMETER.findall(rule)
    ]


def _query_parameter(name: str) -> Json:
    return {"name": name, "in": "query", "required": False, **_described(*_QUERY[name])}


def _header(name: str, words: str) -> Json:
    return {"name": name, "in": "header", "required": False, "description": words, "schema": {"type": "string"}}


def _described(words: str, schema: Json) -> Json:
    return {"description": words, "schema": schema} if words else {"schema": schema}


def _with_short_names(text: str) -> str:
    """Return schemas with types of one name told apart by the API they belong to, instead of by their module."""
    text = re.sub(r"\bamphora_agent\.(?:core\.document|api\.v2)\.(?:\w+\.)*(?=[A-Z])", "", text)
    return re.sub(r"\b(?:amphora_agent|testbed)\.(?:\w+\.)*(?=[A-Z])", "Old", text)


def _template(rule: str) -> str:
    return _PARAMETER.sub(r"{\1}", rule)


def _operation_id(method: str, rule: str) -> str:
    words = [word.strip("<>") for word in rule.split("/") if word]
    return "_".join([method.lower(), *words])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
