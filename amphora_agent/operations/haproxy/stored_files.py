"""What a stored configuration needs from the disk: the text, and every file it names, through its crt-lists too."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from amphora_agent.core.haproxy import config as haproxy_config
from amphora_agent.core.haproxy.change import Stored
from amphora_agent.host import files
from amphora_agent.operations.amphora import Amphora


def gather(amphora: Amphora, text: str, unwritten: Mapping[str, bytes] | None = None) -> Stored:
    """Return the configuration with the digests of what it names; what is missing is left out.

    A directory counts with all it holds, or a certificate renewed in it would go unseen.

    Args:
        amphora: which remembers models.
        text: the configuration.
        unwritten: path -> content of files that are not on the disk yet, or not like this.
    """
    ahead = unwritten or {}
    known = amphora.texts.look_at(text)
    pending = sorted(known.files)
    digests: dict[str, str] = {}
    contents: dict[str, str] = {}
    while pending:
        name = pending.pop()
        if name in digests:
            continue
        data = ahead[name] if name in ahead else files.read_named(Path(name))
        if data is None:
            continue
        digests[name] = hashlib.sha256(data).hexdigest()
        if name in known.crt_lists:
            contents[name] = data.decode("utf-8", "replace")
            pending.extend(haproxy_config.crt_list_files(contents[name]))
    return Stored(config=text, parsed=known.parsed.config, digests=digests, crt_lists=contents)
