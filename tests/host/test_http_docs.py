"""docs/http-server.md names each option and limit, with its default where that is one value."""

import inspect
import re

import targets

from mcp_gw import auth, config, tls_server
from mcp_gw.endpoints import Endpoints
from mcp_gw.gateway import Gateway
from mcp_gw.transports.tcp import HttpServer

TEXT = (targets.ROOT / "docs/http-server.md").read_text()


def rows(heading):
    """First and second cell of each row in the tables below a heading."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found = re.findall(r"^\| (.+?) \| (.*?) \|", section, re.MULTILINE)
    return {name: default for names, default in found for name in names.split(", ")}


def test_options():
    server = set(inspect.signature(HttpServer).parameters) - {"gateway", "more"}
    options = {"cert": None, "key": None, "client_ca": None, "x": 1}
    tls_server.tls_from(options)
    assert options == {"x": 1}
    assert set(rows("Options")) - {"option"} == server | set(auth._OPTIONS) | {
        "cert",
        "key",
        "client_ca",
    }


def test_limits():
    told = rows("Limits")
    for name, (default, _, _) in config.limits().items():
        if name.startswith("http_") or name == "max_message":
            assert told[name].split()[0] == str(default), name


def test_endpoints():
    for path, (method, _) in Endpoints(Gateway("x"))._paths.items():
        assert f"| {method} {path} |" in TEXT
