"""Reasons of changes as label values: few, whatever HAProxy and the configuration say."""

from __future__ import annotations

import pytest

from amphora_agent.core.haproxy.change import Nothing, Reload, Start
from amphora_agent.core.metrics.reasons import bounded


@pytest.mark.parametrize(
    ("reason", "label"),
    [
        ("what HAProxy runs is not known", "state_unknown"),
        ("HAProxy was started by someone else since the last change", "started_by_other"),
        ("the last change was interrupted", "interrupted"),
        ("HAProxy runs but does not answer", "no_answer"),
        ("backend x changed; runtime changes are switched off", "switched_off"),
        ("backend x changed; the version of the running HAProxy is not known", "state_unknown"),
        ("the change at run time did not succeed: whatever", "runtime_failed"),
        ("backend 77f4: a server's address", "configuration"),
        ("", "configuration"),
    ],
)
def test_reloads(reason: str, label: str) -> None:
    assert bounded(Reload(reason)) == label


def test_others() -> None:
    assert bounded(Nothing("HAProxy already runs this configuration")) == "unchanged"
    assert bounded(Start("HAProxy is not running")) == "not_running"
