# ruff: noqa: F821 (makemanifest.py provides these functions)
# Frozen into every port: the gateway, and the asyncio it runs on.
#
# network=False is for boards without one: it leaves out what only HTTP needs. arrays=True is for
# firmware with ulab that leaves c_modules/qnn out.
import os

options.defaults(network=True, arrays=False)

# Runs models over arrays, trees and neighbours in Python, where there is no _qnn.
_ARRAYS = ("infer/arrays", "infer/tabular_twin")

# Twins of C modules that every firmware has, and their tables.
_TWINS = (
    "infer/bpe_twin",
    "infer/bpe_split",
    "infer/bpe_unicode",
    "protocol/scan",
    "queue/ring_twin",
)

_NETWORK = (
    "auth",
    "edge_network",
    "endpoints",
    "http_app",
    "jwt",
    "metrics",
    "microdot_mount",
    "pem",
    "protocol/buffers",  # with protocol/scan the twin of a C module that every firmware has
    "protocol/client",
    "protocol/header_check",
    "protocol/http",
    "protocol/scan",
    "protocol/sse",
    "protocol/streamable",
    "queue/nor_esp32",
    "queue/nor_fault",  # for tests, which run it on the unix build
    "queue/nor_spi",  # a Pico's own flash has room; else it can be deployed
    "replies",
    "route/cache",
    "route/health",
    "route/held",
    "route/http_",
    "route/routes_rows",
    "route/stream",
    "sntp",
    "tls_server",
    "transports/dial",
    "transports/mdns",
    "transports/sockets",
    "transports/tcp",
    "wifi",
)

include("$(MPY_DIR)/extmod/asyncio")
left_out = _TWINS + (() if options.network else _NETWORK) + (() if options.arrays else _ARRAYS)
# The folder of this file: makemanifest.py makes it the current one.
top = os.path.join("..", "mcp_gw")
files = []
for folder, _, names in os.walk(top):
    for name in names:
        path = os.path.relpath(os.path.join(folder, name), top)
        if name.endswith(".py") and not path.startswith(left_out):
            files.append(path)
# Line numbers of the gateway's own modules take 14 KB; boards without a network are small.
# Tracebacks there name the function, and the line in the app's files.
package("mcp_gw", files=sorted(files), base_path="..", opt=None if options.network else 3)
