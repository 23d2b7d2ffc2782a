"""The programs in docs/tools.md run, and its table of options is complete."""

import json
import re

import targets

from mcp_gw import params, rules

TEXT = (targets.ROOT / "docs" / "tools.md").read_text()


def program():
    """The indented blocks that are Python, as one program."""
    blocks = re.findall(r"(?:^    .*\n|^\n)+", TEXT, re.MULTILINE)
    lines = [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in blocks]
    return "\n".join(block for block in lines if block.strip() and "argument plot" not in block)


def test_the_programs_run():
    names = {}
    exec(compile(program(), "docs/tools.md", "exec"), names)
    gw = names["gw"]

    def call(tool, **arguments):
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        message["params"] = {"name": tool, "arguments": arguments}
        result = json.loads(gw.process(json.dumps(message).encode()))["result"]
        return result.get("isError", False), result["content"][0]["text"]

    assert call("water", plot=2) == (False, "opened for 60 s")
    assert call("water", plot=3) == (True, "plot 3 has no valve")
    # The messages that the page quotes.
    assert call("water", plot=8) == (True, "argument plot is above its maximum 7 but is 8")
    assert call("water", plot=1, colour=1) == (True, "argument colour is not known to this tool")
    route = [{"x": 1, "y": 2}]
    assert call("drive", route=route) == (False, "1 points, slow, from 1.0")
    assert call("drive", route=route * 2 + [{"x": 0}]) == (True, "argument route[2].y is missing")
    assert call("output", pin=1, level=0) == (False, "pin 1")
    assert "exactly one of its 2 forms" in call("output", pin=1)[1]
    assert call("look") == (False, "quite green")
    assert call("flush") == (False, "flushed")


def test_every_option_and_format_is_described():
    for name in [*params._FOR, "default", "optional", "description"]:
        assert re.search(rf"^\|[^|]*\b{name}\b", TEXT, re.MULTILINE), name
    for name in rules.FORMATS:
        assert f"`{name}`" in TEXT, name
    for kind in params._TYPES:
        assert f"| {kind.__name__} |" in TEXT
