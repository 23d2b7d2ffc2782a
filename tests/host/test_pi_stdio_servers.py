"""Servers behind the paired gateway that are commands: started, spoken to, and started again."""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest
from http_program import sdk_client
from mcp.types import ElicitResult
from mcpgw.bridge.lines import head_of
from pi_rig import HERE, Pi, environment, server_table
from waiting import PATIENCE_S, until


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("stdio")


@pytest.fixture(scope="module")
def pi(folder):
    paths = environment()["PYTHONPATH"] + ":" + str(HERE)
    command = [sys.executable, str(HERE / "pi_stdio_server.py"), str(folder / "ledger")]
    config = server_table(
        "tool",
        command=command,
        environment={"PYTHONPATH": paths, "SECRET": "env:A_SECRET"},
        folder=str(folder),
        timeout_s=30,
    )
    noisy = [sys.executable, str(HERE / "pi_noisy_server.py")]
    config += server_table("noisy", command=noisy, environment={"PYTHONPATH": paths})
    config += server_table("missing", command=["no-such-program", "x"])
    config += server_table("silent", command=["sleep", "100"], timeout_s=1)
    config += server_table("dies", command=["false"])
    pi = Pi(folder, config, env=environment(A_SECRET="s3cret", NOT_FOR_SERVERS="x"))
    yield pi.up("tool", "noisy")
    pi.close()


def ledger(folder):
    return (folder / "ledger").read_text().splitlines()


def text(answer):
    return answer["result"]["content"][0]["text"]


def test_it_gets_what_it_needs_and_no_more(pi, folder):
    said = text(pi.call("tool_surroundings"))
    assert "'SECRET'" in said and "'PATH'" in said and str(folder) in said
    assert "NOT_FOR_SERVERS" not in said and "A_SECRET" not in said


def test_what_it_writes_beside_harms_nobody(pi):
    for size in (10, 5 << 20):
        assert text(pi.call("noisy_babble", {"bytes": size})) == "babbled"
    until(lambda: "noisy: a word for people" in pi.output())
    assert "server noisy: a line over 4194304 bytes" in pi.output()
    assert "server noisy: not a JSON-RPC message" in pi.output()


def test_an_answer_that_is_too_long_is_told_at_once(pi):
    """To who gets it; where that cannot be seen, to all who wait at that server."""
    with ThreadPoolExecutor() as others:
        waits = others.submit(pi.call, "noisy_hush")
        until(lambda: "noisy: hushed" in pi.output(), pi.output)
        error = pi.call("noisy_flood", {"first": "id"})["error"]
        assert error["code"] == -32603
        assert error["message"] == "noisy: an answer is longer than 4194304 bytes"
        assert not waits.done()
        error = pi.call("noisy_flood", {"first": "result"})["error"]
        for found in (error, waits.result(PATIENCE_S)["error"]):
            assert found["code"] == -32011
            assert "an answer is longer than 4194304 bytes, perhaps the" in found["message"]
    assert text(pi.call("noisy_babble", {"bytes": 10})) == "babbled"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b'{"jsonrpc":"2.0","id":5,"result":{"id":6,"method":"x"', {b"id": b"5"}),
        (b'{"result":{"a":[{"id":6}],"b":"},\\"id\\":7', {b"result": b"{"}),
        (b' { "id" : 5 , "error" : "id\\":6', {b"id": b"5", b"error": b'"'}),
        (b'{"method":"x","params":{"id":6}', {b"method": b'"x"', b"params": b"{"}),
        (b"x" * 100, {}),
        (b'"id":5', {}),
        (b'[{"id":5', {}),
        (b"{" * 70000, {}),
        (b'{"a":"' + b"\\" * 70000, {b"a": b'"'}),
        (b'{"result":{},"a":5,"id":' + b"7" * 70000, {b"result": b"{", b"a": b"5"}),
        (b'{"result":{},' + b" " * 65536 + b'"id":5', {b"result": b"{"}),
    ],
)
def test_the_head_of_a_message(line, found):
    said = head_of(line)
    assert {name: said.get(name) for name in found} == found
    assert set(said) <= {*found, b"jsonrpc", b"result"}


def test_it_is_started_again(pi, folder):
    starts = ledger(folder).count("started")
    error = pi.call("tool_die", {"code": 3})["error"]
    assert error["code"] == -32011 and "ended with exit code 3" in error["message"]
    until(lambda: "result" in pi.call("tool_add", {"a": 1, "b": 2}), pi.output)
    assert ledger(folder).count("started") == starts + 1
    # A keyed call that may have been executed is not repeated.
    key = "dies-once"
    assert pi.deliver([(key, "tool_die", {"code": 4})])[key]["retry_ms"] > 0
    until(lambda: "result" in pi.call("tool_add", {"a": 1, "b": 2}), pi.output)
    row = pi.deliver([(key, "tool_die", {"code": 4})])[key]
    assert "may or may not have been executed" in text(row)
    assert ledger(folder).count("started") == starts + 2


def test_those_that_cannot_be_started_are_told_about_and_hold_up_nobody(pi):
    began = time.monotonic()
    assert pi.call("tool_add", {"a": 2, "b": 2})["result"]["structuredContent"] == {"result": 4}
    assert time.monotonic() - began < PATIENCE_S / 4
    for name in ("missing", "silent", "dies"):
        error = pi.call(f"{name}_anything")["error"]
        assert error["code"] == -32010 and name in error["message"], error
    assert pi.health()["servers"] == {
        "tool": "up",
        "noisy": "up",
        "missing": "down",
        "silent": "down",
        "dies": "down",
    }
    until(lambda: "no-such-program cannot be started" in pi.output(), pi.output)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_progress_cancellation_and_questions(pi, folder, mode):
    heard, asked = [], []

    async def on_progress(progress, total, message):
        heard.append((progress, total, message))

    async def on_elicit(context, params):
        asked.append(params.message)
        return ElicitResult(action="accept", content={"size": 4})

    async def main():
        with anyio.fail_after(PATIENCE_S):
            async with sdk_client(pi.url, mode, elicitation_callback=on_elicit) as client:
                await client.call_tool("tool_steps", {"count": 3}, progress_callback=on_progress)
                while len(heard) < 3:
                    await anyio.sleep(0.01)
                assert heard == [(i, 3, f"step {i}") for i in (1, 2, 3)]
                result = await client.call_tool("tool_order", {"cup": "mug"})
                assert result.content[0].text == "mug of 4" and asked == ["How large a mug?"]
                before = ledger(folder).count("held"), ledger(folder).count("held cancelled")
                async with anyio.create_task_group() as group:
                    group.start_soon(client.call_tool, "tool_held", {})
                    while ledger(folder).count("held") == before[0]:
                        await anyio.sleep(0.02)
                    group.cancel_scope.cancel()
                while ledger(folder).count("held cancelled") == before[1]:
                    await anyio.sleep(0.02)

    anyio.run(main)


def test_it_ends_with_the_gateway(folder, tmp_path):
    pids = tmp_path / "pids"
    script = f"echo $$ >> {json.dumps(str(pids))}; exec sleep 100"
    pi = Pi(tmp_path, server_table("sleeper", command=["sh", "-c", script]))
    try:
        until(pids.exists, pi.output)
        assert pi.stop() == 0, pi.output()
        for pid in pids.read_text().split():
            assert not alive(int(pid))
    finally:
        pi.close()


def alive(pid):
    import os

    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
