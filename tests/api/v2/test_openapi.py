"""The description of both APIs: all of both, and what the types say."""

from __future__ import annotations

import re

from amphora_agent.api import app
from amphora_agent.api.v2 import routes
from testbed import openapi
from testbed.openapi_v1 import DESCRIBED


def test_the_committed_file_is_what_the_types_say() -> None:
    assert openapi.FILE.read_text() == openapi.text(), "run scripts/openapi"


def test_every_route_of_both_apis_is_described() -> None:
    described = {(method.upper(), path) for path, item in openapi.description()["paths"].items() for method in item}
    rules = [(each.method, each.rule) for each in app.ROUTES] + [(each.method, each.rule) for each in routes.ROUTES]
    served = {(method, re.sub(r"<(\w+)>", r"{\1}", rule)) for method, rule in rules}
    assert described == served - {("GET", "//")}
    assert set(DESCRIBED) == {f"{route.method} {route.rule}" for route in app.ROUTES} - {"GET //"}


def test_references_lead_somewhere_and_names_are_plain() -> None:
    text = openapi.text()
    components = openapi.description()["components"]
    for kind, name in re.findall(r'"#/components/(\w+)/([^"]+)"', text):
        assert name in components[kind]
        assert name.isidentifier()
    operations = re.findall(r'"operationId": "([^"]+)"', text)
    assert len(operations) == len(set(operations))
