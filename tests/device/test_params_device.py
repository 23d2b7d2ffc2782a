"""Param, patterns, formats and schemas on the boards, with their short floats and small stacks:
the tables of the unit tests hold there too."""

import pytest
import targets

UNIT = targets.ROOT / "tests" / "unit"
RUN = """
for name in sorted(globals()):
    if name.startswith("test_") and name not in SKIPPED:
        gc.collect()
        globals()[name]()
        print("passed", name)
"""
# Deeper, or longer, than a board's stack and memory allow: it says so, which is tested below.
SKIPPED = ("test_depth_and_work_are_bounded", "test_the_size_has_a_limit")


@pytest.mark.parametrize(
    "file",
    ["test_params.py", "test_params_formats.py", "test_schema.py", "test_schema_pattern.py"],
)
def test_the_tables_hold_on_boards(target, file):
    text = (UNIT / file).read_text()
    out = target.run("import gc\nSKIPPED = %r\n%s\n%s" % (SKIPPED, text, RUN), timeout=600)
    passed = [line for line in out.splitlines() if line.startswith("passed ")]
    due = [name for name in text.split("def ") if name.startswith("test_")]
    assert len(passed) == sum(name.partition("(")[0] not in SKIPPED for name in due), out


LOADED = """
import sys
from mcp_gw import Gateway, Param

gw = Gateway("lean")
gw.tool("", name="a", x=Param(int, min=0), y=Param(list, items=Param(str, enum=["a"])))(len)
gw.process(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{}}}')
for name in ("schema", "schema_shape", "pattern", "rules", "elicit"):
    print(name, "mcp_gw." + name in sys.modules)
"""


def test_what_is_not_used_is_not_loaded(target):
    lines = target.run(LOADED).splitlines()
    assert len(lines) == 5 and all(line.endswith(" False") for line in lines), lines


NESTED = """
import gc, json
from mcp_gw import Gateway

gw = Gateway("deep")
gw.log = lambda text: None
node = {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#"}}}}

@gw.tool("Takes a tree", input_schema=node)
def tree(given):
    return "taken"

def call(depth):
    inner = '{"kids":[' * depth + "]}" * depth
    params = '{"name":"tree","arguments":%s}' % inner
    asked = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":%s}' % params
    answer = json.loads(gw.process(asked.encode()))
    if "error" in answer:  # nested more deeply than the setting max_depth
        return "refused"
    return answer["result"]["content"][0]["text"]

for depth in range(1, 20):
    print(call(depth))
print(call(1))
"""


def test_a_deep_value_is_checked_or_refused(target):
    *out, last = target.run(NESTED).splitlines()
    taken = out.count("taken")
    assert out[:taken] == ["taken"] * taken and taken >= 4, out
    for line in out[taken:]:
        assert "nested too deeply" in line or line == "refused", out
    assert last == "taken"
