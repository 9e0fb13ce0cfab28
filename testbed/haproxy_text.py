"""Configurations made from values, for tests: the other direction of what the agent parses."""

from __future__ import annotations

from collections.abc import Mapping

from amphora_agent.core.haproxy.change import Stored
from amphora_agent.core.haproxy.config import Config, parse


def render(config: Config) -> str:
    """Return the text of a model; parsing it again gives an equal model."""
    lines = list(config.preamble)
    for section in config.sections:
        lines.append(f"{section.kind} {section.name}" if section.name else section.kind)
        lines.extend(section.lines)
    return "".join(f"{line}\n" for line in lines)


def stored(*, config: str, digests: Mapping[str, str], crt_lists: Mapping[str, str] | None = None) -> Stored:
    """Return a configuration as it is on disk, with what is known of the files it names."""
    return Stored(config=config, parsed=parse(config), digests=digests, crt_lists=crt_lists or {})
