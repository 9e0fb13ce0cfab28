"""What serving a document takes here, as a value: the configurations and the files they name. Touches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from amphora_agent.core.document.checks import check
from amphora_agent.core.document.model import Document
from amphora_agent.core.document.place import Place
from amphora_agent.core.document.problem import Problem, problem
from amphora_agent.core.document.render import Rendered, render
from amphora_agent.core.document.stored import Drained, served
from amphora_agent.core.haproxy import config as haproxy_config
from amphora_agent.core.ids import LoadBalancerId, PemName
from amphora_agent.core.settings import Topology
from amphora_agent.errors import InvalidRequest
from amphora_agent.host import files
from amphora_agent.host.haproxy import binary
from amphora_agent.operations import ownership
from amphora_agent.operations.amphora import Amphora
from amphora_agent.operations.document import secrets
from amphora_agent.operations.document.refusals import InvalidDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """All that has to be there.

    Attributes:
        place: of the load balancer.
        rendered: the configurations.
        haproxy: the text for the installed HAProxy; None without a listener of its kind.
        files: name -> content of what HAProxy reads besides.
    """

    place: Place
    rendered: Rendered
    haproxy: str | None
    files: Mapping[PemName, bytes]

    @property
    def paths(self) -> Mapping[str, bytes]:
        """Path -> content of the same files."""
        certs = self.place.paths.loadbalancer(self.place.loadbalancer_id)
        return {str(certs.cert(name)): data for name, data in self.files.items()}


def require_valid(amphora: Amphora, lb_id: LoadBalancerId, document: Document) -> None:
    """Refuse a document that cannot be served here.

    Raises:
        InvalidDocument: with all that is wrong.
    """
    problems = check(document, secrets.kinds(amphora)) + _local_problems(amphora, lb_id, document)
    if problems:
        raise InvalidDocument(problems)


def _local_problems(amphora: Amphora, lb_id: LoadBalancerId, document: Document) -> tuple[Problem, ...]:
    """Return what is wrong with a document on this amphora alone."""
    if document.vrrp is None:
        return _left_alone(amphora, lb_id, document)
    found = []
    if amphora.topology is not Topology.ACTIVE_STANDBY:
        detail = f"this amphora's loadbalancer_topology is {amphora.topology}"
        found.append(problem(document, ("vrrp",), detail, "ACTIVE_STANDBY in the agent's configuration, or no vrrp"))
    if ownership.vrrp_owner(amphora.paths) != lb_id and _is_taken(amphora, lb_id):
        found.append(problem(document, ("vrrp",), "another load balancer has this amphora's VRRP already", "no vrrp"))
    return tuple(found)


def _left_alone(amphora: Amphora, lb_id: LoadBalancerId, document: Document) -> tuple[Problem, ...]:
    """Return what is wrong with a document without a pair: it would leave a controller's behind."""
    if not ownership.is_controllers(amphora.paths, lb_id) or not _is_taken(amphora, lb_id, adopts=False):
        return ()
    detail = "the controller's keepalived holds the VIPs of this load balancer"
    return (problem(document, ("vrrp",), detail, "vrrp, so that it can be taken over"),)


def _is_taken(amphora: Amphora, lb_id: LoadBalancerId, *, adopts: bool = True) -> bool:
    """Tell whether somebody else has this amphora's VRRP; a controller's may be adopted with its load balancer."""
    if ownership.vrrp_owner(amphora.paths) is not None:
        return True
    is_adopted = adopts and ownership.is_controllers(amphora.paths, lb_id)
    return files.exists(amphora.paths.vrrp.config) and not is_adopted


def desired_of(amphora: Amphora, lb_id: LoadBalancerId, document: Document, drained: tuple[Drained, ...]) -> Desired:
    """Return what serving a valid document takes; a secret that is gone is left out.

    Raises:
        InvalidDocument: keepalived cannot take the pair's password.
        HostFailure: HAProxy's binary does not run.
    """
    place = Place(lb_id, amphora.paths)
    auth = None if document.vrrp is None else secrets.read(amphora, document.vrrp.auth)
    passwords = {} if document.vrrp is None else {document.vrrp.auth: (auth or b"").decode("utf-8", "replace").strip()}
    try:
        rendered = render(served(document, drained), place, passwords)
    except InvalidRequest as error:
        raise InvalidDocument((problem(document, ("vrrp", "auth"), str(error), error.detail),)) from error
    contents = {path: secrets.read(amphora, name) for path, name in rendered.secret_files.items()}
    contents |= {path: text.encode() for path, text in rendered.crt_lists.items()}
    return Desired(
        place=place,
        rendered=rendered,
        haproxy=None if rendered.haproxy is None else _for_installed(amphora, rendered.haproxy),
        files={PemName(Path(path).name): data for path, data in contents.items() if data is not None},
    )


def _for_installed(amphora: Amphora, config: haproxy_config.Config) -> str:
    version = binary.installed_version(amphora.started.haproxy_cmd)
    return haproxy_config.rewrite_for(haproxy_config.render(config), version)
