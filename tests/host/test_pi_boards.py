"""The boards of `mcpgw pi`: on a serial line and over HTTP, real ones of the unix build; what
clients see of them when they come, go and have the same names."""

import contextlib
import threading
import time

import anyio
import httpx
import pytest
from board_rig import QUICK, HttpBoard, LinkBoard, text_of
from http_program import sdk_client
from pi_rig import META, VERSION, Pi, SDKServer, mcpgw, server_table
from waiting import PATIENCE_S, until

# A board that asks the gateway it hangs on: what it passes on and what it calls there.
USES_PI = """
pi = gw.upstream("pi")

@gw.tool("Adds at the Pi's office", a=Param(int, "one"), b=Param(int, "other"))
async def far_add(a, b):
    import json
    params = '{"_meta":%s,"name":"office_add","arguments":{"a":%d,"b":%d}}'
    params %= pi.meta().decode(), a, b
    ok, raw = await pi.request("tools/call", [params.encode()], 30000)
    return json.loads(raw)["content"][0]["text"] if ok else raw.decode()

@gw.tool("What the Pi shows this board")
async def far_tools():
    names = []
    await pi.tools(lambda raw: names.append(raw.decode()))
    return "\\n".join(names)
"""


def board_table(name, **keys):
    return server_table(name, **keys).replace("[servers.", "[boards.")


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """A Pi with two boards of one kind on serial lines, one over HTTP, and a server."""
    folder = tmp_path_factory.mktemp("boards")
    office = SDKServer(folder)
    house = LinkBoard(folder, "house", hello="twin", more=USES_PI)
    shed = LinkBoard(folder, "shed", hello="twin")
    far = LinkBoard(folder, "house_far")
    roof = HttpBoard(folder, "roof")
    config = QUICK + server_table("office", url=office.url)
    config += board_table("house", port=house.port)
    config += board_table("shed", port=shed.port)
    config += board_table("house_far", port=far.port)
    config += board_table("roof", url=roof.url)
    pi = Pi(folder, config)
    pi.house, pi.shed, pi.roof, pi.office = house, shed, roof, office
    pi.up("house", "shed", "roof", "office")
    yield pi
    for one in (pi, house, shed, far, roof, office):
        one.close()


def names(pi):
    return {tool["name"] for tool in pi.tools()}


def test_each_board_is_called_by_its_name(setting):
    for name, says in (("house", "twin"), ("shed", "twin"), ("roof", "roof")):
        assert {f"{name}_add", f"{name}_who"} <= names(setting)
        assert text_of(setting.call(f"{name}_add", {"a": 20, "b": 22})) == "42"
        assert text_of(setting.call(f"{name}_who")) == says


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_official_client(setting, mode):
    heard = []

    async def on_progress(progress, total, message):
        heard.append((progress, total))

    async def main():
        with anyio.fail_after(3 * PATIENCE_S):
            async with sdk_client(setting.url, mode) as client:
                for board in ("house", "roof"):
                    heard.clear()
                    result = await client.call_tool(
                        f"{board}_steps", {"n": 3}, progress_callback=on_progress
                    )
                    assert result.content[0].text == "counted"
                    with anyio.fail_after(PATIENCE_S):
                        while len(heard) < 3:
                            await anyio.sleep(0.01)
                    assert heard == [(1, 3), (2, 3), (3, 3)]
                prompts = {one.name for one in (await client.list_prompts()).prompts}
                assert {"house_ask", "shed_ask", "roof_ask"} <= prompts
                got = await client.get_prompt("shed_ask", {"topic": "door"})
                assert got.messages[0].content.text == "what of the door?"
                read = await client.read_resource("board://roof/status")
                assert str(read.contents[0].uri) == "board://roof/status"
                assert '"roof"' in read.contents[0].text

    anyio.run(main)


def test_resources_of_one_uri_are_told_apart(setting):
    listed = [row["uri"] for row in setting.request("resources/list")["result"]["resources"]]
    wanted = {f"board://{name}/status" for name in ("house", "shed", "roof")}
    assert wanted <= set(listed) and len(listed) == len(set(listed))
    rows = setting.request("resources/templates/list")["result"]["resourceTemplates"]
    assert {f"board://{name}/pin/{{n}}" for name in ("house", "shed", "roof")} <= {
        row["uriTemplate"] for row in rows
    }
    for name, says in (("house", "twin"), ("roof", "roof")):
        for uri, text in (
            (f"board://{name}/status", f'{{"name":"{says}"}}'),
            (f"board://{name}/pin/7", '{"pin":"7"}'),
        ):
            answer = setting.request("resources/read", {"uri": uri}, uri)
            (row,) = answer["result"]["contents"]
            assert (row["uri"], row["text"].replace(" ", "")) == (uri, text)
        # A link in a tool's result leads to where it can be read.
        (block,) = setting.call(f"{name}_link")["result"]["content"]
        assert block["uri"] == f"board://{name}/status"


def test_completion_is_asked_of_the_board(setting):
    for name in ("house", "roof"):
        ref = {"type": "ref/resource", "uri": f"board://{name}/door/{{side}}"}
        params = {"ref": ref, "argument": {"name": "side", "value": "no"}}
        answer = setting.request("completion/complete", params)
        assert answer["result"]["completion"]["values"] == ["north"]


def test_names_that_fall_together(setting):
    """The tool `far_add` of the board `house`, and `add` of the board `house_far`."""
    until(lambda: len([name for name in names(setting) if name.startswith("house_far_add")]) == 2)
    (hashed,) = {name for name in names(setting) if name.startswith("house_far_add_")}
    answers = [text_of(setting.call(name, {"a": 1, "b": 2})) for name in ("house_far_add", hashed)]
    assert answers == ["3", "3"]
    assert text_of(setting.call("house_far_who")) == "house_far"


def test_a_board_calls_servers_behind_the_gateway_and_sees_no_boards(setting):
    assert text_of(setting.call("house_far_add", {"a": 20, "b": 22})) == "42"
    shown = text_of(setting.call("house_far_tools"))
    assert '"office_add"' in shown
    assert "house_" not in shown and "shed_" not in shown and "roof_" not in shown
    # And what it passes on is not shown as the board's: it is the office's.
    assert not [name for name in names(setting) if name.startswith("house_pi_")]
    assert "house_far_add" in names(setting)


def test_unknown_boards_and_tools(setting):
    answer = setting.call("cellar_add", {"a": 1, "b": 2})
    assert answer["error"]["code"] == -32602 and "cellar_add" in answer["error"]["message"]
    answer = setting.call("house_nothing")
    assert answer["error"]["code"] == -32602
    for uri in ("board://cellar/status", "board://shed/none", "board://roof/none"):
        answer = setting.request("resources/read", {"uri": uri}, uri)
        assert answer["error"]["code"] == -32602 and answer["error"]["data"]["uri"] == uri


def listen(pi, heard, ready):
    """Hear of list changes, as a client of 2026-07-28 does."""
    kinds = {f"{kind}ListChanged": True for kind in ("tools", "prompts", "resources")}
    params = {"_meta": META, "notifications": kinds}
    row = {"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params}
    fields = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": VERSION,
        "Mcp-Method": "subscriptions/listen",
    }
    with (
        contextlib.suppress(httpx.HTTPError),  # the gateway has ended
        httpx.Client(timeout=None) as client,
        client.stream("POST", pi.address + "/mcp", json=row, headers=fields) as answer,
    ):
        ready.set()
        for line in answer.iter_lines():
            heard.append(line)


def test_unplugged_and_plugged_in_again(setting):
    heard, ready = [], threading.Event()
    threading.Thread(target=listen, args=(setting, heard, ready), daemon=True).start()
    assert ready.wait(PATIENCE_S)

    def told(kind):
        return sum(f"notifications/{kind}/list_changed" in line for line in list(heard))

    setting.shed.unplug()
    until(lambda: not any(name.startswith("shed_") for name in names(setting)))
    until(lambda: all(told(kind) for kind in ("tools", "prompts", "resources")))
    assert "house_add" in names(setting) and "roof_add" in names(setting)
    answer = setting.call("shed_add", {"a": 1, "b": 2})
    assert answer["error"]["code"] == -32010
    assert "board shed is not reachable" in answer["error"]["message"]
    uri = "board://shed/status"
    answer = setting.request("resources/read", {"uri": uri}, uri)
    assert answer["error"]["code"] == -32010 and "shed" in answer["error"]["message"]
    assert setting.health()["boards"]["shed"] == "down"
    before = told("tools")
    setting.shed.plug()
    setting.up("shed")
    until(lambda: told("tools") > before)
    assert text_of(setting.call("shed_add", {"a": 20, "b": 22})) == "42"


def test_a_board_over_http_that_goes_and_comes(setting):
    setting.roof.process.kill()
    setting.roof.process.wait()
    until(lambda: "roof_add" not in names(setting), setting.output)
    answer = setting.call("roof_add", {"a": 1, "b": 2})
    assert answer["error"]["code"] == -32010 and "roof" in answer["error"]["message"]
    setting.roof.start()
    setting.up("roof")
    assert text_of(setting.call("roof_add", {"a": 20, "b": 22})) == "42"


def test_a_reset_under_a_call_is_told_and_changes_no_lists(setting):
    starts = setting.house.starts
    answers = []
    call = threading.Thread(target=lambda: answers.append(setting.call("house_wait")))
    call.start()
    until(lambda: "waiting" in setting.output())
    setting.house.reset()
    call.join(PATIENCE_S)
    assert answers[0]["error"]["code"] == -32011
    assert "may have been executed" in answers[0]["error"]["message"]
    assert "house_add" in names(setting)
    until(lambda: setting.house.starts > starts)
    until(lambda: setting.health()["boards"]["house"] == "up")
    assert text_of(setting.call("house_add", {"a": 20, "b": 22})) == "42"


def test_a_cancelled_call_is_cancelled_on_the_board(setting):
    async def main():
        with anyio.fail_after(PATIENCE_S):
            async with sdk_client(setting.url, "auto") as client:
                with anyio.move_on_after(None) as scope:

                    async def call():
                        await client.call_tool("shed_wait", {})

                    async with anyio.create_task_group() as group:
                        group.start_soon(call)
                        while setting.output().count("shed: waiting\n") < 1:
                            await anyio.sleep(0.02)
                        scope.cancel()
                while "shed: waited no more" not in setting.output():
                    await anyio.sleep(0.02)

    anyio.run(main)


def test_an_absent_board_holds_up_nobody(setting):
    """While one board hangs in a call and another is away, a third answers many times."""
    setting.shed.unplug()
    try:
        hanging = threading.Thread(target=lambda: setting.call("house_wait"), daemon=True)
        hanging.start()
        until(lambda: setting.output().count("house: waiting") >= 2)
        for i in range(20):
            assert setting.call("shed_who")["error"]["code"] == -32010
            assert text_of(setting.call("roof_add", {"a": i, "b": 1})) == str(i + 1)
        assert hanging.is_alive()
    finally:
        setting.house.reset()
        setting.shed.plug()
    setting.up("house", "shed")


def test_boards_are_listed_by_the_command(setting):
    def rows():
        time.sleep(0.05)
        lines = mcpgw("pi", "boards", "--config", setting.config).splitlines()
        return {line.split()[0]: line for line in lines}

    until(lambda: all(" up " in rows()[name] for name in ("house", "shed", "roof")), rows)
    assert setting.house.port in rows()["house"] and "serial" in rows()["house"]
    assert setting.roof.url in rows()["roof"]
    done = mcpgw("pi", "forget", "house", "--config", setting.config, check=False)
    assert done.returncode == 1 and "take [boards.house] out" in done.stderr
    done = mcpgw("pi", "forget", "nobody", "--config", setting.config, check=False)
    assert done.returncode == 1 and "no board is called nobody; known are:" in done.stderr
