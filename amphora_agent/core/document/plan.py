"""What applying a document will do, or did, in its own names: the decision, the steps and the difference of the text.

Pure. Decides nothing: the decision is `core/haproxy/change`'s, the same one that is then performed, so that a dry run
and the change it announces cannot differ.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import assert_never

from amphora_agent.core.document.identity import Identity
from amphora_agent.core.document.model import Document
from amphora_agent.core.document.place import Place
from amphora_agent.core.document.render import file_secrets
from amphora_agent.core.haproxy.change import Decision, Nothing, Reload, Runtime, Start
from amphora_agent.core.haproxy.steps import (
    AddCertificate,
    AddServer,
    RemoveCertificate,
    RemoveServer,
    ReplaceFile,
    ReplaceServer,
    RuntimeStep,
    SetCheckAddress,
    SetState,
    SetWeight,
)

_VERBS: dict[type[RuntimeStep], str] = {
    AddServer: "add",
    RemoveServer: "remove",
    ReplaceServer: "replace",
    SetCheckAddress: "move the check",
}
# Comparing takes time that grows with the square of what differs.
_COMPARED_LINES = 2000
_CONTEXT = 3


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One thing HAProxy is told: `do` is the verb, `subject` who it is about: "member web/w3", "secret shop-rsa"."""

    do: str
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What `PUT` answers, and `PUT ?dry_run=true` before it."""

    decision: str
    reason: str
    reload: bool
    steps: tuple[PlannedStep, ...]


def plan_of(decision: Decision, place: Place, documents: tuple[Document, ...]) -> Plan:
    """Return a decision in the words of the documents before and after; none are known of a controller's."""
    match decision:
        case Nothing(reason):
            return Plan(decision="nothing", reason=reason, reload=False, steps=())
        case Start(reason):
            return Plan(decision="start", reason=reason, reload=False, steps=())
        case Reload(reason):
            return Plan(decision="reload", reason=reason, reload=True, steps=())
        case Runtime(plan, reason):
            names = _names_of(place, documents, {server for _, server in filter(None, map(_server, plan.steps))})
            steps = tuple(dict.fromkeys(_planned(step, names) for step in plan.steps))
            return Plan(decision="runtime", reason=reason, reload=False, steps=steps)
        case _:
            assert_never(decision)


def combined(haproxy: Plan | None, others: tuple[PlannedStep, ...]) -> Plan:
    """Return the plan of HAProxy together with what is done to LVS listeners and the pair's keepalived."""
    plan = haproxy or Plan(decision="nothing", reason="no listener of HAProxy's", reload=False, steps=())
    if not others:
        return plan
    words = "; ".join(f"{step.do} {step.subject}" for step in others)
    is_quiet = plan.decision == "nothing"
    return Plan(
        decision="runtime" if is_quiet else plan.decision,
        reason=words if is_quiet else f"{plan.reason}; {words}",
        reload=plan.reload,
        steps=plan.steps + others,
    )


@dataclass(frozen=True, slots=True)
class _Names:
    """What ids and files are called in the documents before and after.

    Attributes:
        members: id of a member -> pool and name.
        secrets: path of a file -> the secret in it.
        listeners: path of a list of certificates -> the listener.
    """

    members: Mapping[str, str]
    secrets: Mapping[str, str]
    listeners: Mapping[str, str]


def _names_of(place: Place, documents: tuple[Document, ...], servers: AbstractSet[str]) -> _Names:
    return _Names(
        members=_members(place.identity, documents, servers),
        secrets={place.secret_file(name): name for each in documents for name in file_secrets(each)},
        listeners={place.crt_list_file(one.name): one.name for each in documents for one in each.listeners},
    )


def _members(identity: Identity, documents: tuple[Document, ...], servers: AbstractSet[str]) -> dict[str, str]:
    """Return the names of some members by id: those first that not all documents have, for ids take their time."""
    counts = Counter((pool.name, member) for each in documents for pool in each.pools for member in pool.members)
    found: dict[str, str] = {}
    for pool, member in sorted(counts, key=counts.__getitem__):
        if found.keys() >= servers:
            break
        key = identity.member(pool, member.name)
        if key in servers:
            found[key] = f"{pool}/{member.name}"
    return found


def _planned(step: RuntimeStep, names: _Names) -> PlannedStep:
    """Return one step in words; what a file of a certificate is about is the secret in it."""
    match step:
        case ReplaceFile(file=file):
            return PlannedStep("exchange", _secret(file, names))
        case AddCertificate(crt_list=crt_list, loaded=loaded):
            return PlannedStep(f"serve on {names.listeners.get(crt_list, crt_list)}", _secret(loaded, names))
        case RemoveCertificate(crt_list=crt_list, loaded=loaded):
            return PlannedStep(f"stop serving on {names.listeners.get(crt_list, crt_list)}", _secret(loaded, names))
        case _:
            backend, server = _server(step) or ("", "")
            known = names.members.get(server)
            return PlannedStep(_verb(step), f"server {backend}/{server}" if known is None else f"member {known}")


def _server(step: RuntimeStep) -> tuple[str, str] | None:
    """Return backend and name of the server a step is about, None when it is about a file."""
    match step:
        case ReplaceFile() | AddCertificate() | RemoveCertificate():
            return None
        case AddServer(backend=backend, server=server) | ReplaceServer(backend=backend, server=server):
            return backend, server.name
        case _:
            return step.backend, step.name


def _verb(step: RuntimeStep) -> str:
    match step:
        case SetWeight(weight=weight):
            return f"set weight {weight}"
        case SetState(is_enabled=is_enabled):
            return "enable" if is_enabled else "disable"
        case _:
            return _VERBS[type(step)]


def _secret(file: str, names: _Names) -> str:
    return f"secret {names.secrets[file]}" if file in names.secrets else f"file {file.rpartition('/')[2]}"


def text_difference(before: str, after: str) -> str:
    """Return the unified difference of two rendered texts, empty when they are the same."""
    if before == after:
        return ""
    old, new = before.splitlines(), after.splitlines()
    first = _common(zip(old, new, strict=False))
    last = min(_common(zip(reversed(old), reversed(new), strict=False)), min(len(old), len(new)) - first)
    start, end = max(0, first - _CONTEXT), max(0, last - _CONTEXT)
    old, new = old[start : len(old) - end], new[start : len(new) - end]
    if max(len(old), len(new)) > _COMPARED_LINES:
        lines = [f"-{line}" for line in old] + [f"+{line}" for line in new]
    else:
        lines = list(_changed(difflib.unified_diff(old, new, n=_CONTEXT, lineterm=""), start))
    return "\n".join(["--- running", "+++ rendered", *lines]) + "\n"


def _common(pairs: Iterable[tuple[str, str]]) -> int:
    count = 0
    for one, other in pairs:
        if one != other:
            return count
        count += 1
    return count


def _changed(lines: Iterable[str], start: int) -> Iterator[str]:
    """Yield the hunks without the two lines of file names; their line numbers are those of the whole text."""
    for number, line in enumerate(lines):
        if line.startswith("@@"):
            _, old, new, _ = line.split()
            yield f"@@ {_moved(old, start)} {_moved(new, start)} @@"
        elif number > 1:
            yield line


def _moved(place: str, start: int) -> str:
    line, comma, count = place[1:].partition(",")
    return f"{place[0]}{int(line) + start}{comma}{count}"
