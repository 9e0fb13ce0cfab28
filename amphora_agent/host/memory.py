"""Memory that is free already, given back to the system. Frees nothing itself.

Decision: after a large body the allocator would keep what it was given, on a small VM a good part of the whole. It is
asked to give it back then, and only then: a few milliseconds for tens of megabytes.
"""

from __future__ import annotations

import ctypes
import gc

# Bytes that were worked on, from which on giving back is worth its time.
LARGE = 1024 * 1024


def give_back(size: int) -> None:
    """Give free memory back after work on something of `size` bytes, if that was large."""
    if size < LARGE:
        return
    gc.collect()  # a request and its connection know each other, and nothing else collects them for long
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone has it
    if trim is not None:
        trim(0)
