"""Configurations as they are on disk, made from texts, for tests."""

from __future__ import annotations

from collections.abc import Mapping

from amphora_agent.core.haproxy.change import Stored
from amphora_agent.core.haproxy.config import parse


def stored(*, config: str, digests: Mapping[str, str], crt_lists: Mapping[str, str] | None = None) -> Stored:
    """Return a configuration as it is on disk, with what is known of the files it names."""
    return Stored(config=config, parsed=parse(config), digests=digests, crt_lists=crt_lists or {})
