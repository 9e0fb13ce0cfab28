"""The reasons of changes in a few fixed words, as label values. A text nobody knows here is `configuration`."""

from __future__ import annotations

from amphora_agent.core.haproxy.change import Decision, Nothing, Reload, Runtime, Start

# What the agent's own words begin or end with -> the label. All other reloads are for what the configuration says.
_WORDS = (
    ("what HAProxy runs is not known", "state_unknown"),
    ("the version of the running HAProxy is not known", "state_unknown"),
    ("HAProxy was started by someone else", "started_by_other"),
    ("the last change was interrupted", "interrupted"),
    ("HAProxy runs but does not answer", "no_answer"),
    ("runtime changes are switched off", "switched_off"),
    ("the change at run time did not succeed", "runtime_failed"),
)
RELOAD_REASONS = (*dict.fromkeys(label for _, label in _WORDS), "configuration")


def bounded(decision: Decision) -> str:
    """Return why a decision was made: one of at most ten words."""
    match decision:
        case Nothing():
            return "unchanged"
        case Start():
            return "not_running"
        case Runtime():
            return "configuration"
        case Reload(reason):
            return next((label for words, label in _WORDS if words in reason), RELOAD_REASONS[-1])
