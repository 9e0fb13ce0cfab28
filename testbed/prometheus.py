"""A real Prometheus in a namespace, for tests: scrapes one target each second, and answers queries."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import tempfile
import urllib.parse
from pathlib import Path
from typing import Any, Self

from testbed.namespaces import Namespace
from testbed.waiting import wait_for

IS_INSTALLED = shutil.which("prometheus") is not None and shutil.which("promtool") is not None
INTERVAL = 1
_PORT = 9090
_CONFIGURATION = """
global: {{ scrape_interval: {interval}s, scrape_timeout: {interval}s, evaluation_interval: {interval}s }}
rule_files: [{rules}]
scrape_configs:
  - job_name: octavia
    static_configs: [{{ targets: ["{target}"] }}]
"""


class Prometheus:
    """A context manager: the server in a namespace, its data in a directory that goes with it.

    Args:
        namespace: from which it scrapes; its own port is on this namespace's loopback.
        target: address and port whose `/metrics` is scraped.
        rules: alerts it evaluates.
    """

    def __init__(self, namespace: Namespace, target: str, rules: Path) -> None:
        self._namespace = namespace
        self._target = target
        self._rules = rules

    def __enter__(self) -> Self:
        self._directory = Path(tempfile.mkdtemp(prefix="prometheus-"))
        file = self._directory / "prometheus.yml"
        file.write_text(_CONFIGURATION.format(interval=INTERVAL, rules=self._rules, target=self._target))
        options = (
            f"--config.file={file}",
            f"--storage.tsdb.path={self._directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{_PORT}",
            "--log.level=warn",
        )
        self._log = (self._directory / "log").open("wb")
        argv = ["ip", "netns", "exec", self._namespace.name, "prometheus", *options]
        self._process = subprocess.Popen(argv, stdout=self._log, stderr=self._log, cwd=self._directory)
        try:
            self._namespace.run(["ip", "link", "set", "lo", "up"])
            wait_for(self._is_ready, self.log, seconds=60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def log(self) -> str:
        """Return what it complained about."""
        return (self._directory / "log").read_text()

    def query(self, expression: str) -> list[Any]:
        """Return the samples of an instant query; AssertionError when it is no query."""
        answer = self._get("/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        assert answer["status"] == "success", (expression, answer)
        assert answer["data"]["resultType"] == "vector"
        return list(answer["data"]["result"])

    def history(self, expression: str, began: float, ended: float) -> list[Any]:
        """Return the series of a query over a time in seconds since 1970, a value each second."""
        words = {"query": expression, "start": began, "end": ended, "step": INTERVAL}
        return list(self._get("/api/v1/query_range?" + urllib.parse.urlencode(words))["data"]["result"])

    def rules(self) -> list[Any]:
        """Return its rules: `name`, `state`, `health` and `lastError` of each."""
        return [rule for group in self._get("/api/v1/rules")["data"]["groups"] for rule in group["rules"]]

    def _is_ready(self) -> bool:
        try:
            return bool(self._ask("/-/ready").status == 200)
        except OSError:
            return False

    def _get(self, path: str) -> Any:
        return json.loads(self._ask(path).read())

    def _ask(self, path: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", _PORT, timeout=20)
        connection.sock = self._namespace.connect("127.0.0.1", _PORT)
        connection.request("GET", path)
        return connection.getresponse()
