"""A real rsyslogd with the image's configuration, for tests: every place of the image is one of the amphora's own."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from testbed.amphora import RunningAmphora
from testbed.waiting import wait_for

IS_INSTALLED = shutil.which("rsyslogd") is not None
_REPOSITORY = Path(__file__).parent.parent
_IMAGE = _REPOSITORY / "image-build/elements/amphora-agent/tree"
_DROP_IN = _REPOSITORY / "etc/rsyslog/05-amphora-latency.conf"
_SOCKET = "/run/rsyslog/octavia/log"


def logging_to(amphora: RunningAmphora, config: str) -> str:
    """Return HAProxy's configuration with this amphora's rsyslogd for the image's."""
    return config.replace(_SOCKET, f"{amphora.directory}/rsyslog/log")


@contextlib.contextmanager
def rsyslogd(amphora: RunningAmphora, *, offloading: str = "", limit: int = 262144) -> Iterator[None]:
    """Run it, and check that it has nothing to complain about.

    Args:
        amphora: whose directory it works in; its socket is there as soon as this begins.
        offloading: what the controller delivers as `10-rsyslog.conf`.
        limit: bytes of the file of latencies, after which it is set aside.
    """
    directory = amphora.directory / "rsyslog"
    (directory / "rsyslog.d").mkdir(parents=True)
    (directory / "work").mkdir()

    def localised(text: str) -> str:
        for there, here in (
            ("/var/lib/octavia", str(amphora.base)),
            ("/usr/lib/amphora/", f"{_IMAGE}/usr/lib/amphora/"),
            ("/etc/rsyslog.d", f"{directory}/rsyslog.d"),
            ("/var/spool/rsyslog", f"{directory}/work"),
            ("/var/log", str(directory)),
            (_SOCKET, f"{directory}/log"),
            ('module(load="imuxsock")', 'module(load="imuxsock" SysSock.Use="off")'),
            ('interval="10"', 'interval="1"'),
            ('sizeLimit="262144"', f'sizeLimit="{limit}"'),
        ):
            text = text.replace(there, here)
        return text

    (directory / "rsyslog.conf").write_text(localised((_IMAGE / "etc/rsyslog.conf").read_text()))
    (directory / "rsyslog.d" / _DROP_IN.name).write_text(localised(_DROP_IN.read_text()))
    (directory / "rsyslog.d" / "10-rsyslog.conf").write_text(offloading)
    argv = ["rsyslogd", "-n", "-f", str(directory / "rsyslog.conf"), "-i", str(directory / "pid")]
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=output)
    try:
        wait_for((directory / "log").exists, (directory / "output").read_text)
        yield
        assert (directory / "output").read_text() == ""
    finally:
        process.terminate()
        process.wait(20)
