"""`prometheus-proxy` once it is in its namespace: run by the path of this file, in a Python without `site`.

Decision: `python -I -S FILE` instead of a module of the installed package. What `site`, `os`, `contextlib` and
`signal` are made of is a tenth of the 12 MB this process may have, and nothing here needs them.

Decision: glibc keeps freed blocks for each thread, half a megabyte for four threads, unless it is told not to before
the process begins; so the process begins a second time.
"""

from __future__ import annotations

import posix
import sys

_ALLOCATOR = b"glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0:glibc.malloc.trim_threshold=65536"
_RECORDS = "--records="
EXIT_CANNOT_START = 1


def main() -> int:
    """Serve until a signal ends it; return the exit code."""
    if posix.environ.get(b"GLIBC_TUNABLES") != _ALLOCATOR:
        posix.execve(sys.executable, sys.orig_argv, posix.environ | {b"GLIBC_TUNABLES": _ALLOCATOR})
    sys.path.append(__file__.rsplit("/", 3)[0])
    from amphora_agent.metrics.server import RECORDS, Server  # noqa: PLC0415 - found from here on

    records = next((option for option in sys.argv if option.startswith(_RECORDS)), _RECORDS + RECORDS)
    try:
        server = Server(records=records.removeprefix(_RECORDS), show_rejected="--rejected" in sys.argv)
    except OSError as error:
        sys.stderr.write(f"<3>cannot listen: {error}\n")
        return EXIT_CANNOT_START
    try:
        server.serve()
    except KeyboardInterrupt:
        server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
