"""A function in a thread of its own, which it may change for good: enter a namespace, give up privileges.

Decision: not `threading.Thread`, whose start waits without end for a thread that dies of a lack of memory before it has
said that it lives. Whoever waits here may hold the lock of all changes.
"""

from __future__ import annotations

import _thread
from collections.abc import Callable
from typing import Generic, TypeVar

from amphora_agent.errors import HostFailure

Result = TypeVar("Result")
_BEGIN_DEADLINE = 5.0


class _Call(Generic[Result]):
    """A function on its way to a thread of its own, and what came of it.

    Whoever takes the claim, the thread or the caller that gave up, decides whether it runs.
    """

    def __init__(self, function: Callable[[], Result]) -> None:
        self._function = function
        self._claim = _thread.allocate_lock()
        self._end = _thread.allocate_lock()
        self._end.acquire()
        self._results: list[Result] = []
        self._errors: list[BaseException] = []

    def run(self) -> None:
        """Call the function, in the thread; says so when it has ended, whatever it raised."""
        if not self._claim.acquire(False):
            return
        try:
            self._results.append(self._function())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self._errors.append(error)
        finally:
            self._end.release()

    def result(self) -> Result:
        """Wait for the end and return the result, or raise what the function raised.

        Raises:
            HostFailure: the thread did not begin in time, and never will.
        """
        if not self._end.acquire(timeout=_BEGIN_DEADLINE):
            if self._claim.acquire(blocking=False):
                raise HostFailure("cannot start a thread", f"it did not begin within {_BEGIN_DEADLINE:g} s")
            self._end.acquire()  # it works; what it does has deadlines of its own
        if not self._errors and not self._results:
            raise HostFailure("cannot start a thread", "no memory")
        if self._errors:
            try:
                raise self._errors[0]
            finally:
                self._errors.clear()  # the traceback holds this frame, which would hold the traceback
        return self._results[0]


def in_thread(function: Callable[[], Result]) -> Result:
    """Call `function` in a thread of its own, so that what it does to its thread ends with it, and return its result.

    Raises:
        HostFailure: no thread can be started. Whatever `function` raises is raised here.
    """
    call = _Call(function)
    try:
        _thread.start_new_thread(call.run, ())
    except RuntimeError as error:
        raise HostFailure("cannot start a thread", str(error)) from error
    return call.result()
