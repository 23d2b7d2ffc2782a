"""Boards on USB that nobody named: found, called by the name they give themselves, and known
again. What the system says of its ports is made up here; the boards are of the unix build."""

import asyncio
import socket

import pytest
from board_rig import LinkBoard
from mcpgw.bridge.log import Log
from mcpgw.pi import config, links
from mcpgw.pi.boards import Boards
from mcpgw.pi.gateway import PiGateway
from mcpgw.pi.store import Store
from mcpgw.ports import Port, PortError
from waiting import PATIENCE_S


class USB:
    """The ports that the system shows."""

    def __init__(self, monkeypatch):
        self.ports = []
        monkeypatch.setattr(links, "find_ports", lambda: list(self.ports))
        monkeypatch.setattr(links, "choose_port", self.choose)
        monkeypatch.setattr(links, "_SCAN_S", 0.05)

    def plug(self, device, serial, kind="native"):
        self.ports.append(Port(device, kind, "Board", 0x2E8A, 5, serial))

    def choose(self, wanted):
        for port in self.ports:
            if wanted in (port.device, f"id:{port.serial}"):
                return port.device
        raise PortError(f"no board with the USB serial number {wanted!r}")


class Service:
    """The boards' part of a paired gateway, in this process."""

    def __init__(self, folder, boards=None):
        found = config.Config(str(folder / "mcp-edge.toml"), state=folder)
        found.boards = boards or {}
        found.discovery.grace_s = 0.1
        self.text = open(folder / "log", "a+")  # noqa: SIM115 (closed with the rest)
        self._path = folder / "log"
        log = Log(self.text)
        self.store = Store(found.store)
        self.gateway = PiGateway(found, "1", log)
        self.boards = Boards(self.gateway, found, self.store, {}, log)

    async def __aenter__(self):
        self.work = asyncio.ensure_future(self.boards.run())
        return self

    async def __aexit__(self, *_):
        self.work.cancel()
        await asyncio.gather(self.work, return_exceptions=True)
        await self.boards.close()
        self.gateway.close()
        self.store.close()
        self.text.close()

    def log(self):
        self.text.flush()
        return self._path.read_text()

    def up(self):
        """Names of the boards that are there and listed."""
        rows = self.gateway.hub.router.rows()
        return {raw.partition(b'"name":"')[2].partition(b"_who")[0].decode() for _, raw in rows
                if b'_who"' in raw}  # fmt: skip

    async def until(self, condition):
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                assert not self.work.done(), self.work.result()
                await asyncio.sleep(0.02)


@pytest.fixture
def usb(monkeypatch):
    return USB(monkeypatch)


@pytest.fixture
def plugged(tmp_path):
    made = []

    def make(label, hello):
        made.append(LinkBoard(tmp_path, label, hello=hello))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_found_named_and_known_again(tmp_path, usb, plugged):
    one, two = plugged("one", "kiln"), plugged("two", "kiln")

    async def first():
        async with Service(tmp_path) as service:
            usb.plug(one.port, "E1")
            await service.until(lambda: service.up() == {"kiln"})
            usb.plug(two.port, "E2")
            await service.until(lambda: service.up() == {"kiln", "kiln-2"})
            usb.plug("/dev/ttyUSB0", "A1", "uart")  # there may be anything behind it
            one.unplug()
            await service.until(lambda: service.up() == {"kiln-2"})
            one.plug()
            await service.until(lambda: service.up() == {"kiln", "kiln-2"})
            assert "ttyUSB0" not in service.log()

    async def second():
        """They come in another order, and are called as before."""
        usb.ports.clear()
        async with Service(tmp_path) as service:
            usb.plug(two.port, "E2")
            await service.until(lambda: service.up() == {"kiln-2"})
            assert not service.boards.known["kiln"].up
            usb.plug(one.port, "E1")
            await service.until(lambda: service.up() == {"kiln", "kiln-2"})
            # Forgotten, while it is plugged in, it is met anew.
            service.store.remove_board("kiln-2")
            await service.until(lambda: "kiln-2 was forgotten" in service.log())
            await service.until(lambda: service.up() == {"kiln", "kiln-2"})

    asyncio.run(first())
    asyncio.run(second())


def test_what_is_no_board_is_left_alone(tmp_path, usb, monkeypatch):
    monkeypatch.setattr(links, "_MEET_S", 0.3)

    async def scenario():
        with socket.create_server(("127.0.0.1", 0)) as silent:
            device = f"socket://127.0.0.1:{silent.getsockname()[1]}"
            async with Service(tmp_path) as service:
                usb.plug(device, "E9")
                await service.until(lambda: "it is left alone" in service.log())
                await asyncio.sleep(0.3)  # many looks later
                assert service.log().count("it is left alone") == 1
                usb.ports.clear()
                await service.until(lambda: not service.boards.links._left)
                usb.plug(device, "E9")
                await service.until(lambda: service.log().count("it is left alone") == 2)
                assert service.boards.known == {}

    asyncio.run(scenario())


def test_a_port_that_is_named_is_not_met(tmp_path, usb, plugged):
    board = plugged("one", "kiln")
    usb.plug(board.port, "E1")
    named = {"oven": config.Board("oven", port="id:E1")}

    async def scenario():
        async with Service(tmp_path, named) as service:
            await service.until(lambda: service.up() == {"oven"})
            assert set(service.boards.known) == {"oven"}

    asyncio.run(scenario())
