"""Writes docs/protocol.md: what the gateway supports in which revision of MCP, and its limits.

The tables are made from mcp_gw/protocol/revisions.py, from mcp_gw/config.py, and from what a
gateway answers when it is asked for each method in each revision.
"""

import argparse
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from mcp_gw import Gateway  # noqa: E402
from mcp_gw.dispatch import Answer  # noqa: E402
from mcp_gw.protocol import revisions  # noqa: E402
from mcp_gw.protocol.session import Session  # noqa: E402

PAGE = ROOT / "docs" / "protocol.md"
NAMES = list(reversed(revisions.SUPPORTED))
EXTENSIONS = {"extensions": {"io.modelcontextprotocol/tasks": {}}}

INTRO = """# What of MCP is supported

*This page is made by `make docs` from the tables and the behaviour of `mcp_gw`; do not edit it.*

The gateway is a server of every published revision of the Model Context Protocol, over a serial
line or stdio (one JSON message per line) and, on ports with a network, over [Streamable
HTTP](http-server.md). A client with a handshake is served the revision it asks for, and gets
%(latest)s when it asks for one that does not exist. A client of %(modern)s sends its revision in
every request. Both kinds, and any mix of revisions, are served side by side.
"""

CLIENT = """
## As a client of upstream servers

Toward [upstream servers](upstreams.md) the gateway opens the conversation in %(modern)s
(`server/discover`) and falls back to `initialize`, in which it offers %(latest)s and takes any
of %(legacy)s.
"""

LIMITS = """
## Limits

All are keywords of `Gateway(...)`. Whoever exceeds one gets an error that names it, and the next
message is served.

| setting | on boards | on computers | |
|---|---|---|---|
"""

NOTES = """
## Worth knowing

- An error whose request could not be identified carries no `id`, as MCP's schemas want it.
- A plain function blocks the gateway while it runs; async functions and generators do not.
  Cancelling a request stops the async function or generator behind it; a plain function has
  ended by the time anybody can cancel it.
- With clients of %(modern)s a tool that asks (`ctx.elicit`, `ctx.sample`, `ctx.roots`,
  `ctx.ask`) ends with an `InputRequiredResult` and runs again from its beginning when the
  answers come: it should ask before it acts. What was answered before travels in `requestState`,
  sealed by an HMAC whose key is new at every start, bound to the client, the tool and its
  arguments, and good for `ask_ttl_s` seconds.
- Tasks live in RAM: they end with the gateway.
- Cursors are numbers that an item keeps while it is registered, so pages fit together when items
  come and go.
- `requestState`, cursors and task ids are opaque: do not build on their form.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the page is out of date")
    args = parser.parse_args()
    text = page()
    if args.check:
        if text != PAGE.read_text():
            sys.exit(f"{PAGE.relative_to(ROOT)} is out of date: make docs")
        return
    PAGE.write_text(text)
    print(f"wrote {PAGE.relative_to(ROOT)}")


def page():
    words = {
        "latest": revisions.LATEST_LEGACY,
        "modern": revisions.LATEST_MODERN,
        "legacy": ", ".join(reversed(revisions.LEGACY)),
    }
    out = [INTRO % words, "\n## What differs\n\n", *table(features())]
    out += ["\n## Methods\n\n", *table(methods())]
    out += [CLIENT % words, LIMITS, *limits(), NOTES % words]
    return "".join(out)


def table(rows):
    yield "| | " + " | ".join(NAMES) + " |\n"
    yield "|---" * (len(NAMES) + 1) + "|\n"
    for name, cells in rows:
        yield f"| {name} | " + " | ".join("yes" if cell else "" for cell in cells) + " |\n"


def features():
    for first, last, text in revisions._FEATURES:
        yield text, [first <= i <= last for i in range(len(NAMES))]


def methods():
    gw = Gateway("probe")
    gw.tool("", name="probe", task="optional")(lambda: None)
    for method in gw.server._methods:
        yield f"`{method.decode()[1:-1]}`", [answers(gw, name, method) for name in NAMES]


def answers(gw, name, method):
    """Whether the gateway knows a method in a revision."""
    revision = revisions.BY_NAME[name]
    port = Answer(Session(None if revision.modern else revision))
    meta = ""
    if revision.modern:
        meta = json.dumps(
            {
                "io.modelcontextprotocol/protocolVersion": name,
                "io.modelcontextprotocol/clientCapabilities": EXTENSIONS,
            }
        )
        meta = f'"_meta":{meta}'
    data = b'{"jsonrpc":"2.0","id":1,"method":%s,"params":{%s}}' % (method, meta.encode())
    gw.dispatch.take(port, data, 0, len(data))
    gw.dispatch.cancel(port)
    error = json.loads(port.data).get("error", {}) if port.data else {}
    return error.get("code") != -32601


def limits():
    text = (ROOT / "mcp_gw" / "config.py").read_text()
    body = text[text.index("return {") : text.index("\n    }\n")]
    comment = ""
    row = r'        (?:# (?P<words>.*)|"(?P<name>\w+)": \((?P<default>[^,]+), .*)'
    for match in re.finditer(row, body):
        if match["words"]:
            comment = f"{comment} {match['words']}".strip()
            continue
        small, found, large = match["default"].partition(" if _SMALL else ")
        yield f"| `{match['name']}` | {small} | {large if found else small} | {comment or '″'} |\n"
        comment = ""


if __name__ == "__main__":
    main()
