"""Serves the gateway of an app over ASGI, as the paired gateway is: `asgi_server.py APP PORT`.

APP is a script that makes a Gateway and calls run(); here it is mounted behind uvicorn instead.
"""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from mcpgw import scanning  # noqa: E402

assert scanning.install() is None

import uvicorn  # noqa: E402
from mcpgw.pi.asgi import Application  # noqa: E402
from mcpgw.pi.protocol import protocol  # noqa: E402

from mcp_gw import Gateway  # noqa: E402


def gateway_of(app):
    """The Gateway that an app makes."""
    made = []
    Gateway.run = lambda self, *transports, **options: made.append(self)
    sys.argv = [app]
    sys.path.insert(0, str(Path(app).parent))
    runpy.run_path(app, run_name="__main__")
    return made[0]


if __name__ == "__main__":
    app, port = sys.argv[1:]
    gateway = gateway_of(app)
    uvicorn.run(
        Application(gateway),
        host="127.0.0.1",
        port=int(port),
        http=protocol(gateway.config),
        lifespan="off",
        log_level="warning",
    )
