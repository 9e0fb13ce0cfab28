"""What HAProxy must say after a runtime plan: questions, and what is wrong with an answer. Sends nothing.

An accepted command proves nothing: the state is read back and compared with what the file wants.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha1
from typing import TypeAlias

from amphora_agent.core.haproxy.config import Config, Section
from amphora_agent.core.haproxy.plan import Plan
from amphora_agent.core.haproxy.runtime import file_of
from amphora_agent.core.haproxy.server_line import Server, parse_server, server_lines, server_names
from amphora_agent.core.haproxy.servers_state import ServerState, listed_servers, parse_servers_state, text_of
from amphora_agent.core.haproxy.steps import (
    AddCertificate,
    AddServer,
    FileKind,
    RemoveCertificate,
    RemoveServer,
    ReplaceFile,
    ReplaceServer,
    RuntimeStep,
    SetCheckAddress,
    SetState,
    SetWeight,
)
from amphora_agent.core.haproxy.words import split_words, unquote

_PEM_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=\n]+)-----END CERTIFICATE-----")
_FINGERPRINT = re.compile(r"^SHA1 FingerPrint: ([0-9A-F]{40})$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServersQuestion:
    """The servers of a backend: exactly `names` and those being removed; the changed ones as the file has them."""

    backend: str
    names: frozenset[str]
    changed: tuple[Server, ...]
    removing: frozenset[str]

    @property
    def command(self) -> str:
        """What to ask."""
        return f"show servers state {self.backend}"

    def mismatch(self, answer: str) -> str | None:
        """Return what is wrong, None when nothing is."""
        lines = listed_servers(answer)
        missing, unknown = self.names - lines.keys(), lines.keys() - self.names - self.removing
        if missing or unknown:
            return f"backend {self.backend} lacks {sorted(missing)[:3]}, has {sorted(unknown)[:3]}"
        waiting = [lines[name] for name in self.removing - self.names if name in lines]
        in_service = [state.name for state in parse_servers_state("\n".join(waiting)) if not state.is_maint]
        wrong = [server.name for server in self.changed if not _is_as_wanted(lines[server.name], server)]
        if in_service or wrong:
            return f"backend {self.backend}: {sorted(in_service + wrong)[:3]} are not as they should be"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileQuestion:
    """The certificates HAProxy holds under a name, by the SHA-1 of each; none where it shows none (CRLs)."""

    kind: FileKind
    loaded: str
    fingerprints: frozenset[str]

    @property
    def command(self) -> str:
        """What to ask."""
        return f"show ssl {self.kind} {self.loaded}"

    def mismatch(self, answer: str) -> str | None:
        """Return what is wrong, None when nothing is."""
        if "Status: Used" not in answer or set(_FINGERPRINT.findall(answer)) != self.fingerprints:
            return f"{self.loaded} does not hold the new content"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuestion:
    """The certificates of a crt-list by the names they are loaded by, in order."""

    crt_list: str
    loaded: tuple[str, ...]

    @property
    def command(self) -> str:
        """What to ask."""
        return f"show ssl crt-list {self.crt_list}"

    def mismatch(self, answer: str) -> str | None:
        """Return what is wrong, None when nothing is."""
        lines = tuple(line for line in answer.splitlines() if line and not line.startswith("#"))
        return None if lines == self.loaded else f"{self.crt_list} is not as it should be"


Question: TypeAlias = ServersQuestion | FileQuestion | ListQuestion


def questions(
    plan: Plan,
    config: Config,
    crt_lists: Mapping[str, str],
    payloads: Mapping[str, str],
    removing: Mapping[str, Collection[str]],
) -> Iterator[Question]:
    """Yield what to ask after a plan was performed.

    Args:
        plan: what was done.
        config: the file as it should be now.
        crt_lists: path -> text, as they should be now.
        payloads: file -> what was sent of it.
        removing: backend -> servers waiting in maintenance for their deletion, this plan's included.
    """
    changed: dict[str, set[str]] = {}
    lists: dict[str, None] = {}
    for step in plan.steps:
        match step:
            case AddServer(backend, server) | ReplaceServer(backend, server):
                changed.setdefault(backend, set()).add(server.name)
            case RemoveServer(backend, name) | SetWeight(backend, name) | SetState(backend, name):
                changed.setdefault(backend, set()).add(name)
            case SetCheckAddress(backend, name):
                changed.setdefault(backend, set()).add(name)
            case ReplaceFile():
                yield _file_question(step.kind, step.loaded, payloads[step.file])
            case AddCertificate(crt_list) | RemoveCertificate(crt_list):
                lists[crt_list] = None
                yield from _added_certificate_question(step, payloads)
    for crt_list in lists:
        entries = (unquote(words[0]) for line in crt_lists[crt_list].split("\n") if (words := split_words(line)))
        yield ListQuestion(crt_list=crt_list, loaded=tuple(plan.aliases.get(name, name) for name in entries))
    for section in config.sections:
        if section.kind == "backend" and section.name in changed:
            yield _servers_question(section, changed[section.name], frozenset(removing.get(section.name, ())))


def _added_certificate_question(step: RuntimeStep, payloads: Mapping[str, str]) -> Iterator[Question]:
    file = file_of(step)
    if isinstance(step, AddCertificate) and file is not None:
        yield _file_question(FileKind.CERTIFICATE, step.loaded, payloads[file])


def _servers_question(section: Section, changed: set[str], removing: frozenset[str]) -> ServersQuestion:
    # The plan was made from these very lines: each has a plain name.
    servers = server_lines(section.lines)
    lines = dict(zip(server_names(servers), servers, strict=True))
    parsed = (parse_server(split_words(lines[name])) for name in sorted(changed & lines.keys()))
    return ServersQuestion(
        backend=section.name,
        names=frozenset(lines),
        changed=tuple(server for server in parsed if server is not None),
        removing=removing,
    )


def _is_as_wanted(line: str, server: Server) -> bool:
    states = parse_servers_state(line)
    return len(states) == 1 and _is_state_of(states[0], server)


def _is_state_of(state: ServerState, server: Server) -> bool:
    return (
        state.address == str(server.address)
        and state.port == server.port
        and state.weight == server.weight
        and state.is_maint == server.is_disabled
        and not state.is_drain
        and state.has_check == server.has_check
        and state.uses_tls == server.uses_tls
        and state.check_address == text_of(server.check_address)
        and state.check_port == server.check_port
    )


def _file_question(kind: FileKind, loaded: str, payload: str) -> FileQuestion:
    fingerprints = [] if kind is FileKind.CRL else certificate_fingerprints(payload)
    if kind is FileKind.CERTIFICATE:  # the others are its chain, which HAProxy does not show by fingerprint
        fingerprints = fingerprints[:1]
    return FileQuestion(kind=kind, loaded=loaded, fingerprints=frozenset(fingerprints))


def certificate_fingerprints(pem: str) -> list[str]:
    """Return the SHA-1 of each certificate in a PEM text, upper-case hexadecimal, in order; empty if unreadable."""
    try:
        ders = [
            b64decode(match, validate=True)
            for match in (body.replace("\n", "") for body in _PEM_CERTIFICATE.findall(pem))
        ]
    except Base64Error:
        return []
    return [sha1(der, usedforsecurity=False).hexdigest().upper() for der in ders]
