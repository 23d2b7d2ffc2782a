"""Programs that serve HTTP, run under either interpreter for a test, and clients for them."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import microdot
import targets
from http_tap import HTTPTap
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from waiting import PATIENCE_S, ReservedPort, until

INTERPRETERS = ["cpython", "micropython"]


class Program:
    """A script that is given a port as argument and its options as a line of JSON. options: dict,
    "{url}" in a value is what url() gives. output(): what it said."""

    def __init__(self, folder, interpreter, script, options):
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        self._tap = HTTPTap(f"http://127.0.0.1:{self.port}/mcp")
        self._log = folder / f"{Path(script).stem}-{interpreter}-{self.port}.log"
        packages = folder / "packages"
        packages.mkdir(exist_ok=True)
        if not (packages / "microdot").exists():
            (packages / "microdot").symlink_to(Path(microdot.__file__).parent)
        cpython = interpreter == "cpython"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable if cpython else targets.firmware("unix"), script, str(self.port)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                env={
                    **os.environ,
                    "MICROPYPATH": f"{targets.ROOT}:{packages}:.frozen",
                    "PYTHONPATH": str(targets.ROOT),
                    "PYTHONUNBUFFERED": "1",
                },
            )
        row = json.dumps(options).replace("{url}", self.url())
        self.process.stdin.write(row + "\n")
        self.process.stdin.flush()

    def listening(self):
        """Wait until it can be connected to; returns itself."""
        until(self._answers, self.output)
        return self

    def _answers(self):
        assert self.process.poll() is None, self.output()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def output(self):
        return self._log.read_text()

    def url(self, path="/mcp", scheme="http"):
        """Of an endpoint; in plain HTTP what passes is recorded and judged."""
        port = self._tap.port if scheme == "http" else self.port
        return f"{scheme}://127.0.0.1:{port}{path}"

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self._tap.close()
        self._reserved.close()


def sdk_client(url, mode, http=None, **options):
    """The official SDK's Client. mode: "legacy" or "auto"; http: an httpx2.AsyncClient, or a dict
    of header fields."""
    if not isinstance(http, httpx2.AsyncClient):
        http = httpx2.AsyncClient(headers=http, timeout=PATIENCE_S)
    return Client(streamable_http_client(url, http_client=http), mode=mode, **options)
