"""The paired gateway's model: a tool, and the answers to what boards and servers ask a client's
model for (sampling)."""

from dataclasses import dataclass
from pathlib import Path

from mcp_gw.content import Result
from mcp_gw.context import Context
from mcp_gw.errors import GatewayError, ToolError
from mcp_gw.params import Param

from .. import UserError
from .config import web_address
from .model_writers import BUILTIN, Builtin, Endpoint, NoText, Wish

_MOST_TOKENS = 1 << 16
_META = "mcp-gw/usage"


@dataclass
class Options:
    """[model], checked. file, vocabulary: Paths of a built-in model, or None."""

    url: str | None
    model: str | None
    key: str | None
    timeout_s: float
    max_tokens: int
    temperature: float | None
    tool: str
    system: str | None
    sampling: bool
    serve: bool = False
    file: Path | None = None
    vocabulary: Path | None = None


def options(config):
    """The Options of a Config that has a model, whose table it empties. Raises ConfigError."""
    table = config.model
    found = Options(
        url=web_address(table),
        model=table.text("model", None),
        key=table.secret("key", config.environment),
        timeout_s=table.number("timeout_s", 120.0, 0.1, 3600),
        max_tokens=table.integer("max_tokens", 512, 1, _MOST_TOKENS),
        temperature=table.number("temperature", None, 0, 5),
        tool=table.text("tool", "ask", r"[A-Za-z0-9_-]{1,64}", "1 to 64 letters, digits, - and _"),
        system=table.text("system", None),
        sampling=table.flag("sampling", True),
    )
    if found.model is not None and found.model.startswith(BUILTIN):
        _files(table, found)
        found.serve = table.flag("serve", True)
    elif found.url is None:
        table.fail(None, 'give it a url, or model = "builtin:FILE.mgm"')
    table.done()
    return found


def _files(table, found):
    if found.url is not None:
        table.fail("url", "a built-in model has none")
    found.file = Path(found.model[len(BUILTIN) :]).expanduser()
    usual = str(found.file.with_suffix(".mgt"))
    found.vocabulary = Path(table.text("vocabulary", usual)).expanduser()
    for key, path in (("model", found.file), ("vocabulary", found.vocabulary)):
        if not path.is_file():
            table.fail(key, f"there is no file {path}")


def _builtin(table, given):
    try:
        return Builtin(given.file, given.vocabulary)
    except (GatewayError, ValueError, OSError, UserError) as e:
        table.fail("model", str(e))


class Model:
    """[model] of the configuration. gateway: the PiGateway; config: whose `model` is that table;
    log: a bridge.log.Log. Raises UserError.

    writer: the Endpoint or Builtin; serves: whether others may use it over HTTP (completions.py).
    """

    def __init__(self, gateway, config, log):
        given = options(config)
        self.serves = given.serve
        self._log = log
        self._most = given.max_tokens
        self._temperature = given.temperature
        self._system = given.system
        if given.file is None:
            self.writer = Endpoint(given.url, given.model, given.key, given.timeout_s)
        else:
            self.writer = _builtin(config.model, given)
        self._offer(gateway, given.tool)
        if given.sampling:
            gateway.sampling = self.sample
            for upstream in gateway.hub.router.upstreams.values():
                upstream.sampling = self.sample

    def in_front_of(self, web, guard):
        """The ASGI application that serves the model, too, and `web` for the rest."""
        if not self.serves:
            return web
        from .completions import Completions

        return Completions(web, guard, self.writer, self._most)

    async def run(self):
        """For as long as the service is there: nothing has to be done."""
        from asyncio import Event

        await Event().wait()

    async def close(self):
        await self.writer.close()

    def _offer(self, gateway, name):
        async def ask(ctx, prompt, system, max_tokens, temperature):
            count = 0

            def on_piece(piece):
                nonlocal count
                count += 1
                ctx.progress(count, None, piece)

            messages = _with_system(system or self._system, [{"role": "user", "content": prompt}])
            wish = Wish(min(max_tokens, self._most), temperature)
            if temperature is None:
                wish.temperature = self._temperature
            written = await self.writer.write(messages, wish, on_piece)
            meta = {"model": written.model, "ended": written.reason}
            return Result(written.text, meta={_META: meta | (written.usage or {})})

        gateway.tool(
            "Ask the language model that this gateway knows; its text is told as progress while it"
            " comes",
            name=name,
            ctx=Context,
            prompt=Param(str, "what to ask"),
            system=Param(str, "how it is to answer", optional=True),
            max_tokens=Param(int, "at most so many", default=self._most, min=1, max=_MOST_TOKENS),
            temperature=Param(float, "0: as likely as can be", optional=True, min=0, max=5),
            annotations={"readOnlyHint": True, "openWorldHint": True},
        )(ask)

    async def sample(self, params):
        """The answer (dict) to a sampling/createMessage (dict of its params). Raises ToolError."""
        messages = params.get("messages")
        if not isinstance(messages, list) or not messages:
            raise ToolError("there is no message to answer")
        rows = [{"role": _role(row), "content": _content(row)} for row in messages]
        most = params.get("maxTokens")
        wish = Wish(min(most, self._most) if type(most) is int and most > 0 else self._most)
        temperature = params.get("temperature", self._temperature)
        if isinstance(temperature, int | float):
            wish.temperature = min(5.0, max(0.0, temperature))
        stop = params.get("stopSequences")
        wish.stop = tuple(map(str, stop)) if isinstance(stop, list) else ()
        system = params.get("systemPrompt") or self._system
        written = await self.writer.write(_with_system(system, rows), wish, lambda piece: None)
        return {
            "role": "assistant",
            "content": {"type": "text", "text": written.text},
            "model": written.model or "unknown",
            "stopReason": "maxTokens" if written.reason == "length" else "endTurn",
        }


def _with_system(system, messages):
    return [{"role": "system", "content": system}, *messages] if system else messages


def _role(row):
    if not isinstance(row, dict) or row.get("role") not in ("user", "assistant"):
        raise ToolError("a message's role is user or assistant")
    return row["role"]


def _content(row):
    """A message's content as OpenAI has it."""
    blocks = row.get("content")
    blocks = blocks if isinstance(blocks, list) else [blocks]
    parts = []
    for block in blocks:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text":
            parts.append({"type": "text", "text": str(block.get("text", ""))})
        elif kind == "image":
            url = f"data:{block.get('mimeType')};base64,{block.get('data')}"
            parts.append({"type": "image_url", "image_url": {"url": url}})
        else:
            raise NoText(f"content of type {kind} cannot be given to the model")
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts
