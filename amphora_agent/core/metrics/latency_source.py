"""Where the latencies of a listener can be had from, by its configuration. Judges text; reads nothing.

Decision: `latency_histograms` is true unless it says otherwise, and still nobody pays for what they did not ask for: it
is rsyslog that counts, by a file that our image has and that others install. So our image needs no option in a file
that the controller writes, and `false` takes the metrics away where that file stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from amphora_agent.core.haproxy.config import Config, Section
from amphora_agent.core.haproxy.words import split_words, unquote
from amphora_agent.core.metrics.latency import REQUESTS, SESSIONS

CUSTOM_FORMAT, NO_LOGGING, SWITCHED_OFF = "custom_format", "no_logging", "switched_off"
# The listener is the third word, and the time all of it took is the last but one: where rsyslog looks for them.
_COUNTED = re.compile(r"\S+ \S+ %f .* %Tt %tsc")
_LISTENER = re.compile(r"[0-9a-f-]{36}")


def sources(config: Config, *, is_wanted: bool) -> Iterator[tuple[str, str]]:
    """Yield listener and one word: what is counted, or why nothing is.

    Args:
        config: of one load balancer.
        is_wanted: whether `latency_histograms` says so.
    """
    is_logging = any(_logs(section) for section in config.sections if section.kind == "defaults")
    for section in config.sections:
        if section.kind == "frontend" and _LISTENER.fullmatch(section.name):
            yield section.name, _source(section, is_logging=is_logging) if is_wanted else SWITCHED_OFF


def _source(section: Section, *, is_logging: bool) -> str:
    lines = [split_words(line) for line in section.lines]
    own = _logs(section)
    if not (is_logging if own is None else own):
        return NO_LOGGING
    formats = [unquote(" ".join(words[1:])) for words in lines if words[:1] == ("log-format",)]
    if not formats or _COUNTED.fullmatch(formats[-1]) is None:
        return CUSTOM_FORMAT
    return SESSIONS if ("mode", "tcp") in lines else REQUESTS


def _logs(section: Section) -> bool | None:
    """Tell whether a section says that it logs; None when it does not say."""
    said = [words for words in map(split_words, section.lines) if words[:1] == ("log",) or words[:2] == ("no", "log")]
    return said[-1][0] == "log" if said else None
