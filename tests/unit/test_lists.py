"""Lists of upstreams that are asked for at the same time, or again and again."""

import asyncio
import json

from test_forward import TOOLS, board, connect
from test_forward_asks import upstream

from mcp_gw.registry import Registry
from mcp_gw.route.others import Others
from mcp_gw.route.router import Router
from mcp_gw.route.upstream import Upstream


class Slow(Upstream):
    """Has `rows` of every kind, after a while."""

    def __init__(self, name, rows):
        super().__init__(name)
        self.rows = rows

    def meta(self, extra=b"", can=b"{}"):
        return b"{}"

    async def request(self, method, params_parts, timeout_ms=None, on_progress=None, can=b"{}"):
        await asyncio.sleep(0.01)
        return True, json.dumps({method.split("/")[0]: self.rows}).encode()


def slow(name, *tools):
    return Slow(name, [{"name": tool, "inputSchema": {}} for tool in tools])


async def both(listed, *args):
    return await asyncio.gather(*[listed(*row) for row in args])


def named(rows):
    return sorted(json.loads(row)["name"] for _, row in rows)


def test_tools_of_two_upstreams_listed_at_once():
    router = Router({}, 10, 10000)
    a, b = slow("a", "x", "y"), slow("b", "x")
    for each in (a, b):
        router.add(each, (), 60)
    assert asyncio.run(both(router.refresh, (a,), (b,))) == [(True, 0), (True, 0)]
    assert named(router.rows()) == ["a_x", "a_y", "b_x"]


def test_two_upstreams_listed_at_once_share_the_room_and_the_names():
    router = Router({}, 3, 10000)
    a, b = slow("a", "b_x", "y"), slow("a_b", "x", "z")
    for each in (a, b):
        router.add(each, (), 60)
    (_, first), (_, second) = asyncio.run(both(router.refresh, (a,), (b,)))
    assert first + second == 1
    names = named(router.rows())
    assert len(set(names)) == 3 and "a_b_x" in names and "a_y" in names, names
    for name in names:
        assert router.find(name)


def test_prompts_of_two_upstreams_listed_at_once():
    others = Others(Registry(), 10, 10000)
    a, b = slow("a", "x"), slow("b", "x")
    asyncio.run(both(others.refresh, (a, "prompts"), (b, "prompts")))
    assert named(others.rows("prompts")) == ["a_x", "b_x"]
    assert others.prompt("a_x")[0] is a and others.prompt("b_x")[0] is b


def test_a_flood_of_changes_is_asked_about_once_at_a_time():
    gw, wire = board()
    try:
        connect(gw, wire, TOOLS)
        out = []
        for _ in range(20):
            out += wire.frame(b"c", b'"office"')
        asked = [row for row in out if row[0] == "u"]
        assert len(asked) == 1 and upstream(asked[0])["method"] == "tools/list"
        # What was told meanwhile is asked about once more.
        _, out = wire.answer_upstream(asked[0][1], {"resultType": "complete", "tools": TOOLS})
        asked = [row for row in out if not isinstance(row, dict) and row[0] == "u"]
        assert len(asked) == 1
        _, out = wire.answer_upstream(asked[0][1], {"resultType": "complete", "tools": TOOLS})
        assert not [row for row in out if not isinstance(row, dict) and row[0] == "u"]
    finally:
        gw.close()
