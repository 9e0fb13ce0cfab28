"""The log of events: numbered, bounded, and it calls who subscribed."""

from __future__ import annotations

from amphora_agent.operations.events import KEPT, EventKind, EventLog


def note(log: EventLog, subject: str) -> None:
    log.append(EventKind.APPLIED, None, subject, "", at=0.0)


def test_events_are_numbered_from_one_and_returned_after_a_sequence() -> None:
    log = EventLog()
    assert log.latest == 0
    assert log.since(0) == ()
    for subject in ("a", "b", "c"):
        note(log, subject)
    assert log.latest == 3
    assert [(event.sequence, event.subject) for event in log.since(1)] == [(2, "b"), (3, "c")]


def test_who_knows_a_sequence_that_is_no_longer_kept_or_not_yet_there_has_lost_some() -> None:
    log = EventLog()
    assert not log.has_lost(0)
    assert log.has_lost(1)  # of an agent that ended
    for number in range(KEPT + 5):
        note(log, str(number))
    assert len(log.since(0)) == KEPT
    assert log.has_lost(4)
    assert not log.has_lost(5)
    assert not log.has_lost(log.latest)


def test_who_subscribed_is_called_when_the_event_can_be_read() -> None:
    log = EventLog()
    seen: list[int] = []
    log.subscribe(lambda: seen.append(log.latest))
    note(log, "a")
    note(log, "b")
    assert seen == [1, 2]
