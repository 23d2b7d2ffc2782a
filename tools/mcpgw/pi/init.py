"""The configuration that `mcpgw pi init` writes."""

import json
import os
import re
from pathlib import Path

from .. import UserError
from .config import DEFAULT_PORT, NAME

_TEXT = """\
# mcp-edge.toml: the paired gateway (`mcpgw pi`). docs/pi.md explains every key.

[pi]
name = "{name}"             # as MCP clients see it
host = "{host}"        # other machines need a token: `mcpgw pi token add NAME`
port = {port}
# hosts = ["pi.local"]    # names under which clients reach it, if only those are to be served
# certificate = "/etc/mcpgw/pi.pem"
# key = "/etc/mcpgw/pi.key"
# calls = 32              # boards' calls that run at once
{state}

# Boards. Those on USB are found by themselves; with mdns, those in the network too.
[discovery]
serial = true
mdns = false

# [boards.greenhouse]
# url = "http://192.168.1.20:8080/mcp"
# token = "env:GREENHOUSE_TOKEN"

# Boards behind NAT connect to this port.
# [dial]
# port = 8444

# MCP servers that boards and clients reach through the gateway, as NAME_TOOL.
# [servers.office]
# url = "http://127.0.0.1:8000/mcp"
# headers = {{ Authorization = "env:OFFICE_AUTHORIZATION" }}

# [servers.files]
# command = ["npx", "-y", "@modelcontextprotocol/server-filesystem", "/srv/files"]

# A language model for boards and servers: an OpenAI-compatible endpoint.
# [model]
# url = "http://127.0.0.1:8080/v1"
"""


def write(path, name="edge", lan=False, state=None):
    """Write it, unless there is one. state: the folder to name, if any. Raises UserError."""
    if not re.fullmatch(NAME, name):
        raise UserError("a name is 1 to 32 letters, digits, - and _", 2)
    path = Path(path)
    host = "0.0.0.0" if lan else "127.0.0.1"
    folder = f"state = {json.dumps(state)}" if state else '# state = "/var/lib/mcpgw"'
    text = _TEXT.format(name=name, host=host, port=DEFAULT_PORT, state=folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # It may come to hold secrets.
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UserError(f"{path} is there already; it is left as it is") from None
    except OSError as e:
        raise UserError(f"cannot write {path}: {e.strerror}") from e
    try:
        with os.fdopen(file, "w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as e:  # a full disk: half a file would be taken for a whole one
        path.unlink()
        raise UserError(f"cannot write {path}: {e.strerror}") from e
