"""The servers at the far end: where it counts what was executed, and how often."""

import asyncio
import contextvars
import json
from typing import NamedTuple

from mcp_gw.errors import INTERNAL_ERROR, NoAnswer, Unavailable


class Tool(NamedTuple):
    """policy: of queued calls about the same zone, None: calls are about nothing in common."""

    queueable: bool = True
    idempotent: bool = False
    priority: int = 1
    policy: str | None = None


TOOLS = {
    "record": Tool(),
    "notice": Tool(priority=2),
    "set_target": Tool(policy="latest"),
    "tally": Tool(priority=0, policy="merge"),
    "step": Tool(priority=2, policy="all"),
    "lookup": Tool(priority=0, idempotent=True),
    "ask": Tool(queueable=False),
}


class Server:
    """One remote MCP server. on_call: function(server, tool, arguments, key), told of what it
    carries out.
    """

    def __init__(self, world, name, loss, on_call):
        self.world = world
        self.name = name
        self.loss = loss
        self.up = True
        self.reachable = True
        self._on_call = on_call
        self._rng = world.stream(f"server {name}")
        self._deaths = 0
        self.watchers = {}  # host's name -> function(), called some time after it went up or down

    def set_up(self, up):
        if up != self.up:
            self.up = up
            self._deaths += not up
            self.world.note(self.name, "up" if up else "down")
            for watcher in self.watchers.values():
                watcher(self._rng.uniform(1.0, 15.0))

    async def call(self, tool, params, extra, timeout_s):
        """One request as it goes over a network: whoever asked may die meanwhile, the server does
        not mind. Raises Unavailable, NoAnswer.
        """
        task = self.world.loop.create_task(
            self._call(tool, params, extra, timeout_s), context=contextvars.Context()
        )
        task.add_done_callback(lambda task: task.exception())
        return await asyncio.shield(task)

    async def _call(self, tool, params, extra, timeout_s):
        rng = self._rng
        calm = self.world.calm
        await asyncio.sleep(rng.uniform(0.002, 0.05))
        if not self.up:
            raise Unavailable(f"{self.name}: connection refused")
        deaths = self._deaths
        if not calm and rng.random() < self.loss:
            self.world.counts["requests lost"] += 1
            await self._lost(timeout_s)
        await asyncio.sleep(self._takes())
        if self._deaths != deaths:
            raise NoAnswer(f"{self.name} closed the connection")
        arguments = json.loads(params)["arguments"]
        key = json.loads(b"{" + extra + b"}").get("mcp-gw/key") if extra else None
        if not calm and tool == "notice" and rng.random() < 0.02:
            return False, json.dumps({"code": INTERNAL_ERROR, "message": "paper jam"}).encode()
        self._on_call(self, tool, arguments, key)
        await asyncio.sleep(self._takes())
        if self._deaths != deaths or not calm and rng.random() < self.loss:
            self.world.counts["answers lost"] += 1
            await self._lost(timeout_s)
        text = json.dumps({"did": arguments, "note": "x" * rng.choice((0, 10, 300, 2000))})
        result = {
            "resultType": "complete",
            "content": [{"type": "text", "text": text}],
            "isError": rng.random() < 0.05,
        }
        return True, json.dumps(result).encode()

    def _takes(self):
        """Seconds: mostly fast, sometimes slower than anybody waits."""
        dice = self._rng.random()
        if self.world.calm or dice < 0.95:
            return self._rng.uniform(0.005, 0.3)
        return self._rng.uniform(0.3, 20.0) if dice < 0.99 else self._rng.uniform(20, 200)

    async def _lost(self, timeout_s):
        if self._rng.random() < 0.5:
            await asyncio.sleep(timeout_s)
        raise NoAnswer(f"{self.name}: the connection was reset")


class Office:
    """A bridge's way to one Server, in the place of the HTTPUpstream that Relay and Calls know."""

    timeout_s = 60.0

    def __init__(self, server):
        self.name = server.name
        self._server = server
        self.catalog = {}
        self.on_state = None
        self.up = False

    def look(self):
        """Notice whether it can be reached."""
        if self.up != self._server.up:
            self.up = self._server.up
            if self.on_state:
                self.on_state(self)

    async def list(self, kind="tools"):
        if not self._server.up:
            raise Unavailable(f"{self.name} is not reachable")
        if kind != "tools":
            return []
        found = []
        for name, how in TOOLS.items():
            tool = {"name": name, "inputSchema": {"type": "object"}}
            tool["annotations"] = {"idempotentHint": how.idempotent}
            self.catalog[name] = tool
            found.append(json.dumps(tool).encode())
        return found

    async def call(self, tool, params, extra, timeout_s=None, on_progress=None, can=b"{}"):
        work = self._server.call(tool, params, extra, timeout_s or self.timeout_s)
        try:
            return await asyncio.wait_for(work, timeout_s or self.timeout_s)
        except TimeoutError:
            raise NoAnswer(f"{self.name} gave no answer in time") from None
        except Unavailable:
            self.look()
            raise

    async def send(self, method, params, extra, timeout_s=None, *_):
        raise Unavailable("nothing but tools here")

    def abandon(self, state):
        pass
