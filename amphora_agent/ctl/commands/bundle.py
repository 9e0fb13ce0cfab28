"""amphoractl bundle: one archive of what helpers need, made of files and fields that are known to hold no secret."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from amphora_agent.core.doctor.checks import CHECKS
from amphora_agent.core.doctor.facts import Facts
from amphora_agent.core.settings import Settings
from amphora_agent.ctl.client import Client, path_of
from amphora_agent.ctl.commands.doctor import look
from amphora_agent.ctl.context import Context
from amphora_agent.ctl.failure import CommandFailure, Exit
from amphora_agent.host.doctor.bundle import collect

_MODE = 0o600


def run(context: Context) -> Exit:
    """Write the archive, readable by its owner alone, and say where it is."""
    given = context.arguments
    taken = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path: Path = given.output or Path(f"amphora-{os.uname().nodename}-{taken}.tar.gz")
    facts = look(context)
    parts = [*_of_facts(facts), *_of_agent(context.client, facts), *collect(facts)]
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE), "wb") as file:
            _write(file, parts, f"amphora-{taken}")
    except OSError as error:
        raise CommandFailure(Exit.USAGE, f"cannot write {path}: {error.strerror or error}") from error
    if context.screen.is_json:
        context.screen.document({"file": str(path), "parts": [name for name, _ in parts]})
    else:
        context.screen.line(f"{path}: {len(parts)} files without secrets")
    return Exit.DONE


def _write(file: io.BufferedIOBase, parts: list[tuple[str, str]], top: str) -> None:
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, text in parts:
            data = text.encode("utf-8", "replace")
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size, entry.mode, entry.mtime = len(data), _MODE, int(time.time())
            archive.addfile(entry, io.BytesIO(data))


def _of_facts(facts: Facts) -> Iterator[tuple[str, str]]:
    """Yield what the doctor found and saw; the settings are shown elsewhere, field by field."""
    found = [
        {"code": check.code, "severity": each.severity, "text": each.text}
        for check in CHECKS
        for each in check.find(facts)
    ]
    yield "doctor.json", json.dumps(found, indent=2) + "\n"
    seen = asdict(replace(facts, settings=Settings()))
    del seen["settings"]
    yield "facts.json", json.dumps(_plain(seen), indent=2) + "\n"


def _plain(value: object) -> object:
    """Return a value as JSON can have it: addresses and their like as text."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (frozenset, set)):
        return sorted(str(each) for each in value)
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def _of_agent(client: Client, facts: Facts) -> Iterator[tuple[str, str]]:
    """Yield what the agent says of itself, while it answers."""
    if facts.agent_trouble:
        return
    try:
        yield "agent/version.json", _answer(client, "/version")
        for each in client.request("GET", "/loadbalancers").json().entries():
            lb = each.text("id")
            yield f"agent/{lb}/status.json", _answer(client, f"/loadbalancers{path_of(lb)}/status")
            if each.text("owner") == "api2":
                yield f"agent/{lb}/revisions.json", _answer(client, f"/loadbalancers{path_of(lb)}/revisions")
    except CommandFailure as failure:
        yield "agent/trouble.txt", f"{failure}\n"


def _answer(client: Client, path: str) -> str:
    return json.dumps(_without_words(client.request("GET", path).json().value), indent=2) + "\n"


def _without_words(value: object) -> object:
    """Return an answer without the words of servers' answers to checks, which may be anything."""
    if isinstance(value, dict):
        return {key: _without_words(each) for key, each in value.items() if key != "detail"}
    if isinstance(value, list):
        return [_without_words(each) for each in value]
    return value
