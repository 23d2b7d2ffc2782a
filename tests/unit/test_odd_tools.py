"""Tools and resources that do what nobody expects: each request gets one valid answer."""

import asyncio
import json

from mcp_gw.compat import MICROPYTHON, sleep_ms
from mcp_gw.errors import ConfigError
from mcp_gw.gateway import Gateway
from mcp_gw.registry import Param


class Unusual(BaseException):
    pass


def nested(depth):
    out = []
    for _ in range(depth):
        out = [out]
    return out


def in_three_ways(gw, name, act):
    """A plain tool, an async one and a generator that call `act`."""

    def plain():
        return act()

    async def waits():
        await sleep_ms(1)
        return act()

    def counts():
        yield 1
        return act()

    for prefix, func in (("plain_", plain), ("waits_", waits), ("counts_", counts)):
        gw.tool("Odd", name=prefix + name)(func)
    gw.resource("plain:" + name)(plain)
    gw.resource("waits:" + name)(waits)


def raising(e):
    def act():
        raise e()

    return act


def answers(gw, name):
    """The answers to a call of each of the three tools and to a read of both resources."""
    for method, params in [("tools/call", {"name": p + name}) for p in ("plain_", "waits_")] + [
        ("tools/call", {"name": "counts_" + name}),
        ("resources/read", {"uri": "plain:" + name}),
        ("resources/read", {"uri": "waits:" + name}),
    ]:
        asked = {"jsonrpc": "2.0", "id": name, "method": method, "params": params}
        raw = gw.process(json.dumps(asked).encode())
        assert raw, (method, params)
        answer = json.loads(raw)
        assert answer["id"] == name
        yield method == "tools/call", answer


def test_whatever_a_tool_raises_is_answered():
    raised = asyncio.CancelledError, GeneratorExit, Unusual, MemoryError, StopIteration, OSError
    gw = Gateway("odd")
    gw.log = lambda text: None
    for e in raised:
        in_three_ways(gw, e.__name__, raising(e))
    for e in raised:
        for is_call, answer in answers(gw, e.__name__):
            assert answer["result"]["isError"] if is_call else answer["error"], answer


def test_values_without_a_json_form_are_answered():
    gw = Gateway("odd")
    gw.log = lambda text: None
    values = nested(2000), float("inf"), {1, 2}, Unusual, [Unusual()]
    for i, value in enumerate(values):
        in_three_ways(gw, "v%d" % i, lambda value=value: value)
    for i in range(len(values)):
        for is_call, answer in answers(gw, "v%d" % i):
            assert answer["result"]["isError"] if is_call else answer["error"], answer


def test_progress_that_is_none_is_refused():
    gw = Gateway("odd")
    gw.log = lambda text: None
    reports = "half", float("nan"), float("inf"), True, [1], (1, "two"), (1, 2, 3), Unusual()
    for i, report in enumerate(reports):

        def tool(report=report):
            yield report
            return "done"

        gw.tool("Odd", name="t%d" % i)(tool)
    for i in range(len(reports)):
        asked = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t%d"}}' % i
        result = json.loads(gw.process(asked.encode()))["result"]
        assert result["isError"] and "progress" in result["content"][0]["text"], result


def test_a_bare_yield_lets_others_run_and_goes_on():
    gw = Gateway("odd")

    @gw.tool("Odd")
    def pauses():
        yield
        yield 1
        yield
        return "done"

    asked = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pauses"}}'
    assert json.loads(gw.process(asked))["result"]["content"][0]["text"] == "done"


def test_a_tool_may_wait_with_a_time_limit():
    gw = Gateway("odd")

    async def nap(ms):
        await sleep_ms(ms)

    @gw.tool("Odd", ms=Param(int), limit=Param(int))
    async def patient(ms, limit):
        try:
            await asyncio.wait_for(nap(ms), limit / 1000)
        except asyncio.TimeoutError:  # noqa: UP041 (MicroPython's has no other name)
            return "too late"
        return "in time"

    for ms, limit, told in ((1, 2000, "in time"), (2000, 10, "too late")):
        asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        asked["params"] = {"name": "patient", "arguments": {"ms": ms, "limit": limit}}
        result = json.loads(gw.process(json.dumps(asked).encode()))["result"]
        assert result["content"][0]["text"] == told, result


def test_surrogates_do_not_reach_the_wire():
    gw = Gateway("odd")
    if not MICROPYTHON:
        return  # CPython's json escapes them

    @gw.tool("Odd")
    def halves():
        return {"pair": chr(0xD83D) + chr(0xDE00), "lone": chr(0xDC01), "hangul": "\ud55c"}

    asked = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"halves"}}'
    result = json.loads(gw.process(asked))["result"]["structuredContent"]
    assert result == {"pair": "\U0001f600", "lone": "\ufffd", "hangul": "\ud55c"}, result


def test_a_descriptor_without_a_json_form_is_refused_where_it_is_made():
    gw = Gateway("odd")
    for kw in (
        {"x": Param(float, default=float("nan"))},
        {"x": Param(float, min=float("-inf"))},
        {"annotations": {"a": Unusual()}},
    ):
        try:
            gw.tool("Odd", name="odd", **kw)(len)
        except ConfigError as e:
            assert "odd" in str(e)
        else:
            raise AssertionError(kw)
    asked = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
    assert json.loads(gw.process(asked))["result"]["tools"] == []


def test_who_uses_process_in_between_keeps_the_id():
    gw = Gateway("odd")

    @gw.resource("odd:nests")
    def nests():
        gw.process(b'{"method":"ping","jsonrpc":"2.0","id":"inner"}')
        return Unusual

    asked = (
        b'{"jsonrpc":"2.0","id":"outer","method":"resources/read","params":{"uri":"odd:nests"}}'
    )
    answer = json.loads(gw.process(asked))
    assert answer["id"] == "outer" and answer["error"]["code"] == -32603
