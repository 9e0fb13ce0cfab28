"""amphoractl: what operators ask and tell an amphora, on the machine itself or over mutual TLS."""

from __future__ import annotations

import sys

EXIT_INTERRUPTED = 130


def main() -> int:
    """Carry out the command line; return the exit code. Ctrl-C is clean from the first import on."""
    try:
        from amphora_agent.ctl.app import run  # noqa: PLC0415 - within reach of the handler below

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
