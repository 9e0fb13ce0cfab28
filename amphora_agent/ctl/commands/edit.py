"""amphoractl edit: a load balancer's document in an editor, applied when it was changed and nobody else changed it."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from amphora_agent.core.document.reading import Reading
from amphora_agent.ctl import outcomes
from amphora_agent.ctl.client import path_of
from amphora_agent.ctl.commands.validate import judge, line
from amphora_agent.ctl.context import Context
from amphora_agent.ctl.failure import CommandFailure, Exit
from amphora_agent.ctl.files import dump, has_yaml, read_bytes, to_json

_EDITORS = ("VISUAL", "EDITOR")
_DEFAULT_EDITOR = "vi"


def run(context: Context) -> Exit:
    """Edit and apply; what cannot be applied is kept in a file that is named."""
    path = f"/loadbalancers{path_of(context.loadbalancer())}"
    answer = context.client.request("GET", path)
    before = dump(answer.json().value, None).encode()
    file = _edit(before)
    after = read_bytes(str(file))
    if after == before:
        file.unlink()
        context.screen.line("nothing changed")
        return Exit.DONE
    try:
        document = _checked(after, str(file))
        headers = {"Content-Type": "application/json", "If-Match": answer.etag}
        applied = context.client.request("PUT", path, body=document, headers=headers)
    except CommandFailure as failure:
        kept = f"your text is kept: amphoractl apply {file}"
        raise CommandFailure(failure.code, str(failure), *failure.lines, kept, problem=failure.problem) from failure
    file.unlink()
    outcomes.show(context.screen, applied)
    return Exit.DONE


def _edit(text: bytes) -> Path:
    """Return a file, readable by us alone, as the editor left it."""
    handle, name = tempfile.mkstemp(prefix="amphoractl-", suffix=".yaml" if has_yaml() else ".json")
    with os.fdopen(handle, "wb") as file:
        file.write(text)
    editor = next((os.environ[each] for each in _EDITORS if os.environ.get(each)), _DEFAULT_EDITOR)
    try:
        done = subprocess.run([*shlex.split(editor), name], check=False)
    except (OSError, ValueError) as error:
        Path(name).unlink()
        raise CommandFailure(Exit.USAGE, f"cannot run the editor {editor}: {error}") from error
    if done.returncode == 0:
        return Path(name)
    kept = [f"see {name}"]
    if Path(name).read_bytes() == text:
        Path(name).unlink()
        kept = []
    raise CommandFailure(Exit.USAGE, f"the editor ended with {done.returncode}; nothing was applied", *kept)


def _checked(data: bytes, name: str) -> bytes:
    found = judge(data, name)
    if not isinstance(found, Reading):
        raise CommandFailure(Exit.REFUSED, "the document is not valid", *(line(each) for each in found))
    return to_json(data, name)
