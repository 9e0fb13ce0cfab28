"""What applying a document will do, or did, in its own names: the decision, the steps and the difference of the text.

Pure. Decides nothing: the decision is `core/haproxy/change`'s, the same one that is then performed, so that a dry run
and the change it announces cannot differ.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import assert_never

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


@dataclass(frozen=True, slots=True)
class Names:
    """What ids and files are called in the documents before and after.

    Attributes:
        members: ids of pool and member -> their names.
        secrets: path of a file -> the secret in it.
        listeners: path of a list of certificates -> the listener.
    """

    members: Mapping[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    listeners: Mapping[str, str] = field(default_factory=dict)


def names_of(place: Place, documents: Iterable[Document]) -> Names:
    """Return the names in documents, those of later ones first."""
    members: dict[tuple[str, str], tuple[str, str]] = {}
    secrets: dict[str, str] = {}
    listeners: dict[str, str] = {}
    for document in documents:
        listeners |= {place.crt_list_file(listener.name): listener.name for listener in document.listeners}
        for pool in document.pools:
            key, identity = place.identity.pool(pool.name), place.identity
            members |= {(key, identity.member(pool.name, each.name)): (pool.name, each.name) for each in pool.members}
        secrets |= {place.secret_file(name): name for name in file_secrets(document)}
    return Names(members, secrets, listeners)


def plan_of(decision: Decision, names: Names) -> Plan:
    """Return a decision in the document's words."""
    match decision:
        case Nothing(reason):
            return Plan(decision="nothing", reason=reason, reload=False, steps=())
        case Start(reason):
            return Plan(decision="start", reason=reason, reload=False, steps=())
        case Reload(reason):
            return Plan(decision="reload", reason=reason, reload=True, steps=())
        case Runtime(plan, reason):
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


def _planned(step: RuntimeStep, names: Names) -> PlannedStep:
    """Return one step in words; what a file of a certificate is about is the secret in it."""
    match step:
        case ReplaceFile(file=file):
            return PlannedStep("exchange", _secret(file, names))
        case AddCertificate(crt_list=crt_list, loaded=loaded):
            return PlannedStep(f"serve on {names.listeners.get(crt_list, crt_list)}", _secret(loaded, names))
        case RemoveCertificate(crt_list=crt_list, loaded=loaded):
            return PlannedStep(f"stop serving on {names.listeners.get(crt_list, crt_list)}", _secret(loaded, names))
        case AddServer(backend=backend, server=server) | ReplaceServer(backend=backend, server=server):
            return PlannedStep(_verb(step), _member(backend, server.name, names))
        case _:
            return PlannedStep(_verb(step), _member(step.backend, step.name, names))


def _verb(step: RuntimeStep) -> str:
    match step:
        case SetWeight(weight=weight):
            return f"set weight {weight}"
        case SetState(is_enabled=is_enabled):
            return "enable" if is_enabled else "disable"
        case _:
            return _VERBS[type(step)]


def _member(backend: str, server: str, names: Names) -> str:
    found = names.members.get((backend.partition(":")[0], server))
    return f"server {backend}/{server}" if found is None else f"member {found[0]}/{found[1]}"


def _secret(file: str, names: Names) -> str:
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
