"""Tools, for servers made with the official SDK, that ask the client in the middle: in either era,
as the SDK does it.
"""

import asyncio
from typing import Annotated

from mcp.server.mcpserver import Context, Elicit, ListRoots, Resolve, Sample
from mcp.server.streamable_http import EventMessage, EventStore
from mcp_types import CreateMessageResult, ListRootsResult, SamplingMessage, TextContent
from pydantic import BaseModel


class Size(BaseModel):
    size: int


class Sure(BaseModel):
    sure: bool


def ask_size(cup: str) -> Elicit[Size]:
    return Elicit(f"How large a {cup}?", Size)


def ask_sure(size: Annotated[Size, Resolve(ask_size)]) -> Elicit[Sure]:
    return Elicit(f"Size {size.size}: sure?", Sure)


def muse_on(cup: str) -> Sample:
    text = TextContent(type="text", text=f"Praise a {cup}")
    return Sample([SamplingMessage(role="user", content=text)], max_tokens=50)


def add_tools(server, note):
    """Register the tools; note: function(text), called at each execution of one."""

    @server.tool()
    def order(cup: str, size: Annotated[Size, Resolve(ask_size)]) -> str:
        """Asks for a size."""
        note("order")
        return f"{cup} of {size.size}"

    @server.tool()
    def confirm(
        cup: str,
        size: Annotated[Size, Resolve(ask_size)],
        sure: Annotated[Sure, Resolve(ask_sure)],
    ) -> str:
        """Asks for a size, then for confirmation."""
        note("confirm")
        return f"{cup} of {size.size}: {sure.sure}"

    @server.tool()
    def praise(cup: str, said: Annotated[CreateMessageResult, Resolve(muse_on)]) -> str:
        """Asks the client's model."""
        note("praise")
        return said.content.text

    @server.tool()
    def mixed(
        cup: str,
        size: Annotated[Size, Resolve(ask_size)],
        said: Annotated[CreateMessageResult, Resolve(muse_on)],
    ) -> str:
        """Asks the person and the model."""
        note("mixed")
        return f"{size.size}: {said.content.text}"

    @server.tool()
    def where(roots: Annotated[ListRootsResult, Resolve(lambda: ListRoots())]) -> str:
        """Asks for the client's roots."""
        return ",".join(str(root.uri) for root in roots.roots)

    @server.tool()
    async def brew(seconds: float, ctx: Context) -> str:
        """Takes its time; notes whether it was cancelled."""
        note("brew")
        try:
            for i in range(int(seconds * 20)):
                await ctx.report_progress(i, seconds * 20, f"{i} drops")
                await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            note("brew cancelled")
            raise
        note("brewed")
        return "brewed"

    @server.tool()
    async def hangs_up(times: int, ctx: Context) -> str:
        """Ends the event stream of its own answer; a legacy client comes back for the rest."""
        note("hangs_up")
        for i in range(times):
            await ctx.report_progress(i, times, f"round {i}")
            await ctx.close_sse_stream()
            await asyncio.sleep(0.3)
            await ctx.report_progress(i + 0.5, times, f"round {i} again")
        return "answered"

    @server.prompt()
    def toast(to: str) -> str:
        """A toast."""
        return f"To {to}!"

    @server.resource("cup://list", mime_type="text/plain")
    def cups() -> str:
        """All cups."""
        return "mug, bowl"

    @server.resource("cup://{name}/data")
    def cup(name: str) -> str:
        """One cup."""
        return f"cup {name}"


class Events(EventStore):
    """Keeps every event, in memory."""

    def __init__(self):
        self._rows = []

    async def store_event(self, stream_id, message):
        self._rows.append((stream_id, message))
        return str(len(self._rows))

    async def replay_events_after(self, last_event_id, send_callback):
        at = int(last_event_id)
        if not 0 < at <= len(self._rows):
            return None
        stream = self._rows[at - 1][0]
        for number, (stream_id, message) in enumerate(self._rows[at:], at + 1):
            if stream_id == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream
