"""A server on stdio that also writes what is no MCP, to both outputs."""

import json
import os
import sys

from mcp_gw import Gateway, Param

gw = Gateway("noisy")


@gw.tool("Writes", bytes=Param(int, "how long the longest line is"))
def babble(bytes):
    write(1, b"this is no JSON\n" + b'{"jsonrpc":"2.0"}\n\n' + b"x" * bytes + b"\n")
    write(2, b"a word for people\n")
    return "babbled"


@gw.tool("Answers with more than anybody takes", first=Param(str, "", enum=["id", "result"]))
def flood(first):
    raise AssertionError("it is answered below")


@gw.tool("Never answers")
def hush():
    raise AssertionError("nor is it called")


def flooded(id, first):
    """An answer of 5 MiB whose id comes first, or last."""
    text = "x" * (5 << 20)
    result = '"result":{"content":[{"type":"text","text":"%s"}],"id":77}' % text
    rest = [f'"id":{id}', result]
    return '{"jsonrpc":"2.0",' + ",".join(rest if first == "id" else rest[::-1]) + "}\n"


def write(fd, data):
    while data:
        data = data[os.write(fd, data) :]


for line in sys.stdin.buffer:
    row = json.loads(line)
    called = row["params"]["name"] if row.get("method") == "tools/call" else None
    if called == "hush":
        write(2, b"hushed\n")
    elif called == "flood":
        write(1, flooded(row["id"], row["params"]["arguments"]["first"]).encode())
    else:
        write(1, gw.process(line.strip()) + b"\n")
