"""The route table of API 2.0, from which OpenAPI is made too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask.typing import ResponseReturnValue

from amphora_agent.api.v2 import about, answers, events, interfaces, loadbalancers, members, secrets
from amphora_agent.core.document.interface import InterfaceDocument
from amphora_agent.core.document.model import Document, Member

View = Callable[..., ResponseReturnValue]

_LB = "/2.0/loadbalancers/<lb>"
_MEMBERS = f"{_LB}/pools/<pool>/members"
_MEMBER = f"{_MEMBERS}/<member>"
_CHANGES = (404, 409, 412, 415, 422, 500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One line of the table.

    Attributes:
        view: gets the amphora and the path's parts.
        summary: one sentence.
        body: type of the request's JSON; None without one, bytes for any content.
        answer: type of a success; None for 204.
        faults: statuses of the problems it may answer with, beside what every route may.
        query: names of the parameters it knows; any other is refused.
    """

    method: str
    rule: str
    view: View
    summary: str
    body: Any = None
    answer: Any = None
    faults: tuple[int, ...] = (404, 409)
    query: tuple[str, ...] = ()


ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        rule="/2.0/loadbalancers",
        view=loadbalancers.get_all,
        summary="List the load balancers of this amphora.",
        answer=tuple[answers.LoadBalancer, ...],
        faults=(),
    ),
    Route(
        method="GET",
        rule=_LB,
        view=loadbalancers.get,
        summary="Get the document that was applied last.",
        answer=Document,
    ),
    Route(
        method="PUT",
        rule=_LB,
        view=loadbalancers.put,
        summary="Apply a document, whole; answered when it serves.",
        body=Document,
        answer=answers.Outcome,
        faults=_CHANGES,
        query=("dry_run", "confirm", "adopt"),
    ),
    Route(
        method="DELETE",
        rule=_LB,
        view=loadbalancers.delete,
        summary="Stop a load balancer and remove it.",
        faults=(404, 409, 412, 500),
    ),
    Route(
        method="POST",
        rule=f"{_LB}/confirm",
        view=loadbalancers.post_confirm,
        summary="Keep a change that would be taken back otherwise.",
        answer=answers.Outcome,
    ),
    Route(
        method="GET",
        rule=_MEMBERS,
        view=members.get,
        summary="Get a pool's members.",
        answer=tuple[Member, ...],
    ),
    Route(
        method="PUT",
        rule=_MEMBERS,
        view=members.put,
        summary="Replace a pool's members.",
        body=tuple[Member, ...],
        answer=answers.Outcome,
        faults=_CHANGES,
        query=("dry_run", "confirm"),
    ),
    Route(
        method="PUT",
        rule=_MEMBER,
        view=members.put_one,
        summary="Add or replace a member.",
        body=Member,
        answer=answers.Outcome,
        faults=_CHANGES,
        query=("dry_run", "confirm"),
    ),
    Route(
        method="DELETE",
        rule=_MEMBER,
        view=members.delete_one,
        summary="Remove a member.",
        answer=answers.Outcome,
        faults=_CHANGES,
        query=("dry_run", "confirm"),
    ),
    Route(
        method="POST",
        rule=f"{_MEMBER}/drain",
        view=members.post_drain,
        summary="Give a member no new clients, until it is ready.",
        answer=answers.Outcome,
        faults=(404, 409, 422, 500),
    ),
    Route(
        method="POST",
        rule=f"{_MEMBER}/ready",
        view=members.post_ready,
        summary="Give a drained member new clients again.",
        answer=answers.Outcome,
        faults=(404, 409, 422, 500),
    ),
    Route(
        method="GET",
        rule=f"{_LB}/status",
        view=loadbalancers.get_status,
        summary="Get how a load balancer is at this moment, or once its generation is another.",
        answer=answers.Status,
        faults=(404, 409, 503),
        query=("after", "wait"),
    ),
    Route(
        method="GET",
        rule=f"{_LB}/plan",
        view=loadbalancers.get_plan,
        summary="Get what would make what runs equal to what is stored.",
        answer=answers.Outcome,
        faults=(404, 409, 422, 500),
    ),
    Route(
        method="GET",
        rule=f"{_LB}/rendered",
        view=loadbalancers.get_rendered,
        summary="Get the configurations as they are written.",
        answer=answers.Texts,
    ),
    Route(
        method="GET",
        rule=f"{_LB}/running",
        view=loadbalancers.get_running,
        summary="Get the configurations as they run.",
        answer=answers.Texts,
    ),
    Route(
        method="GET",
        rule=f"{_LB}/revisions",
        view=loadbalancers.get_revisions,
        summary="List the last documents, the newest first.",
        answer=tuple[answers.Revision, ...],
    ),
    Route(
        method="GET",
        rule=f"{_LB}/revisions/<number>",
        view=loadbalancers.get_revision,
        summary="Get one of the last documents.",
        answer=Document,
        faults=(404, 409),
    ),
    Route(
        method="POST",
        rule=f"{_LB}/revisions/<number>/restore",
        view=loadbalancers.post_restore,
        summary="Apply one of the last documents again.",
        answer=answers.Outcome,
        faults=_CHANGES,
        query=("dry_run", "confirm"),
    ),
    Route(
        method="GET",
        rule="/2.0/secrets",
        view=secrets.get_all,
        summary="List the secrets, without what is secret of them.",
        answer=tuple[answers.Secret, ...],
        faults=(),
    ),
    Route(
        method="GET",
        rule="/2.0/secrets/<name>",
        view=secrets.get,
        summary="Get what may be told of a secret.",
        answer=answers.Secret,
        faults=(404,),
    ),
    Route(
        method="PUT",
        rule="/2.0/secrets/<name>",
        view=secrets.put,
        summary="Store a secret, and have the load balancers that use it serve it.",
        body=bytes,
        answer=answers.StoredSecret,
        faults=(422, 500),
    ),
    Route(
        method="DELETE",
        rule="/2.0/secrets/<name>",
        view=secrets.delete,
        summary="Remove a secret that nothing uses.",
        faults=(404, 409),
    ),
    Route(
        method="GET",
        rule="/2.0/events",
        view=events.get,
        summary="Get what happened after a sequence, or wait for it.",
        answer=answers.Events,
        faults=(503,),
        query=("after", "wait", "loadbalancer"),
    ),
    Route(
        method="GET",
        rule="/2.0/interfaces",
        view=interfaces.get_all,
        summary="List the interfaces of this amphora as they are wanted.",
        answer=tuple[answers.Interface, ...],
        faults=(),
    ),
    Route(
        method="PUT",
        rule="/2.0/interfaces/<interface>",
        view=interfaces.put,
        summary="Make an interface, named by its name or its MAC address, what the body says, whole.",
        body=InterfaceDocument,
        answer=answers.InterfaceOutcome,
        faults=(404, 409, 415, 422, 500),
        query=("dry_run",),
    ),
    Route(
        method="GET",
        rule="/2.0/health",
        view=about.get_health,
        summary="Learn that requests are served.",
        answer=answers.Health,
        faults=(),
    ),
    Route(
        method="GET",
        rule="/2.0/version",
        view=about.get_version,
        summary="Get the versions of the agent and of the programs it drives.",
        answer=answers.Versions,
        faults=(500,),
    ),
    Route(
        method="GET",
        rule="/2.0/openapi.json",
        view=about.get_openapi,
        summary="Get the description of both APIs, in OpenAPI 3.1.",
        answer=dict[str, Any],
        faults=(),
    ),
)
