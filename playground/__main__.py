"""The playground: Octavia's whole data plane on one machine, with real HAProxy, real namespaces and real TLS.

Decision: whatever ends a run - success, failure, Ctrl-C, SIGTERM, a closed terminal - ends in the same removal, and
what a killed run left is removed by the next one. Only `--keep` leaves something behind, and `--end` removes it.
Signals are therefore blocked except while the story is told: no removal is ever cut short.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version

from playground import documents, scene
from playground.guide import log_tail, look_around, show_heartbeats
from playground.printer import Colour, Printer, duration
from playground.scene import Refused, Site
from playground.story import tell

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# With a longer name, the paths of HAProxy's sockets would not fit.
NAME = re.compile(r"[a-z][a-z0-9-]{0,15}")
Play = Callable[[Site, Printer], None]
FAILURES = (Refused, OSError, RuntimeError, ValueError, subprocess.SubprocessError, http.client.HTTPException)


def main() -> int:
    """Do what the command line asks and return the exit code."""
    arguments = _parse_arguments()
    site, out = Site(arguments.name), Printer()
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin:/sbin"])
    try:
        scene.check_machine()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        if arguments.heartbeats:
            with contextlib.suppress(KeyboardInterrupt), _interruptible():
                show_heartbeats(site, out)
            return 0
        if arguments.end:
            return end(site, out)
        return run(site, out, documents.tell if arguments.api == 2 else tell, keep=arguments.keep)
    except Refused as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:
        # Whoever read the output is gone; Python must not try to flush it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED


def run(site: Site, out: Printer, play: Play, *, keep: bool) -> int:
    """Play the story on this machine; afterwards the playground stands, or nothing is left of it."""
    began = time.monotonic()
    existed = scene.claim(site)
    if existed and site.is_kept():
        out.text(f"A playground stands already: {site.name}. End it first, with  {_command(site)} --end")
        look_around(site, out)
        return EXIT_FAILED
    code, kept = EXIT_FAILED, False
    try:
        if existed:
            out.text("An earlier run did not clean up; doing so now.")
            scene.clear(site)
        out.heading(f"amphora-agent {version('amphora-agent')}: the data plane of Octavia on one machine")
        code = _attempt(site, out, play)
        kept = keep and code != EXIT_INTERRUPTED
        if kept:
            site.kept_marker.touch()
    finally:
        ended = time.monotonic()
        if not kept:
            scene.remove(site)
    verdict = {0: "All as it should be", EXIT_INTERRUPTED: "Interrupted"}.get(code, "Failed")
    colour = Colour.GOOD if code == 0 else Colour.BAD
    out.text(f"\n{out.paint(verdict, colour)}, after {duration(ended - began)}")
    if kept:
        look_around(site, out)
    else:
        out.text(f"Removed all namespaces, processes and files in {duration(time.monotonic() - ended)}")
    if code == 0 and not keep:
        out.text(f"To look around in it:  {_command(site)} --keep")
    return code


def end(site: Site, out: Printer) -> int:
    """Remove a playground that was kept, or what is left of one; none at all is fine."""
    began = time.monotonic()
    existed = scene.claim(site)
    scene.remove(site)
    took = duration(time.monotonic() - began)
    out.text(f"Ended the playground in {took}" if existed else "There is no playground to end")
    return 0


def _attempt(site: Site, out: Printer, play: Play) -> int:
    try:
        with _interruptible():
            play(site, out)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        raise
    except FAILURES as error:
        # A refusal to start carries the whole log, which follows anyway.
        out.heading(f"{out.paint('FAILED', Colour.BAD)}: {str(error).partition(chr(10))[0] or repr(error)}")
        if tail := log_tail(site):
            out.text("The end of the agent's log:")
            for line in tail:
                out.line(line)
        return EXIT_FAILED
    return 0


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let signals raise KeyboardInterrupt within the block, and nowhere else."""
    for number in SIGNALS:
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _command(site: Site) -> str:
    return "playground/run" + ("" if site == Site("playground") else f" --name {site.name}")


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="playground/run",
        description="Show the data plane of Octavia on this machine: an amphora with its agent, two web servers, a "
        "client and a controller, in network namespaces. Takes a quarter of a minute and leaves nothing behind.",
        allow_abbrev=False,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--keep", action="store_true", help="leave it running, and say how to look around")
    what.add_argument(
        "--heartbeats", action="store_true", help="show the heartbeats of one that was kept, until Ctrl-C"
    )
    what.add_argument("--end", action="store_true", help="end one that was kept")
    parser.add_argument(
        "--api",
        type=int,
        choices=(1, 2),
        default=1,
        help="who builds the load balancer: 1 a controller, 2 an operator with amphoractl; default: %(default)s",
    )
    parser.add_argument(
        "--name", default="playground", type=_name, help="to have several at once; default: %(default)s"
    )
    return parser.parse_args()


def _name(text: str) -> str:
    if NAME.fullmatch(text) is None:
        raise argparse.ArgumentTypeError("at most 16 lower-case letters, digits and dashes, the first a letter")
    return text


if __name__ == "__main__":
    sys.exit(main())
