"""The full story on real firmware: an official client, `mcpgw pi`, and the emulated RP2040 on a
pty; unplugged and plugged in again."""

import anyio
import pytest
import rig
import targets
from board_rig import QUICK, text_of
from http_program import sdk_client
from mcpgw.sim import PicoSim
from pi_rig import Pi, SDKServer, mcpgw, server_table
from waiting import PATIENCE_S, until

MAIN = """
from machine import ADC
from mcp_gw import Gateway, Param
gw = Gateway("greenhouse", version="1.0")
pi = gw.upstream("pi")

@gw.tool("Soil moisture of one plot, percent", plot=Param(int, "plot number", min=0, max=2))
def moisture(plot):
    return ADC(26 + plot).read_u16() * 100 // 65535

@gw.resource("board://status", "How it is")
def status():
    return {"plots": 3}

@gw.tool("Adds at the office", a=Param(int, "one"), b=Param(int, "other"))
async def far_add(a, b):
    import json
    params = '{"_meta":%s,"name":"office_add","arguments":{"a":%d,"b":%d}}'
    params %= pi.meta().decode(), a, b
    ok, raw = await pi.request("tools/call", [params.encode()], 30000)
    return json.loads(raw)["content"][0]["text"] if ok else raw.decode()

gw.run()
"""


@pytest.fixture
def setting(tmp_path):
    office = SDKServer(tmp_path)
    link = tmp_path / "ttyACM0"
    pico = PicoSim(
        targets.firmware("pico"), flash=tmp_path / "flash.img", link=link, adc={1: 1720}
    )
    pico.start()
    rig.put(targets.BoardTarget("pico", pico), MAIN)
    pico.restart()
    config = QUICK + server_table("office", url=office.url)
    config += server_table("greenhouse", port=str(link)).replace("[servers.", "[boards.")
    pi = Pi(tmp_path, config)
    pi.pico, pi.office = pico, office
    yield pi
    pi.close()
    pico.stop()
    office.close()


def names(pi):
    return {tool["name"] for tool in pi.tools()}


def test_the_full_story(setting):
    pi = setting.up("greenhouse", "office")

    async def story():
        with anyio.fail_after(3 * PATIENCE_S):
            async with sdk_client(pi.url, "auto") as client:
                listed = {tool.name for tool in (await client.list_tools()).tools}
                # What the board passes on is the gateway's own, and is not shown twice.
                assert {name for name in listed if name.startswith("greenhouse_")} == {
                    "greenhouse_moisture",
                    "greenhouse_far_add",
                }
                result = await client.call_tool("greenhouse_moisture", {"plot": 1})
                assert abs(int(result.content[0].text) - 42) <= 1
                result = await client.call_tool("greenhouse_moisture", {"plot": 7})
                assert result.is_error
                read = await client.read_resource("board://greenhouse/status")
                assert '"plots"' in read.contents[0].text
                # And back: the board calls what is behind the gateway.
                result = await client.call_tool("greenhouse_far_add", {"a": 20, "b": 22})
                assert result.content[0].text == "42"

    anyio.run(story)
    # Unplugged, and plugged in again.
    pi.pico.stop()
    until(lambda: not any(name.startswith("greenhouse_") for name in names(pi)), pi.output)
    answer = pi.call("greenhouse_moisture", {"plot": 1})
    assert answer["error"]["code"] == -32010
    assert "the board greenhouse is not reachable since" in answer["error"]["message"]
    assert "away" in mcpgw("pi", "boards", "--config", pi.config)
    pi.pico.start()
    pi.up("greenhouse")
    assert abs(int(text_of(pi.call("greenhouse_moisture", {"plot": 1}))) - 42) <= 1
