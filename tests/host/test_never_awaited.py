"""CPython warns of a coroutine that was made and never ran. None of the gateway's, or of a tool,
is left like that when a client gives up on a call before its first step."""

import gc
import sys
import warnings
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from peer import MODERN, Peer  # noqa: E402

from mcp_gw import Gateway  # noqa: E402


@pytest.mark.parametrize("revision", ["2025-11-25", MODERN])
def test_a_call_cancelled_before_its_first_step_leaves_no_warning(revision):
    gw = Gateway("cancels")
    ran = []

    @gw.tool("Runs when it is let")
    async def waits():
        ran.append("tool")

    @gw.tool("In steps")
    def steps():
        ran.append("steps")
        yield 1

    @gw.resource("a://b", "Takes its time")
    async def reads():
        ran.append("resource")
        return "x"

    peer = Peer(gw, revision)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for method, params in (
            ("tools/call", {"name": "waits", "arguments": {}}),
            ("tools/call", {"name": "steps", "arguments": {}}),
            ("resources/read", {"uri": "a://b"}),
        ):
            id = peer.begin(method, **params)
            peer.notify("notifications/cancelled", requestId=id)
            peer.turn()
            assert id not in peer.answers
        gc.collect()
    assert not ran
    assert not caught, [str(row.message) for row in caught]
    # The next ones run.
    assert peer.call("waits")["content"] is not None
    assert ran == ["tool"]
