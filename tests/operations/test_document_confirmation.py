"""Confirm or roll back, the revisions that are kept, and what the watcher of documents does with what it finds."""

from __future__ import annotations

import time

import pytest

from amphora_agent.core.document.stored import REVISIONS
from amphora_agent.errors import HostFailure, NotFound
from amphora_agent.operations.document import apply, members, store, watch
from amphora_agent.operations.document.refusals import NotApplied
from testbed.operations import Workbench
from testbed.refusal import refused
from testbed.waiting import wait_for
from tests.operations.test_documents import BY, SHOP, desk, put, shop

__all__ = ["desk"]


def serving(desk: Workbench) -> int:
    """Return how many members take clients."""
    return list(desk.members().values()).count("0")


def let_it_run_out(desk: Workbench) -> None:
    """Wait until nobody can confirm any more."""
    revert = store.get(desk.amphora, SHOP).revert
    assert revert is not None
    wait_for(lambda: time.time() >= revert.at, "the time to confirm runs out")


def test_what_nobody_confirms_is_taken_back(desk: Workbench) -> None:
    put(desk, shop("w1"))
    put(desk, shop("w1", "w2"), confirm=2)
    assert watch.look(desk.amphora) < 2
    assert serving(desk) == 2
    let_it_run_out(desk)
    assert watch.look(desk.amphora) > 60
    stored = store.get(desk.amphora, SHOP)
    assert (stored.generation, stored.by, stored.revert) == (3, watch.BY, None)
    assert serving(desk) == 1


def test_a_first_document_that_nobody_confirms_goes(desk: Workbench) -> None:
    put(desk, shop("w1"), confirm=0.1)
    let_it_run_out(desk)
    watch.look(desk.amphora)
    assert store.document_ids(desk.paths) == ()
    assert desk.netns.pids() == ()


def test_the_same_document_with_a_confirmation_is_taken_back_once(desk: Workbench) -> None:
    put(desk, shop("w1"))
    put(desk, shop("w1"), confirm=0.1)
    let_it_run_out(desk)
    assert watch.look(desk.amphora) > 60
    assert store.get(desk.amphora, SHOP).revert is None


def test_a_change_and_its_contrary_unconfirmed_are_taken_back_once(desk: Workbench) -> None:
    put(desk, shop("w1"))
    put(desk, shop("w1", "w2"), confirm=60)
    put(desk, shop("w1"), confirm=0.1)
    let_it_run_out(desk)
    assert watch.look(desk.amphora) > 60
    assert (store.get(desk.amphora, SHOP).generation, store.get(desk.amphora, SHOP).revert) == (3, None)


def test_the_confirmed_revision_is_kept_behind_any_number_of_unconfirmed_ones(desk: Workbench) -> None:
    put(desk, shop("w1"))
    for number in range(REVISIONS + 2):
        put(desk, shop("w1", f"x{number}"), confirm=0.1)
    let_it_run_out(desk)
    assert watch.look(desk.amphora) > 60
    assert serving(desk) == 1


def test_twenty_revisions_are_kept(desk: Workbench) -> None:
    for number in range(REVISIONS + 5):
        put(desk, shop("w1", f"x{number}"))
    kept = [each.generation for each in store.revisions(desk.amphora, SHOP)]
    assert kept == list(range(REVISIONS + 5, 5, -1))
    assert store.revision(desk.amphora, SHOP, 6).document.pools[0].members[1].name == "x5"


def test_draining_is_not_undone_by_taking_a_change_back(desk: Workbench) -> None:
    put(desk, shop("w1", "w2"))
    put(desk, shop("w1", "w2", "w3"), confirm=0.1)
    with desk.changing() as change:
        members.drain(change, SHOP, "web", "w1", BY)
    let_it_run_out(desk)
    watch.look(desk.amphora)
    stored = store.get(desk.amphora, SHOP)
    assert ([each.member for each in stored.drained], stored.revert) == (["w1"], None)


def test_a_record_of_a_later_release_is_left_alone(desk: Workbench) -> None:
    put(desk, shop("w1"))
    current = desk.paths.document(SHOP).current
    text = current.read_bytes()
    current.write_bytes(text.replace(b'"version":1', b'"version":99'))
    assert watch.look(desk.amphora) == watch.RETRY_PAUSE
    with desk.changing() as change, pytest.raises(HostFailure):
        apply.recover(change, SHOP)
    assert desk.accepts()
    current.write_bytes(text)
    assert watch.look(desk.amphora) > 60


def test_a_change_that_cannot_be_remembered_is_taken_back(desk: Workbench) -> None:
    put(desk, shop("w1"))
    worker = desk.worker()
    with refused(desk.paths.document(SHOP).current), pytest.raises(NotApplied):
        put(desk, shop("w1", "w2"))
    assert [each.generation for each in store.revisions(desk.amphora, SHOP)] == [1]
    with pytest.raises(NotFound):
        store.revision(desk.amphora, SHOP, 2)
    assert (serving(desk), desk.worker()) == (1, worker)
    assert not store.is_unfinished(desk.amphora, SHOP)
    assert put(desk, shop("w1", "w3")).stored.generation == 2
    assert [each.generation for each in store.revisions(desk.amphora, SHOP)] == [2, 1]
