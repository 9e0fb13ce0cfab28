"""How the process treats memory that large bodies needed for a moment. Frees nothing that is in use.

Decision: after a large body the C library would keep what it was given, on a small VM a good part of the whole. Very
large blocks are kept apart from the heap, so that the system has them back when they are freed, and what is left of a
large body in the heap is given back about a second later: a few milliseconds for tens of megabytes. Not at once, and
not for every block of a megabyte: a change among 10,000 members copies its text some thirty times, and asking the
system for each copy took a quarter of the CPU time of the whole change.
"""

from __future__ import annotations

import ctypes
import gc

# Bytes: from this size on work is worth being cleaned up after.
LARGE = 512 * 1024
# From this size on a block is a mapping of its own, and this much free memory at its end is kept in the heap.
VERY_LARGE = 8 * 1024 * 1024
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def keep_large_blocks_apart() -> None:
    """Have every very large block be a mapping of its own from now on. Source: mallopt(3)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's alone has it
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, VERY_LARGE)
        mallopt(_M_TRIM_THRESHOLD, VERY_LARGE)


def give_back(size: int) -> None:
    """Give free memory back after work on something of `size` bytes, if that was large. Source: malloc_trim(3)."""
    if size < LARGE:
        return
    gc.collect()  # a request and its connection know each other, and nothing else collects them for long
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
