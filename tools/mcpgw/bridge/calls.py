"""Calls that are executed once: a known key joins the running call or gets the recorded
outcome.
"""

import asyncio
import json
import sqlite3

from mcp_gw.errors import INVALID_PARAMS, Unavailable

from . import keys
from .disk import Disk

_POLL_S = 0.25
_MAX_DIGITS = 1000

UNKNOWN_OUTCOME = (
    "This call was sent to {upstream} before, and the connection ended before its answer came: it "
    "may or may not have been executed. It was not repeated; check before you call {tool} again."
)


class NoRoom(Unavailable):
    """So much is kept for a board that its new calls are refused; ask again after retry_ms."""

    retry_ms = 60_000


class Calls:
    """Runs keyed calls at most once each, over restarts of this process too.

    store: KeyStore; log: Log. Its methods belong to one event loop.
    """

    def __init__(self, store, log):
        self._store = store
        self._log = log
        self._running = {}
        # One thread keeps the order of the writes and the disk out of the event loop.
        self._disk = Disk(store.together, "keys")
        self.counts = dict.fromkeys((keys.NEW, keys.DONE, keys.LOST, "joined"), 0)
        self.failures = 0  # of the store, so far
        self.trouble = None  # what was wrong with it when it was used last (str)

    async def run(self, upstream, key, tool, send, idempotent, on_progress=None, board=""):
        """The outcome (ok, raw JSON text) of one call under its key.

        send: coroutine function(on_progress) -> (ok, raw), raising Unavailable or NoAnswer;
        idempotent: coroutine function -> bool, asked when the key was sent by a process that died;
        on_progress: function(message) for this caller; board: whose share of the store it takes,
        NoRoom where that is used up. Raises what `send` raised. Cancelling one
        caller ends the call only when nobody else waits for it.
        """
        entry = self._running.get((upstream, key))
        if entry is not None:
            self.counts["joined"] += 1
        else:
            listeners = []
            task = asyncio.ensure_future(
                self._once(upstream, key, tool, send, idempotent, listeners, board)
            )
            entry = self._running[upstream, key] = [task, listeners, 0]
            task.add_done_callback(lambda _: self._running.pop((upstream, key), None))
        task, listeners, _ = entry
        if on_progress:
            listeners.append(on_progress)
        entry[2] += 1
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if entry[2] == 1:
                task.cancel()
            raise
        finally:
            entry[2] -= 1
            if on_progress:
                listeners.remove(on_progress)

    async def known(self, upstream, key, tool):
        """The recorded outcome (ok, raw) of a key, None if there is none; nothing is claimed."""
        if (upstream, key) in self._running:
            return None
        try:
            found = await self._on_disk(self._store.outcome, upstream, key, tool)
        except (keys.KeyMisused, sqlite3.Error):
            return None  # run() tells
        self.counts[keys.DONE] += found is not None
        return found

    def joins(self, upstream, key):
        """Whether a call with this key would join one that runs now."""
        return (upstream, key) in self._running

    async def close(self, grace_s=1.0):
        """Give running calls a moment to end, then give them up."""
        tasks = [entry[0] for entry in self._running.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=grace_s)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._disk.close)
        self._store.close()

    async def _once(self, upstream, key, tool, send, idempotent, listeners, board):
        state = None
        while state in (None, keys.BUSY):
            try:
                what = upstream, key, tool, board
                state, ok, raw = await self._on_disk(self._store.begin, *what)
            except keys.KeyMisused as e:
                return False, error_object(INVALID_PARAMS, str(e))
            except keys.ShareFull as e:
                raise NoRoom(str(e)) from e
            except sqlite3.Error as e:
                self._log.info(f"the key store fails: {e}; {tool} was not sent")
                raise Unavailable(f"cannot record the call's key: {e}") from e
            if state == keys.BUSY:
                await asyncio.sleep(_POLL_S)
        self.counts[state] += 1
        if state == keys.DONE:
            self._log.info(f"{tool} at {upstream}: key known, answered with the recorded outcome")
            return ok, raw
        if state == keys.LOST:
            again = await idempotent()
            if not again or not await self._on_disk(self._store.take_over, upstream, key):
                self._log.info(f"{tool} at {upstream}: was sent before, outcome unknown")
                text = UNKNOWN_OUTCOME.format(upstream=upstream, tool=tool)
                return True, tool_error(text)
        return await self._send(upstream, key, tool, send, listeners)

    async def _send(self, upstream, key, tool, send, listeners):
        def progress(message):
            for listener in list(listeners):
                listener(message)

        lease = asyncio.ensure_future(self._renew(upstream, key))
        try:
            ok, raw = await send(progress)
        except Unavailable:
            await self._record(self._store.forget, upstream, key)
            raise
        except BaseException:  # no answer, or cancelled: it may have been executed
            await self._record(self._store.lose, upstream, key)
            raise
        finally:
            lease.cancel()
        await self._record(self._store.finish, upstream, key, ok, raw)
        return ok, raw

    async def _renew(self, upstream, key):
        while True:
            await asyncio.sleep(keys.RENEW_S)
            await self._record(self._store.renew, upstream, key)

    async def _record(self, method, *args):
        """A write whose failure must not hide the outcome: what is missing reads as LOST later."""
        try:
            await asyncio.shield(self._on_disk(method, *args))
        except sqlite3.Error as e:
            self._log.info(f"the key store fails: {e}")

    @property
    def healthy(self):
        """Whether the store worked when it was used last."""
        return self.trouble is None

    async def _on_disk(self, method, *args):
        try:
            found = await self._disk.run(method, *args)
        except sqlite3.Error as e:
            self.failures += 1
            self.trouble = str(e)
            raise
        self.trouble = None
        return found


def tool_error(text):
    """JSON text of a tool result that says what failed, in the modern revision's form."""
    content = [{"type": "text", "text": text}]
    return dump({"resultType": "complete", "content": content, "isError": True})


def error_object(code, message, data=None):
    """JSON text of a JSON-RPC error object."""
    error = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return dump(error)


def parse(raw):
    """The value of JSON text. Integers too long for int() are texts of their digits."""
    return json.loads(raw, parse_int=_integer)


def _integer(digits):
    # Python refuses to read longer ones, since that takes quadratic time.
    return int(digits) if len(digits) <= _MAX_DIGITS else digits


def dump(value):
    """Compact JSON text as bytes, ASCII only, so that it can travel in a frame."""
    return json.dumps(value, separators=(",", ":")).encode().replace(b"\x7f", b"\\u007f")
