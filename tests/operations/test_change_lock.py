"""One change at a time, and the background only when nobody asks for one."""

from __future__ import annotations

import threading

from amphora_agent.operations.amphora import ChangeLock
from testbed.waiting import wait_for


def test_changes_follow_each_other() -> None:
    lock, inside, most = ChangeLock(), [], []

    def change() -> None:
        with lock.hold():
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=change) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 50


def test_the_background_does_not_get_what_somebody_has() -> None:
    lock = ChangeLock()
    answers: list[bool] = []

    def ask() -> None:
        with lock.hold_politely(0.0) as is_held:
            answers.append(is_held)

    with lock.hold():
        other = threading.Thread(target=ask)
        other.start()
        other.join()
    ask()
    assert answers == [False, True]


def test_the_background_steps_back_for_a_request_that_waits() -> None:
    """It waits for a change to end, a request comes meanwhile, and the request is next."""
    lock, order = ChangeLock(), []
    began, end = threading.Event(), threading.Event()

    def first() -> None:
        with lock.hold():
            began.set()
            end.wait(10)

    def background() -> None:
        with lock.hold_politely(10.0) as is_held:
            order.append(f"background {is_held}")

    def request() -> None:
        with lock.hold():
            order.append("request")

    threads = [threading.Thread(target=first)]
    threads[0].start()
    assert began.wait(10)
    for function in (background, request):
        threads.append(threading.Thread(target=function))
        threads[-1].start()
    wait_for(lambda: lock.waiting == 1, "the request waits")
    end.set()
    for thread in threads:
        thread.join()
    assert "request" in order
    assert order in (["request", "background True"], ["background False", "request"])
