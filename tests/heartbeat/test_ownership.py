"""Whose load balancers a message is about: everybody's, unless a controller counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from amphora_agent.core.ids import ListenerId, LoadBalancerId
from amphora_agent.core.paths import Paths
from amphora_agent.heartbeat.ownership import told_listeners, told_loadbalancers

CONTROLLERS, DOCUMENTS = (LoadBalancerId(f"{number:08d}-0000-4000-8000-000000000000") for number in (1, 2))
LVS_CONTROLLERS, LVS_DOCUMENTS = ListenerId(CONTROLLERS), ListenerId(DOCUMENTS)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(
        base=tmp_path,
        certs=tmp_path / "certs",
        interfaces=tmp_path / "interfaces",
        agent_cert=tmp_path / "server.pem",
        netns=tmp_path / "netns",
    )
    found.lvs_directory.mkdir()
    return found


def store(paths: Paths, lb_id: LoadBalancerId, *, is_documents: bool) -> None:
    paths.loadbalancer(lb_id).directory.mkdir(parents=True)
    paths.loadbalancer(lb_id).config.touch()
    if is_documents:
        paths.document(lb_id).directory.mkdir(parents=True)


def store_listener(paths: Paths, listener_id: ListenerId, *, is_documents: bool) -> None:
    paths.lvs(listener_id).config.touch()
    paths.lvs(listener_id).agent.mkdir(parents=True)
    if is_documents:
        paths.lvs(listener_id).document.touch()


def test_without_a_controller_what_documents_describe_is_told(paths: Paths) -> None:
    store(paths, DOCUMENTS, is_documents=True)
    store_listener(paths, LVS_DOCUMENTS, is_documents=True)
    assert told_loadbalancers(paths, [DOCUMENTS]) == [DOCUMENTS]
    assert told_listeners(paths, [LVS_DOCUMENTS]) == [LVS_DOCUMENTS]


@pytest.mark.parametrize("is_lvs", [False, True])
def test_a_controller_is_told_of_its_own_alone(paths: Paths, is_lvs: bool) -> None:  # noqa: FBT001 - a case
    store(paths, DOCUMENTS, is_documents=True)
    store_listener(paths, LVS_DOCUMENTS, is_documents=True)
    if is_lvs:
        store_listener(paths, LVS_CONTROLLERS, is_documents=False)
    else:
        store(paths, CONTROLLERS, is_documents=False)
    assert told_loadbalancers(paths, [CONTROLLERS, DOCUMENTS]) == [CONTROLLERS]
    assert told_listeners(paths, [LVS_CONTROLLERS, LVS_DOCUMENTS]) == [LVS_CONTROLLERS]


def test_without_documents_everything_is_told(paths: Paths) -> None:
    store(paths, CONTROLLERS, is_documents=False)
    assert told_loadbalancers(paths, [CONTROLLERS]) == [CONTROLLERS]
