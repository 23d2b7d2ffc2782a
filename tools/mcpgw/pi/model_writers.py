"""What writes texts for the paired gateway: an OpenAI-compatible endpoint somewhere, or a small
model in this process."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx

from mcp_gw.errors import ToolError
from mcp_gw.infer.model import ModelError

# Of an endpoint's answer, bytes; and of one line of it.
MAX_ANSWER = 4 << 20
_CONNECT_S = 10.0
# Texts that may wait while the small model writes another.
MAX_WAITING = 8
BUILTIN = "builtin:"


class NoText(ToolError):
    """There is no text. status, code: the HTTP status and OpenAI's code that say why."""

    def __init__(self, text, status=502, code=None):
        super().__init__(text)
        self.status = status
        self.code = code


@dataclass
class Wish:
    """How a text is to be. stop: it ends before any of these."""

    max_tokens: int = 512
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple = ()


@dataclass
class Written:
    """A text. reason: "stop" (it came to its end) or "length"; the rest: tokens, None: unknown."""

    text: str
    reason: str
    model: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @property
    def usage(self):
        """As OpenAI has it, or None."""
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


class Endpoint:
    """An OpenAI-compatible endpoint: llama.cpp's server, Ollama, a service in the cloud.

    url: up to and with /v1; model: its name for the model, or None; key: for the Authorization
    field, or None; timeout_s: for a whole text.
    """

    def __init__(self, url, model, key, timeout_s):
        self.url = url.rstrip("/") + "/chat/completions"
        self.name = model
        self._timeout_s = timeout_s
        fields = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s))
        self._client = httpx.AsyncClient(headers=fields, timeout=limits)

    async def close(self):
        await self._client.aclose()

    async def write(self, messages, wish, on_piece):
        """Answer a chat. messages: as OpenAI has them; on_piece: called with each piece of text as
        it comes. Returns Written. Raises NoText."""
        row = {
            "messages": messages,
            "max_tokens": wish.max_tokens,
            "temperature": wish.temperature,
            "top_p": wish.top_p,
            "seed": wish.seed,
            "stop": list(wish.stop) or None,
            "model": self.name,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        row = {key: value for key, value in row.items() if value is not None}
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream("POST", self.url, json=row) as answer,
            ):
                return await self._read(answer, on_piece)
        except (TimeoutError, httpx.TimeoutException):
            told = f"the model's endpoint took more than {self._timeout_s:g} s"
            raise NoText(told, 504, "timeout") from None
        except httpx.HTTPError as e:
            raise NoText(
                f"the model's endpoint cannot be reached: {e or type(e).__name__}"
            ) from None

    async def _read(self, answer, on_piece):
        kind = answer.headers.get("content-type", "").partition(";")[0]
        if answer.status_code != 200 or kind != "text/event-stream":
            body = await _body(answer)
            if answer.status_code != 200:
                raise NoText(_refusal(answer.status_code, body), 502)
            return self._whole(body, on_piece)
        written = Written("", "stop", self.name or "")
        pieces = []
        async for data in _events(answer):
            if data == "[DONE]":
                break
            _take(_object(data), "delta", written, pieces, on_piece)
        written.text = "".join(pieces)
        return written

    def _whole(self, body, on_piece):
        """An endpoint that does not stream."""
        written = Written("", "stop", self.name or "")
        pieces = []
        _take(_object(body), "message", written, pieces, on_piece)
        written.text = "".join(pieces)
        return written


async def _body(answer):
    pieces = []
    size = 0
    async for piece in answer.aiter_bytes():
        pieces.append(piece)
        size += len(piece)
        if size > MAX_ANSWER:
            raise NoText(f"the model's endpoint answers with more than {MAX_ANSWER} bytes")
    return b"".join(pieces).decode(errors="replace")


async def _events(answer):
    """The data of each event of a stream, str."""
    data = []
    rest = b""
    size = 0
    async for piece in answer.aiter_bytes():
        size += len(piece)
        if size > MAX_ANSWER:
            raise NoText(f"the model's endpoint answers with more than {MAX_ANSWER} bytes")
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            line = line.rstrip(b"\r")
            if line.startswith(b"data:"):
                data.append(line[5:].strip().decode(errors="replace"))
            elif not line and data:
                yield "\n".join(data)
                data = []
    if data:
        yield "\n".join(data)


def _object(data):
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise NoText("the model's endpoint does not answer as OpenAI's does")
    if "error" in found:
        raise NoText("the model's endpoint failed: " + _told(found))
    return found


def _take(row, member, written, pieces, on_piece):
    """Take what is of interest out of one chunk, or out of a whole answer."""
    try:
        if isinstance(row.get("model"), str):
            written.model = row["model"]
        if usage := row.get("usage"):
            written.prompt_tokens = int(usage["prompt_tokens"])
            written.completion_tokens = int(usage["completion_tokens"])
        for choice in row.get("choices") or ():
            if piece := (choice.get(member) or {}).get("content"):
                pieces.append(str(piece))
                on_piece(pieces[-1])
            if choice.get("finish_reason") == "length":
                written.reason = "length"
    except (AttributeError, KeyError, TypeError, ValueError):
        raise NoText("the model's endpoint does not answer as OpenAI's does") from None


def _refusal(status, body):
    try:
        told = _told(json.loads(body))
    except ValueError:
        told = body.strip()
    return f"the model's endpoint answers {status}: {told[:300] or 'without a reason'}"


def _told(row):
    error = row.get("error") if isinstance(row, dict) else None
    if isinstance(error, dict):
        error = error.get("message")
    return str(error or row)[:300]


class Builtin:
    """A small model of the kind that runs on boards, run here by the same C core.

    model, vocabulary: paths of the .mgm and the .mgt file. Raises ModelError, ValueError, OSError.
    """

    def __init__(self, model, vocabulary):
        from mcp_gw.infer import language

        from .. import native_llama

        language.core = native_llama
        self.name = Path(model).stem
        self._language = language.Language(
            Path(model).read_bytes(), str(vocabulary), positions=1 << 20, name=self.name
        )
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._pool = ThreadPoolExecutor(1, "model")

    async def close(self):
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def write(self, messages, wish, on_piece):
        """See Endpoint.write(). The model continues texts: it is given the messages, one under the
        other."""
        return await self.go_on("\n".join(map(plain, messages)), wish, on_piece)

    async def go_on(self, prompt, wish, on_piece):
        """Continue a text (str). Returns Written. Raises NoText."""
        if self._waiting > MAX_WAITING:
            raise NoText("too many texts wait for the model", 429, "rate_limit_exceeded")
        self._waiting += 1
        try:
            async with self._lock:
                return await self._go_on(prompt, wish, on_piece)
        finally:
            self._waiting -= 1

    async def _go_on(self, prompt, wish, on_piece):
        loop = asyncio.get_running_loop()
        pieces = asyncio.Queue()
        given_up = threading.Event()

        def tell(piece):
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        def work():
            try:
                return self._work(prompt, wish, tell, given_up)
            finally:
                tell(None)

        working = loop.run_in_executor(self._pool, work)
        parts = []
        try:
            while (piece := await pieces.get()) is not None:
                parts.append(piece)
                on_piece(piece)
        finally:
            # The next text may begin only when this one has ended.
            given_up.set()
            await asyncio.wait([working])
        text = working.result()
        reason = "length" if text.reason in ("length", "time") else "stop"
        return Written("".join(parts), reason, self.name, text.prompt_tokens, text.tokens)

    def _work(self, prompt, wish, tell, given_up):
        try:
            text = self._language.generate(
                prompt,
                max_tokens=wish.max_tokens,
                stop=wish.stop,
                temperature=1.0 if wish.temperature is None else wish.temperature,
                top_p=0.9 if wish.top_p is None else wish.top_p,
                seed=wish.seed,
            )
        except ModelError as e:  # the prompt is too long
            raise NoText(str(e), 400, "context_length_exceeded") from None
        except ValueError as e:
            raise NoText(str(e), 400) from None
        try:
            for piece in text:
                if given_up.is_set():
                    break
                tell(piece)
        finally:
            text.close()
        return text


def plain(message):
    """The text of a message. Raises NoText for what is no text."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise NoText("a message needs its content", 400)
    texts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text":
            raise NoText("this model takes texts only", 400)
        texts.append(str(part.get("text", "")))
    return "".join(texts)
